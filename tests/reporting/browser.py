"""A real headless Chromium, driven by its own options alone."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
QUIET = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    # What the browser itself asks the network for, in spite of all these, finds nobody.
    "--host-resolver-rules=MAP * ~NOTFOUND",
)  # fmt: skip
BROWSER_ITSELF = "not an origin"
TIMEOUT_SECONDS = 120


def find_chromium() -> str | None:
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def chromium_or_skip() -> str:
    """The command of a Chromium; without one a test is skipped, or fails where MAMMO_REQUIRE_CHROMIUM=1 is set."""
    found = find_chromium()
    if found is None:
        stop = pytest.fail if os.environ.get("MAMMO_REQUIRE_CHROMIUM") == "1" else pytest.skip
        stop("no Chromium is installed (Debian: apt-get install chromium)")
    return found


@dataclasses.dataclass(frozen=True)
class Visit:
    """A page after its scripts ran: its DOM, the messages of its console, the addresses that it asked for."""

    dom: str
    console: list[str]
    requests: list[str]


def visit(chromium: str, page: Path, folder: Path, *options: str) -> Visit:
    """Open a page from disk; `folder` is for the profile and the log of the network."""
    log = folder / "network.json"
    profile = folder / "profile"
    shutil.rmtree(profile, ignore_errors=True)
    done = subprocess.run(
        [chromium, *QUIET, f"--user-data-dir={profile}", f"--log-net-log={log}", "--enable-logging=stderr", "--v=0",
         *options, "--dump-dom", page.resolve().as_uri()],
        capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=True,
    )  # fmt: skip
    console = re.findall(r":CONSOLE[:(]\d+\)?\] (.*)", done.stderr)
    return Visit(done.stdout, console, _requests(json.loads(log.read_text())))


def _requests(log: dict) -> list[str]:
    """Every address that a page asked for: requests of the browser itself have no origin."""
    found = [event.get("params", {}) for event in log["events"]]
    return [params["url"] for params in found if params.get("initiator", BROWSER_ITSELF) != BROWSER_ITSELF]


def measured(chromium: str, page: Path, folder: Path, width_px: int, script: str) -> str:
    """What a JavaScript expression (of `page`, its document) is on a page in a frame of a width, as text.

    A window of Chromium has a least width, a frame has none.
    """
    frame = folder / "frame.html"
    frame.write_text(
        f'<!DOCTYPE html><title>-</title><body style="margin:0"><iframe id="frame" src="{page.resolve().as_uri()}" '
        f'style="border:0;width:{width_px}px;height:900px"></iframe><pre id="answer"></pre><script>'
        'addEventListener("load", () => { const page = document.getElementById("frame").contentDocument;'
        f'document.getElementById("answer").textContent = String({script}); }});</script>'
    )
    dom = visit(chromium, frame, folder, "--allow-file-access-from-files", f"--window-size={width_px + 200},1000").dom
    match = re.search(r'<pre id="answer">(.*?)</pre>', dom, re.DOTALL)
    assert match is not None
    return match[1]

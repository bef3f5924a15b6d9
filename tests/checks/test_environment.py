"""What is said of the environment, also where torch is broken, the network is dead or the cache is not writable."""

from __future__ import annotations

import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from mammo.checks import weights
from mammo.checks.environment import check_packages
from mammo.checks.folders import check_folders
from mammo.checks.report import Level
from tests.conftest import REPOSITORY
from tests.processes import run_module


def doctor(cache_home: Path, *arguments: str, before: Path | None = None, **variables: str) -> tuple[int, str, str]:
    """Status, output and errors of `python -m mammo.doctor`; `before` comes first on the path of Python."""
    if before is not None:
        variables["PYTHONPATH"] = f"{before}{os.pathsep}{REPOSITORY}"
    done = run_module("mammo.doctor", *arguments, folder=cache_home, XDG_CACHE_HOME=str(cache_home), **variables)
    assert "Traceback" not in done.stdout + done.stderr
    return done.returncode, done.stdout, done.stderr


def fake(folder: Path, module: str, text: str) -> Path:
    """A module that is found instead of an installed one; returns the folder for the path."""
    (folder / module).mkdir(parents=True)
    (folder / module / "__init__.py").write_text(text)
    return folder


LOCK_WITHOUT_EFFECT = """
class Timeout(Exception): ...
class FileLock:
    def __init__(self, *_, **__): ...
    def acquire(self, **_): ...
    def __enter__(self): ...
    def __exit__(self, *_): ...
"""


@pytest.fixture
def cache_home(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "mammo"
    folder.mkdir(parents=True)
    return folder.parent


@pytest.mark.slow
def test_a_healthy_environment_passes_and_every_section_is_there(cache_home):
    (cache_home / "mammo" / "stores" / "0123").mkdir(parents=True)
    (cache_home / "mammo" / "stores" / "0123" / "rows.bin").write_bytes(bytes(20_000_000))
    status, output, errors = doctor(cache_home)
    assert status == 0, output + errors
    for text in ("torch ", "processor", "memory", "GPU", "file locks", "1 image store 0.02 GB", "efficientnet_lite0"):
        assert text in output
    assert all(len(line) <= 80 or str(cache_home) in line for line in output.splitlines())
    assert not list(cache_home.rglob(".mammo-doctor*"))


@pytest.mark.slow
def test_damaged_weights_a_readable_key_and_a_lock_without_effect_are_problems(cache_home, tmp_path):
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "resnet50-11ad3fa6.pth").write_bytes(b"cut off")
    key = cache_home / "mammo" / "pseudonym.key"
    key.write_text("00" * 32)
    key.chmod(0o644)
    never = fake(tmp_path / "path", "filelock", LOCK_WITHOUT_EFFECT)
    status, output, _ = doctor(cache_home, "json=true", before=never, TORCH_HOME=str(tmp_path / "torch"))
    assert status == 1
    findings = [one for section in json.loads(output)["sections"] for one in section["findings"]]
    problems = {one["subject"]: one["text"] for one in findings if one["level"] == "PROBLEM"}
    assert problems.keys() == {"resnet50", "- pseudonyms", "- file locks"}
    assert "damaged" in problems["resnet50"]
    assert "two processes held the same one" in problems["- file locks"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("raise ImportError('libcudart.so.13: cannot open shared object file')", "ImportError: libcudart.so.13"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGILL)", "ended its process with SIGILL"),
    ],
    ids=["an error", "a crash"],
)
def test_it_says_that_torch_cannot_be_imported(cache_home, tmp_path, text, reason):
    broken = fake(tmp_path / "path", "torch", text)
    status, output, _ = doctor(cache_home, "json=true", before=broken)
    assert status == 1
    findings = [one for section in json.loads(output)["sections"] for one in section["findings"]]
    (torch,) = [one for one in findings if one["subject"] == "torch"]
    assert torch["level"] == "PROBLEM"
    assert reason in torch["text"]
    assert "make train" in torch["to_do"]
    # What does not need torch has been looked at.
    assert {"processor", "cache folder", "git"} <= {one["subject"] for one in findings}


def test_a_run_cannot_be_looked_at_without_torch_and_that_is_said(cache_home, tmp_path):
    broken = fake(tmp_path / "path", "torch", "raise ImportError('no torch here')")
    (cache_home / "run").mkdir()
    (cache_home / "run" / "config.yaml").write_text("{}")
    status, _, errors = doctor(cache_home, "run", before=broken)
    assert status == 2
    assert "no torch here" in errors
    assert "python -m mammo.doctor (without arguments)" in errors


def test_help_imports_nothing_heavy():
    code = "import sys; sys.argv = ['doctor', '--help']; from mammo.doctor import main; main(['--help']); " \
           "print(sorted({'torch', 'numpy', 'pandas', 'hydra', 'yaml'} & set(sys.modules)))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: python -m mammo.doctor")
    assert done.stdout.splitlines()[-1] == "[]"
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_a_package_that_is_missing_or_broken_is_named():
    (broken,) = [one for one in check_packages({"timm": "ImportError: no"}) if one.level is Level.PROBLEM]
    assert (broken.subject, "cannot be imported:\nImportError: no" in broken.text) == ("timm", True)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder that nobody can write to")
def test_a_cache_folder_that_cannot_be_written_to(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc")
    (finding,) = [one for one in check_folders() if one.level is Level.PROBLEM and one.subject == "cache folder"]
    assert "cannot be written to" in finding.text
    assert "cache_dir=DIR" in finding.to_do
    (tmp_path / "mammo").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert any("is a file and no folder" in one.text for one in check_folders())


def test_a_model_of_a_family_that_nobody_has_told_about_is_a_note(tmp_path):
    """Whoever adds a family to `mammo/models/build.py` has a doctor that goes on."""
    (tmp_path / "mine.yaml").write_text("# Mine.\nfamily: mine\nname: net\n")
    (tmp_path / "gone.yaml").write_text("# Of a later torchvision.\nfamily: torchvision\nname: resnet1001\n")
    (tmp_path / "bare.yaml").write_text("# Any network of timm.\n")
    (tmp_path / "lite.yaml").write_text("# Installed.\nfamily: efficientnet_lite0\nname: efficientnet_lite0\n")
    found = weights.weights_in(tmp_path)
    assert {entry["model"]: entry["state"] for entry in found} == {
        "bare": "hub", "gone": "unknown", "lite": "installed", "mine": "unknown"
    }  # fmt: skip
    findings = {one.subject: one for one in weights.check_weights([entry for entry in found if entry["url"] is None])}
    assert findings["mine"].level is findings["gone"].level is Level.NOTE
    assert findings["mine"].text == "not known of the family mine: a run with this model finds out"


class _Server(http.server.BaseHTTPRequestHandler):
    def do_HEAD(self) -> None:
        self.send_response(200 if self.path == "/there" else 403)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


def test_a_download_is_within_reach_refused_or_silent(server, monkeypatch):
    monkeypatch.setattr(weights, "ANSWER_TIMEOUT_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts and never answers
        urls = {"a": f"{server}/there", "b": f"{server}/refused", "c": f"http://127.0.0.1:{silent.getsockname()[1]}/"}
        found = weights.check_weights([{"model": name, "state": "absent", "url": url} for name, url in urls.items()])
    levels = {finding.subject: finding.level for finding in found}
    texts = {finding.subject: finding.text for finding in found}
    assert levels == {"a": Level.OK, "b": Level.NOTE, "c": Level.NOTE, "without a network": Level.NOTE}
    assert "HTTP status 403" in texts["b"]
    assert "not in the cache" in texts["c"]

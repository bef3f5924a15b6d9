"""One case is one process, copied from this one: nothing is imported again, and whatever it does ends with it."""

from __future__ import annotations

import dataclasses
import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.attacks.audit import Recorder

# What a case may take beside what the interpreter and its libraries have.
MEMORY_BYTES = 3 * 2**29


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a case works, and the folder beside for what is recorded of it."""

    work: Path
    beside: Path

    @property
    def canary(self) -> Path:
        """A folder that nobody has any business in."""
        return self.beside / "canary"


@dataclasses.dataclass(frozen=True)
class Ended:
    """How a process ended: exit status, or minus its signal; what it printed; what the audit hook saw."""

    status: int
    output: str
    events: frozenset[str]
    modules: tuple[str, ...]
    seconds: float
    is_late: bool


class Running:
    """A process that does some work in a place."""

    def __init__(
        self, work: Callable[[], int], place: Place, timeout_seconds: float, roots: dict[str, Path] | None = None
    ) -> None:
        self.place = place
        for name in ("tmp", "home"):
            (place.beside / name).mkdir(parents=True, exist_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.started = time.monotonic()
        self.deadline = self.started + timeout_seconds
        self.pid = os.fork()
        if self.pid == 0:
            _live(work, place, roots)

    def poll(self) -> Ended | None:
        """How it has ended; None while it runs. What takes too long is ended."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        is_late = not pid and time.monotonic() > self.deadline
        if is_late:
            os.killpg(self.pid, signal.SIGKILL)
            pid, status = os.waitpid(self.pid, 0)
        if not pid:
            return None
        output = (self.place.beside / "output").read_text(encoding="utf-8", errors="replace")
        try:
            seen = json.loads((self.place.beside / "events.json").read_text())
        except (OSError, ValueError):
            seen = {"events": [], "modules": []}
        seconds = time.monotonic() - self.started
        events = frozenset(seen["events"])
        code = os.waitstatus_to_exitcode(status)
        return Ended(code, output, events, tuple(seen["modules"]), seconds, is_late)


def forked(
    work: Callable[[], int], place: Place, timeout_seconds: float, roots: dict[str, Path] | None = None
) -> Ended:
    """Do some work in a process of its own and wait for its end."""
    running = Running(work, place, timeout_seconds, roots)
    while (ended := running.poll()) is None:
        time.sleep(0.005)
    return ended


def _live(work: Callable[[], int], place: Place, roots: dict[str, Path] | None) -> None:
    status = 1
    try:
        os.setsid()
        output = os.open(place.beside / "output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        for stream in (1, 2):
            os.dup2(output, stream)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.environ |= {"TMPDIR": str(place.beside / "tmp"), "HOME": str(place.beside / "home")}
        os.chdir(place.work)
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        before = set(sys.modules)
        recorder = Recorder({"WORK": place.work, "BESIDE": place.beside, **(roots or {})})
        status = _recorded(work, recorder)
        _write_events(place, recorder, sorted(set(sys.modules) - before))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _recorded(work: Callable[[], int], recorder: Recorder) -> int:
    recorder.start()
    try:
        return work()
    finally:
        recorder.stop()


def _write_events(place: Place, recorder: Recorder, modules: list[str]) -> None:
    content: dict[str, Any] = {"events": sorted(recorder.events), "modules": modules}
    (place.beside / "events.json").write_text(json.dumps(content))

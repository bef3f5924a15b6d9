"""One run in a process of its own, killed with SIGKILL when it gets to a chosen place.

The process is forked from one that has imported everything, which saves seconds, and then goes the way of the
command line. A place is the n-th call of any function, Python's or a library's, while the run does a certain
thing: so a kill can fall between any two operations, and the same place can be met again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NamedTuple

import mammo.runs.training  # noqa: F401 - imported before the fork, with all that it needs
from mammo.cli.entry import run_command
from mammo.config.composition import TRAIN
from mammo.data.store import ImageStore
from mammo.models.feature_bank import FeatureBank
from mammo.runs.directory import RunDirectory
from mammo.runs.run import Run
from mammo.train import job
from mammo.training.checkpoint import save_checkpoint
from mammo.training.engine import Trainer

# What a run is doing while one of these functions runs; the innermost counts.
DOINGS: dict[CodeType, str] = {
    ImageStore.fill.__code__: "filling the store",
    FeatureBank.fill.__code__: "filling the bank",
    Trainer._train_epoch.__code__: "inside an epoch",
    Trainer._validated.__code__: "inside validation",
    save_checkpoint.__code__: "writing a checkpoint",
    RunDirectory.write_text.__code__: "writing another file",
    Run._finish.__code__: "finishing",
}
OTHERWISE = "between these"
BY_THE_CLOCK = "at any time"

Counts = dict[str, int]


class Place(NamedTuple):
    """Where a run is killed: at the n-th call while it does something, or after some seconds."""

    doing: str
    number: int = 0
    seconds: float = 0.0


class Outcome(NamedTuple):
    """How a process ended: `status` is negative for a signal; `counts` of calls, of a run that was not killed."""

    status: int
    seconds: float
    counts: Counts


class _Watch:
    """Counts calls by what the run is doing, and kills the process at a place."""

    def __init__(self, place: Place | None) -> None:
        self.counts: Counter[str] = Counter()
        self._place = place
        self._doing = [OTHERWISE]

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        what = DOINGS.get(frame.f_code)
        if event == "call" and what is not None:
            self._doing.append(what)
        if event in ("call", "c_call"):
            doing = self._doing[-1]
            self.counts[doing] += 1
            if self._place is not None and doing == self._place.doing and self.counts[doing] == self._place.number:
                os.kill(os.getpid(), signal.SIGKILL)
        if event == "return" and what is not None:
            self._doing.pop()


def run(arguments: Sequence[str], folder: Path, place: Place | None) -> Outcome:
    """Run the command in a folder; its output is added to `output.txt` there."""
    started = time.perf_counter()
    process = os.fork()
    if process == 0:
        _be_the_victim(arguments, folder, place)
    killer = None
    if place is not None and place.doing == BY_THE_CLOCK:
        killer = threading.Timer(place.seconds, os.kill, (process, signal.SIGKILL))
        killer.start()
    status = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    if killer is not None:
        killer.cancel()
        killer.join()
    counts_file = folder / "counts.json"
    counts = json.loads(counts_file.read_text()) if status == 0 else {}
    return Outcome(status, time.perf_counter() - started, counts)


def _be_the_victim(arguments: Sequence[str], folder: Path, place: Place | None) -> None:
    status = 1
    try:
        output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.chdir(folder)
        sys.argv = ["mammo.train", *arguments]
        watch = _Watch(place)
        sys.setprofile(watch)
        try:
            run_command(job, TRAIN)
            status = 0
        except SystemExit as error:
            status = int(error.code or 0)
        sys.setprofile(None)
        Path("counts.json").write_text(json.dumps(watch.counts))
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(status)


def choose_place(draw: random.Random, counts: Counts, seconds: float) -> Place:
    """A place in a run that makes so many calls and takes so long: what it does first, then when."""
    doing = draw.choice([*sorted(counts), BY_THE_CLOCK])
    if doing == BY_THE_CLOCK:
        return Place(doing, seconds=draw.uniform(0, seconds))
    return Place(doing, number=draw.randint(1, counts[doing]))

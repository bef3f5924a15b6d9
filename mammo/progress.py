"""What a person sees while a command works: log lines and progress bars, on a terminal and in a file.

On a terminal a bar moves and vanishes when it is done. Elsewhere (a file, a SLURM log) long work says
how far it is once a minute, in whole lines. Both tell how fast it goes and how long it will take.
Long work can be interrupted between two items, with mammo.interruption.
"""

from __future__ import annotations

import datetime
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from mammo.interruption import stop_if_asked

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 60.0


class _Console(Console):
    """A terminal or pipe that may go away while a run goes on: the log file has every line too."""

    def on_broken_pipe(self) -> None:
        """Write to nothing from now on; Rich would end the process, silently and with status 1."""
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, sys.stdout.fileno())
        os.close(nothing)


console = _Console(highlight=False)
log = logging.getLogger(__name__)


class _ConsoleHandler(logging.Handler):
    """Log lines above the progress bar, unwrapped, so that they can be searched for."""

    def emit(self, record: logging.LogRecord) -> None:
        style = {"WARNING": "yellow", "ERROR": "bold red"}.get(record.levelname, "")
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        console.print(mark + self.format(record), style=style, markup=False, soft_wrap=True)


def start_logging(level: str) -> None:
    """Send the project's log to the terminal; earlier handlers are replaced."""
    logger = logging.getLogger("mammo")
    stop_logging()
    logger.setLevel(level.upper())
    logger.propagate = False
    logger.addHandler(_ConsoleHandler())


def log_to_file(file: Path) -> None:
    """Append the project's log to a file too, with times."""
    handler = logging.FileHandler(file, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    logging.getLogger("mammo").addHandler(handler)


def stop_logging() -> None:
    """Close all handlers of the project's log."""
    logger = logging.getLogger("mammo")
    for handler in list(logger.handlers):
        handler.close()
        logger.removeHandler(handler)


class _RateColumn(ProgressColumn):
    """How many are done in a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:.1f}/s")


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _RateColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
    )


def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """The items, with their progress shown."""
    with counting(label, lambda: total) as count:
        for done, item in enumerate(items, start=1):
            yield item
            count(done, total)


@contextmanager
def counting(label: str, total: Callable[[], int] | None = None) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that shows progress, for work that counts by itself."""
    if console.is_terminal:
        with _bar() as bar:
            task = bar.add_task(label, total=total() if total else None)

            def move(done: int, of: int) -> None:
                stop_if_asked()
                bar.update(task, completed=done, total=of)

            yield move
        return
    start = last_line = time.monotonic()

    def count(done: int, of: int) -> None:
        nonlocal last_line
        stop_if_asked()
        now = time.monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES:
            last_line = now
            rate = done / (now - start)
            left = datetime.timedelta(seconds=round((of - done) / rate)) if rate > 0 else "unknown time"
            log.info("%s: %d/%d, %.1f/s, %s left", label, done, of, rate, left)

    yield count

"""What a person sees while a command works: log lines and progress bars, on a terminal and in a file.

On a terminal a bar moves and vanishes when it is done. Elsewhere (a file, a SLURM log) long work says
how far it is once a minute, in whole lines. Both tell how fast it goes and how long it will take.
Long work can be interrupted between two items, with mammo.support.interruption.
"""

from __future__ import annotations

import datetime
import functools
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, TypeVar

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

from mammo.support.interruption import stop_if_asked
from mammo.support.plain_text import terminal_text, wrapped
from mammo.support.tracebacks import traceback_text

T = TypeVar("T")

SECONDS_BETWEEN_LINES = 60.0
# Marks the bar of work whose parts have bars of their own.
OVERALL = "overall"


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
    """Log lines above the progress bar: wrapped on a terminal, else whole, so that they can be searched for.

    A record may have a `short` form for a terminal.
    """

    def emit(self, record: logging.LogRecord) -> None:
        style = {"WARNING": "yellow", "ERROR": "bold red"}.get(record.levelname, "")
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        # Without a traceback, which belongs into the file.
        message = mark + record.getMessage()
        if console.is_terminal:
            message = "\n".join(wrapped(getattr(record, "short", message), console.width))
        console.print(terminal_text(message), style=style, markup=False, soft_wrap=True)


class _PlainFormatter(logging.Formatter):
    """Lines that can be shown on a terminal later: nothing in them commands it, and tracebacks quote no data."""

    def format(self, record: logging.LogRecord) -> str:
        return terminal_text(super().format(record))

    def formatException(self, ei: Any) -> str:
        return traceback_text(ei[1])


def start_logging(level: str, *, on_terminal: bool = True) -> None:
    """Send the project's log to the terminal; earlier handlers are replaced."""
    logger = logging.getLogger("mammo")
    stop_logging()
    logger.setLevel(level.upper())
    logger.propagate = False
    # Keeps what is logged before there is a file for it.
    logger.addHandler(MemoryHandler(sys.maxsize, flushLevel=sys.maxsize))
    if on_terminal:
        logger.addHandler(_ConsoleHandler())


class _FileHandler(logging.FileHandler):
    """Leaves out what a full disk has no room for: the error that ends the run is another one, and says so."""

    def handleError(self, record: logging.LogRecord) -> None:
        if not isinstance(sys.exc_info()[1], OSError):
            super().handleError(record)


def log_to_file(file: Path) -> None:
    """Append the project's log to a file too, with times, from its first line on."""
    logger = logging.getLogger("mammo")
    handler = _FileHandler(file, encoding="utf-8")
    handler.setFormatter(_PlainFormatter("%(asctime)s %(levelname)-7s %(message)s", datefmt="%Y-%m-%d %H:%M:%S"))
    for early in [other for other in logger.handlers if isinstance(other, MemoryHandler)]:
        early.setTarget(handler)
        early.close()  # which hands over what it has
        logger.removeHandler(early)
    logger.addHandler(handler)


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
        return Text("" if speed is None or OVERALL in task.fields else f"{speed:.1f}/s")


class _TimeLeftColumn(TimeRemainingColumn):
    """Time left, but for work that tells it in words."""

    def render(self, task: Task) -> Text:
        return Text("") if OVERALL in task.fields else super().render(task)


_shown: Progress | None = None


@contextmanager
def _bars() -> Iterator[Progress]:
    """The bars on the terminal: one below the other where work is part of other work."""
    global _shown
    if _shown is not None:
        yield _shown
        return
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _RateColumn(),
        _TimeLeftColumn(compact=True),
        console=console,
        transient=True,
    ) as bars:
        _shown = bars
        try:
            yield bars
        finally:
            _shown = None


@contextmanager
def _bar(label: str, total: int | None, **fields: Any) -> Iterator[Callable[..., None]]:
    """A function that changes a bar on the terminal."""
    with _bars() as bars:
        task = bars.add_task(label, total=total, **fields)
        try:
            yield functools.partial(bars.update, task)
        finally:
            bars.remove_task(task)


def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """The items, with their progress shown; whoever works on them asks whether to stop."""
    with _shown_count(label, total) as count:
        for done, item in enumerate(items, start=1):
            yield item
            count(done, total)


@contextmanager
def counting(label: str) -> Iterator[Callable[[int, int], None]]:
    """A function (done, total) that shows progress, for work that counts by itself and can be left at each count."""
    with _shown_count(label) as show:

        def count(done: int, of: int) -> None:
            stop_if_asked()
            show(done, of)

        yield count


@contextmanager
def _shown_count(label: str, total: int | None = None) -> Iterator[Callable[[int, int], None]]:
    if console.is_terminal:
        with _bar(label, total) as update:
            yield lambda done, of: update(completed=done, total=of)
        return
    start = last_line = time.monotonic()

    def count(done: int, of: int) -> None:
        nonlocal last_line
        now = time.monotonic()
        if now - last_line >= SECONDS_BETWEEN_LINES:
            last_line = now
            rate = done / (now - start)
            left = datetime.timedelta(seconds=round((of - done) / rate)) if rate > 0 else "unknown time"
            log.info("%s: %d/%d, %.1f/s, %s left", label, done, of, rate, left)

    yield count


@contextmanager
def overall(label: str, total: int) -> Iterator[Callable[[int, str], None]]:
    """A function (done, remark) for work whose parts show bars of their own, below this one."""
    if not console.is_terminal:
        yield lambda done, remark: None
        return
    with _bar(label, total, **{OVERALL: True}) as update:
        yield lambda done, remark: update(completed=done, description=f"{label} {remark}".strip())

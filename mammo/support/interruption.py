"""Signals that ask the process to end: work is left where nothing is lost, and the exit status says so.

Ctrl-C, a cluster's SIGTERM before it takes the machine away, and SIGUSR1 (SLURM's early warning) all mean
the same: stop soon, the same command goes on later.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# Not 130: a batch script can tell "start me again" from a program that was simply killed.
INTERRUPTED_STATUS = 85
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]

# Of the process, as its signal handlers are.
_is_deferring = False
_received: int | None = None


def listen() -> None:
    """Handle the signals from now on: each raises KeyboardInterrupt, at once or at the next safe place."""
    for number in SIGNALS:
        signal.signal(number, _on_signal)


def _on_signal(number: int, frame: Any) -> None:
    global _received
    is_impatient = _received == number == signal.SIGINT
    _received = number
    if not _is_deferring or is_impatient:
        raise KeyboardInterrupt


@contextmanager
def deferred() -> Iterator[None]:
    """Within it only `stop_if_asked` raises, so that no file is left half written; a second Ctrl-C always does."""
    global _is_deferring
    before, _is_deferring = _is_deferring, True
    try:
        yield
    finally:
        _is_deferring = before


def is_asked_to_stop() -> bool:
    """Whether a signal has come."""
    return _received is not None


def stop_if_asked() -> None:
    """Raise KeyboardInterrupt if a signal has come: for places where work can be left and taken up again."""
    if is_asked_to_stop():
        raise KeyboardInterrupt

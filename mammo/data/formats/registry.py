"""The names under which the readers of dataset formats can be chosen (`data.format`)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mammo.data.data_options import DataOptions
from mammo.data.manifest import Manifest
from mammo.data.parallel import Progress

__all__ = ["READERS", "Progress", "Reader", "reader"]

Reader = Callable[[Path, DataOptions, Progress | None], Manifest]

READERS: dict[str, Reader] = {}


def reader(name: str) -> Callable[[Reader], Reader]:
    """Make a function selectable as `data.format=name`."""

    def decorate(function: Reader) -> Reader:
        READERS[name] = function
        return function

    return decorate

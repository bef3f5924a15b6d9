"""Options of every command that starts from a trained network. No heavy imports: `--help` reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from mammo.data.options import DataOptions
from mammo.options import option


@dataclasses.dataclass(frozen=True)
class TrainedOptions:
    """Which networks, and what computes them."""

    run: list[str] = option([], "run directory, checkpoint (.pth), or folder of a sweep: all of its runs")
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute")
    threads: int | None = option(None, "CPU threads; null: physical cores", at_least=1)
    cache_dir: str | None = option(None, "decoded images and pseudonyms; null: the user's cache folder")


@dataclasses.dataclass(frozen=True)
class DataChoice:
    """What a command line says about the data.

    `composed` is another dataset than that of the run, or None; `changes` are options of the run's data that are
    given anew, such as `root`.
    """

    composed: DataOptions | None = None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def says_nothing(self) -> bool:
        """Whether the data is that of the run as it was."""
        return self.composed is None and not self.changes

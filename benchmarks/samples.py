"""What a measurement is, and the few numbers that are said of it: medians, spreads, ratios of medians.

A machine's speed can change several times within minutes. So two ways are always measured in turn, round by
round; the ratio of their medians is the result, and the ratios of the single rounds say how far to trust it.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any


class BenchmarkError(Exception):
    """A part could not be measured; the message says why."""


class SkippedPart(Exception):
    """A part needs something that was not given; the message says what."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """How all parts measure; `folder` is a temporary one, the folders of real files are None where not given."""

    folder: Path
    quick: bool
    rounds: int
    threads: int
    device: str
    dicom_folder: Path | None = None
    mias_folder: Path | None = None


@dataclasses.dataclass(frozen=True)
class Comparison:
    """The project and another way, measured in turn: the n-th samples of both belong to the same round.

    `other` is empty where it could not be measured, `note` then says why. `target` is the ratio to be reached.
    """

    name: str
    unit: str
    higher_is_better: bool
    project: list[float]
    other: list[float]
    target: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times faster the project is: the ratio of the medians, above 1 if it is faster."""
        if not self.project or not self.other:
            return None
        return self._times_faster(statistics.median(self.project), statistics.median(self.other))

    @property
    def ratio_range(self) -> tuple[float, float] | None:
        """The smallest and the largest ratio of a single round."""
        if not self.project or not self.other:
            return None
        ratios = [self._times_faster(ours, theirs) for ours, theirs in zip(self.project, self.other, strict=True)]
        return min(ratios), max(ratios)

    @property
    def reached(self) -> bool | None:
        """Whether the target is reached; None without a target or without a ratio."""
        return None if self.ratio is None or self.target is None else self.ratio >= self.target

    @property
    def line(self) -> str:
        """For the terminal."""
        ratio = self.note if self.ratio is None else f"{number(self.ratio)} times"
        ours, theirs = median_and_spread(self.project), median_and_spread(self.other)
        return f"  {self.name}: {ours} {self.unit} against {theirs}: {ratio}"

    def _times_faster(self, ours: float, theirs: float) -> float:
        return ours / theirs if self.higher_is_better else theirs / ours

    def to_dict(self) -> dict[str, Any]:
        """All samples, and what was computed from them, for the file of results."""
        return dataclasses.asdict(self) | {
            "project_median": statistics.median(self.project) if self.project else None,
            "other_median": statistics.median(self.other) if self.other else None,
            "ratio": self.ratio,
            "ratio_range": self.ratio_range,
            "reached": self.reached,
        }

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> Comparison:
        """The inverse of `to_dict`; what was computed is computed again."""
        return cls(**{field.name: content[field.name] for field in dataclasses.fields(cls)})


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of text below a header, where a result is more than a ratio."""

    header: list[str]
    rows: list[list[str]]


@dataclasses.dataclass(frozen=True)
class PartResult:
    """What a part measured; `other_name` is what the project is compared with, `raw` all further samples."""

    title: str
    other_name: str = ""
    comparisons: list[Comparison] = dataclasses.field(default_factory=list)
    tables: list[Table] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    raw: dict[str, Any] = dataclasses.field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return dataclasses.asdict(self) | {"comparisons": [comparison.to_dict() for comparison in self.comparisons]}

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> PartResult:
        """The inverse of `to_dict`; further keys are ignored."""
        return cls(
            title=content["title"],
            other_name=content["other_name"],
            comparisons=[Comparison.from_dict(one) for one in content["comparisons"]],
            tables=[Table(**one) for one in content["tables"]],
            notes=content["notes"],
            raw=content["raw"],
        )


def number(value: float) -> str:
    """A value with three significant digits and without an exponent: 0.0123, 1.23, 12.3, 1,230."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2
    scale = abs(value)
    while scale >= 10:
        scale, digits = scale / 10, digits - 1
    while scale < 1:
        scale, digits = scale * 10, digits + 1
    return f"{value:.{digits}f}"


def median_and_spread(values: Sequence[float]) -> str:
    """`median (min - max)`, or a dash when nothing was measured."""
    if not values:
        return "-"
    if len(values) == 1:
        return number(values[0])
    return f"{number(statistics.median(values))} ({number(min(values))} - {number(max(values))})"

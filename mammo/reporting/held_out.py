"""Scores on patients set aside: where they are known they are the result, and those of validation stand beside."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from mammo.evaluation.predictions import PredictionTable
from mammo.reporting.mean_intervals import mean_intervals
from mammo.runs.json_access import interval, mapping, number
from mammo.sweeps.statistics import Spread, spread


@dataclasses.dataclass(frozen=True)
class TestedRun:
    """What mammo.evaluate has left of one run on the patients set aside; `predictions` is None where it is damaged."""

    metrics: Mapping[str, Any]
    predictions: PredictionTable | None


@dataclasses.dataclass(frozen=True)
class HeldOut:
    """The scores of some runs of one configuration on the patients set aside.

    `num_runs` of `of_runs` finished ones have them. `intervals` are from resampling patients: of the only run, or of
    the mean over trainings, and empty where these were tested on different images.
    """

    num_runs: int
    of_runs: int
    num_images: int
    num_patients: int
    scores: Mapping[str, Spread]
    intervals: Mapping[str, Any]

    def mean(self, name: str) -> float | None:
        """The mean of a score over the runs."""
        return self.scores[name].mean

    def over_patients(self, name: str) -> tuple[float, float] | None:
        """The interval of that mean; None where there is none."""
        return interval(self.intervals, name)


def held_out(tested: Sequence[TestedRun], of_runs: int, names: Sequence[str]) -> HeldOut | None:
    """What some runs of a configuration have scored; None where none was tested."""
    if not tested:
        return None
    of_one = [one.metrics for one in tested]
    alone = mapping(of_one[0], "ci95")
    return HeldOut(
        num_runs=len(tested),
        of_runs=of_runs,
        num_images=int(number(of_one[0], "num_images") or 0),
        num_patients=int(number(of_one[0], "num_patients") or 0),
        scores={name: spread([number(metrics, name) for metrics in of_one]) for name in names},
        intervals=alone if len(tested) == 1 else mean_intervals([one.predictions for one in tested]),
    )

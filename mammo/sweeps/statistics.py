"""The arithmetic of a sweep: mean and spread over runs, and what of the spread is due to seed and fold."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from mammo.evaluation.intervals import NO_SPREAD

DDOF = 1
CONFIDENCE = 0.95


@dataclasses.dataclass(frozen=True)
class Spread:
    """Mean and spread of n numbers; what n is too small for is None.

    `std` has ddof=1. `ci95` is Student's t interval of the mean, mean +- t(0.975, n - 1) std / sqrt(n); None where all
    numbers are equal, because an interval without width would be certain of the next one.
    """

    n: int
    mean: float | None
    std: float | None
    ddof: int
    min: float | None
    max: float | None
    ci95: tuple[float, float] | None


def spread(values: Sequence[float | None]) -> Spread:
    """Mean and spread of the values that are defined: neither None nor NaN."""
    defined = np.array([value for value in values if value is not None and math.isfinite(value)], dtype=np.float64)
    n = len(defined)
    if n == 0:
        return Spread(0, None, None, DDOF, None, None, None)
    mean, low, high = float(defined.mean()), float(defined.min()), float(defined.max())
    std = float(defined.std(ddof=DDOF)) if n > 1 else None
    ci95 = None
    if std is not None and high - low >= NO_SPREAD:
        half_width = float(student_t.ppf((1 + CONFIDENCE) / 2, n - 1)) * std / math.sqrt(n)
        ci95 = (mean - half_width, mean + half_width)
    return Spread(n, mean, std, DDOF, low, high, ci95)


@dataclasses.dataclass(frozen=True)
class Components:
    """Parts of the variance of a metric, and their shares in the sum of the parts; None with a reason."""

    components: dict[str, float] | None
    share: dict[str, float] | None
    reason: str | None = None


def variance_components(values: Mapping[tuple[Any, Any], float | None]) -> Components:
    """Seed, fold and rest of the variance, from a value for each (seed, fold); a split drawn again counts as a fold.

    Two-way analysis of variance without replication with both factors random: with a seeds and b folds,
    `seed = (MS_seed - MS_rest) / b` and `fold = (MS_fold - MS_rest) / a`, truncated at 0, and `rest =
    MS_rest`, which holds the interaction. A value that is absent or None makes the grid incomplete.
    """
    seeds, folds = (sorted(set(axis)) for axis in zip(*values, strict=True)) if values else ([], [])
    a, b = len(seeds), len(folds)
    if a < 2 or b < 2:
        return Components(None, None, f"it takes two seeds and two folds; there are {a} and {b}")
    for seed in seeds:
        for fold in folds:
            if values.get((seed, fold)) is None:
                return Components(None, None, f"there is no value for seed {seed}, fold {fold}")
    table = np.array([[values[seed, fold] for fold in folds] for seed in seeds], dtype=np.float64)
    by_seed, by_fold, grand = table.mean(axis=1), table.mean(axis=0), table.mean()
    ms_seed = b * float(((by_seed - grand) ** 2).sum()) / (a - 1)
    ms_fold = a * float(((by_fold - grand) ** 2).sum()) / (b - 1)
    residuals = table - by_seed[:, None] - by_fold[None, :] + grand
    ms_rest = float((residuals**2).sum()) / ((a - 1) * (b - 1))
    variance = {
        "seed": max(0.0, (ms_seed - ms_rest) / b),
        "fold": max(0.0, (ms_fold - ms_rest) / a),
        "rest": ms_rest,
    }
    total = sum(variance.values())
    if total == 0:
        return Components(variance, None, "all values are equal")
    return Components(variance, {part: value / total for part, value in variance.items()})

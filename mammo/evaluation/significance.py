"""Tests of differences and their adjustment: the corrected resampled t test, Holm's method."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq
from scipy.stats import t as student_t

from mammo.evaluation.intervals import NO_SPREAD
from mammo.evaluation.score_formulas import Floats

SMALLEST_P = 1e-12
EQUAL = 1e-9  # scores are quotients of counts: what differs by less is the same


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """The p-values adjusted for their number (Holm 1979); None is no test and stays None."""
    known = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    found: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        found[i] = largest
    return found


class TTest(NamedTuple):
    """Student's t with its degrees of freedom, and the two-sided p."""

    t: float
    degrees_of_freedom: float
    p_value: float


def corrected_resampled_t(differences: Sequence[float] | Floats, test_per_train: float) -> TTest | None:
    """The test of the mean of J differences over splits whose training sets overlap; None where they do not vary.

    The variance of the mean is (1/J + test_per_train) times that of the differences (ddof=1), t has J - 1 degrees of
    freedom (Nadeau and Bengio 2003). It was made for splits that are drawn at random, and is approximate for folds.
    """
    values = np.asarray(differences, dtype=np.float64)
    return t_test(float(values.mean()), splits_variance(values, test_per_train), len(values) - 1)


class Part(NamedTuple):
    """A part of the variance of a mean, and its degrees of freedom."""

    variance: float
    degrees_of_freedom: float


def combined_t(mean: float, parts: Sequence[Part]) -> TTest | None:
    """The test of a mean whose variance is the sum of independent parts; None where nothing varies but it is not 0.

    The limit at each level is the mean of Student's limits for the parts, weighted with their variances (Cochran and
    Cox 1950), which keeps the level where a part is known from three trainings; Satterthwaite's degrees of freedom do
    not. Those that are returned are the fewest of a part.
    """
    varying = [part for part in parts if part.variance >= NO_SPREAD**2]
    fewest = min(part.degrees_of_freedom for part in varying or parts)
    if not varying:
        return t_test(mean, 0.0, fewest)
    variance = sum(part.variance for part in varying)
    t = mean / math.sqrt(variance)

    def excess(p: float) -> float:
        limits = (part.variance * student_t.isf(p / 2, part.degrees_of_freedom) for part in varying)
        return float(sum(limits)) / variance - abs(t)

    return TTest(t, fewest, SMALLEST_P if excess(SMALLEST_P) < 0 else float(brentq(excess, SMALLEST_P, 1.0)))


def splits_variance(differences: Floats, test_per_train: float) -> float:
    """The variance of the mean of differences [J] over splits, see `corrected_resampled_t`."""
    return float(differences.var(ddof=1)) * (1 / len(differences) + test_per_train)


def drawn_variance(drawn: Floats) -> float:
    """What resampling patients says of the variance of a difference; 0 where it is undefined in most draws."""
    defined = drawn[~np.isnan(drawn)]
    return float(defined.var(ddof=1)) if len(defined) > len(drawn) / 2 else 0.0


def t_test(mean: float, variance: float, degrees_of_freedom: float) -> TTest | None:
    """The test of a mean with the variance of this mean; None where nothing varies but the mean is not 0."""
    if variance < NO_SPREAD**2:
        # Equal everywhere: alike without a doubt; a difference that never varies is no measure of chance.
        return TTest(0.0, degrees_of_freedom, 1.0) if abs(mean) < EQUAL else None
    t = mean / math.sqrt(variance)
    return TTest(t, degrees_of_freedom, 2 * float(student_t.sf(abs(t), degrees_of_freedom)))

"""What several trainings of a configuration say together: each is scored by itself, patients are drawn for all at once.

An ensemble is another thing: there probabilities are averaged, here scores.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Hashable, Iterable, Sequence

import numpy as np
import pandas as pd

from mammo.evaluation.intervals import bootstrap, interval_of_mean, score_intervals
from mammo.evaluation.metrics import metrics_of
from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.score_formulas import Cases, Floats, Ints
from mammo.evaluation.selection import Scores
from mammo.evaluation.subgroups import cases_of

DRAWS, SEED = 2000, 0


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """One training and what it says of the images that it is scored on.

    `seed` is what was drawn anew in it on the same split, `split_seed` and `fold` are the split: which patients were
    left out of training. `test_per_train` is their number over that of the patients trained on, None where it is not
    known.
    """

    seed: Hashable
    split_seed: Hashable
    fold: Hashable
    predictions: PredictionTable
    test_per_train: float | None = None

    @property
    def split(self) -> tuple[Hashable, Hashable]:
        """The split that it was trained on."""
        return self.split_seed, self.fold

    @functools.cached_property
    def image_ids(self) -> frozenset[str]:
        """The images that it is scored on."""
        return frozenset(self.predictions.table["image_id"])

    @functools.cached_property
    def scores(self) -> Scores:
        """Its scores by name, None where undefined."""
        return metrics_of(cases_of(self.predictions), warn=False).scores


@dataclasses.dataclass(frozen=True, eq=False)
class Pool:
    """Predictions that are scored as one set: of one training, or of those on all folds of a division."""

    trainings: tuple[Training, ...]

    @functools.cached_property
    def cases(self) -> Cases:
        """All of them, in the order of the image ids."""
        tables = [one.predictions for one in self.trainings]
        joined = pd.concat([one.table for one in tables]).sort_values("image_id", kind="stable", ignore_index=True)
        return cases_of(dataclasses.replace(tables[0], table=joined))

    @functools.cached_property
    def patient_ids(self) -> tuple[str, ...]:
        """The patients, sorted: `cases.patients` are positions in them."""
        return tuple(sorted({patient for one in self.trainings for patient in one.predictions.patient_ids}))

    @functools.cached_property
    def scores(self) -> Scores:
        """Scores by name, None where undefined."""
        return metrics_of(self.cases, warn=False).scores


class Resampling:
    """Scores of pools in the same resamplings of patients; what was computed once is kept."""

    def __init__(self, draws: int = DRAWS, seed: int = SEED) -> None:
        self.draws, self.seed = draws, seed
        self._pools: dict[tuple[Training, ...], Pool] = {}
        self._drawn: dict[tuple[Pool, tuple[str, ...]], dict[str, Floats]] = {}

    def pools(self, trainings: Iterable[Training]) -> list[Pool]:
        """The sets that trainings are scored in.

        The folds of one division and seed, none of which shares an image with another, are one set; other trainings
        are sets of their own.
        """
        groups: dict[Hashable, list[Training]] = {}
        for one in trainings:
            groups.setdefault((one.seed, one.split_seed), []).append(one)
        found: list[tuple[Training, ...]] = []
        for group in groups.values():
            num_images = len(frozenset().union(*(one.image_ids for one in group)))
            are_folds = sum(len(one.image_ids) for one in group) == num_images
            found += [tuple(group)] if are_folds else [(one,) for one in group]
        return [self._pools.setdefault(members, Pool(members)) for members in found]

    def drawn(self, pool: Pool, population: tuple[str, ...]) -> dict[str, Floats]:
        """Every score [draws] of a pool, NaN where undefined; the n-th draw of a population is always the same."""
        key = pool, population
        if key not in self._drawn:
            of_pool = None if pool.patient_ids == population else _positions(pool.patient_ids, population)
            self._drawn[key] = bootstrap(pool.cases, self.draws, self.seed, population=of_pool)
        return self._drawn[key]


def _positions(patient_ids: Sequence[str], population: Sequence[str]) -> tuple[Ints, int]:
    return np.searchsorted(np.array(population), np.array(patient_ids)), len(population)


def population_of(pools: Iterable[Pool]) -> tuple[str, ...]:
    """The patients of some pools, sorted."""
    return tuple(sorted(frozenset().union(*(pool.patient_ids for pool in pools))))


@dataclasses.dataclass(frozen=True)
class Estimate:
    """The mean of a score over trainings, and its 95 % interval from resampling patients; None where undefined."""

    value: float | None
    ci95: list[float] | None


def mean_scores(pools: Sequence[Pool], resampling: Resampling) -> dict[str, Estimate]:
    """The mean of each score over pools; see `interval_of_mean`."""
    population = population_of(pools)
    drawn = [resampling.drawn(pool, population) for pool in pools]
    alone = [score_intervals(*pair) for pair in zip(drawn, (pool.cases for pool in pools), strict=True)]
    found = {}
    for name in pools[0].scores:
        value = mean_or_none([pool.scores[name] for pool in pools])
        interval = interval_of_mean([one[name] for one in drawn], [one[name] for one in alone])
        found[name] = Estimate(value, None if value is None else interval)
    return found


def mean_or_none(values: Sequence[float | None]) -> float | None:
    """The mean; None where one is undefined, or there is none."""
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined and len(defined) == len(values) else None

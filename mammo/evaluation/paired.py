"""Is one configuration better than another? Trainings of both on the same splits and images, compared in pairs.

The question is asked of the mean over trainings. What chance can do is of two kinds, other patients and other
trainings, and a difference is believed where neither explains it. Whether two intervals overlap is never looked at.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from mammo.evaluation.intervals import ERROR, NO_SPREAD, percentile_interval
from mammo.evaluation.score_formulas import Floats
from mammo.evaluation.scores import BY_NAME
from mammo.evaluation.significance import (
    EQUAL,
    Part,
    TTest,
    combined_t,
    corrected_resampled_t,
    drawn_variance,
    holm,
    splits_variance,
    t_test,
)
from mammo.evaluation.trainings import Pool, Resampling, Training, mean_or_none, population_of
from mammo.support.errors import ComparisonError

# How p was found: over splits; over trainings and patients, where all are scored on the same images.
Test = Literal["splits", "trainings"]


class Wins(NamedTuple):
    """In how many splits the second has the better score, the first has, and neither."""

    second: int
    first: int
    neither: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)

    def named(self, first: str, second: str) -> dict[str, int]:
        """With the names of both."""
        return {first: self.first, second: self.second, "equal": self.neither}


@dataclasses.dataclass(frozen=True)
class ScoreDifference:
    """A score of both, and by how much the second's is larger; None is undefined.

    `first`, `second` and `difference` are means over trainings, each scored on all of its out-of-fold predictions at
    once. `ci95` is from resampling patients, the same for both. `mean_over_splits` is that of the differences within
    the splits, which `wins` counts; `effect_size` is it over their standard deviation. `p_value` is two-sided,
    `p_adjusted` it among all comparisons that were made (Holm 1979). `p_patients` is of these very networks on other
    patients: no more than a difference of theirs, since another training of the same may turn it round.
    """

    name: str
    first: float | None
    second: float | None
    difference: float | None = None
    ci95: list[float] | None = None
    mean_over_splits: float | None = None
    wins: Wins | None = None
    effect_size: float | None = None
    degrees_of_freedom: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    p_patients: float | None = None

    @property
    def swapped(self) -> ScoreDifference:
        """The same seen from the other side."""
        mean, interval, wins = self.mean_over_splits, self.ci95, self.wins
        return dataclasses.replace(
            self,
            first=self.second,
            second=self.first,
            difference=None if self.difference is None else -self.difference,
            ci95=None if interval is None else [-interval[1], -interval[0]],
            mean_over_splits=None if mean is None else -mean,
            wins=None if wins is None else Wins(wins.first, wins.second, wins.neither),
            effect_size=None if self.effect_size is None else -self.effect_size,
        )

    @property
    def better(self) -> Literal["first", "second"] | None:
        """Which is better; None where they cannot be told apart.

        It takes both: p below 0.05 after adjustment, and an interval over patients without 0.
        """
        if self.difference is None or self.p_adjusted is None or self.ci95 is None:
            return None
        if self.p_adjusted >= ERROR or self.ci95[0] <= 0 <= self.ci95[1]:
            return None
        return "second" if (self.difference > 0) != BY_NAME[self.name].lower_is_better else "first"


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """Two configurations on the same splits and images.

    `num_trainings` are those of the first and of the second that were used: with the same seeds and splits in both, or
    the same splits where no seed is in both. `why_no_test` is a sentence where no p can be had.
    """

    num_images: int
    num_patients: int
    num_splits: int
    num_trainings: tuple[int, int]
    test: Test | None
    why_no_test: str
    scores: Mapping[str, ScoreDifference]

    @property
    def swapped(self) -> PairedDifference:
        """The same with the first and the second exchanged."""
        scores = {name: one.swapped for name, one in self.scores.items()}
        return dataclasses.replace(self, num_trainings=self.num_trainings[::-1], scores=scores)

    def to_dict(self, first: str, second: str) -> dict[str, Any]:
        """Strict JSON in which both have their names."""
        return {
            "first": first,
            "second": second,
            "difference": f"{second} minus {first}",
            "num_images": self.num_images,
            "num_patients": self.num_patients,
            "num_splits": self.num_splits,
            "num_trainings": {first: self.num_trainings[0], second: self.num_trainings[1]},
            "test": self.test,
            "why_no_test": self.why_no_test or None,
            "scores": {
                name: {
                    "values": {first: one.first, second: one.second},
                    "difference": one.difference,
                    "ci95": one.ci95,
                    "mean_over_splits": one.mean_over_splits,
                    "splits_won": one.wins
                    and {first: one.wins.first, second: one.wins.second, "equal": one.wins.neither},
                    "effect_size": one.effect_size,
                    "degrees_of_freedom": one.degrees_of_freedom,
                    "p_value": one.p_value,
                    "p_adjusted": one.p_adjusted,
                    "p_patients": one.p_patients,
                    "better": {"first": first, "second": second, None: None}[one.better],
                }
                for name, one in self.scores.items()
            },
        }


def compare_trainings(
    first: Sequence[Training], second: Sequence[Training], resampling: Resampling
) -> PairedDifference:
    """The differences of all scores, second minus first, not yet adjusted (`adjusted` does that).

    Raises ComparisonError where no training of one has the split and the images of one of the other, or where they
    do not agree on classes, truth or patients.
    """
    first, second = _paired(first, second)
    pools = resampling.pools(first), resampling.pools(second)
    population = population_of([*pools[0], *pools[1]])
    splits = list(dict.fromkeys(one.split for one in first))
    chance = _Chance(first, second, splits, len(population))
    scores = {
        name: _difference(name, (first, second), pools, population, resampling, chance) for name in pools[0][0].scores
    }
    return PairedDifference(
        num_images=len(frozenset().union(*(one.image_ids for one in first))),
        num_patients=len(population),
        num_splits=len(splits),
        num_trainings=(len(first), len(second)),
        test=chance.test,
        why_no_test=chance.why_none,
        scores=scores,
    )


def adjusted(comparisons: Sequence[PairedDifference]) -> list[PairedDifference]:
    """The same with `p_adjusted`, of each score among all of them."""
    found = [dict(one.scores) for one in comparisons]
    for name in dict.fromkeys(name for scores in found for name in scores):
        having = [scores for scores in found if name in scores]
        for scores, p in zip(having, holm([scores[name].p_value for scores in having]), strict=True):
            scores[name] = dataclasses.replace(scores[name], p_adjusted=p)
    return [dataclasses.replace(one, scores=scores) for one, scores in zip(comparisons, found, strict=True)]


def _paired(first: Sequence[Training], second: Sequence[Training]) -> tuple[tuple[Training, ...], tuple[Training, ...]]:
    """The trainings that both have: the same seeds and splits, or the same splits where no seed is in both."""
    with_seeds = {one.seed for one in first} & {one.seed for one in second}

    def key(one: Training) -> Hashable:
        return (one.seed, one.split) if with_seeds else one.split

    shared = {key(one) for one in first} & {key(one) for one in second}
    if not shared:
        raise ComparisonError(
            "no two of their trainings have the same split" + (" and seed" if with_seeds else ""),
            "trainings of both on the same splits",
            "train both with the same data.split_seed, folds and seeds",
        )
    kept = tuple(tuple(one for one in side if key(one) in shared) for side in (first, second))
    _require_same_images(*kept)
    return kept[0], kept[1]


def _require_same_images(first: Iterable[Training], second: Iterable[Training]) -> None:
    facts: dict[Hashable, tuple[Any, Training]] = {}
    for one in [*first, *second]:
        table = one.predictions.table
        known = frozenset(zip(table["image_id"], table["patient_id"], table["y_true"], strict=True))
        fact, other = facts.setdefault(one.split, (known, one))
        if one.predictions.class_names != other.predictions.class_names:
            raise ComparisonError("they have learnt different classes", "trainings for the same classes")
        if fact != known:
            what = "images" if one.image_ids != other.image_ids else "labels or patients of the same images"
            raise ComparisonError(
                f"they are scored on different {what}", "the same images on both sides", "compare them on one dataset"
            )


class _Chance:
    """What the trainings tell of chance: which test there is, and the variance of the mean of a score."""

    def __init__(
        self, first: Sequence[Training], second: Sequence[Training], splits: Sequence[Hashable], num_patients: int
    ) -> None:
        self.sides, self.splits, self.num_patients = (first, second), splits, num_patients
        ratios = [one.test_per_train for one in [*first, *second]]
        self.test_per_train = mean_or_none(ratios)
        # On the same images all trainings share what chance has made of the patients.
        self.are_same_images = len({one.image_ids for one in first}) == 1
        self.are_seeds_paired = {one.seed for one in first} == {one.seed for one in second}
        self.why_none = self._why_none()
        self.test: Test | None = None if self.why_none else "trainings" if self.are_same_images else "splits"

    def _why_none(self) -> str:
        if len(self.splits) > 1:
            return "" if self.test_per_train is not None else "how many patients were trained on is not known"
        if min(map(len, self.sides)) < 2:
            return "one training each: another seed may turn it round"
        return ""

    def over_splits(self, name: str) -> Floats:
        """The mean difference within each split, NaN where a score is undefined."""
        found = []
        for split in self.splits:
            means = [mean_or_none([one.scores[name] for one in side if one.split == split]) for side in self.sides]
            found.append(np.nan if means[0] is None or means[1] is None else means[1] - means[0])
        return np.array(found)

    def test_of(self, name: str, difference: float, within: Floats, drawn: Floats) -> TTest | None:
        """The test of a score: of the mean over splits, or, on the same images, of the difference itself."""
        if self.test is None or np.isnan(within).any():
            return None
        if self.test == "splits":
            assert self.test_per_train is not None
            return corrected_resampled_t(within, self.test_per_train)
        of_trainings = self._over_seeds(name)
        if len(self.splits) > 1 and self.test_per_train is not None:
            of_trainings = [Part(splits_variance(within, self.test_per_train), len(within) - 1.0)]
        return combined_t(difference, [Part(drawn_variance(drawn), max(self.num_patients - 1.0, 1.0)), *of_trainings])

    def _over_seeds(self, name: str) -> list[Part]:
        """Variances of the mean difference over trainings on one split."""
        values = [np.array([one.scores[name] for one in _by_seed(side)], dtype=np.float64) for side in self.sides]
        if self.are_seeds_paired:
            values = [values[1] - values[0]]
        return [Part(float(side.var(ddof=1)) / len(side), len(side) - 1.0) for side in values if len(side) > 1]


def _by_seed(side: Iterable[Training]) -> list[Training]:
    return sorted(side, key=lambda one: str(one.seed))


def _difference(
    name: str,
    sides: tuple[Sequence[Training], Sequence[Training]],
    pools: tuple[Sequence[Pool], Sequence[Pool]],
    population: tuple[str, ...],
    resampling: Resampling,
    chance: _Chance,
) -> ScoreDifference:
    first, second = (mean_or_none([pool.scores[name] for pool in side]) for side in pools)
    if first is None or second is None:
        return ScoreDifference(name, first, second)
    means = [np.mean([resampling.drawn(pool, population)[name] for pool in side], axis=0) for side in pools]
    drawn, within = means[1] - means[0], chance.over_splits(name)
    better = within * (-1.0 if BY_NAME[name].lower_is_better else 1.0)
    wins = Wins(int((better >= EQUAL).sum()), int((better <= -EQUAL).sum()), int((abs(better) < EQUAL).sum()))
    is_known = not np.isnan(within).any()
    std = float(within.std(ddof=1)) if is_known and len(within) > 1 else 0.0
    found = chance.test_of(name, second - first, within, drawn)
    of_patients = t_test(second - first, drawn_variance(drawn), max(len(population) - 1, 1))
    return ScoreDifference(
        name=name,
        first=first,
        second=second,
        difference=second - first,
        ci95=percentile_interval(drawn),
        mean_over_splits=float(within.mean()) if is_known else None,
        wins=wins,
        effect_size=float(within.mean()) / std if std > NO_SPREAD else None,
        degrees_of_freedom=None if found is None else found.degrees_of_freedom,
        p_value=None if found is None else found.p_value,
        p_patients=None if of_patients is None else of_patients.p_value,
    )

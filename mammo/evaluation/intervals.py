"""Confidence intervals of the metrics by resampling patients, all draws at once.

Images of one woman are not independent: patients are drawn, each with all of her images. Every metric is
computed from weights of the images, so 2,000 draws cost a few matrix products instead of 2,000 evaluations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import beta

from mammo.evaluation.metrics import warn_once
from mammo.evaluation.score_formulas import Cases, Floats, Ints, chance_adjusted, checked_cases
from mammo.evaluation.scores import class_scores_of, scores_of
from mammo.tasks.multiclass import LABELS
from mammo.tasks.task import Task

CONFIDENCE_PERCENTILES = (2.5, 97.5)
ERROR = 0.05
NO_SPREAD = 1e-9  # narrower is rounding: every resampling gives the same
MIN_DEFINED_DRAWS_FRACTION = 0.5
WEIGHTS_PER_CHUNK = 1_000_000  # draws times images at a time: bounds the memory, and fits caches


def bootstrap_ci95(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    patient_ids: Sequence[str],
    losses: np.ndarray | None = None,
    draws: int = 2000,
    seed: int = 0,
    task: Task = LABELS,
) -> dict[str, list[float] | None]:
    """95 % percentile intervals of all scores from a bootstrap over patients.

    Each draw takes as many patients as there are, with replacement, and all images of each. Means over classes
    are undefined in a draw that lacks a class of the images: over the remaining classes they
    are another quantity. Draws in which a score is undefined are left out; the interval is None where more than half
    of them are, and all are None with a single patient. Where all draws give the same value, resampling knows nothing
    of other patients: proportions then have the exact interval (see `score_intervals`), other scores None. The ece of a
    draw is biased upwards, as that of few images always is: its interval lies high and may miss the ece itself.
    Arguments as for `compute_metrics`; the result depends on `seed`, not on the order of the images.
    """
    cases = checked_cases(probabilities, targets, class_names, patient_ids, losses, task)
    if cases.num_patients < 2:
        warn_once("a single patient: confidence intervals cannot be computed and are null")
    return score_intervals(bootstrap(cases, draws, seed), cases)


def bootstrap(
    cases: Cases, draws: int, seed: int, per_class: bool = False, population: tuple[Ints, int] | None = None
) -> dict[str, Floats]:
    """Every score in every draw of the patient-level bootstrap, NaN where it is undefined.

    Scores by their name are [draws], with `per_class` also `per_class_<score>` [draws, K], which is twice as much work
    as all others. The patients of a draw depend on `seed` and the number of patients alone. All values of a single
    patient are NaN. Where patients are drawn from a larger `population`, it is where in it the sorted patients of the
    cases are, and its size.
    """
    of_cases, size_of_population = (slice(None), cases.num_patients) if population is None else population
    if size_of_population < 2:
        once = weighted_scores(cases, np.ones((1, cases.num_patients)), per_class)
        return {name: np.full((draws, *values.shape[1:]), np.nan) for name, values in once.items()}
    rng = np.random.default_rng(seed)
    chunks, per_chunk = [], max(1, WEIGHTS_PER_CHUNK // len(cases.targets))
    for start in range(0, draws, per_chunk):
        size = min(per_chunk, draws - start)
        weights = patient_weights(rng, size_of_population, size)[:, of_cases]
        with np.errstate(invalid="ignore"):  # a draw may have none of the patients of a part of the population
            chunks.append(weighted_scores(cases, weights, per_class))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def score_intervals(drawn: Mapping[str, Floats], cases: Cases) -> dict[str, list[float] | None]:
    """The intervals of the scalar scores, from what `bootstrap` has drawn of these cases.

    Without spread over the draws, accuracy has its Clopper-Pearson interval with the patients as n, balanced accuracy
    that of `exact_balanced_accuracy`, and other scores have none.
    """
    exact = {"acc": exact_accuracy, "bal_acc": exact_balanced_accuracy, "bal_acc_adj": exact_balanced_accuracy_adjusted}
    return {
        score.name: exact[score.name](cases).tolist()
        if score.name in exact and is_constant(drawn[score.name])
        else percentile_interval(drawn[score.name])
        for score in scores_of(cases.kind)
    }


def interval_note(unit: str) -> str:
    """What a dash in the place of an interval means, in a sentence; `unit` is what was resampled, such as patient."""
    return (
        f"-: no interval, as every resampling gives the same value, more than half lack a class, or there is a single "
        f"{unit}. Where all give the same, proportions have an exact interval (Clopper-Pearson) with the {unit}s as n, "
        "and balanced accuracy the mean of such of its recalls (Bonferroni, wide), but not in runs of earlier versions."
    )


def class_intervals(drawn: Mapping[str, Floats], cases: Cases, c: int) -> dict[str, list[float] | None]:
    """The intervals of the scores of a class; `drawn` has them.

    Without spread over the draws, recall and precision have their Clopper-Pearson intervals; n is the number of
    patients with images of the class, or of those with images that were taken for it.
    """
    values = {score.name: drawn[score.key][:, c] for score in class_scores_of(cases.kind) if score.is_drawn}
    found = {score: percentile_interval(of_score) for score, of_score in values.items()}
    for score, members in (("recall", cases.targets == c), ("precision", cases.predictions == c)):
        if is_constant(values[score]):
            found[score] = _exact(cases, members)
    return found


def percentile_interval(values: Floats) -> list[float] | None:
    """95 % percentile interval of values [draws], None where more than half of them are NaN or all are the same."""
    limits = _percentiles(values)
    return None if limits is None or is_constant(values) else limits


def interval_of_mean(drawn: Sequence[Floats], alone: Sequence[list[float] | None]) -> list[float] | None:
    """The 95 % interval of the mean of a score over trainings, each [draws] in the same resamplings of patients.

    Where the mean is the same in all draws, the limits are the means of those that the trainings have `alone`; None
    where one has none.
    """
    if interval := percentile_interval(np.mean(drawn, axis=0)):
        return interval
    limits = [pair for pair in alone if pair is not None]
    return [float(limit) for limit in np.mean(limits, axis=0)] if len(limits) == len(alone) else None


def is_constant(values: Floats) -> bool:
    """Whether values [draws] say nothing of other patients: at least half of them are defined, and all the same."""
    limits = _percentiles(values)
    return limits is not None and limits[1] - limits[0] < NO_SPREAD


def _percentiles(values: Floats) -> list[float] | None:
    defined = values[~np.isnan(values)]
    if len(defined) < max(MIN_DEFINED_DRAWS_FRACTION * len(values), 1):
        return None
    return [float(v) for v in np.percentile(defined, CONFIDENCE_PERCENTILES)]


def clopper_pearson(fraction: float, n: int, error: float = ERROR) -> list[float]:
    """The exact interval of a proportion (0..1) of n; `error` is what both sides may miss together.

    The number of successes, `fraction * n`, need not be whole (Korn and Graubard 1998): patients may have several
    images, of which some are right.
    """
    low = beta.ppf(error / 2, fraction * n, n - fraction * n + 1) if fraction > 0 else 0.0
    high = beta.ppf(1 - error / 2, fraction * n + 1, n - fraction * n) if fraction < 1 else 1.0
    return [float(low), float(high)]


def exact_accuracy(cases: Cases) -> Floats:
    """Clopper-Pearson limits [2] of accuracy, with the patients as n."""
    return np.array(_exact(cases, np.full(len(cases.targets), True)))


def exact_balanced_accuracy(cases: Cases) -> Floats:
    """Limits [2] of at least 95 % of the mean recall over the classes present, exact for any number of patients.

    The mean of K recalls is no proportion, but it lies within the means of their limits whenever each lies within its
    own: these are Clopper-Pearson intervals with an error of 0.05 / K each (Bonferroni).
    """
    present = np.unique(cases.targets)
    return np.mean([_exact(cases, cases.targets == c, ERROR / len(present)) for c in present], axis=0)


def exact_balanced_accuracy_adjusted(cases: Cases) -> Floats:
    """Those of `exact_balanced_accuracy` above guessing."""
    return chance_adjusted(exact_balanced_accuracy(cases), cases.num_classes)


def _exact(cases: Cases, members: np.ndarray, error: float = ERROR) -> list[float]:
    """The interval of the fraction of right images among `members` [N], a mask; n is their patients."""
    right = cases.predictions[members] == cases.targets[members]
    return clopper_pearson(float(right.mean()), len(np.unique(cases.patients[members])), error)


def patient_weights(rng: np.random.Generator, num_patients: int, draws: int) -> Floats:
    """How often each patient is in each draw, [draws, patients]; each row sums to the number of patients."""
    drawn = rng.integers(num_patients, size=(draws, num_patients))
    flat = drawn + num_patients * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * num_patients).reshape(draws, num_patients).astype(np.float64)


def weighted_scores(cases: Cases, weights: Floats, per_class: bool = False) -> dict[str, Floats]:
    """All scores of each draw as in `bootstrap`, from how often each patient is in it, [draws, patients]."""
    weighted = cases.weighted(weights)
    found = {score.name: getattr(weighted, score.name) for score in scores_of(cases.kind)}
    if per_class:
        found |= {score.key: getattr(weighted, score.key) for score in class_scores_of(cases.kind) if score.is_drawn}
    return found

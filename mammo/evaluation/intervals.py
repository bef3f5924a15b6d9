"""Confidence intervals of the metrics by resampling patients, all draws at once.

Images of one woman are not independent: patients are drawn, each with all of her images. Every metric is
computed from weights of the images, so 2,000 draws cost a few matrix products instead of 2,000 evaluations.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import beta

from mammo.evaluation.metrics import ECE_BINS, Cases, Floats, adjusted, checked_cases, warn_once
from mammo.evaluation.scores import SCORE_NAMES, SCORES

CONFIDENCE_PERCENTILES = (2.5, 97.5)
ERROR = 0.05
NO_SPREAD = 1e-9  # narrower is rounding: every resampling gives the same
MIN_DEFINED_DRAWS_FRACTION = 0.5
PER_CLASS_SCORES = ("precision", "recall", "f1", "auc", "average_precision")
DRAWS_PER_CHUNK = 250  # bounds the memory: images * draws floats at a time


def bootstrap_ci95(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    patient_ids: Sequence[str],
    losses: np.ndarray | None = None,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, list[float] | None]:
    """95 % percentile intervals of all scores from a bootstrap over patients.

    Each draw takes as many patients as there are, with replacement, and all images of each. Means over classes
    (`needs_all_classes`) are undefined in a draw that lacks a class of the images: over the remaining classes they
    are another quantity. Draws in which a score is undefined are left out; the interval is None where more than half
    of them are, and all are None with a single patient. Where all draws give the same value, resampling knows nothing
    of other patients: proportions then have the exact interval (see `score_intervals`), other scores None. The ece of a
    draw is biased upwards, as that of few images always is: its interval lies high and may miss the ece itself.
    Arguments as for `compute_metrics`; the result depends on `seed`, not on the order of the images.
    """
    cases = checked_cases(probabilities, targets, class_names, patient_ids, losses)
    if cases.num_patients < 2:
        warn_once("a single patient: confidence intervals cannot be computed and are null")
    return score_intervals(bootstrap(cases, draws, seed), cases)


def bootstrap(cases: Cases, draws: int, seed: int, average_precision: bool = False) -> dict[str, Floats]:
    """Every score in every draw of the patient-level bootstrap, NaN where it is undefined.

    Scores by their name are [draws], `per_class_<score>` for `PER_CLASS_SCORES` are [draws, K]; the average
    precision is twice as much work as all others and only there when asked for. The patients of a draw depend on
    `seed` and the number of patients alone. All values of a single patient are NaN.
    """
    if cases.num_patients < 2:
        once = resampled_scores(cases, np.ones((1, cases.num_patients)), average_precision)
        return {name: np.full((draws, *values.shape[1:]), np.nan) for name, values in once.items()}
    rng = np.random.default_rng(seed)
    chunks = []
    for start in range(0, draws, DRAWS_PER_CHUNK):
        size = min(DRAWS_PER_CHUNK, draws - start)
        weights = patient_weights(rng, cases.num_patients, size)
        chunks.append(resampled_scores(cases, weights, average_precision))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def score_intervals(drawn: Mapping[str, Floats], cases: Cases) -> dict[str, list[float] | None]:
    """The intervals of the scalar scores, from what `bootstrap` has drawn of these cases.

    Without spread over the draws, accuracy has its Clopper-Pearson interval with the patients as n, balanced accuracy
    that of `exact_balanced_accuracy`, and other scores have none.
    """
    found = {name: percentile_interval(drawn[name]) for name in SCORE_NAMES}
    if is_constant(drawn["acc"]):
        found["acc"] = _exact(cases, np.full(len(cases.targets), True))
    if is_constant(drawn["bal_acc"]):
        limits = exact_balanced_accuracy(cases)
        found["bal_acc"] = limits.tolist()
        found["bal_acc_adj"] = adjusted(limits, cases.num_classes).tolist()
    return found


def interval_note(unit: str) -> str:
    """What a dash in the place of an interval means, in a sentence; `unit` is what was resampled, such as patient."""
    return (
        f"-: no interval, as every resampling gives the same value, more than half lack a class, or there is a single "
        f"{unit}. Where all give the same, proportions have an exact interval (Clopper-Pearson) with the {unit}s as n, "
        "and balanced accuracy the mean of such of its recalls (Bonferroni, wide), but not in runs of earlier versions."
    )


def class_intervals(drawn: Mapping[str, Floats], cases: Cases, c: int) -> dict[str, list[float] | None]:
    """The intervals of the `PER_CLASS_SCORES` of a class; `drawn` has the average precision.

    Without spread over the draws, recall and precision have their Clopper-Pearson intervals; n is the number of
    patients with images of the class, or of those with images that were taken for it.
    """
    values = {score: drawn[f"per_class_{score}"][:, c] for score in PER_CLASS_SCORES}
    found = {score: percentile_interval(of_score) for score, of_score in values.items()}
    for score, members in (("recall", cases.targets == c), ("precision", cases.predictions == c)):
        if is_constant(values[score]):
            found[score] = _exact(cases, members)
    return found


def percentile_interval(values: Floats) -> list[float] | None:
    """95 % percentile interval of values [draws], None where more than half of them are NaN or all are the same."""
    limits = _percentiles(values)
    return None if limits is None or is_constant(values) else limits


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


def exact_balanced_accuracy(cases: Cases) -> Floats:
    """Limits [2] of at least 95 % of the mean recall over the classes present, exact for any number of patients.

    The mean of K recalls is no proportion, but it lies within the means of their limits whenever each lies within its
    own: these are Clopper-Pearson intervals with an error of 0.05 / K each (Bonferroni).
    """
    present = np.unique(cases.targets)
    return np.mean([_exact(cases, cases.targets == c, ERROR / len(present)) for c in present], axis=0)


def _exact(cases: Cases, members: np.ndarray, error: float = ERROR) -> list[float]:
    """The interval of the fraction of right images among `members` [N], a mask; n is their patients."""
    right = cases.predictions[members] == cases.targets[members]
    return clopper_pearson(float(right.mean()), len(np.unique(cases.patients[members])), error)


def patient_weights(rng: np.random.Generator, num_patients: int, draws: int) -> Floats:
    """How often each patient is in each draw, [draws, patients]; each row sums to the number of patients."""
    drawn = rng.integers(num_patients, size=(draws, num_patients))
    flat = drawn + num_patients * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * num_patients).reshape(draws, num_patients).astype(np.float64)


def resampled_scores(cases: Cases, weights: Floats, average_precision: bool = False) -> dict[str, Floats]:
    """All scores of each draw as in `bootstrap`, from how often each patient is in it, [draws, patients].

    Everything but the areas under curves is a function of sums over images, so one product of weights and
    sums per patient serves all draws.
    """
    num_images, num_classes = cases.probabilities.shape
    bins, gaps = cases.calibration_gaps
    images = np.arange(num_images)
    per_image = np.zeros((num_images, num_classes**2 + ECE_BINS + 1))
    per_image[images, cases.targets * num_classes + cases.predictions] = 1
    per_image[images, num_classes**2 + bins] = gaps
    per_image[:, -1] = cases.losses
    per_patient = np.zeros((cases.num_patients, per_image.shape[1]))
    np.add.at(per_patient, cases.patients, per_image)
    sums = weights @ per_patient

    matrices = sums[:, : num_classes**2].reshape(-1, num_classes, num_classes)
    total = matrices.sum(axis=(1, 2))
    true, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    correct = np.diagonal(matrices, axis1=1, axis2=2)
    recall, f1 = _ratio(correct, true), _ratio(2 * correct, true + predicted)
    bal_acc = np.nanmean(recall, axis=1)
    distance = np.abs(np.subtract.outer(np.arange(num_classes), np.arange(num_classes))).astype(np.float64)
    image_weights = weights[:, cases.patients].T
    one_vs_rest, pairs = _weighted_auc(cases, image_weights)
    scores = {
        "loss": sums[:, -1] / total,
        "acc": correct.sum(axis=1) / total,
        "bal_acc": bal_acc,
        "bal_acc_adj": adjusted(bal_acc, num_classes),
        "kappa": _weighted_kappa(matrices, (distance > 0).astype(np.float64)),
        "kappa_quadratic": _weighted_kappa(matrices, distance**2),
        "macro_f1": np.nan_to_num(f1).mean(axis=1),
        "auc_ovr": _mean_of_defined(one_vs_rest),
        "auc_ovo": _mean_of_defined(pairs),
        "mae": (matrices * distance).sum(axis=(1, 2)) / total,
        "ece": np.abs(sums[:, num_classes**2 : -1]).sum(axis=1) / total,
        "per_class_precision": _ratio(correct, predicted),
        "per_class_recall": recall,
        "per_class_f1": f1,
        "per_class_auc": one_vs_rest.T,
    }
    lacks_a_class = (true[:, np.unique(cases.targets)] == 0).any(axis=1)
    for name in (score.name for score in SCORES if score.needs_all_classes):
        scores[name][lacks_a_class] = np.nan
    if average_precision:
        scores["per_class_average_precision"] = _weighted_average_precision(cases, image_weights).T
    return scores


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def _weighted_kappa(matrices: Floats, disagreement: Floats) -> Floats:
    """Cohen's kappa of [draws, K, K] confusion matrices with a [K, K] cost of each disagreement."""
    observed = (matrices * disagreement).sum(axis=(1, 2))
    expected = np.einsum("di,ij,dj->d", matrices.sum(axis=2), disagreement, matrices.sum(axis=1))
    return 1.0 - _ratio(observed * matrices.sum(axis=(1, 2)), expected)


def _weighted_auc(cases: Cases, weights: Floats) -> tuple[Floats, Floats]:
    """AUC of each class against the rest [K, draws] and of each pair [K (K - 1), draws], for image weights [N, draws].

    wins[a][b] is the Mann-Whitney statistic of class a over class b by the score of a (ties count one
    half); those of all b together are the statistic of a against the rest.
    """
    num_classes, draws = cases.num_classes, weights.shape[1]
    members = [np.flatnonzero(cases.targets == c) for c in range(num_classes)]
    counts = np.array([weights[rows].sum(axis=0) for rows in members])
    wins = np.zeros((num_classes, num_classes, draws))
    for a, b in itertools.permutations(range(num_classes), 2):
        scores = cases.probabilities[:, a]
        losers = members[b][np.argsort(scores[members[b]], kind="stable")]
        below = np.concatenate([np.zeros((1, draws)), np.cumsum(weights[losers], axis=0)])
        first, last = (np.searchsorted(scores[losers], scores[members[a]], side=side) for side in ("left", "right"))
        wins[a, b] = np.einsum("nd,nd->d", weights[members[a]], below[first] + below[last]) / 2
    one_vs_rest = _ratio(wins.sum(axis=1), counts * (counts.sum(axis=0) - counts))
    pairs = _ratio(wins, counts[:, None] * counts[None, :]).reshape(num_classes**2, draws)
    of_two_classes = ~np.eye(num_classes, dtype=bool).ravel()
    return one_vs_rest, pairs[of_two_classes]


def _weighted_average_precision(cases: Cases, weights: Floats) -> Floats:
    """Average precision of each class against the rest [K, draws], for image weights [N, draws].

    The sum over thresholds of precision times the step in recall (as in scikit-learn) is the mean over the images
    of the class of the precision at each one's own score.
    """
    areas = []
    for c in range(cases.num_classes):
        order = np.argsort(-cases.probabilities[:, c], kind="stable")
        scores, is_class = -cases.probabilities[order, c], cases.targets[order] == c
        drawn = weights[order]
        found = np.cumsum(drawn * is_class[:, None], axis=0)
        last = np.searchsorted(scores, scores[is_class], side="right") - 1  # of those with the same score
        precision = _ratio(found[last], np.cumsum(drawn, axis=0)[last])
        areas.append(_ratio((drawn[is_class] * np.nan_to_num(precision)).sum(axis=0), found[-1]))
    return np.array(areas)


def _mean_of_defined(values: Floats) -> Floats:
    """The mean over the first axis without NaN; NaN where there is nothing else."""
    return _ratio(np.nan_to_num(values).sum(axis=0), (~np.isnan(values)).sum(axis=0).astype(np.float64))

"""Confidence intervals of the metrics by resampling patients, all draws at once.

Images of one woman are not independent: patients are drawn, each with all of her images. Every metric is
computed from weights of the images, so 2,000 draws cost a few matrix products instead of 2,000 evaluations.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from mammo.metrics import ECE_BINS, Cases, Floats, adjusted, checked_cases, warn_once
from mammo.selection import SCORE_NAMES

CONFIDENCE_PERCENTILES = (2.5, 97.5)
MIN_DEFINED_DRAWS_FRACTION = 0.5
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

    Each draw takes as many patients as there are, with replacement, and all images of each; a class that
    a draw lacks is treated as in `compute_metrics`. Draws in which a score is undefined are left out;
    the interval is None where more than half of them are, and all are None with a single patient.
    Arguments as for `compute_metrics`; the result depends on `seed`, not on the order of the images.
    """
    cases = checked_cases(probabilities, targets, class_names, patient_ids, losses)
    if cases.num_patients < 2:
        warn_once("a single patient: confidence intervals cannot be computed and are null")
        return dict.fromkeys(SCORE_NAMES)
    rng = np.random.default_rng(seed)
    chunks = []
    for start in range(0, draws, DRAWS_PER_CHUNK):
        size = min(DRAWS_PER_CHUNK, draws - start)
        chunks.append(_resampled_scores(cases, _patient_weights(rng, cases.num_patients, size)))
    intervals: dict[str, list[float] | None] = {}
    for name in SCORE_NAMES:
        values = np.concatenate([chunk[name] for chunk in chunks])
        defined = values[~np.isnan(values)]
        enough = len(defined) >= MIN_DEFINED_DRAWS_FRACTION * draws
        intervals[name] = [float(v) for v in np.percentile(defined, CONFIDENCE_PERCENTILES)] if enough else None
    return intervals


def _patient_weights(rng: np.random.Generator, num_patients: int, draws: int) -> Floats:
    """How often each patient is in each draw, [draws, patients]; each row sums to the number of patients."""
    drawn = rng.integers(num_patients, size=(draws, num_patients))
    flat = drawn + num_patients * np.arange(draws)[:, None]
    return np.bincount(flat.ravel(), minlength=draws * num_patients).reshape(draws, num_patients).astype(np.float64)


def _resampled_scores(cases: Cases, patient_weights: Floats) -> dict[str, Floats]:
    """All scores of each draw, [draws] each, NaN where undefined.

    Everything but the AUC is a function of sums over images, so one product of weights and sums per
    patient serves all draws.
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
    sums = patient_weights @ per_patient

    matrices = sums[:, : num_classes**2].reshape(-1, num_classes, num_classes)
    total = matrices.sum(axis=(1, 2))
    true, predicted = matrices.sum(axis=2), matrices.sum(axis=1)
    correct = np.diagonal(matrices, axis1=1, axis2=2)
    bal_acc = np.nanmean(_ratio(correct, true), axis=1)
    distance = np.abs(np.subtract.outer(np.arange(num_classes), np.arange(num_classes))).astype(np.float64)
    auc_ovr, auc_ovo = _weighted_auc(cases, patient_weights[:, cases.patients].T)
    return {
        "loss": sums[:, -1] / total,
        "acc": correct.sum(axis=1) / total,
        "bal_acc": bal_acc,
        "bal_acc_adj": adjusted(bal_acc, num_classes),
        "kappa": _weighted_kappa(matrices, (distance > 0).astype(np.float64)),
        "kappa_quadratic": _weighted_kappa(matrices, distance**2),
        "macro_f1": np.nan_to_num(_ratio(2 * correct, true + predicted)).mean(axis=1),
        "auc_ovr": auc_ovr,
        "auc_ovo": auc_ovo,
        "mae": (matrices * distance).sum(axis=(1, 2)) / total,
        "ece": np.abs(sums[:, num_classes**2 : -1]).sum(axis=1) / total,
    }


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    return np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)


def _weighted_kappa(matrices: Floats, disagreement: Floats) -> Floats:
    """Cohen's kappa of [draws, K, K] confusion matrices with a [K, K] cost of each disagreement."""
    observed = (matrices * disagreement).sum(axis=(1, 2))
    expected = np.einsum("di,ij,dj->d", matrices.sum(axis=2), disagreement, matrices.sum(axis=1))
    return 1.0 - _ratio(observed * matrices.sum(axis=(1, 2)), expected)


def _weighted_auc(cases: Cases, weights: Floats) -> tuple[Floats, Floats]:
    """Both macro AUCs of each draw for image weights [N, draws].

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
    return _mean_of_defined(one_vs_rest), _mean_of_defined(pairs[of_two_classes])


def _mean_of_defined(values: Floats) -> Floats:
    """The mean over the first axis without NaN; NaN where there is nothing else."""
    return _ratio(np.nan_to_num(values).sum(axis=0), (~np.isnan(values)).sum(axis=0).astype(np.float64))

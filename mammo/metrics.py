"""All numbers about a set of predictions, from one table of probabilities, as one type.

Small validation sets often lack a class. Here a metric is taken over the classes that are present, and
what cannot be computed is None (null in JSON) with a warning: never NaN, and never a made-up 0 or 0.5.
The intervals resample patients, not images: images of one woman are not independent.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import (
    accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    mean_absolute_error,
    precision_recall_fscore_support,
    roc_auc_score,
)

from mammo.errors import TrainingError
from mammo.selection import SCORE_NAMES, Scores

log = logging.getLogger(__name__)

ECE_BINS = 15
CONFIDENCE_PERCENTILES = (2.5, 97.5)
MIN_DEFINED_DRAWS_FRACTION = 0.5
DRAWS_PER_CHUNK = 250  # bounds the memory: images * draws floats at a time
PROBABILITY_TOLERANCE = 1e-3  # a row sums to one within this, half precision included

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The metrics of one set of predictions, in the order of `val_metrics.json`.

    Fractions are in 0..1; classes are in the order of `class_names`; None is undefined. `bal_acc` is the
    mean recall over the classes present and `bal_acc_adj = (bal_acc - 1/K) / (1 - 1/K)` with K the
    number of classes of the task; `macro_f1` is over all K (0 where undefined); `auc_ovr` and `auc_ovo`
    are macro means over the classes present (one against the rest; pairs as in Hand & Till 2001); `mae`
    is in classes; `ece` has 15 equal-width bins of the top probability (Guo et al. 2017). The rows of
    `confusion_matrix` are true classes, its columns predicted ones. `ci95` maps the names of
    `mammo.selection.Scores` to [low, high], and is None until it has been computed.
    """

    loss: float
    per_class_loss: tuple[float | None, ...]
    acc: float
    bal_acc: float
    bal_acc_adj: float
    kappa: float | None
    kappa_quadratic: float | None
    macro_f1: float
    auc_ovr: float | None
    auc_ovo: float | None
    mae: float
    per_class_precision: tuple[float | None, ...]
    per_class_recall: tuple[float | None, ...]
    per_class_f1: tuple[float | None, ...]
    confusion_matrix: tuple[tuple[int, ...], ...]
    true_counts: tuple[int, ...]
    pred_counts: tuple[int, ...]
    pred_unique: int
    ece: float
    num_images: int
    num_patients: int
    class_names: tuple[str, ...]
    ci95: dict[str, list[float] | None] | None = None

    @property
    def scores(self) -> Scores:
        """The scalar metrics, as the choice of the best epoch compares and a checkpoint stores them."""
        return Scores(**{name: getattr(self, name) for name in SCORE_NAMES})

    def to_dict(self) -> dict[str, Any]:
        """Plain Python numbers, lists and None: strict JSON."""
        return {field.name: _as_lists(getattr(self, field.name)) for field in dataclasses.fields(self)}


def _as_lists(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_as_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: _as_lists(item) for key, item in value.items()}
    return value


@dataclasses.dataclass(frozen=True)
class _Cases:
    """Checked predictions of N images: what every metric is computed from."""

    probabilities: Floats  # [N, K]
    targets: Ints  # [N]
    predictions: Ints  # [N], the first class of those with the highest probability
    losses: Floats  # [N]
    patients: Ints  # [N], index into the sorted patient ids
    num_patients: int

    @property
    def num_classes(self) -> int:
        return self.probabilities.shape[1]

    @property
    def calibration_gaps(self) -> tuple[Ints, Floats]:
        """Of each image its bin (l, u] of the top probability, and its correctness minus that probability."""
        top = self.probabilities.max(axis=1)
        inner_edges = np.arange(1, ECE_BINS) / ECE_BINS
        return np.searchsorted(inner_edges, top, side="left"), (self.predictions == self.targets) - top


def _check(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    patient_ids: Sequence[str],
    losses: np.ndarray | None,
) -> _Cases:
    probabilities = np.asarray(probabilities, dtype=np.float64)
    targets = np.asarray(targets, dtype=np.intp)
    num_images, num_classes = len(targets), len(class_names)
    if num_images == 0 or num_classes < 2:
        raise ValueError(f"metrics need an image and two classes, got {num_images} and {num_classes}")
    if probabilities.shape != (num_images, num_classes) or len(patient_ids) != num_images:
        raise ValueError(
            f"{num_images} targets and {num_classes} classes do not fit probabilities of shape "
            f"{probabilities.shape} and {len(patient_ids)} patient ids"
        )
    if targets.min() < 0 or targets.max() >= num_classes:
        raise ValueError(f"targets {targets.min()}..{targets.max()} are outside of 0..{num_classes - 1}")
    bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if bad:
        raise TrainingError(f"the network gave non-finite outputs for {bad} of {num_images} images: it has diverged")
    if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > PROBABILITY_TOLERANCE:
        raise ValueError("the rows of probabilities must be non-negative and sum to one")
    if losses is None:
        of_target = probabilities[np.arange(num_images), targets]
        losses = -np.log(np.maximum(of_target, np.finfo(np.float64).tiny))  # finite where the probability is 0
    losses = np.asarray(losses, dtype=np.float64)
    if losses.shape != (num_images,):
        raise ValueError(f"one loss per image is needed: {num_images}, got shape {losses.shape}")
    if not np.isfinite(losses).all():
        raise TrainingError(f"the loss is not finite for {(~np.isfinite(losses)).sum()} of {num_images} images")
    unique, patients = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
    return _Cases(probabilities, targets, probabilities.argmax(axis=1), losses, patients, len(unique))


def compute_metrics(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    patient_ids: Sequence[str],
    losses: np.ndarray | None = None,
) -> Metrics:
    """All metrics of N images.

    `probabilities` is [N, K] with rows that sum to one, `targets` [N] class indices, `losses` [N] the
    cross-entropy of each image (None: -log of the target's probability). Of equal top probabilities the
    first class is the prediction. Raises `TrainingError` for non-finite probabilities or losses and
    `ValueError` for arguments that do not fit together.
    """
    cases = _check(probabilities, targets, class_names, patient_ids, losses)
    true, predicted, num_classes = cases.targets, cases.predictions, cases.num_classes
    classes = np.arange(num_classes)
    precision, recall, f1, _ = precision_recall_fscore_support(true, predicted, labels=classes, zero_division=np.nan)
    matrix = confusion_matrix(true, predicted, labels=classes)
    bal_acc = float(np.nanmean(recall))
    auc_ovr, auc_ovo = _auc(cases)
    bins, gaps = cases.calibration_gaps
    metrics = Metrics(
        loss=float(cases.losses.mean()),
        per_class_loss=tuple(float(cases.losses[true == c].mean()) if (true == c).any() else None for c in classes),
        acc=float(accuracy_score(true, predicted)),
        bal_acc=bal_acc,
        bal_acc_adj=_adjusted(bal_acc, num_classes),
        kappa=_kappa(cases, weights=None),
        kappa_quadratic=_kappa(cases, weights="quadratic"),
        macro_f1=float(np.nan_to_num(f1, nan=0.0).mean()),
        auc_ovr=auc_ovr,
        auc_ovo=auc_ovo,
        mae=float(mean_absolute_error(true, predicted)),
        per_class_precision=_or_none(precision),
        per_class_recall=_or_none(recall),
        per_class_f1=_or_none(f1),
        confusion_matrix=tuple(tuple(int(n) for n in row) for row in matrix),
        true_counts=tuple(int(n) for n in matrix.sum(axis=1)),
        pred_counts=tuple(int(n) for n in matrix.sum(axis=0)),
        pred_unique=int((matrix.sum(axis=0) > 0).sum()),
        ece=float(np.abs(np.bincount(bins, weights=gaps)).sum() / len(true)),
        num_images=len(true),
        num_patients=cases.num_patients,
        class_names=tuple(class_names),
    )
    _warn_of_undefined(metrics)
    return metrics


def _or_none(values: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else float(value) for value in values)


def _adjusted(bal_acc: Any, num_classes: int) -> Any:
    chance = 1.0 / num_classes
    return (bal_acc - chance) / (1.0 - chance)


def _kappa(cases: _Cases, weights: str | None) -> float | None:
    if len(np.union1d(cases.targets, cases.predictions)) == 1:
        return None  # all agreement is expected by chance: 0/0
    labels = np.arange(cases.num_classes)  # without them the distances would skip absent classes
    return float(cohen_kappa_score(cases.targets, cases.predictions, labels=labels, weights=weights))


def _auc(cases: _Cases) -> tuple[float | None, float | None]:
    """Macro AUC of each present class against the rest, and over the pairs of present classes."""
    true, scores = cases.targets, cases.probabilities
    present = np.unique(true)
    if len(present) < 2:
        return None, None
    one_vs_rest = [roc_auc_score(true == c, scores[:, c]) for c in present]
    pairs = []
    for positive, negative in itertools.permutations(present, 2):
        chosen = (true == positive) | (true == negative)
        pairs.append(roc_auc_score(true[chosen] == positive, scores[chosen, positive]))
    return float(np.mean(one_vs_rest)), float(np.mean(pairs))


def reset_warnings() -> None:
    """Let the warnings about undefined metrics appear again (at the start of a run in a longer process)."""
    _warn_once.cache_clear()


@functools.cache
def _warn_once(message: str) -> None:
    log.warning(message)


def _warn_of_undefined(metrics: Metrics) -> None:
    absent = [name for name, n in zip(metrics.class_names, metrics.true_counts, strict=True) if n == 0]
    never = [name for name, n in zip(metrics.class_names, metrics.pred_counts, strict=True) if n == 0]
    undefined = [name for name in SCORE_NAMES if getattr(metrics, name) is None]
    if absent:
        _warn_once(f"no image of class {', '.join(absent)}: its recall and loss are null, means leave it out")
    if never:
        _warn_once(f"class {', '.join(never)} is never predicted: its precision is null")
    if undefined:
        _warn_once(f"only one class is present: {', '.join(undefined)} cannot be computed and are null")


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
    cases = _check(probabilities, targets, class_names, patient_ids, losses)
    if cases.num_patients < 2:
        _warn_once("a single patient: confidence intervals cannot be computed and are null")
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


def _resampled_scores(cases: _Cases, patient_weights: Floats) -> dict[str, Floats]:
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
        "bal_acc_adj": _adjusted(bal_acc, num_classes),
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


def _weighted_auc(cases: _Cases, weights: Floats) -> tuple[Floats, Floats]:
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

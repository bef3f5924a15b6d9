"""All numbers about a set of predictions, from one table of probabilities, as one type.

Small validation sets often lack a class. Here a metric is taken over the classes that are present, and
what cannot be computed is None (null in JSON) with a warning: never NaN, and never a made-up 0 or 0.5.
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

from mammo.evaluation.scores import SCORE_NAMES
from mammo.evaluation.selection import Scores
from mammo.support.errors import TrainingError

log = logging.getLogger(__name__)

ECE_BINS = 15
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
    `mammo.evaluation.selection.Scores` to [low, high], and is None until it has been computed.
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
        return {field.name: as_lists(getattr(self, field.name)) for field in dataclasses.fields(self)}


def as_lists(value: Any) -> Any:
    """Tuples as lists, at any depth of lists and dicts: what reading JSON back gives."""
    if isinstance(value, tuple | list):
        return [as_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return value


@dataclasses.dataclass(frozen=True)
class Cases:
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
        return confidence_bins(top), (self.predictions == self.targets) - top


def confidence_bins(probabilities: Floats) -> Ints:
    """Which of the 15 equal-width bins (l, u] each probability is in; 0 belongs to the first."""
    inner_edges = np.arange(1, ECE_BINS) / ECE_BINS
    return np.searchsorted(inner_edges, probabilities, side="left")


def checked_cases(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    patient_ids: Sequence[str],
    losses: np.ndarray | None,
) -> Cases:
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
        losses = -finite_log(probabilities[np.arange(num_images), targets])
    losses = np.asarray(losses, dtype=np.float64)
    if losses.shape != (num_images,):
        raise ValueError(f"one loss per image is needed: {num_images}, got shape {losses.shape}")
    if not np.isfinite(losses).all():
        raise TrainingError(f"the loss is not finite for {(~np.isfinite(losses)).sum()} of {num_images} images")
    unique, patients = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
    return Cases(probabilities, targets, probabilities.argmax(axis=1), losses, patients, len(unique))


def finite_log(probabilities: np.ndarray) -> Floats:
    """The natural logarithm, of 0 that of the smallest normal number (about -708)."""
    return np.log(np.maximum(probabilities, np.finfo(np.float64).tiny))


def compute_metrics(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    patient_ids: Sequence[str],
    losses: np.ndarray | None = None,
    warn: bool = True,
) -> Metrics:
    """All metrics of N images.

    `probabilities` is [N, K] with rows that sum to one, `targets` [N] class indices, `losses` [N] the
    cross-entropy of each image (None: -log of the target's probability). Of equal top probabilities the
    first class is the prediction. `warn` tells the log what is undefined, which in parts of a dataset is no
    surprise. Raises `TrainingError` for non-finite probabilities or losses and `ValueError` for arguments that do
    not fit together.
    """
    cases = checked_cases(probabilities, targets, class_names, patient_ids, losses)
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
        bal_acc_adj=adjusted(bal_acc, num_classes),
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
    if warn:
        _warn_of_undefined(metrics)
    return metrics


def _or_none(values: Sequence[float]) -> tuple[float | None, ...]:
    return tuple(None if math.isnan(value) else float(value) for value in values)


def adjusted(bal_acc: Any, num_classes: int) -> Any:
    chance = 1.0 / num_classes
    return (bal_acc - chance) / (1.0 - chance)


def _kappa(cases: Cases, weights: str | None) -> float | None:
    if len(np.union1d(cases.targets, cases.predictions)) == 1:
        return None  # all agreement is expected by chance: 0/0
    labels = np.arange(cases.num_classes)  # without them the distances would skip absent classes
    return float(cohen_kappa_score(cases.targets, cases.predictions, labels=labels, weights=weights))


def _auc(cases: Cases) -> tuple[float | None, float | None]:
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
    warn_once.cache_clear()


@functools.cache
def warn_once(message: str) -> None:
    log.warning(message)


def _warn_of_undefined(metrics: Metrics) -> None:
    absent = [name for name, n in zip(metrics.class_names, metrics.true_counts, strict=True) if n == 0]
    never = [name for name, n in zip(metrics.class_names, metrics.pred_counts, strict=True) if n == 0]
    undefined = [name for name in SCORE_NAMES if getattr(metrics, name) is None]
    if absent:
        warn_once(f"no image of class {', '.join(absent)}: its recall and loss are null, means leave it out")
    if never:
        warn_once(f"class {', '.join(never)} never predicted: precision is null")
    if undefined:
        warn_once(f"only one class is present: {', '.join(undefined)} cannot be computed and are null")

"""Predictions with true classes, checked, and every score of them under weights of the patients.

Images of one woman are not independent, so patients are drawn, each with all of her images. All draws are computed at
once: a score is a function of how often each patient is in each draw. With every patient once it is the score itself.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from mammo.evaluation.scores import MULTICLASS
from mammo.support.errors import TrainingError
from mammo.tasks.multiclass import LABELS
from mammo.tasks.task import Task

ECE_BINS = 15
PROBABILITY_TOLERANCE = 1e-3  # a row sums to one within this, half precision included

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


@dataclasses.dataclass(frozen=True)
class Cases:
    """Checked predictions of N images, of which every one is of one of K classes.

    A class of its own for another kind of task has `kind`, `check`, `weighted` with the scores of that kind, and is
    listed in `CASES`.
    """

    kind: ClassVar[str] = MULTICLASS
    class_names: tuple[str, ...]
    probabilities: Floats  # [N, K]
    targets: Ints  # [N]
    predictions: Ints  # [N], as the task decides
    losses: Floats  # [N]
    patients: Ints  # [N], index into the sorted patient ids
    num_patients: int

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @staticmethod
    def check(probabilities: Floats, targets: Ints) -> None:
        """Raises ValueError for what cannot be probabilities [N, K] and targets of the kind."""
        num_classes = probabilities.shape[1]
        if targets.min() < 0 or targets.max() >= num_classes:
            raise ValueError(f"targets {targets.min()}..{targets.max()} are outside of 0..{num_classes - 1}")
        if probabilities.min() < 0 or np.abs(probabilities.sum(axis=1) - 1).max() > PROBABILITY_TOLERANCE:
            raise ValueError("the rows of probabilities must be non-negative and sum to one")

    def weighted(self, weights: Floats) -> WeightedCases:
        """The cases with weights [draws, patients]."""
        return WeightedCases(self, weights)

    @property
    def once(self) -> WeightedCases:
        """The cases as they are: a single draw of every patient once."""
        return self.weighted(np.ones((1, self.num_patients)))


CASES: dict[str, type[Cases]] = {Cases.kind: Cases}


def confidence_bins(probabilities: Floats) -> Ints:
    """Which of the 15 equal-width bins (l, u] each probability is in; 0 belongs to the first."""
    inner_edges = np.arange(1, ECE_BINS) / ECE_BINS
    return np.searchsorted(inner_edges, probabilities, side="left")


def checked_cases(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    patient_ids: Sequence[str],
    losses: np.ndarray | None = None,
    task: Task = LABELS,
) -> Cases:
    """Arguments and errors as of `mammo.evaluation.metrics.compute_metrics`."""
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
    bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
    if bad:
        raise TrainingError(f"the network gave non-finite outputs for {bad} of {num_images} images: it has diverged")
    of_kind = CASES[task.kind]
    of_kind.check(probabilities, targets)
    losses = np.asarray(task.losses(probabilities, targets) if losses is None else losses, dtype=np.float64)
    if losses.shape != (num_images,):
        raise ValueError(f"one loss per image is needed: {num_images}, got shape {losses.shape}")
    if not np.isfinite(losses).all():
        raise TrainingError(f"the loss is not finite for {(~np.isfinite(losses)).sum()} of {num_images} images")
    unique, patients = np.unique(np.asarray(patient_ids, dtype=str), return_inverse=True)
    decisions = task.decide(probabilities)
    return of_kind(tuple(class_names), probabilities, targets, decisions, losses, patients, len(unique))


def chance_adjusted(bal_acc: Floats, num_classes: int) -> Floats:
    """(bal_acc - 1/K) / (1 - 1/K): 0 is guessing."""
    chance = 1.0 / num_classes
    return (bal_acc - chance) / (1.0 - chance)


class WeightedCases:
    """The scores of `mammo.evaluation.scores` by their names: [draws], those of each class [draws, K], NaN undefined.

    Means over classes are over those that the cases have, and undefined in a draw that lacks one of them: over the
    remaining ones they are another quantity.
    """

    def __init__(self, cases: Cases, weights: Floats) -> None:
        self.cases = cases
        self.weights = weights  # [draws, patients]
        self.present = np.unique(cases.targets)
        self.distance = np.abs(np.subtract.outer(np.arange(cases.num_classes), np.arange(cases.num_classes)))

    @functools.cached_property
    def of_images(self) -> Floats:
        """Weight of each image, [draws, N]."""
        return self.weights[:, self.cases.patients]

    @functools.cached_property
    def matrices(self) -> Floats:
        """Confusion matrices [draws, K, K]: rows are true classes, columns predicted ones."""
        cases, k = self.cases, self.cases.num_classes
        cells = (cases.patients * k + cases.targets) * k + cases.predictions
        per_patient = np.bincount(cells, minlength=cases.num_patients * k * k).reshape(cases.num_patients, k * k)
        return (self.weights @ per_patient.astype(np.float64)).reshape(-1, k, k)

    @functools.cached_property
    def total(self) -> Floats:
        return self.matrices.sum(axis=(1, 2))

    @functools.cached_property
    def true(self) -> Floats:
        """Number of images of each class, [draws, K]."""
        return self.matrices.sum(axis=2)

    @functools.cached_property
    def predicted(self) -> Floats:
        """Number of images that were taken for each class, [draws, K]."""
        return self.matrices.sum(axis=1)

    @functools.cached_property
    def correct(self) -> Floats:
        return np.diagonal(self.matrices, axis1=1, axis2=2)

    @property
    def loss(self) -> Floats:
        """Mean cross-entropy."""
        return (self.of_images * self.cases.losses).sum(axis=1) / self.total

    @property
    def acc(self) -> Floats:
        """Fraction of images that are right."""
        return self.correct.sum(axis=1) / self.total

    @property
    def bal_acc(self) -> Floats:
        """Mean recall."""
        recalls = self.per_class_recall
        return self._of_all_classes(_ratio(np.nansum(recalls, axis=1), (~np.isnan(recalls)).sum(axis=1)))

    @property
    def bal_acc_adj(self) -> Floats:
        """Mean recall above that of guessing among the K classes of the task."""
        return chance_adjusted(self.bal_acc, self.cases.num_classes)

    @property
    def kappa(self) -> Floats:
        """Cohen's kappa."""
        return self._kappa(self.distance > 0)

    @property
    def kappa_quadratic(self) -> Floats:
        """Cohen's kappa with the squared distance of the classes as the cost of a disagreement."""
        return self._kappa(self.distance**2)

    def _kappa(self, disagreement: np.ndarray) -> Floats:
        """One minus observed over expected disagreement; undefined where all agreement is expected by chance."""
        expected = self.predicted[:, :, None] * self.true[:, None, :] / self.total[:, None, None]
        observed, by_chance = (
            (disagreement * each).reshape(len(self.weights), -1).sum(axis=1) for each in (self.matrices, expected)
        )
        return 1.0 - _ratio(observed, by_chance)

    @property
    def macro_f1(self) -> Floats:
        """Mean F1 over all K classes, 0 where it is undefined."""
        return self._of_all_classes(np.nan_to_num(self.per_class_f1).mean(axis=1))

    @property
    def auc_ovr(self) -> Floats:
        """Mean AUC of each class against the rest."""
        return self.per_class_auc[:, self.present].mean(axis=1)

    @property
    def auc_ovo(self) -> Floats:
        """Mean AUC of the pairs of classes, each by the probability of its first (Hand & Till 2001)."""
        if len(self.present) < 2:
            return np.full(len(self.weights), np.nan)
        return np.mean([self._auc(a, [b]) for a, b in itertools.permutations(self.present, 2)], axis=0)

    def _of_all_classes(self, means: Floats) -> Floats:
        return np.where((self.true[:, self.present] == 0).any(axis=1), np.nan, means)

    @property
    def mae(self) -> Floats:
        """Mean distance between true and predicted class, in classes."""
        return (self.matrices * self.distance).sum(axis=(1, 2)) / self.total

    @property
    def ece(self) -> Floats:
        """Expected calibration error of the top probability in 15 bins of equal width (Guo et al. 2017)."""
        top = self.cases.probabilities.max(axis=1)
        gaps = self.of_images * ((self.cases.predictions == self.cases.targets) - top)
        cells = confidence_bins(top) + ECE_BINS * np.arange(len(gaps))[:, None]
        sums = np.bincount(cells.ravel(), weights=gaps.ravel(), minlength=len(gaps) * ECE_BINS)
        return np.abs(sums.reshape(-1, ECE_BINS)).sum(axis=1) / self.total

    @property
    def per_class_loss(self) -> Floats:
        members = [self.cases.targets == c for c in range(self.cases.num_classes)]
        sums = [(self.of_images[:, rows] * self.cases.losses[rows]).sum(axis=1) for rows in members]
        return _ratio(np.array(sums).T, self.true)

    @property
    def per_class_precision(self) -> Floats:
        return _ratio(self.correct, self.predicted)

    @property
    def per_class_recall(self) -> Floats:
        return _ratio(self.correct, self.true)

    @property
    def per_class_f1(self) -> Floats:
        return _ratio(2 * self.correct, self.true + self.predicted)

    @functools.cached_property
    def per_class_auc(self) -> Floats:
        """Of each class against the rest."""
        classes = range(self.cases.num_classes)
        return np.array([self._auc(c, [other for other in classes if other != c]) for c in classes]).T

    def _auc(self, positive: int, others: Sequence[int]) -> Floats:
        """Area under the ROC curve of a class against others by its own probability, [draws], by trapezoids.

        Points between others on a straight line are left out, as scikit-learn does: equal to the last digit.
        """
        curves = {c: self._running[positive, c] for c in (positive, *others)}
        thresholds = np.unique(np.concatenate([scores for scores, _ in curves.values()]))
        numbers = {c: np.searchsorted(scores, thresholds, side="right") for c, (scores, _) in curves.items()}
        steps = np.diff([numbers[positive], np.sum([numbers[c] for c in others], axis=0)], prepend=0)
        before, after = steps[:, 1:-1], steps[:, 2:]
        is_corner = np.full(len(thresholds), True)
        # Under other weights, equal steps are on a straight line only when they go up or to the right.
        is_corner[1:-1] = (before != after).any(axis=0) | (after > 0).all(axis=0)
        sums = {c: np.take(of_c, np.append(0, numbers[c][is_corner]), axis=1) for c, (_, of_c) in curves.items()}
        up, right = sums[positive], np.sum([sums[c] for c in others], axis=0)
        x, y = _ratio(right, right[:, -1:]), _ratio(up, up[:, -1:])
        return (np.diff(x, axis=1) * (y[:, 1:] + y[:, :-1]) / 2).sum(axis=1)

    @functools.cached_property
    def _running(self) -> dict[tuple[int, int], tuple[Floats, Floats]]:
        """Of each pair (a, b): minus the probabilities of a of the images of b, ascending, and running sums of weights.

        The sums are [draws, images + 1], from 0 on.
        """
        found = {}
        for a, b in itertools.product(range(self.cases.num_classes), repeat=2):
            members = np.flatnonzero(self.cases.targets == b)
            scores = -self.cases.probabilities[members, a]
            order = np.argsort(scores, kind="stable")
            sums = np.zeros((len(self.weights), len(members) + 1))
            np.cumsum(np.take(self.of_images, members[order], axis=1), axis=1, out=sums[:, 1:])
            found[a, b] = scores[order], sums
        return found

    @property
    def per_class_average_precision(self) -> Floats:
        """Area under the precision-recall curve of each class against the rest, as a sum of steps.

        The sum over thresholds of precision times the step in recall is the mean over the images of the class of the
        precision at each one's own score.
        """
        areas = []
        for c, probabilities in enumerate(self.cases.probabilities.T):
            order = np.argsort(-probabilities, kind="stable")
            scores, is_class = -probabilities[order], self.cases.targets[order] == c
            drawn = self.of_images.T[order]
            found = np.cumsum(drawn * is_class[:, None], axis=0)
            last = np.searchsorted(scores, scores[is_class], side="right") - 1  # of those with the same score
            precision = _ratio(found[last], np.cumsum(drawn, axis=0)[last])
            areas.append(_ratio((drawn[is_class] * np.nan_to_num(precision)).sum(axis=0), found[-1]))
        return np.array(areas).T


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    undefined = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=undefined, where=denominator > 0)

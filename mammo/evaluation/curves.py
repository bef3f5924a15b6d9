"""ROC and precision-recall curves of each class against the rest, few enough points for a file and a figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from sklearn.metrics import precision_recall_curve, roc_curve

from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.score_formulas import Floats
from mammo.evaluation.subgroups import ClassScores

MAX_POINTS = 500


@dataclasses.dataclass(frozen=True)
class Curve:
    """A curve of one class against the rest, x ascending, at most 500 points.

    ROC: x is the false positive and y the true positive rate, `area` the AUC. Precision-recall: x is recall and y
    precision, to be drawn as steps that hold the y of the point on the right, `area` the average precision. `area`
    and `ci95` are those of all points. `num_positive` of `num_images` images are of the class.
    """

    class_name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    area: float
    ci95: list[float] | None
    num_positive: int
    num_images: int


def roc_curves(predictions: PredictionTable, classes: Sequence[ClassScores]) -> list[Curve]:
    """The ROC curve of each class that some images have and some have not; areas from `per_class`."""
    curves = []
    for c, scores in enumerate(classes):
        if (area := scores.scores["auc"]) is None:
            continue
        false_positives, true_positives, _ = roc_curve(predictions.targets == c, predictions.probabilities[:, c])
        curves.append(_curve(scores, false_positives, true_positives, area, "auc", len(predictions)))
    return curves


def precision_recall_curves(predictions: PredictionTable, classes: Sequence[ClassScores]) -> list[Curve]:
    """The precision-recall curve of each class that any image has; areas from `per_class`."""
    curves = []
    for c, scores in enumerate(classes):
        if (area := scores.scores["average_precision"]) is None:
            continue
        precision, recall, _ = precision_recall_curve(
            predictions.targets == c, predictions.probabilities[:, c], drop_intermediate=True
        )
        curves.append(_curve(scores, recall[::-1], precision[::-1], area, "average_precision", len(predictions)))
    return curves


def _curve(scores: ClassScores, x: Floats, y: Floats, area: float, score: str, num_images: int) -> Curve:
    kept = thinned(x, y)
    points = tuple(x[kept].tolist()), tuple(y[kept].tolist())
    return Curve(scores.class_name, *points, area, scores.ci95[score], scores.num_images, num_images)


def thinned(x: Floats, y: Floats, max_points: int = MAX_POINTS) -> np.ndarray:
    """Indices of at most `max_points` points, first and last among them, about equally far apart along the curve."""
    if len(x) <= max_points:
        return np.arange(len(x))
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(x)) + np.abs(np.diff(y)))])
    wanted = np.linspace(0, way[-1], max_points)
    return np.unique(np.searchsorted(way, wanted, side="left").clip(max=len(x) - 1))

"""All numbers about a set of predictions, as one type.

Small validation sets often lack a class. Here a metric is taken over the classes that are present, and
what cannot be computed is None (null in JSON) with a warning: never NaN, and never a made-up 0 or 0.5.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mammo.evaluation.score_formulas import Cases, Floats, checked_cases
from mammo.evaluation.scores import class_scores_of, scores_of
from mammo.evaluation.selection import Scores
from mammo.tasks.multiclass import LABELS
from mammo.tasks.task import Task

log = logging.getLogger(__name__)

# The order that files have had from the first version on; what came later follows.
KEYS = (
    "loss", "per_class_loss", "acc", "bal_acc", "bal_acc_adj", "kappa", "kappa_quadratic", "macro_f1", "auc_ovr",
    "auc_ovo", "mae", "per_class_precision", "per_class_recall", "per_class_f1", "confusion_matrix", "true_counts",
    "pred_counts", "pred_unique", "ece", "num_images", "num_patients", "class_names", "ci95",
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Metrics:
    """The metrics of one set of predictions; None is undefined.

    `scores` are those of `mammo.evaluation.scores` for the kind of the task, `per_class` those of single classes in
    the order of `class_names`; `mammo.evaluation.score_formulas` defines them. The rows
    of `confusion_matrix` are true classes, its columns predicted ones; there are none where an image may be of several
    classes. `true_counts` and `pred_counts` are the images of each class, and those taken for it. `ci95` maps the names
    of the scores to [low, high], and is None until it has been computed.
    """

    scores: Scores
    per_class: Mapping[str, tuple[float | None, ...]]
    confusion_matrix: tuple[tuple[int, ...], ...]
    true_counts: tuple[int, ...]
    pred_counts: tuple[int, ...]
    num_images: int
    num_patients: int
    class_names: tuple[str, ...]
    ci95: dict[str, list[float] | None] | None = None

    @property
    def pred_unique(self) -> int:
        """Number of classes that were predicted at all."""
        return sum(n > 0 for n in self.pred_counts)

    def to_dict(self) -> dict[str, Any]:
        """Plain Python numbers, lists and None: strict JSON."""
        found = {
            **self.scores,
            **{f"per_class_{name}": values for name, values in self.per_class.items()},
            "confusion_matrix": self.confusion_matrix,
            "true_counts": self.true_counts,
            "pred_counts": self.pred_counts,
            "pred_unique": self.pred_unique,
            "num_images": self.num_images,
            "num_patients": self.num_patients,
            "class_names": self.class_names,
            "ci95": self.ci95,
        }
        return {key: as_lists(found[key]) for key in dict.fromkeys([*KEYS, *found]) if key in found}


def as_lists(value: Any) -> Any:
    """Tuples as lists, at any depth of lists and dicts: what reading JSON back gives."""
    if isinstance(value, tuple | list):
        return [as_lists(item) for item in value]
    if isinstance(value, dict):
        return {key: as_lists(item) for key, item in value.items()}
    return value


def compute_metrics(
    probabilities: np.ndarray,
    targets: np.ndarray,
    class_names: Sequence[str],
    patient_ids: Sequence[str],
    losses: np.ndarray | None = None,
    warn: bool = True,
    task: Task = LABELS,
) -> Metrics:
    """All metrics of N images.

    `probabilities` is [N, K] with rows that sum to one, `targets` [N] class indices, `losses` [N] the
    loss of each image (None: that of the task; with one class for each image, -log of the target's probability).
    `warn` tells the log what is undefined, which in parts of a dataset is no
    surprise. Raises `TrainingError` for non-finite probabilities or losses and `ValueError` for arguments that do
    not fit together.
    """
    return metrics_of(checked_cases(probabilities, targets, class_names, patient_ids, losses, task), warn)


def metrics_of(cases: Cases, warn: bool = True) -> Metrics:
    """As `compute_metrics`, of what has been checked."""
    once, of_classes = cases.once, [score for score in class_scores_of(cases.kind) if score.is_metric]
    metrics = Metrics(
        scores={score.name: _or_none(getattr(once, score.name))[0] for score in scores_of(cases.kind)},
        per_class={score.name: _or_none(getattr(once, score.key)[0]) for score in of_classes},
        confusion_matrix=tuple(tuple(int(n) for n in row) for row in once.matrices[0]),
        true_counts=tuple(int(n) for n in once.true[0]),
        pred_counts=tuple(int(n) for n in once.predicted[0]),
        num_images=len(cases.targets),
        num_patients=cases.num_patients,
        class_names=cases.class_names,
    )
    if warn:
        _warn_of_undefined(metrics)
    return metrics


def _or_none(values: Floats) -> tuple[float | None, ...]:
    return tuple(None if np.isnan(value) else float(value) for value in values)


def reset_warnings() -> None:
    """Let the warnings about undefined metrics appear again (at the start of a run in a longer process)."""
    warn_once.cache_clear()


@functools.cache
def warn_once(message: str) -> None:
    log.warning(message)


def _warn_of_undefined(metrics: Metrics) -> None:
    absent = [name for name, n in zip(metrics.class_names, metrics.true_counts, strict=True) if n == 0]
    never = [name for name, n in zip(metrics.class_names, metrics.pred_counts, strict=True) if n == 0]
    undefined = [name for name, value in metrics.scores.items() if value is None]
    if absent:
        warn_once(f"no image of class {', '.join(absent)}: its recall and loss are null, means leave it out")
    if never:
        warn_once(f"class {', '.join(never)} never predicted: precision is null")
    if undefined:
        warn_once(f"only one class is present: {', '.join(undefined)} cannot be computed and are null")

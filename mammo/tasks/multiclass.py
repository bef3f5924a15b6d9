"""One class for each image: BI-RADS densities, pairs of them, or the dataset's own label set."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from mammo.tasks.task import Task, add_task

DENSITY = ("A", "B", "C", "D")
DENSITY_PAIRS = ("AB", "CD")


@dataclasses.dataclass(frozen=True)
class Multiclass(Task):
    """See `Task`: targets are class indices int64 [N], a stratum is a class, the decision is the likeliest class.

    `renamed` maps labels of the dataset to classes; what is not in it keeps its name.
    """

    kind: ClassVar[str] = "multiclass"
    renamed: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def label_for(self, own: str) -> str:
        """See `Task.label_for`."""
        return self.renamed.get(own, own)

    def targets(self, labels: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
        """Class indices int64 [N]; see `Task.targets`."""
        index = {name: i for i, name in enumerate(class_names)}
        if not set(labels) <= set(index):
            raise ValueError("a true class is none of the classes")
        return np.fromiter((index[label] for label in labels), dtype=np.int64, count=len(labels))

    def texts(self, targets: np.ndarray, class_names: Sequence[str]) -> list[str]:
        """Names of classes; see `Task.texts`."""
        return [class_names[i] for i in targets]

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """See `Task.strata`."""
        return targets

    def class_counts(self, targets: np.ndarray, num_classes: int) -> list[int]:
        """See `Task.class_counts`."""
        return np.bincount(targets, minlength=num_classes).tolist()

    def decide(self, probabilities: Any) -> Any:
        """The class with the highest probability, of equal ones the first; see `Task.decide`."""
        return probabilities.argmax(-1)

    def is_right(self, decisions: Any, targets: Any) -> Any:
        """See `Task.is_right`."""
        return decisions == targets

    def losses(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Cross-entropy; a probability of 0 counts as the smallest normal number. See `Task.losses`."""
        of_target = np.asarray(probabilities, dtype=np.float64)[np.arange(len(targets)), targets]
        return -np.log(np.maximum(of_target, np.finfo(np.float64).tiny))


DENSITY4 = add_task(Multiclass("density4", "A,B,C,D", DENSITY, is_density=True))
DENSITY2 = add_task(
    Multiclass(
        "density2",
        "{A,B} against {C,D}",
        DENSITY_PAIRS,
        is_density=True,
        renamed={letter: pair for pair in DENSITY_PAIRS for letter in pair},
    )
)
# Of predictions whose task is not known, too: one class for each image, whatever the classes are.
LABELS = add_task(Multiclass("labels", "the dataset's own label set"))

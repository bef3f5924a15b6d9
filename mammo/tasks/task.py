"""What a task is: everything that follows from the kind of its labels, and the tasks that `data.task` chooses from.

To add one: derive a class from `Task` and `add_task` an instance of it; `data.task=<name>` selects it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np


@dataclasses.dataclass(frozen=True)
class Task:
    """What is learnt of N images with K classes.

    `kind` says which scores apply (`mammo.evaluation.scores`), `doc` is for the help. `class_names` are None where the
    dataset's own label set is learnt. `is_density` says that labels must be within A-D.
    """

    kind: ClassVar[str]
    name: str
    doc: str
    class_names: tuple[str, ...] | None = None
    is_density: bool = False

    def class_names_for(self, own: Sequence[str]) -> tuple[str, ...]:
        """The classes, in order, of a dataset with the label set `own`."""
        return self.class_names or tuple(own)

    def label_for(self, own: str) -> str:
        """What a label of the dataset is called here."""
        return own

    def targets(self, labels: Sequence[str], class_names: Sequence[str]) -> np.ndarray:
        """What the loss compares with, of labels [N]: an array [N, ...]; raises ValueError for an unknown label."""
        raise NotImplementedError

    def texts(self, targets: np.ndarray, class_names: Sequence[str]) -> list[str]:
        """Targets or decisions [N, ...] as `y_true` and `y_pred` of a file show them, [N]."""
        raise NotImplementedError

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """An integer of each image, [N] in 0..K-1: what the split, the sampler and a quick look keep in proportion."""
        raise NotImplementedError

    def class_counts(self, targets: np.ndarray, num_classes: int) -> list[int]:
        """How many images are of each class, [K]."""
        raise NotImplementedError

    def decide(self, probabilities: Any) -> Any:
        """The decisions [N, ...] that probabilities [N, K] lead to: of numpy or torch, as they are."""
        raise NotImplementedError

    def is_right(self, decisions: Any, targets: Any) -> Any:
        """Which decisions are right: bool [N], of numpy or torch."""
        raise NotImplementedError

    def losses(self, probabilities: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """The negative log-likelihood of each image in nats, float64 [N]."""
        raise NotImplementedError


TASKS: dict[str, Task] = {}
AnyTask = TypeVar("AnyTask", bound=Task)


def add_task(task: AnyTask) -> AnyTask:
    """Make a task selectable as `data.task=<its name>`."""
    TASKS[task.name] = task
    return task

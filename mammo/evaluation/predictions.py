"""Predictions of images as one table: what every evaluation is computed from, and what a run leaves of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.support.files import read_csv
from mammo.tasks.multiclass import LABELS
from mammo.tasks.outputs import SOFTMAX, OutputSpace
from mammo.tasks.task import Task

DESCRIPTION = ("image_id", "patient_id", "exam_id", "laterality", "view")
# Known of some images only; empty otherwise.
ATTRIBUTES = ("manufacturer", "age_band")


@dataclasses.dataclass(frozen=True)
class PredictionTable:
    """Predicted probabilities of N images of K classes, and what is known of the images.

    `table` has the columns of `val_predictions.csv`: those of `DESCRIPTION`, `y_true` and `y_pred` (names of
    classes), `p_<class>` (fractions that sum to one), and where they are known those of `ATTRIBUTES`. Ids are text.
    `task` says what was learnt, `space` what outputs of a network the probabilities stand for.
    """

    table: pd.DataFrame
    class_names: tuple[str, ...]
    task: Task = LABELS
    space: OutputSpace = SOFTMAX

    def __len__(self) -> int:
        return len(self.table)

    @property
    def probabilities(self) -> np.ndarray:
        """Float64 [N, K]."""
        return self.table[[f"p_{name}" for name in self.class_names]].to_numpy(dtype=np.float64)

    @property
    def targets(self) -> np.ndarray:
        """What is true of each image, [N, ...], see `Task.targets`."""
        return self.task.targets(self.table["y_true"].tolist(), self.class_names)

    @property
    def decisions(self) -> np.ndarray:
        """What the probabilities of each image lead to, [N, ...], see `Task.decide`."""
        return self.task.decide(self.probabilities)

    @property
    def is_right(self) -> np.ndarray:
        """Which decisions are right: bool [N]."""
        return self.task.is_right(self.decisions, self.targets)

    @property
    def patient_ids(self) -> list[str]:
        """Patient of each image, [N]."""
        return self.table["patient_id"].tolist()

    def cells(self) -> tuple[list[str], list[list[str]]]:
        """Columns and rows for a CSV file; probabilities with all their digits."""
        numbers = [f"p_{name}" for name in self.class_names]
        cells = self.table.assign(**{name: [repr(float(value)) for value in self.table[name]] for name in numbers})
        return cells.columns.tolist(), cells.to_numpy().tolist()

    def rows(self, chosen: np.ndarray) -> PredictionTable:
        """The images at some positions, or where a mask [N] is true."""
        table = self.table[chosen] if chosen.dtype == bool else self.table.iloc[chosen]
        return dataclasses.replace(self, table=table)


def make_predictions(
    described: pd.DataFrame,
    targets: Sequence[str] | None,
    probabilities: np.ndarray,
    class_names: Sequence[str],
    task: Task = LABELS,
    space: OutputSpace = SOFTMAX,
) -> PredictionTable:
    """The table of probabilities [N, K] for images that `described` [N rows] tells of; see `PredictionTable`.

    Without `targets` there is no `y_true`.
    """
    table = described.reset_index(drop=True).copy()
    if targets is not None:
        table["y_true"] = list(targets)
    table["y_pred"] = task.texts(task.decide(probabilities), class_names)
    for name, column in zip(class_names, probabilities.T, strict=True):
        table[f"p_{name}"] = column
    return PredictionTable(table, tuple(class_names), task, space)


def read_predictions(path: Path, task: Task = LABELS, space: OutputSpace = SOFTMAX) -> PredictionTable:
    """The predictions in a file like `val_predictions.csv`; raises OSError, and ValueError for what is none."""
    columns, rows = read_csv(path)
    class_names = tuple(name.removeprefix("p_") for name in columns if name.startswith("p_"))
    needed = {*DESCRIPTION, "y_true", "y_pred"}
    if not class_names or not needed <= set(columns) or len(set(columns)) < len(columns):
        raise ValueError("not a table of predictions")
    table = pd.DataFrame(rows, columns=columns, dtype=str)
    for name in class_names:
        table[f"p_{name}"] = table[f"p_{name}"].astype(np.float64)
    task.targets(table["y_true"].tolist(), class_names)  # raises ValueError for a class that is none
    return PredictionTable(table, class_names, task, space)

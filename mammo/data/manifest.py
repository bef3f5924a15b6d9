"""The checked table that every dataset format is turned into: one row an image."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.support.errors import DataError
from mammo.tasks.multiclass import LABELS
from mammo.tasks.task import Task

# Manufacturer and age (in years, or as DICOM writes it) are known of few sets and used for subgroups alone.
COLUMNS = (
    "image_id", "path", "patient_id", "exam_id", "laterality", "view", "label", "split", "manufacturer", "age",
)  # fmt: skip
SPLITS = ("", "train", "val", "test")


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """An image or a row of a label table that is not used, and why.

    `stage` says where it was found: `label`, `file`, `header`, `pixels` (these are defects and count
    against `data.max_bad_fraction`) or `excluded` (left out on purpose: class 5, no label, another
    view, an implant). `reason` holds no patient data, nor does `where`: the rows of a label table that name it.
    """

    image_id: str
    stage: str
    reason: str
    where: str = ""

    @property
    def is_defect(self) -> bool:
        """Whether it counts against `data.max_bad_fraction`."""
        return self.stage != "excluded"


@dataclasses.dataclass(frozen=True)
class Grouping:
    """How images came to be of one patient.

    `exam_ids` says whether an exam id names one exam (`global`) or one of each patient (`per_patient`). The others
    count patients (exams in `exam_spellings`) that would have been several: written in several ways that are certainly
    the same, merged by `data.same_patient`, or under several ids in one exam.
    """

    exam_ids: str = "global"
    patient_spellings: int = 0
    exam_spellings: int = 0
    merged: int = 0
    by_exam: int = 0


@dataclasses.dataclass
class Manifest:
    """One row per image with the columns of `COLUMNS` (all strings, empty when unknown).

    `class_names` is the label set in order; `group_by` says what `patient_id` holds (`patient`, `exam` or `image`),
    `grouping` how it came about; `task` says what is learnt of the labels; `notes` are remarks for the log and for
    `summary.json`.
    """

    name: str
    root: Path
    table: pd.DataFrame
    class_names: tuple[str, ...]
    group_by: str = "patient"
    grouping: Grouping = Grouping()
    left_out: list[LeftOut] = dataclasses.field(default_factory=list)
    notes: list[str] = dataclasses.field(default_factory=list)
    task: Task = LABELS

    @property
    def targets(self) -> np.ndarray:
        """What the loss compares with, of each image with a label: [N, ...], see `Task.targets`."""
        return self.task.targets(self.table["label"].tolist(), self.class_names)

    @property
    def strata(self) -> np.ndarray:
        """What the split keeps in proportion: an integer of each image, [N]."""
        return self.task.strata(self.targets)

    def replace(self, **changes: object) -> Manifest:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]


def exams_of(manifest: Manifest, table: pd.DataFrame) -> list[str]:
    """The exam of each row of a table of `manifest`, other for each patient; empty where it is not known."""
    if manifest.grouping.exam_ids != "per_patient":
        return table["exam_id"].tolist()
    pairs = zip(table["patient_id"], table["exam_id"], strict=True)
    return [f"{patient} {exam}" if exam else "" for patient, exam in pairs]


def make_table(rows: Iterable[dict[str, str]]) -> pd.DataFrame:
    """A table with exactly `COLUMNS` as strings, sorted by image id, checked.

    Missing keys become empty strings. Raises `DataError` when an image id is empty or repeated, a
    patient id is empty, or a split is not one of `SPLITS`.
    """
    complete = [{column: str(row.get(column, "") or "") for column in COLUMNS} for row in rows]
    table = pd.DataFrame(complete, columns=list(COLUMNS), dtype=str)
    table = table.sort_values("image_id", kind="stable").reset_index(drop=True)
    repeated = table["image_id"][table["image_id"].duplicated()]
    if (table["image_id"] == "").any() or len(repeated):
        raise DataError(f"{len(repeated)} image ids are repeated or empty in the manifest")
    if (table["patient_id"] == "").any():
        raise DataError("some images have no patient id", to_do="set data.group_by=exam or data.group_by=image")
    strange = sorted(set(table["split"]) - set(SPLITS))
    if strange:
        raise DataError(f"{len(strange)} unknown split names", expected="train, val, test or empty")
    return table

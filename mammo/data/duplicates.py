"""Pictures that occur more than once: never in training and validation at the same time without a word."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mammo.data.image_fingerprints import ImageFingerprints
from mammo.data.pseudonyms import Rename
from mammo.data.splits import Split
from mammo.support.errors import DataError

_LISTED = 5


def with_copies_together(table: pd.DataFrame, looks: ImageFingerprints) -> tuple[pd.DataFrame, list[str]]:
    """The table of images that stand for themselves, with one patient id for all copies of a picture; remarks.

    Nothing but the pictures says which images belong together here, so equal ones stay on one side of every split,
    unless the dataset itself prescribes different sides.
    """
    prescribed = table["split"].to_numpy()
    copies = [rows for rows in looks.copies() if len(set(prescribed[rows])) == 1]
    if not copies:
        return table, []
    patients = table["patient_id"].to_numpy(copy=True)
    for rows in copies:
        patients[rows] = patients[rows[0]]
    note = f"{len(copies)} pictures occur more than once ({sum(map(len, copies))} images): copies stay on one side"
    return table.assign(patient_id=patients), [note + _contradictions(table, copies)]


def check_copies(
    table: pd.DataFrame, looks: ImageFingerprints, splits: Sequence[Split], rename: Rename, allow: bool
) -> list[str]:
    """Remarks on pictures that occur more than once.

    Raises DataError when copies are in different parts of one of the splits, unless `allow`.
    """
    copies = looks.copies()
    patients, labels = table["patient_id"].to_numpy(), table["label"].to_numpy()
    parts = [_part_of_each(split, len(table)) for split in splits]
    across = [rows for rows in copies if any(len(set(part[rows]) - {""}) > 1 for part in parts)]
    if across and not allow:
        listed = "; ".join(" = ".join(rename(name) for name in _ids(table, rows)) for rows in across[:_LISTED])
        more = f"; and {len(across) - _LISTED} more" if len(across) > _LISTED else ""
        raise DataError(
            f"{len(across)} pictures are in training and in validation or test, as images of different patients"
            f"{_contradictions(table, across)}: {listed}{more}",
            expected="each picture on one side: what was trained on is no test",
            to_do="correct the patients or remove the copies, or go on with them: data.allow_duplicates=true",
            go_on_with={"allow_duplicates": True},
        )
    of_several = [rows for rows in copies if len(set(patients[rows])) > 1]
    remarks = []
    if of_several:
        where = f", {len(across)} of them in training and in validation or test" if across else ""
        remarks.append(
            f"{len(of_several)} pictures occur under several patients{where}{_contradictions(table, of_several)}"
        )
    same = [rows for rows in copies if len(set(patients[rows])) == 1 and len(set(labels[rows])) > 1]
    if same:
        remarks.append(f"{len(same)} pictures occur several times with different labels")
    return remarks


def note_looks(table: pd.DataFrame, looks: ImageFingerprints, split: Split, rename: Rename) -> list[str]:
    """Remarks on pictures that look alike in different parts, like negatives, or unlike all others in shape."""
    notes = []
    pairs = [
        pair for one, other in itertools.combinations(split.parts.values(), 2) for pair in looks.near_copies(one, other)
    ]
    if pairs:
        listed = [" ~ ".join(rename(name) for name in _ids(table, np.array(pair))) for pair in pairs]
        notes.append(f"{len(pairs)} pairs of images in different parts of the split look alike: {_few(listed)}")
    for rows, what in (
        (np.flatnonzero(looks.has_bright_background), "have a bright background: are they negatives?"),
        (looks.odd_shapes(), "are far wider or narrower than the others: is something cut off?"),
    ):
        if len(rows):
            notes.append(f"{len(rows)} images {what} {_few([rename(name) for name in _ids(table, rows)])}")
    return notes


def _part_of_each(split: Split, num_rows: int) -> np.ndarray:
    """The part of each row, empty for rows that are in none."""
    part_of = np.full(num_rows, "", dtype=object)
    for name, rows in split.parts.items():
        part_of[rows] = name
    return part_of


def _contradictions(table: pd.DataFrame, copies: Sequence[np.ndarray]) -> str:
    labels = table["label"].to_numpy()
    number = sum(len(set(labels[rows])) > 1 for rows in copies)
    return f", {number} of them with different labels" if number else ""


def _ids(table: pd.DataFrame, rows: np.ndarray) -> list[str]:
    return table["image_id"].iloc[rows].tolist()


def _few(words: Sequence[str]) -> str:
    more = f" and {len(words) - _LISTED} more" if len(words) > _LISTED else ""
    return ", ".join(words[:_LISTED]) + more

"""Which images train, validate and test: grouped by patient and stratified, always.

All images of a patient are on one side. Patients are put in an order that a hash of (seed, patient id)
gives, so a split depends on the seed and on who is in the set, not on the order of files or rows. A draw
takes the exact number of patients: each class gives its proportional share (largest remainders), where
a patient counts for the rarest of its labels. Folds come from scikit-learn's StratifiedGroupKFold.
Neither promises that a small set has every class on both sides; a repair swaps the fewest patients.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.model_selection import StratifiedGroupKFold

from mammo.data.quoting import shown
from mammo.support.errors import DataError

Rows = NDArray[np.intp]
Deficit = Callable[[NDArray[np.intp]], int]


@dataclasses.dataclass(frozen=True, eq=False)
class Split:
    """Row positions in a manifest's table, each part in the order of the image ids; `notes` are for the log."""

    train: Rows
    val: Rows
    test: Rows
    notes: list[str] = dataclasses.field(default_factory=list)

    @property
    def parts(self) -> dict[str, Rows]:
        """The rows of train, val and test by name."""
        return {"train": self.train, "val": self.val, "test": self.test}


@dataclasses.dataclass(frozen=True, eq=False)
class _Patients:
    """The patients of some rows, in an order that the seed gives."""

    ids: list[str]
    stratum: Rows  # [P] index of the rarest of the patient's labels
    has: Rows  # [P, K] 1 where the patient has an image of the class

    @property
    def num_classes(self) -> int:
        return self.has.shape[1]


def split_holdout(
    table: pd.DataFrame, class_names: Sequence[str], val_fraction: float, test_fraction: float, seed: int
) -> Split:
    """One split into train, val and (with `test_fraction` above 0, or where prescribed) test.

    Fractions are of patients, rounded half up, at least one patient, and as many as it takes to have
    every class; `val_fraction` is of those that the test set leaves. Rows without a label are in no part.
    Parts that the table prescribes are used as they are, rows without one belong to train, and val is
    drawn from train where only the test set is prescribed.
    Raises `DataError` for a patient in two prescribed parts, for a class that train lacks and for too few patients.
    """
    rows, test, notes = _set_aside_test(table, class_names, test_fraction, seed)
    prescribed_val = (table["split"].to_numpy()[rows] == "val").astype(np.intp)
    if prescribed_val.any():
        notes.append("the validation set is the one that the dataset prescribes; data.val_fraction is not used")
        in_val = prescribed_val == 1
    else:
        patients = _patients_of(table, rows, class_names, seed)
        taken = _draw(patients, val_fraction, kept_minimum=1)
        in_val = _belongs_to(table, rows, patients, taken) == 1
        if taken.sum() > _share(val_fraction, len(taken)):
            notes.append(
                f"the validation set holds {taken.sum()} of {len(taken)} patients, more than data.val_fraction="
                f"{val_fraction:g}, so that every class is in it"
            )
    return _finished(table, class_names, Split(rows[~in_val], rows[in_val], test, notes))


def split_folds(
    table: pd.DataFrame, class_names: Sequence[str], num_folds: int, seed: int, test_fraction: float
) -> list[Split]:
    """Splits for cross-validation: each patient outside of the test set is in exactly one val.

    The test set is that of `split_holdout` with the same seed and fraction; a prescribed val joins the
    folds. After the repair a class is in as many folds as it has patients, so every train has it when
    it has two. Raises `DataError` as `split_holdout` does, and for more folds than patients.
    """
    rows, test, notes = _set_aside_test(table, class_names, test_fraction, seed)
    patients = _patients_of(table, rows, class_names, seed)
    if not 2 <= num_folds <= len(patients.ids):
        raise DataError(f"{len(patients.ids)} patients cannot be divided into {num_folds} folds")
    labels, groups = table["label"].to_numpy()[rows], table["patient_id"].to_numpy()[rows]
    folds = StratifiedGroupKFold(num_folds, shuffle=True, random_state=seed)
    fold_of_patient = dict.fromkeys(patients.ids, 0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer images than folds: the repair's business
        try:
            for fold, (_, val) in enumerate(folds.split(rows, labels, groups)):
                fold_of_patient.update(dict.fromkeys(groups[val], fold))
        except ValueError as error:
            raise DataError(f"the images cannot be divided into {num_folds} folds: {error}") from error
    part = np.array([fold_of_patient[patient] for patient in patients.ids], dtype=np.intp)
    part = _repaired(_without_empty(part, num_folds), patients.has, num_folds, _fold_deficit)
    fold_of_row = _belongs_to(table, rows, patients, part)
    return [
        _finished(table, class_names, Split(rows[fold_of_row != fold], rows[fold_of_row == fold], test, list(notes)))
        for fold in range(num_folds)
    ]


def split_inside(
    table: pd.DataFrame, class_names: Sequence[str], outer: Split, num_folds: int, seed: int
) -> list[Split]:
    """Splits for a choice that never sees the fold it is scored on: of each, `test` is the val of `outer`.

    The patients of its train are divided as `split_folds` does; those that `outer` has set aside for a test are in no
    part. Raises `DataError` as `split_folds` does.
    """
    rest = table.iloc[outer.train].assign(split="").reset_index(drop=True)
    notes = [*outer.notes, "the fold of data.fold is the test set: nothing is chosen on it"]
    if len(outer.test):
        notes.append(f"{len(outer.test)} images that the dataset prescribes as test are in no part")
    return [
        Split(outer.train[one.train], outer.train[one.val], outer.val, [*notes, *one.notes])
        for one in split_folds(rest, class_names, num_folds, seed, 0.0)
    ]


def _set_aside_test(
    table: pd.DataFrame, class_names: Sequence[str], test_fraction: float, seed: int
) -> tuple[Rows, Rows, list[str]]:
    """Rows (by image id) for training and validation, those of the test set, and notes."""
    by_image = np.argsort(table["image_id"].to_numpy(dtype=str), kind="stable")
    labels = table["label"].to_numpy()
    strange = sorted(set(labels) - {"", *class_names})
    if strange:
        raise DataError(f"labels {', '.join(map(shown, strange))} are not in the label set", ", ".join(class_names))
    rows = by_image[labels[by_image] != ""]
    prescribed = table["split"].to_numpy()[rows]
    notes = []
    if (unlabelled := len(table) - len(rows)) > 0:
        notes.append(f"{unlabelled} images without a label are in no part of the split")
    if len(found := sorted(set(prescribed) - {""})) > 0:
        notes.append(f"the dataset prescribes {', '.join(found)}")
        if (blank := int((prescribed == "").sum())) > 0:
            notes.append(f"{blank} images without a prescribed part belong to train")
        rest, test = prescribed != "test", prescribed == "test"
        check_no_overlap(Split(rows[rest & (prescribed != "val")], rows[prescribed == "val"], rows[test]), table)
        if test.any():
            if test_fraction > 0:
                raise DataError("the dataset prescribes a test set", to_do="set data.test_fraction=0")
            return rows[rest], rows[test], notes
    if test_fraction == 0:
        return rows, rows[:0], notes
    # A prescribed val stays what it is: only the others can become test patients.
    fixed = prescribed == "val"
    drawable = rows[~fixed]
    patients = _patients_of(table, drawable, class_names, seed)
    kept_minimum = 1 if fixed.any() else 2  # one for train, and one for val where that is still to be drawn
    drawn = _belongs_to(table, drawable, patients, _draw(patients, test_fraction, kept_minimum)) == 1
    in_test = np.zeros(len(rows), dtype=bool)
    in_test[~fixed] = drawn
    return rows[~in_test], rows[in_test], notes


def _patients_of(table: pd.DataFrame, rows: Rows, class_names: Sequence[str], seed: int) -> _Patients:
    label = pd.Categorical(table["label"].to_numpy()[rows], categories=list(class_names)).codes
    unique, patient = np.unique(table["patient_id"].to_numpy(dtype=str)[rows], return_inverse=True)
    has = np.zeros((len(unique), len(class_names)), dtype=np.intp)
    has[patient, label] = 1
    images = np.bincount(label, minlength=len(class_names))
    rarest = np.where(has == 1, images, images.sum() + 1).argmin(axis=1)
    order = sorted(range(len(unique)), key=lambda i: hashlib.sha256(f"{seed}/{unique[i]}".encode()).digest())
    return _Patients([str(unique[i]) for i in order], rarest[order], has[order])


def _belongs_to(table: pd.DataFrame, rows: Rows, patients: _Patients, part: Rows) -> Rows:
    """The part of each row, from the part of each patient."""
    part_of = dict(zip(patients.ids, part, strict=True))
    return np.array([part_of[patient] for patient in table["patient_id"].to_numpy()[rows]], dtype=np.intp)


def _draw(patients: _Patients, fraction: float, kept_minimum: int) -> Rows:
    """1 for each patient that is taken, 0 for those that are kept; of a class at least `kept_minimum` are kept."""
    num_patients = len(patients.ids)
    if num_patients < 2:
        raise DataError(f"{num_patients} patients cannot be divided", expected="at least two patients")
    # A few patients more than the fraction says, where each class could not be taken from otherwise.
    num_classes_taken = int((patients.has.sum(axis=0) > kept_minimum).sum())
    num_taken = min(max(_share(fraction, num_patients), num_classes_taken), num_patients - 1)
    sizes = np.bincount(patients.stratum, minlength=patients.num_classes)
    shares, remainders = np.divmod(num_taken * sizes, num_patients)
    largest = sorted(range(len(sizes)), key=lambda c: (-remainders[c], sizes[c], c))
    shares[largest[: num_taken - shares.sum()]] += 1
    taken = np.zeros(num_patients, dtype=np.intp)
    for c, share in enumerate(shares):
        taken[np.flatnonzero(patients.stratum == c)[:share]] = 1
    return _repaired(taken, patients.has, 2, partial(_draw_deficit, kept_minimum=kept_minimum))


def _share(fraction: float, num_patients: int) -> int:
    """A fraction of the patients, rounded half up, at least one."""
    exact = Fraction(str(float(fraction))) * num_patients  # as written: 0.29 * 50 is 14.5, not 14.499...
    return max(1, math.floor(exact + Fraction(1, 2)))


def _draw_deficit(counts: Rows, kept_minimum: int) -> int:
    """What is missing in patients per class [kept, taken]; the kept side comes first."""
    kept, taken = counts
    total = kept + taken
    kept_lacks = np.maximum(np.minimum(total, kept_minimum) - kept, 0).sum()
    taken_lacks = ((total > kept_minimum) & (taken == 0)).sum()
    return int(kept_lacks * (len(total) + 1) + taken_lacks)


def _fold_deficit(counts: Rows) -> int:
    """How many more folds could hold a class, over all classes, in patients per fold and class."""
    possible = np.minimum(counts.sum(axis=0), len(counts))
    return int((possible - (counts > 0).sum(axis=0)).sum())


def _repaired(part: Rows, has: Rows, num_parts: int, deficit: Deficit) -> Rows:
    """Swap patients between parts until nothing is missing, or no swap helps.

    Each step takes the swap that mends most, then the one that leaves the classes nearest to
    proportional, then the first patients in order. Patients with the same labels are interchangeable,
    so only the first of each kind in each part is tried.
    """
    part = part.copy()
    share = np.bincount(part, minlength=num_parts)[:, None] / len(part)
    proportional = share * has.sum(axis=0)
    kinds = [tuple(row) for row in has]
    while True:
        counts = np.array([has[part == p].sum(axis=0) for p in range(num_parts)])
        missing = deficit(counts)
        if missing == 0:
            return part
        first_of_kind = {
            (p, kind): i for i, p, kind in reversed(list(zip(itertools.count(), part, kinds, strict=False)))
        }
        best: tuple[int, float, int, int] | None = None
        for a, b in itertools.combinations(sorted(first_of_kind.values()), 2):
            if part[a] == part[b] or kinds[a] == kinds[b]:
                continue
            swapped = counts.copy()
            swapped[part[a]] += has[b] - has[a]
            swapped[part[b]] += has[a] - has[b]
            distance = round(float(np.abs(swapped - proportional).sum()), 9)  # equal is equal on any machine
            candidate = (deficit(swapped), distance, a, b)
            best = candidate if best is None else min(best, candidate)
        if best is None or best[0] >= missing:
            return part
        _, _, a, b = best
        part[a], part[b] = part[b], part[a]


def _without_empty(part: Rows, num_parts: int) -> Rows:
    """Give each part without patients one of the largest part (StratifiedGroupKFold can leave a fold empty)."""
    part = part.copy()
    for empty in sorted(set(range(num_parts)) - set(part.tolist())):
        largest = int(np.bincount(part, minlength=num_parts).argmax())
        part[np.flatnonzero(part == largest)[-1]] = empty
    return part


def check_no_overlap(split: Split, table: pd.DataFrame) -> None:
    """Raise `DataError` with the number of patients that two parts share."""
    patients = {name: set(table["patient_id"].to_numpy()[rows]) for name, rows in split.parts.items()}
    shared = []
    for (one, ids), (other, other_ids) in itertools.combinations(patients.items(), 2):
        if both := ids & other_ids:
            shared.append(f"{len(both)} patients are in both {one} and {other}")
    if shared:
        raise DataError(
            "; ".join(shared),
            "each patient in one part, with all images that share a patient or an exam",
            "correct the split column of the label table",
        )


def split_fingerprint(split: Split, table: pd.DataFrame) -> str:
    """SHA-256 (hex) over the sorted (image id, part, label) of all images in the split."""
    images, labels = table["image_id"].to_numpy(), table["label"].to_numpy()
    entries = [(images[row], name, labels[row]) for name, rows in split.parts.items() for row in rows]
    digest = hashlib.sha256()
    for entry in sorted(entries):
        digest.update(("\x1f".join(entry) + "\x1e").encode())
    return digest.hexdigest()


def _finished(table: pd.DataFrame, class_names: Sequence[str], split: Split) -> Split:
    """Check what must hold for every split, and note what val and test lack."""
    check_no_overlap(split, table)
    labels = table["label"].to_numpy()
    lacks = {name: [c for c in class_names if c not in set(labels[rows])] for name, rows in split.parts.items()}
    if lacks["train"]:
        num_patients = table["patient_id"].nunique()
        raise DataError(
            f"the training set has no image of class {', '.join(lacks['train'])} ({num_patients} patients in all)",
            expected="every class in the training set",
            to_do="add patients of that class, use a smaller data.val_fraction or data.test_fraction, "
            "or leave the class out of data.classes",
        )
    for name in ("val", "test"):
        if len(split.parts[name]) and lacks[name]:
            split.notes.append(f"{name} has no image of class {', '.join(lacks[name])}: its metrics leave it out")
    return split

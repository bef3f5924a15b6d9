"""The way of the data in one place: files -> manifest -> image store -> split."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.data.batches import LabelledImages
from mammo.data.data_options import DataOptions
from mammo.data.duplicates import check_copies, note_looks, with_copies_together
from mammo.data.image_fingerprints import look_once
from mammo.data.image_list import STORES, Counting, check_defects, list_images
from mammo.data.manifest import Manifest
from mammo.data.negatives import read_negatives
from mammo.data.pseudonyms import Rename, renamer, unchanged, write_lookup
from mammo.data.splits import Split, split_fingerprint, split_folds, split_holdout, split_inside
from mammo.data.store import ImageStore, StoredImages
from mammo.data.views import shown_view

# A patient with more images than this, and than this fraction of all, is rather a placeholder.
MANY_IMAGES = 16
LARGE_PATIENT_FRACTION = 0.1


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images that are ready, their labels, their split, and what was left out.

    `table` has a row for each stored image, in the order of `images` and `content_keys`, which name the
    content of the files; `rename` turns an id into what is written. `folds_fingerprint` is equal in all runs of
    a cross-validation.
    """

    manifest: Manifest
    table: pd.DataFrame
    images: StoredImages
    content_keys: list[str]
    split: Split
    fingerprint: str
    split_fingerprint: str
    folds_fingerprint: str | None
    pixels_key: str
    rename: Rename

    @property
    def targets(self) -> np.ndarray:
        """What the loss compares with, of each row: [N, ...], see `Task.targets`."""
        return self.manifest.task.targets(self.table["label"].tolist(), self.manifest.class_names)

    @property
    def is_pseudonymized(self) -> bool:
        """Whether written ids are pseudonyms."""
        return self.rename is not unchanged

    @property
    def lookup_name(self) -> str:
        """Name of the table from pseudonym to id, in `pseudonyms` in the cache folder."""
        return f"{self.fingerprint[:16]}.csv"

    def part(self, rows: np.ndarray) -> LabelledImages:
        """The images of some rows of the table."""
        chosen = StoredImages(self.images.pixels, self.images.rows[rows])
        image_ids = self.table["image_id"].iloc[rows].tolist()
        targets, keys = self.targets[rows], [self.content_keys[row] for row in rows]
        return LabelledImages(chosen, targets, image_ids, keys, self.manifest.task.strata(targets))

    def described(self, rows: np.ndarray) -> pd.DataFrame:
        """What may be written of some rows: `image_id`, `patient_id`, `exam_id`, `laterality`, `view` and `label`."""
        chosen = self.table.iloc[rows]
        columns = {
            name: [self.rename(value) for value in chosen[name]] for name in ("image_id", "patient_id", "exam_id")
        }
        columns |= {name: chosen[name].tolist() for name in ("laterality", "view", "label")}
        if self.is_pseudonymized:
            columns["view"] = [shown_view(view) for view in columns["view"]]
        return pd.DataFrame(columns, dtype=str)

    def class_counts(self, rows: np.ndarray | None = None) -> list[int]:
        """Images of each class, in all rows or in some."""
        targets = self.targets if rows is None else self.targets[rows]
        return self.manifest.task.class_counts(targets, len(self.manifest.class_names))


def load_dataset(
    options: DataOptions, cache_folder: Path, num_workers: int, counting: Counting, *, only_test: bool = False
) -> Dataset:
    """Read, check, decode and split a dataset; what can be used of it is used.

    With `only_test` everything is in the test part: a set that nothing is trained on need not be divisible.
    Raises DataError when nothing can be used, when more than `data.max_bad_fraction` is defective,
    when patients overlap between splits, or when pictures of different patients in them are the same.
    """
    wanted = list_images(options, cache_folder, counting)
    manifest = wanted.manifest
    with counting("Preparing images") as count:
        store = ImageStore(cache_folder / STORES, wanted.settings)
        stored = store.fill(wanted.files, num_workers, count, timeout_seconds=options.file_timeout_seconds)
    table = manifest.table.iloc[stored.kept].reset_index(drop=True)
    manifest = manifest.replace(left_out=[*manifest.left_out, *stored.left_out])
    check_defects(manifest.left_out, len(table), wanted.num_not_looked_at, options.max_bad_fraction)

    def negatives(rows: Sequence[int]) -> Iterator[np.ndarray | None]:
        files = [wanted.files[stored.kept[row]] for row in rows]
        return read_negatives(files, wanted.settings, num_workers, options.file_timeout_seconds)

    looks = look_once(stored.images, stored.content_keys, store.folder, num_workers, negatives)
    notes = [*stored.remarks, *_remarks(table)]
    if manifest.group_by == "image":
        table, more_notes = with_copies_together(table, looks)
        notes += more_notes
    rename = renamer(cache_folder) if options.pseudonymize else unchanged
    fingerprint = _fingerprint(table, stored.content_keys)
    if options.pseudonymize:
        # Before anything is reported by its pseudonym.
        everything = [*table["image_id"], *table["patient_id"], *table["exam_id"]]
        everything += [item.image_id for item in manifest.left_out]
        write_lookup(_lookup_file(cache_folder, fingerprint), rename, everything)

    split, folds = _all_as_test(table) if only_test else _split(table, manifest, options)
    notes += check_copies(table, looks, [*folds, split], rename, options.allow_duplicates)
    notes += note_looks(table, looks, split, rename)
    return Dataset(
        manifest=manifest.replace(notes=[*manifest.notes, *notes]),
        table=table,
        images=stored.images,
        content_keys=stored.content_keys,
        split=split,
        fingerprint=fingerprint,
        split_fingerprint=split_fingerprint(split, table),
        folds_fingerprint=_folds_fingerprint(folds, table),
        pixels_key=wanted.settings.key(),
        rename=rename,
    )


def _lookup_file(cache_folder: Path, fingerprint: str) -> Path:
    return cache_folder / "pseudonyms" / f"{fingerprint[:16]}.csv"


def _split(table: pd.DataFrame, manifest: Manifest, options: DataOptions) -> tuple[Split, list[Split]]:
    """The split that the options ask for, and all folds where it is one of them; strata stand for classes."""
    seed, test_fraction, names = options.split_seed, options.test_fraction, manifest.class_names
    strata = manifest.task.strata(manifest.task.targets(table["label"].tolist(), names))
    stratified = table.assign(label=[names[stratum] for stratum in strata])
    if options.num_folds is None or options.fold is None:
        return split_holdout(stratified, names, options.val_fraction, test_fraction, seed), []
    folds = split_folds(stratified, names, options.num_folds, seed, test_fraction)
    if options.inner_folds is None:
        return folds[options.fold], folds
    inner = split_inside(stratified, names, folds[options.fold], options.inner_folds, seed)
    return inner[options.inner_fold], folds


def _all_as_test(table: pd.DataFrame) -> tuple[Split, list[Split]]:
    none = np.array([], dtype=np.intp)
    return Split(none, none, np.arange(len(table))), []


def _folds_fingerprint(folds: Sequence[Split], table: pd.DataFrame) -> str | None:
    if not folds:
        return None
    return hashlib.sha256("".join(split_fingerprint(fold, table) for fold in folds).encode()).hexdigest()


def _remarks(table: pd.DataFrame) -> list[str]:
    """What looks wrong in the labels and is not an error: a placeholder for patient ids."""
    sizes = table["patient_id"].value_counts()
    if len(table) < MANY_IMAGES or sizes.iloc[0] <= max(MANY_IMAGES, LARGE_PATIENT_FRACTION * len(table)):
        return []
    return [
        f"one patient has {sizes.iloc[0]} of {len(table)} images: is the patient id a placeholder? "
        "data.group_by=exam groups by exam instead"
    ]


def _fingerprint(table: pd.DataFrame, content_keys: list[str]) -> str:
    """SHA-256 over ids, labels, prescribed splits and contents of all images."""
    digest = hashlib.sha256()
    columns = [table[name] for name in ("image_id", "patient_id", "exam_id", "label", "split")]
    for row in zip(*columns, content_keys, strict=True):
        digest.update("\x1f".join(row).encode() + b"\n")
    return digest.hexdigest()

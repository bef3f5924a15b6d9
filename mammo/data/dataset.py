"""The way of the data in one place: files -> manifest -> image store -> split."""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import os
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pandas as pd

from mammo.data.batches import LabelledImages
from mammo.data.formats import read_manifest
from mammo.data.labels import apply_task, limit_patients
from mammo.data.manifest import LeftOut, Manifest
from mammo.data.options import DEFAULT_IMAGE_SIZE_PX, DataOptions
from mammo.data.phantom import phantom_folder
from mammo.data.pseudonyms import Rename, renamer, unchanged, write_lookup
from mammo.data.splits import Split, split_fingerprint, split_holdout
from mammo.data.store import ImageFile, ImageStore, PixelSettings, StoredImages
from mammo.errors import DataError

log = logging.getLogger(__name__)

# A patient with more images than this, and than this fraction of all, is rather a placeholder.
MANY_IMAGES = 16
LARGE_PATIENT_FRACTION = 0.1

Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Images that are ready, their labels, their split, and what was left out.

    `table` has a row for each stored image, in the order of `images` and `content_keys`, which name the
    content of the files; `rename` turns an id into what is written.
    """

    manifest: Manifest
    table: pd.DataFrame
    images: StoredImages
    content_keys: list[str]
    split: Split
    fingerprint: str
    split_fingerprint: str
    pixels_key: str
    rename: Rename

    @property
    def targets(self) -> np.ndarray:
        """Class index of each row, int64."""
        index = {name: i for i, name in enumerate(self.manifest.class_names)}
        return self.table["label"].map(index).to_numpy(dtype=np.int64)

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
        return LabelledImages(chosen, self.targets[rows], image_ids, [self.content_keys[row] for row in rows])

    def class_counts(self, rows: np.ndarray | None = None) -> list[int]:
        """Images of each class, in all rows or in some."""
        targets = self.targets if rows is None else self.targets[rows]
        return np.bincount(targets, minlength=len(self.manifest.class_names)).tolist()


def user_cache_folder(cache_dir: str | None) -> Path:
    """Where stores and generated data are kept: `cache_dir`, or `mammo` in the user's cache folder."""
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mammo"


def load_dataset(options: DataOptions, cache_folder: Path, num_workers: int, counting: Counting) -> Dataset:
    """Read, check, decode and split a dataset; what can be used of it is used.

    Raises DataError when nothing can be used, when more than `data.max_bad_fraction` is defective,
    or when patients overlap between splits.
    """
    manifest = _manifest(options, cache_folder, counting)
    manifest = apply_task(manifest, options.task)
    num_before_limit = len(manifest.table)
    if options.limit is not None:
        manifest = limit_patients(manifest, options.limit)
    num_not_looked_at = num_before_limit - len(manifest.table)

    size_px = options.image_size or DEFAULT_IMAGE_SIZE_PX
    settings = PixelSettings(size_px, options.crop, options.orient, tuple(sorted(options.accept)), options.decode)
    store = ImageStore(cache_folder / "stores", settings)
    columns = (manifest.table[name].tolist() for name in ("image_id", "path", "laterality"))
    files = [ImageFile(image_id, Path(path), laterality) for image_id, path, laterality in zip(*columns, strict=True)]
    with counting("Preparing images") as count:
        stored = store.fill(files, num_workers, count)
    table = manifest.table.iloc[stored.kept].reset_index(drop=True)
    manifest = manifest.replace(left_out=[*manifest.left_out, *stored.left_out])
    _check_defects(manifest.left_out, len(table), num_not_looked_at, options.max_bad_fraction)
    manifest = manifest.replace(notes=[*manifest.notes, *_remarks(table, stored.content_keys)])

    split = split_holdout(table, manifest.class_names, options.val_fraction, options.test_fraction, options.split_seed)
    dataset = Dataset(
        manifest=manifest,
        table=table,
        images=stored.images,
        content_keys=stored.content_keys,
        split=split,
        fingerprint=_fingerprint(table, stored.content_keys),
        split_fingerprint=split_fingerprint(split, table),
        pixels_key=settings.key(),
        rename=renamer(cache_folder) if options.pseudonymize else unchanged,
    )
    if options.pseudonymize:
        everything = [*table["image_id"], *table["patient_id"], *table["exam_id"]]
        left_out = [item.image_id for item in manifest.left_out]
        write_lookup(cache_folder / "pseudonyms" / dataset.lookup_name, dataset.rename, [*everything, *left_out])
    return dataset


def _manifest(options: DataOptions, cache_folder: Path, counting: Counting) -> Manifest:
    root = Path(options.root).expanduser() if options.root is not None else None
    if options.format == "phantom" and root is None:
        with counting("Generating phantom exams") as count:
            root = phantom_folder(cache_folder, options.phantom.num_patients, options.phantom.seed, count)
    with counting("Reading headers") as count:
        return read_manifest(options, root, progress=count)


def _remarks(table: pd.DataFrame, content_keys: list[str]) -> list[str]:
    """What looks wrong in the data and is not an error: placeholders for patient ids, equal pictures."""
    remarks = []
    sizes = table["patient_id"].value_counts()
    if len(table) >= MANY_IMAGES and sizes.iloc[0] > max(MANY_IMAGES, LARGE_PATIENT_FRACTION * len(table)):
        remarks.append(
            f"one patient has {sizes.iloc[0]} of {len(table)} images: is the patient id a placeholder? "
            "data.group_by=exam groups by exam instead"
        )
    patients = table.groupby(np.asarray(content_keys))["patient_id"].nunique()
    if (patients > 1).any():
        remarks.append(
            f"{int((patients > 1).sum())} pictures occur under several patients, "
            "and may be in training and validation at the same time"
        )
    return remarks


def _check_defects(left_out: list[LeftOut], num_usable: int, num_not_looked_at: int, max_bad_fraction: float) -> None:
    defects = [item for item in left_out if item.is_defect]
    summary = reasons_summary(left_out)
    if num_usable == 0:
        raise DataError(f"no image can be used:\n{summary}", "labelled images", "see the reasons above")
    # With data.limit most images were not decoded; label rows and headers were checked of all of them.
    num_checked = len(defects) + num_usable + num_not_looked_at
    fraction = len(defects) / num_checked
    if fraction > max_bad_fraction:
        raise DataError(
            f"{len(defects)} of {num_checked} images or label rows are defective ({fraction:.1%}):\n{summary}",
            f"at most data.max_bad_fraction={max_bad_fraction:g}",
            f"mend the files, or go on without them: data.max_bad_fraction={np.ceil(fraction * 100) / 100:g}",
        )


def reasons_summary(left_out: list[LeftOut]) -> str:
    """What was left out, counted by reason, most frequent first; one line a reason."""
    counts = Counter((item.stage, item.reason) for item in left_out)
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return "\n".join(f"  {count:>6}  {stage}: {reason}" for (stage, reason), count in ordered)


def _fingerprint(table: pd.DataFrame, content_keys: list[str]) -> str:
    """SHA-256 over ids, labels, prescribed splits and contents of all images."""
    digest = hashlib.sha256()
    columns = [table[name] for name in ("image_id", "patient_id", "exam_id", "label", "split")]
    for row in zip(*columns, content_keys, strict=True):
        digest.update("\x1f".join(row).encode() + b"\n")
    return digest.hexdigest()

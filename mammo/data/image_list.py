"""Which images a dataset consists of and how they are to be stored: what training and `mammo.prepare` share.

Both must come to the same files and the same settings, or the one would not find what the other has stored.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np

from mammo.data.content_hashes import ContentHashes
from mammo.data.data_options import DEFAULT_IMAGE_SIZE_PX, DataOptions
from mammo.data.dicom_header import accepted_kinds
from mammo.data.formats import read_manifest, require_folder
from mammo.data.labels import apply_task, limit_patients
from mammo.data.manifest import LeftOut, Manifest
from mammo.data.phantom_cache import phantom_folder
from mammo.data.pixels import PixelSettings
from mammo.data.store import ImageFile
from mammo.support.errors import DataError

# Folder of all image stores in the cache folder.
STORES = "stores"

Counting = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]


@dataclasses.dataclass(frozen=True)
class ImageList:
    """The images of a dataset in the order of the manifest's table, and how they are stored.

    `num_not_looked_at` is the number of images that `data.limit` leaves aside.
    """

    manifest: Manifest
    files: list[ImageFile]
    settings: PixelSettings
    num_not_looked_at: int


def list_images(options: DataOptions, cache_folder: Path, counting: Counting) -> ImageList:
    """Read the labels and headers of a dataset; no pixels are decoded. Raises DataError."""
    manifest = apply_task(_manifest(options, cache_folder, counting), options.task)
    num_before_limit = len(manifest.table)
    if options.limit is not None:
        manifest = limit_patients(manifest, options.limit)
    columns = (manifest.table[name].tolist() for name in ("image_id", "path", "laterality"))
    return ImageList(
        manifest=manifest,
        files=[ImageFile(image_id, Path(path), side) for image_id, path, side in zip(*columns, strict=True)],
        settings=PixelSettings(
            size_px=options.image_size or DEFAULT_IMAGE_SIZE_PX,
            crop=options.crop,
            orient=options.orient,
            accept=accepted_kinds(options.accept, options.modality, options.frames),
            decode=options.decode,
        ),
        num_not_looked_at=num_before_limit - len(manifest.table),
    )


def is_generated(options: DataOptions) -> bool:
    """Whether the images are generated and not from a folder."""
    return options.format == "phantom" and options.root is None


def require_root(options: DataOptions) -> None:
    """Raise `DataError` where there is no folder that the images could be read from."""
    if not is_generated(options):
        require_folder(options, _root_of(options))


def _root_of(options: DataOptions) -> Path | None:
    return Path(options.root).expanduser() if options.root is not None else None


def _manifest(options: DataOptions, cache_folder: Path, counting: Counting) -> Manifest:
    root = _root_of(options)
    if is_generated(options):
        with counting("Generating phantom exams") as count:
            known_hash = ContentHashes(cache_folder / STORES).known_hash
            root = phantom_folder(cache_folder, options.phantom.num_patients, options.phantom.seed, count, known_hash)
    with counting("Reading headers") as count:
        return read_manifest(options, root, progress=count)


def check_defects(left_out: list[LeftOut], num_usable: int, num_not_looked_at: int, max_bad_fraction: float) -> None:
    """Raise DataError when nothing can be used, or when more than a fraction of what was looked at is defective."""
    defects = [item for item in left_out if item.is_defect]
    summary = reasons_summary(left_out)
    is_unstated = any(item.reason.startswith("modality none") for item in defects)
    hint = "; data.modality=MG says that DICOM files without a Modality are mammograms" if is_unstated else ""
    if num_usable == 0:
        raise DataError(f"no image can be used:\n{summary}", "labelled images", f"see the reasons above{hint}")
    # With data.limit most images were not decoded; label rows and headers were checked of all of them.
    num_checked = len(defects) + num_usable + num_not_looked_at
    fraction = len(defects) / num_checked
    if fraction > max_bad_fraction:
        raise DataError(
            f"{len(defects)} of {num_checked} images or label rows are defective ({fraction:.1%}):\n{summary}",
            f"at most data.max_bad_fraction={max_bad_fraction:g}",
            f"mend the files, or go on without them: data.max_bad_fraction={np.ceil(fraction * 100) / 100:g}{hint}",
            go_on_with={"max_bad_fraction": 1.0},
        )


def reasons_summary(left_out: list[LeftOut]) -> str:
    """What was left out, counted by reason, most frequent first; one line a reason."""
    counts = Counter((item.stage, item.reason) for item in left_out)
    ordered = sorted(counts.items(), key=lambda entry: (-entry[1], entry[0]))
    return "\n".join(f"  {count:>6}  {stage}: {reason}" for (stage, reason), count in ordered)

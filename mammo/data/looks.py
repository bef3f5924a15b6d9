"""What the stored squares themselves give away: equal and nearly equal pictures, negatives, odd shapes.

Two mammograms of different women have the same shape on a black ground, so that the usual perceptual hashes take
many for equal. Compared here is local contrast, what is brighter or darker than its surroundings, on a copy of
32 x 32 pixels: on mini-MIAS no two films of different women correlate by more than 0.81, and copies that were
compressed, resized or brightened by more than 0.93.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from mammo.data.parallel import in_order
from mammo.data.store import StoredImages
from mammo.keyed_rows import KeyedRows

# Part of the name of the folder where looks are kept: raise it with every change that can alter one.
LOOKS_VERSION = 1
NEARLY_EQUAL = 0.9
_COPY_PX, _SURROUNDINGS_PX = 32, 5
_IMAGES_PER_READ = 64
_PAIRS_PER_BLOCK = 2**24
# A negative: where the background must be, it is bright, and brighter than the middle of the breast.
_BRIGHT, _BRIGHTER_BY = 128, 1.1
# Shapes further from the middle half of all than this many times its spread are outliers, as in a box plot's far ones.
_FAR_OUT = 3.0


_LOOK = np.dtype(
    [("digest", np.uint8, 16), ("contrast", np.float32, _COPY_PX**2), ("is_bright", np.uint8), ("aspect", np.float64)]
)


@dataclasses.dataclass(frozen=True)
class Looks:
    """Of N images: a digest of the pixels, local contrast float32 [N, 1024] of length 1 (or 0 for none),
    whether the background is bright, and the width of what is shown as a fraction of its height."""

    digests: list[bytes]
    contrast: np.ndarray
    has_bright_background: np.ndarray
    aspect: np.ndarray

    def copies(self) -> list[np.ndarray]:
        """Rows of images with the same pixels, for each picture that occurs more than once."""
        rows_of: dict[bytes, list[int]] = {}
        for row, digest in enumerate(self.digests):
            rows_of.setdefault(digest, []).append(row)
        return [np.array(rows) for rows in rows_of.values() if len(rows) > 1]

    def near_copies(self, rows: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
        """Pairs (one of `rows`, one of `others`) that look the same and are not the same pixels."""
        pairs: list[tuple[int, int]] = []
        block = max(1, _PAIRS_PER_BLOCK // max(1, len(others)))
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            found = np.argwhere(self.contrast[part] @ self.contrast[others].T > NEARLY_EQUAL)
            pairs += [(int(part[i]), int(others[j])) for i, j in found]
        return [(one, other) for one, other in pairs if self.digests[one] != self.digests[other]]

    def odd_shapes(self) -> np.ndarray:
        """Rows of images that are far wider or narrower than the others."""
        low, high = np.percentile(self.aspect, (25, 75))
        reach = _FAR_OUT * max(high - low, 0.05)
        return np.flatnonzero((self.aspect < low - reach) | (self.aspect > high + reach))


def look_at(images: StoredImages, num_workers: int = 0) -> Looks:
    """Look at all images, with threads; about a millisecond of work for one of 512 pixels."""
    seen = np.empty((len(images), _LOOK.itemsize), np.uint8)
    for rows, looks in _looked_at(images, range(len(images)), num_workers):
        seen[rows] = looks
    return _looks_of(seen)


def look_once(images: StoredImages, keys: Sequence[str], folder: Path, num_workers: int = 0) -> Looks:
    """`look_at`, but what was seen of an image is kept under its key in `folder`, for all later runs.

    Where that cannot be written or read, everything is looked at again.
    """
    try:
        kept = KeyedRows(folder / f"looks_{LOOKS_VERSION}", (_LOOK.itemsize,), "uint8")
        for _ in range(2):
            _look_at_new(kept, images, [row for row, key in enumerate(keys) if key not in kept], keys, num_workers)
            seen, is_damaged = kept.read(np.array([kept.row_of(key) for key in keys], dtype=np.int64))
            if not is_damaged.any():  # else what is damaged is looked at once more
                return _looks_of(seen)
    except OSError:
        pass
    return look_at(images, num_workers)


def _look_at_new(
    kept: KeyedRows, images: StoredImages, new: Sequence[int], keys: Sequence[str], num_workers: int
) -> None:
    for rows, looks in _looked_at(images, new, num_workers):
        # Equal files have one key.
        first = {keys[row]: i for i, row in enumerate(rows)}
        kept.append(list(first), looks[list(first.values())])


def _looks_of(seen: np.ndarray) -> Looks:
    looks = seen.view(_LOOK)[:, 0] if len(seen) else np.empty(0, _LOOK)
    return Looks(
        [digest.tobytes() for digest in looks["digest"]],
        np.ascontiguousarray(looks["contrast"]),
        looks["is_bright"].astype(bool),
        looks["aspect"].astype(np.float64),
    )


def _looked_at(images: StoredImages, rows: Sequence[int], num_workers: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows [M] of images and what is seen of them, uint8 [M, bytes of a look]."""
    groups = [np.array(rows[start : start + _IMAGES_PER_READ]) for start in range(0, len(rows), _IMAGES_PER_READ)]
    return zip(groups, in_order(lambda group: _look_at_some(images.read(group)), groups, num_workers), strict=True)


def _look_at_some(squares: np.ndarray) -> np.ndarray:
    looks = np.zeros(len(squares), _LOOK)
    for look, square in zip(looks, squares, strict=True):
        part = _shown_part(square)
        look["digest"] = np.frombuffer(hashlib.blake2b(square.tobytes(), digest_size=16).digest(), np.uint8)
        look["contrast"] = local_contrast(square)
        look["is_bright"] = _has_bright_background(part)
        look["aspect"] = part.shape[1] / part.shape[0]
    return looks.view(np.uint8).reshape(len(squares), _LOOK.itemsize)


def local_contrast(square: np.ndarray) -> np.ndarray:
    """How much brighter than its surroundings each pixel of a small copy is, float32 [1024] of length 1.

    The edge of the breast is left out: it is in every image. All 0 for an image without contrast.
    """
    copy = np.asarray(Image.fromarray(square).resize((_COPY_PX, _COPY_PX), Image.Resampling.BOX), dtype=np.float32)
    inside = ndimage.binary_erosion(copy > 0, np.ones((_SURROUNDINGS_PX, _SURROUNDINGS_PX)))
    contrast = np.where(inside, copy - ndimage.uniform_filter(copy, _SURROUNDINGS_PX), 0).ravel()
    return contrast / max(float(np.linalg.norm(contrast)), 1e-6)


def _shown_part(square: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(square.any(axis=1)), np.flatnonzero(square.any(axis=0))
    if len(rows) == 0:
        return square
    return square[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _has_bright_background(picture: np.ndarray) -> bool:
    """Whether both corners away from the chest wall are brighter than the middle, as in a negative."""
    rows, columns = picture.shape
    corner_rows, corner_columns = max(1, rows // 8), max(1, columns // 8)
    corners = min(np.median(part[:, -corner_columns:]) for part in (picture[:corner_rows], picture[-corner_rows:]))
    middle = np.median(picture[rows // 3 : 2 * rows // 3 + 1, columns // 4 : columns // 2 + 1])
    return bool(corners >= max(_BRIGHT, _BRIGHTER_BY * middle))

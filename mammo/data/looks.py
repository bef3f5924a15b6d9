"""What the stored squares themselves give away: equal and nearly equal pictures, negatives, odd shapes.

Two mammograms of different women have the same shape on a black ground, so that the usual perceptual hashes take
many for equal. Compared here is local contrast, what is brighter or darker than its surroundings, on a copy of
32 x 32 pixels: on mini-MIAS no two films of different women correlate by more than 0.81, and copies that were
compressed, resized or brightened by more than 0.93.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from mammo.data.parallel import in_order
from mammo.data.store import StoredImages

NEARLY_EQUAL = 0.9
_COPY_PX, _SURROUNDINGS_PX = 32, 5
_IMAGES_PER_READ = 64
_PAIRS_PER_BLOCK = 2**24
# A negative: where the background must be, it is bright, and brighter than the middle of the breast.
_BRIGHT, _BRIGHTER_BY = 128, 1.1
# Shapes further from the middle half of all than this many times its spread are outliers, as in a box plot's far ones.
_FAR_OUT = 3.0


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
    """Look at all images once, with threads; about a millisecond of work for one of 512 pixels."""
    digests: list[bytes] = []
    contrast = np.zeros((len(images), _COPY_PX**2), np.float32)
    is_bright, aspect = np.zeros(len(images), bool), np.zeros(len(images))
    starts = range(0, len(images), _IMAGES_PER_READ)
    looks = in_order(lambda start: _look_at_some(images, start), starts, num_workers)
    for row, look in enumerate(itertools.chain.from_iterable(looks)):
        digests.append(look.digest)
        contrast[row], is_bright[row], aspect[row] = look.contrast, look.is_bright, look.aspect
    return Looks(digests, contrast, is_bright, aspect)


class _Look(NamedTuple):
    digest: bytes
    contrast: np.ndarray
    is_bright: bool
    aspect: float


def _look_at_some(images: StoredImages, start: int) -> list[_Look]:
    squares = images.read(np.arange(start, min(start + _IMAGES_PER_READ, len(images))))
    parts = map(_shown_part, squares)
    return [
        _Look(
            hashlib.blake2b(square.tobytes(), digest_size=16).digest(),
            local_contrast(square),
            _has_bright_background(part),
            part.shape[1] / part.shape[0],
        )
        for square, part in zip(squares, parts, strict=True)
    ]


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

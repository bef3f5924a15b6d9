"""What the stored squares themselves give away: equal and nearly equal pictures, negatives, odd shapes.

Two mammograms of different women have the same shape on a black ground, so that the usual perceptual hashes take
many for equal. Compared here are keypoints, see `mammo.data.keypoints`, and for pictures of too few of them local
contrast, what is brighter or darker than its surroundings, on a copy of 32 x 32 pixels: on mini-MIAS no two films of
different women correlate by more than 0.81, and copies that were compressed, resized or brightened by more than 0.93.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from mammo.data.keypoints import POINTS, Keypoints, keypoints_of, same_pictures
from mammo.data.parallel import in_order
from mammo.data.store import StoredImages
from mammo.support.keyed_rows import KeyedRows

# Part of the name of the folder where looks are kept: raise it with every change that can alter one.
LOOKS_VERSION = 2
NEARLY_EQUAL = 0.9
_COPY_PX, _SURROUNDINGS_PX = 32, 5
_IMAGES_PER_READ = 64
_PAIRS_PER_BLOCK = 2**24
# Where most of the frame of what is shown is bright, it is a negative; where much is, its negative is looked at, too.
# Of the films of mini-MIAS none is one and for three that is done; of their negatives 93% are one, for 99.7% it is.
_BRIGHT, _BRIGHTER_BY = 128, 1.02
_MAY_BE_NEGATIVE, _IS_NEGATIVE = 0.28, 0.6
# Shapes further from the middle half of all than this many times its spread are outliers, as in a box plot's far ones.
_FAR_OUT = 3.0


_LOOK = np.dtype(
    [
        ("digest", np.uint8, 16),
        ("contrast", np.float32, _COPY_PX**2),
        ("bright_frame", np.float64),
        ("aspect", np.float64),
        ("points", POINTS),
    ]
)

# Squares of the negatives of some images, by their rows; None for what cannot be read any more.
Negatives = Callable[[Sequence[int]], Iterable[np.ndarray | None]]


@dataclasses.dataclass(frozen=True)
class ImageFingerprints:
    """Of N images: a digest of the pixels, local contrast float32 [N, 1024] of length 1 (or 0 for none), the share of
    the frame that is bright, the width of what is shown as a fraction of its height, and keypoints."""

    digests: list[bytes]
    contrast: np.ndarray
    bright_frame: np.ndarray
    aspect: np.ndarray
    keypoints: Keypoints

    @property
    def has_bright_background(self) -> np.ndarray:
        """Whether the background is bright, as in a negative; bool [N]."""
        return self.bright_frame >= _IS_NEGATIVE

    def copies(self) -> list[np.ndarray]:
        """Rows of images with the same pixels, for each picture that occurs more than once."""
        rows_of: dict[bytes, list[int]] = {}
        for row, digest in enumerate(self.digests):
            rows_of.setdefault(digest, []).append(row)
        return [np.array(rows) for rows in rows_of.values() if len(rows) > 1]

    def near_copies(self, rows: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
        """Pairs (one of `rows`, one of `others`) that look the same and are not the same pixels, in their order."""
        pairs = set(same_pictures(self.keypoints, rows, others))
        block = max(1, _PAIRS_PER_BLOCK // max(1, len(others)))
        for start in range(0, len(rows), block):
            part = rows[start : start + block]
            found = np.argwhere(self.contrast[part] @ self.contrast[others].T > NEARLY_EQUAL)
            pairs |= {(int(part[i]), int(others[j])) for i, j in found}
        return sorted((one, other) for one, other in pairs if self.digests[one] != self.digests[other])

    def odd_shapes(self) -> np.ndarray:
        """Rows of images that are far wider or narrower than the others."""
        low, high = np.percentile(self.aspect, (25, 75))
        reach = _FAR_OUT * max(high - low, 0.05)
        return np.flatnonzero((self.aspect < low - reach) | (self.aspect > high + reach))


def look_at(images: StoredImages, num_workers: int = 0, negatives: Negatives | None = None) -> ImageFingerprints:
    """Look at all images, with threads; about ten milliseconds of work for one of 512 pixels.

    What may be a negative is compared by its own negative, where `negatives` gives that and it has a darker frame:
    what is cut out of a picture with a bright background is not the breast.
    """
    seen = np.empty((len(images), _LOOK.itemsize), np.uint8)
    for rows, looks in _looked_at(images, range(len(images)), num_workers, negatives):
        seen[rows] = looks
    return _looks_of(StoredImages(seen, np.arange(len(seen))))


def look_once(
    images: StoredImages,
    keys: Sequence[str],
    folder: Path,
    num_workers: int = 0,
    negatives: Negatives | None = None,
) -> ImageFingerprints:
    """`look_at`, but what was seen of an image is kept under its key in `folder`, for all later runs.

    Where that cannot be written or read, everything is looked at again.
    """
    try:
        kept = KeyedRows(folder / f"looks_{LOOKS_VERSION}", (_LOOK.itemsize,), "uint8")
        for _ in range(2):
            # Equal files have one key.
            new = {key: row for row, key in enumerate(keys) if key not in kept}
            for rows, looks in _looked_at(images, list(new.values()), num_workers, negatives):
                kept.append([keys[row] for row in rows], looks)
            places = np.array([kept.row_of(key) for key in keys], dtype=np.int64)
            damaged = [kept.read(places[group])[1].any() for group in _in_groups(range(len(places)))]
            if not any(damaged):  # else what is damaged is looked at once more
                return _looks_of(StoredImages(kept, places))
    except OSError:
        pass
    return look_at(images, num_workers, negatives)


def _looks_of(seen: StoredImages) -> ImageFingerprints:
    """Fingerprints in memory, but for the keypoints: they are sixteen kilobytes an image, and read when needed."""
    small = np.zeros(len(seen), [(name, _LOOK[name]) for name in ("digest", "contrast", "bright_frame", "aspect")])
    for rows in _in_groups(range(len(seen))):
        some = seen.read(rows).view(_LOOK)[:, 0]
        for name in small.dtype.names or ():
            small[name][rows] = some[name]
    return ImageFingerprints(
        [digest.tobytes() for digest in small["digest"]],
        np.ascontiguousarray(small["contrast"]),
        small["bright_frame"].copy(),
        small["aspect"].copy(),
        Keypoints(len(seen), lambda rows: seen.read(rows).view(_LOOK)[:, 0]["points"]),
    )


def _in_groups(rows: Sequence[int]) -> list[np.ndarray]:
    return [np.array(rows[start : start + _IMAGES_PER_READ]) for start in range(0, len(rows), _IMAGES_PER_READ)]


def _looked_at(
    images: StoredImages, rows: Sequence[int], num_workers: int, negatives: Negatives | None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Rows [M] of images and what is seen of them, uint8 [M, bytes of a look]."""
    groups = _in_groups(rows)
    for group, looks in zip(
        groups, in_order(lambda group: _look_at_some(images.read(group)), groups, num_workers), strict=True
    ):
        doubtful = np.flatnonzero(looks["bright_frame"] >= _MAY_BE_NEGATIVE)
        if negatives is not None and len(doubtful):
            for i, square in zip(doubtful, negatives(group[doubtful].tolist()), strict=True):
                if square is not None and _bright_frame(_shown_part(square)) < looks[i]["bright_frame"]:
                    _describe(looks[i], square)
        yield group, looks.view(np.uint8).reshape(len(looks), _LOOK.itemsize)


def _look_at_some(squares: np.ndarray) -> np.ndarray:
    looks = np.zeros(len(squares), _LOOK)
    for look, square in zip(looks, squares, strict=True):
        part = _shown_part(square)
        look["digest"] = np.frombuffer(hashlib.blake2b(square.tobytes(), digest_size=16).digest(), np.uint8)
        look["bright_frame"] = _bright_frame(part)
        look["aspect"] = part.shape[1] / part.shape[0]
        _describe(look, square)
    return looks


def _describe(look: np.void, square: np.ndarray) -> None:
    """Fill in what pictures are compared by."""
    look["contrast"] = local_contrast(square)
    look["points"] = keypoints_of(_shown_part(square))


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


def _bright_frame(picture: np.ndarray) -> float:
    """The share of a frame, without the side of the chest wall, that is bright, and brighter than the whole."""
    rows, columns = (max(1, length // 16) for length in picture.shape)
    frame = (picture[:, -columns:], picture[:rows], picture[-rows:])
    bright = max(_BRIGHT, _BRIGHTER_BY * float(picture.mean()))
    return float(np.mean(np.concatenate([part.ravel() for part in frame]) >= bright))

"""The same picture however it was moved, cropped, turned, mirrored, inverted or blurred: by SIFT keypoints.

Two breasts share an outline and no texture. Keypoints describe texture around points; in two copies of a picture
many of them are alike and lie in the same places but for one affine map (RANSAC), and in two pictures a handful
at most do. Comparing all keypoints of all pairs would take hours for thousands of images, so that pairs are proposed
first, by how many of their descriptors fall into the same cells of a random division of their space.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import cv2
import numpy as np
from scipy import sparse

# Of one image: zeros where there are fewer points than that.
POINTS = np.dtype([("places", np.float32, (128, 2)), ("descriptors", np.uint8, (128, 128))])
_MAX_POINTS, _SIDE_PX = 128, 192
# Contrast is measured against the spread within this distance, in grey levels and this many more, so that neither
# a window nor flat regions count.
_SURROUNDINGS_PX, _LEAST_SPREAD = 8.0, 1.0
_LEVELS_PER_SPREAD = 42
# A descriptor is 4 x 4 places of 8 directions. That of a mirrored picture has its places and directions mirrored;
# that of a negative is turned by half a circle, as all its gradients point the other way.
_CELLS = np.arange(128).reshape(4, 4, 8)
_MIRROR = _CELLS[::-1, :, -np.arange(8) % 8].ravel()
_NEGATIVE = _CELLS[::-1, ::-1].ravel()
_CHANGES = (_CELLS.ravel(), _MIRROR, _NEGATIVE, _NEGATIVE[_MIRROR])

# Chosen on mini-MIAS, see docs/bad-input.md: of pairs of different women 1 in 1000 is proposed, none is confirmed.
_LEAST_VOTES, _LEAST_INLIERS = 14, 20
_NUM_DIVISIONS, _LEAST_BITS, _MOST_BITS, _CELLS_PER_DIVISION = 8, 18, 24, 262_139
_RATIO, _NEAR_PX = 0.85, 2.0
_SCALES, _MOST_STRETCH = (0.5, 2.0), 1.1
_AT_A_TIME = 256


class Keypoints(NamedTuple):
    """Keypoints of some images; `read` gives records of `POINTS` of some rows of them."""

    num_images: int
    read: Callable[[np.ndarray], np.ndarray]


def keypoints_of(picture: np.ndarray) -> np.ndarray:
    """The strongest keypoints of what is shown, uint8 [rows, columns] with 0 for the ground; one record of `POINTS`."""
    level, inside = _evened(picture)
    sift = cv2.SIFT.create(nfeatures=_MAX_POINTS, contrastThreshold=0.01, edgeThreshold=20)
    points, descriptors = sift.detectAndCompute(level, inside)
    found = np.zeros((), POINTS)
    # A point of several directions is several points, which may be more than was asked for.
    number = min(len(points), _MAX_POINTS)
    if number:
        found["places"][:number] = [point.pt for point in points[:number]]
        found["descriptors"][:number] = descriptors[:number].clip(0, 255)
    return found


def _evened(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture at one size with the same brightness and contrast everywhere, and where it is no edge; uint8."""
    scale = _SIDE_PX / max(picture.shape)
    size = (max(8, round(picture.shape[1] * scale)), max(8, round(picture.shape[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    level: np.ndarray = cv2.resize(picture.astype(np.float32), size, interpolation=how)
    shown: np.ndarray = (cv2.resize((picture > 0).astype(np.float32), size) > 0.99).astype(np.float32)
    shown = cv2.erode(shown, np.ones((5, 5)))

    def around(values: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(values, (0, 0), _SURROUNDINGS_PX)

    weight = np.maximum(around(shown), 1e-3)
    deviation = (level - around(level * shown) / weight) * shown
    spread = np.sqrt(around(deviation**2) / weight) + _LEAST_SPREAD
    evened = np.clip(128 + _LEVELS_PER_SPREAD * deviation / spread, 0, 255).astype(np.uint8)
    return evened, (cv2.erode(shown, np.ones((7, 7))) > 0).astype(np.uint8)


def same_pictures(points: Keypoints, rows: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int]]:
    """Pairs (one of `rows`, one of `others`) that show the same picture."""
    seen: set[tuple[int, int]] = set()
    for row, other, change in _proposed(points, rows, others):
        if row == other or (row, other) in seen:
            continue
        one, another = points.read(np.array([row, other]))
        if _num_joined(one, another, change) >= _LEAST_INLIERS:
            seen.add((row, other))
            yield row, other


def _proposed(points: Keypoints, rows: np.ndarray, others: np.ndarray) -> Iterator[tuple[int, int, int]]:
    """Pairs that may show the same picture, each with the number of a change of `_CHANGES`."""
    if not len(rows) or not len(others):
        return
    cells = _Cells(points, max(len(rows), len(others)))
    of_others = [cells.of(others, change).T.tocsr() for change in range(len(_CHANGES))]
    for start in range(0, len(rows), _AT_A_TIME):
        part = rows[start : start + _AT_A_TIME]
        of_rows = cells.of(part, 0)
        for change, columns in enumerate(of_others):
            votes = (of_rows @ columns).tocoo()
            enough = votes.data >= _LEAST_VOTES
            for i, j in zip(votes.row[enough].tolist(), votes.col[enough].tolist(), strict=True):
                yield int(part[i]), int(others[j]), change


class _Cells:
    """Several random divisions of the space of descriptors by planes through its middle.

    The more images, the smaller the cells: the number of pairs grows faster than that of the copies.
    """

    def __init__(self, points: Keypoints, num_images: int) -> None:
        self._points = points
        self._bits = int(np.clip(6 + np.ceil(np.log2(num_images)), _LEAST_BITS, _MOST_BITS))
        some = np.unique(np.linspace(0, points.num_images - 1, _AT_A_TIME).astype(np.int64))
        known = _roots(points.read(some)["descriptors"].reshape(-1, 128))
        self._middle = known[known.any(axis=1)].mean(axis=0) if known.any() else np.zeros(128, np.float32)
        normal = np.random.default_rng(0).normal(size=(128, _NUM_DIVISIONS * self._bits))
        self._planes = normal.astype(np.float32)

    def of(self, rows: np.ndarray, change: int) -> sparse.csr_array:
        """Which cells the images of some rows have descriptors in, with a change; 1 or nothing [N, cells]."""
        blocks = [self._of_some(rows[start : start + 64], change) for start in range(0, len(rows), 64)]
        return sparse.vstack(blocks, format="csr")

    def _of_some(self, rows: np.ndarray, change: int) -> sparse.csr_array:
        descriptors = self._points.read(rows)["descriptors"]
        image, point = np.nonzero(descriptors.any(axis=2))
        roots = _roots(descriptors[image, point][:, _CHANGES[change]])
        sides = ((roots - self._middle) @ self._planes > 0).reshape(len(roots), _NUM_DIVISIONS, self._bits)
        cells = (sides @ (1 << np.arange(self._bits))) % _CELLS_PER_DIVISION
        cells += np.arange(_NUM_DIVISIONS) * _CELLS_PER_DIVISION
        where = (np.repeat(image, _NUM_DIVISIONS), cells.ravel())
        shape = (len(rows), _NUM_DIVISIONS * _CELLS_PER_DIVISION)
        found = sparse.csr_array((np.ones(cells.size, np.int16), where), shape=shape)
        found.sum_duplicates()
        # A texture that repeats itself has one vote.
        found.data[:] = 1
        return found


def _num_joined(one: np.ndarray, other: np.ndarray, change: int) -> int:
    """How many keypoints of two images match in places that an affine map joins which a copy may have; else 0."""
    (places, roots), (other_places, other_roots) = _of(one, 0), _of(other, change)
    likeness = roots @ other_roots.T
    every, nearest = np.arange(len(roots)), likeness.argmax(axis=1)
    best = likeness[every, nearest]
    is_mutual = likeness.argmax(axis=0)[nearest] == every
    likeness[every, nearest] = -1
    # The square of Lowe's ratio, as 1 - likeness is half of a squared distance.
    chosen = is_mutual & (1 - best < _RATIO**2 * (1 - likeness.max(axis=1)))
    if chosen.sum() < _LEAST_INLIERS:
        return 0
    affine, inliers = cv2.estimateAffine2D(
        places[chosen], other_places[nearest[chosen]], ransacReprojThreshold=_NEAR_PX, maxIters=500
    )
    if affine is None:
        return 0
    long, short = np.linalg.svd(affine[:, :2], compute_uv=False)
    may_be = _SCALES[0] < long * short < _SCALES[1] and long < _MOST_STRETCH * short
    return int(inliers.sum()) if may_be else 0


def _of(points: np.ndarray, change: int) -> tuple[np.ndarray, np.ndarray]:
    """Places and roots of the points that are there."""
    is_there = points["descriptors"].any(axis=1)
    return points["places"][is_there], _roots(points["descriptors"][is_there][:, _CHANGES[change]])


def _roots(descriptors: np.ndarray) -> np.ndarray:
    """Descriptors whose products are Hellinger's likeness of them ("RootSIFT"), float32 of length 1."""
    values = descriptors.astype(np.float32)
    return np.sqrt(values / np.maximum(values.sum(axis=1, keepdims=True), 1))

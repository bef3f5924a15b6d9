"""From a grey image of any size to the square that a network sees: breast only, chest wall at the left.

Why before training and not inside a network's transform: films carry labels, tape and white borders, films
and detectors leave two thirds of an image black, and a left and a right breast are mirror images. None of
that says anything about density. The breast is looked for on a small copy of the image, and only its own
pixels are turned into grey levels and resized. Everything here is a pure function of the pixels and of the laterality.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from mammo.data.crop_placement import Placement
from mammo.data.grey import GreyImage

# Part of the key of stored pixels: raise it with every change that can alter a pixel.
PREPROCESS_VERSION = 4

_SEARCH_SIDE_PX = 256  # long side of the copy in which the breast is looked for
_SAMPLES_PER_BLOCK = 4  # at least, along each side of a block whose mean becomes a pixel of that copy
_OPENING_RADIUS_PX = 5  # in the small copy: what is thinner than about 4% of the long side is no breast
_MARGIN_FRACTION = 0.02  # of the long side, kept around the breast: the skin line is darker than the threshold
_MIN_AREA_FRACTION = 0.01  # a smaller bright spot is no breast; then the whole image is kept
_CLEAR_SIDE = 0.12  # a stronger asymmetry than this names the chest wall whatever the header says


def _small_copy(image: GreyImage) -> np.ndarray:
    """Means of blocks of the image, with a long side of at most `_SEARCH_SIDE_PX`.

    The means are those of a grid of pixels, with a few of them along each side of a block. The blocks are those
    of the whole image, so that the breast is found in the same place at any reduction.
    """
    sample = image.sample(max(1, max(image.shape) // (_SAMPLES_PER_BLOCK * _SEARCH_SIDE_PX)))
    block_px = max(image.whole_shape) / _SEARCH_SIDE_PX
    if block_px <= 1:
        return sample
    rows, columns = (max(1, round(length_px / block_px)) for length_px in image.whole_shape)
    return np.asarray(Image.fromarray(sample).resize((columns, rows), Image.Resampling.BOX))


def _otsu(values: np.ndarray) -> float:
    """The threshold that maximises the variance between two classes (Otsu 1979), from 256 bins."""
    counts, edges = np.histogram(values, bins=256)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    sums = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = below * above * (sums / below - (sums[-1] - sums) / above) ** 2
    return float(edges[1 + int(np.nanargmax(between[:-1]))])


def _grown(mask: np.ndarray, radius_px: int) -> np.ndarray:
    """The mask with everything at most a distance away from it."""
    return ndimage.distance_transform_edt(~mask) <= radius_px if mask.any() else mask


def _small_mask(small: np.ndarray) -> np.ndarray:
    """The breast in the small copy, without margin; all True when nothing in it looks like one."""
    everything = np.ones(small.shape, dtype=bool)
    low, high = float(small.min()), float(small.max())
    if not high > low:
        return everything
    # The square root lifts fatty tissue towards the glandular: otherwise a dense breast loses its edge.
    level = np.sqrt((small - low) / (high - low))
    bright = level > 0.75 * _otsu(level)
    # Opening cuts the breast off from tape, labels and thin borders. The image border does not erode it.
    distance = ndimage.distance_transform_edt(np.pad(bright, _OPENING_RADIUS_PX, mode="edge"))
    inner = slice(_OPENING_RADIUS_PX, -_OPENING_RADIUS_PX)
    core = distance[inner, inner] > _OPENING_RADIUS_PX
    labels, count = ndimage.label(core)
    if count == 0:
        return everything
    if count > 1:
        # Not the largest area but the thickest part: a white border is long, a breast is round.
        depth = ndimage.distance_transform_edt(np.pad(core, 1))[1:-1, 1:-1]
        index = np.arange(1, count + 1)
        score = ndimage.sum_labels(core, labels, index) * ndimage.maximum(depth, labels, index) ** 2
        core = labels == 1 + int(np.argmax(score))
    chosen = _grown(core, _OPENING_RADIUS_PX) & bright
    breast = ndimage.binary_fill_holes(chosen)
    return breast if breast.mean() >= _MIN_AREA_FRACTION else everything


def block_edges(shape: tuple[int, int], num_blocks: tuple[int, int]) -> tuple[list[int], list[int]]:
    """Edges between the rows and between the columns of blocks into which an image is divided, in pixels."""
    rows, columns = (
        np.rint(np.arange(count + 1) * (length_px / count)).astype(int).tolist()
        for length_px, count in zip(shape, num_blocks, strict=True)
    )
    return rows, columns


class Breast(NamedTuple):
    """Where the breast is in a small copy of an image, without and with its margin."""

    inside: np.ndarray
    with_margin: np.ndarray

    def box(self, shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) in pixels of the image of this shape, with the margin but at the chest wall."""
        rows, columns = np.flatnonzero(self.with_margin.any(axis=1)), np.flatnonzero(self.with_margin.any(axis=0))
        top, bottom, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
        # There is no skin at the chest wall, and scanned films go on in black beyond it.
        tight = np.flatnonzero(self.inside.any(axis=0))
        if self.asymmetry() <= -_CLEAR_SIDE:
            left = tight[0]
        if self.asymmetry() >= _CLEAR_SIDE:
            right = tight[-1] + 1
        row_edges, column_edges = block_edges(shape, self.inside.shape)
        return row_edges[top], row_edges[bottom], column_edges[left], column_edges[right]

    def asymmetry(self) -> float:
        """On which side its chest wall is: -1 (left) .. 1 (right), 0 where both sides hold as much.

        It is the difference in area between the right and the left half of its box, over their sum; a half disc has
        0.22, 95% of the films of mini-MIAS more than 0.12.
        """
        columns = np.flatnonzero(self.inside.any(axis=0))
        areas = self.inside[:, columns[0] : columns[-1] + 1].sum(axis=0)
        half = len(areas) // 2
        left, right = int(areas[:half].sum()), int(areas[len(areas) - half :].sum())
        return (right - left) / max(1, left + right)


def locate(image: GreyImage) -> Breast:
    """Where the breast is in an image of any scale: its thickest bright region, else everywhere."""
    inside = _small_mask(_small_copy(image))
    return Breast(inside, _grown(inside, max(1, round(_MARGIN_FRACTION * max(inside.shape)))))


def breast_percentiles(
    image: np.ndarray | GreyImage, low_percent: float = 0.5, high_percent: float = 99.5
) -> tuple[float, float]:
    """Two percentiles of the values inside the breast (without its margin) of an image [rows, columns] of any scale.

    Large images are sampled on a grid: about a million pixels are plenty for half a percent.
    """
    grey = GreyImage.of(image)
    breast = _small_mask(_small_copy(grey))
    sample = grey.sample(max(1, max(grey.shape) // (_SAMPLES_PER_BLOCK * _SEARCH_SIDE_PX)))
    # The block of each pixel of the sample.
    rows, columns = (np.arange(n) * count // n for n, count in zip(sample.shape, breast.shape, strict=True))
    # The outermost blocks are partly background, which would be the whole of the lowest half percent.
    core = ndimage.binary_erosion(breast, border_value=1)
    inside = (core if core.any() else breast)[np.ix_(rows, columns)]
    low, high = np.percentile(sample[inside], (low_percent, high_percent))
    return float(low), float(high)


def _must_flip(asymmetry: float, laterality: str) -> bool:
    """Whether the chest wall is at the right.

    A right breast is hung with its chest wall at the right; but some sets are hung the other way or are
    mirrored already, so a side that plainly holds more tissue counts more than the header.
    """
    if abs(asymmetry) < _CLEAR_SIDE and laterality in ("L", "R"):
        return laterality == "R"
    return asymmetry > 0


def prepare(
    image: np.ndarray | GreyImage,
    laterality: str,
    size_px: int,
    crop: bool,
    orient: bool,
    breast: Breast | None = None,
) -> np.ndarray:
    """The square that is stored of an image.

    Arguments:
        image: [rows, columns] in 0..1; one of reduced size gives the square of the whole one, but for detail.
        laterality: `L`, `R` or empty.
        size_px: side of the square.
        crop: cut out the box of the breast and blacken what is in it beside the breast and its margin.
        orient: turn the chest wall to the left.
        breast: what `locate` says, where it is known already.

    Returns uint8 [size_px, size_px]; the image keeps its aspect ratio, lies at the left and is centred from
    top to bottom, the rest is 0. The same input gives the same bytes.
    """
    grey = GreyImage.of(image)
    if breast is None and (crop or orient):
        breast = locate(grey)
    placement = placement_of(grey, laterality, size_px, crop, orient, breast)
    if not crop or breast is None:
        return _square_of(grey, np.ones((1, 1), dtype=bool), placement)
    return _square_of(grey, breast.with_margin, placement)


def placement_of(
    image: GreyImage, laterality: str, size_px: int, crop: bool, orient: bool, breast: Breast | None
) -> Placement:
    """Where `prepare` puts which part of an image; arguments as there, `breast` may be None without crop and orient."""
    rows, columns = image.whole_shape
    flip = orient and breast is not None and _must_flip(breast.asymmetry(), laterality)
    box = breast.box(image.whole_shape) if crop and breast is not None else (0, rows, 0, columns)
    return Placement(box, flip, size_px)


def _square_of(image: GreyImage, mask: np.ndarray, placement: Placement) -> np.ndarray:
    """A box of an image, black outside of the blocks of a mask, as a square."""
    new_height, new_width = placement.shape_px
    upper, lower, left_end, right_end = (image.position(edge) for edge in placement.box_px)
    rows = slice(int(upper), math.ceil(lower))
    columns = slice(int(left_end), math.ceil(right_end))
    picture = _cut_out(image, mask, rows, columns, placement.flip)
    start, stop = left_end - columns.start, right_end - columns.start
    if placement.flip:
        start, stop = picture.shape[1] - stop, picture.shape[1] - start
    # Pillow widens the filter when it shrinks: that is the antialiasing.
    resized = Image.fromarray(picture).resize(
        (new_width, new_height), Image.Resampling.BILINEAR, (start, upper - rows.start, stop, lower - rows.start)
    )
    square = np.zeros((placement.size_px, placement.size_px), dtype=np.uint8)
    first = placement.first_row_px
    levels = np.rint(np.clip(np.asarray(resized), 0, 1) * 255)
    square[first : first + new_height, :new_width] = levels.astype(np.uint8)
    return square


def _cut_out(image: GreyImage, mask: np.ndarray, rows: slice, columns: slice, flip: bool) -> np.ndarray:
    """Grey levels of a part of an image, black outside of the blocks of a mask; float32 [rows, columns].

    The part may reach beyond the end of the image, where the last row and column are repeated. Only what is
    not black is looked up.
    """
    picture = np.zeros((rows.stop - rows.start, columns.stop - columns.start), dtype=np.float32)
    target = picture[:, ::-1] if flip else picture
    row_edges, column_edges = (
        [round(image.position(edge)) for edge in edges] for edges in block_edges(image.whole_shape, mask.shape)
    )
    for runs, first, last in zip(_runs(mask), row_edges, row_edges[1:], strict=False):
        across = slice(max(first, rows.start), min(last, rows.stop, image.shape[0]))
        for run_start, run_stop in runs:
            along = slice(
                max(column_edges[run_start], columns.start),
                min(column_edges[run_stop], columns.stop, image.shape[1]),
            )
            if across.start < across.stop and along.start < along.stop:
                place = (
                    slice(across.start - rows.start, across.stop - rows.start),
                    slice(along.start - columns.start, along.stop - columns.start),
                )
                target[place] = image.levels(across, along)
    if rows.stop > image.shape[0]:
        target[image.shape[0] - rows.start :] = target[image.shape[0] - rows.start - 1]
    if columns.stop > image.shape[1]:
        last_column = image.shape[1] - columns.start
        target[:, last_column:] = target[:, last_column - 1 : last_column]
    return picture


def _runs(mask: np.ndarray) -> Iterator[list[list[int]]]:
    """For each row of a mask, start and end of each run of True in it."""
    for changes in np.diff(mask, axis=1, prepend=False, append=False):
        yield np.flatnonzero(changes).reshape(-1, 2).tolist()

"""Which bits of what was decoded are the pixel, and what becomes of values that the header has no bits for.

Bits above the stored ones may hold anything (PS3.5 8.1.1; an overlay before 2004) and are masked, as DCMTK does.
Values that go on above them are another matter: masked, they would begin again at black. The value that a header
names for padding may have no bits there. Where a lossy codec or the low band of a wavelet overshoots what it was given,
the excess is clipped, as viewers do.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from mammo.data.pixel_layout import Layout
from mammo.support.errors import BadFile

# Of the range of the stored bits. Film with letters at strong compression overshoots by a third of it beside them, and
# elsewhere by a few hundredths; an image of one bit more than the header says goes beyond in all that is bright.
MOST_OVERSHOOT = 1 / 2
COMMON_OVERSHOOT = 1 / 16
MAX_FRACTION_BEYOND_COMMON = 0.02

_EVERY_ROW = 8  # one row in so many shows whether a picture goes on in the bits above
_MAX_ROWS = 512  # with something in the bits above, that are looked at where a small part of it may go on there
_WRAP = 1 / 4  # of the range: the mean step of values that begin again; at the edges of overlays it is a tenth of it


def signed_bits(values: np.ndarray, layout: Layout) -> np.ndarray:
    """The low `bits_stored` bits of integers, signed if the header says so, in the type that it names."""
    bits = layout.bits_allocated
    unused = bits - layout.bits_stored
    values = values.astype(f"u{bits // 8}", copy=False)
    if not layout.signed:
        return values if unused == 0 else values & values.dtype.type(2**layout.bits_stored - 1)
    signed = np.ascontiguousarray(values).view(f"i{bits // 8}")
    return signed if unused == 0 else (signed << unused) >> unused


def bits_of_cells(cells: np.ndarray, layout: Layout) -> np.ndarray:
    """The stored bits of frames [frames, rows, columns, ...] of whole cells of `bits_allocated`, native byte order.

    Padding that has no room in them is left as it is. Raises `BadFile` where the picture goes on above them.
    """
    cells = cells >> cells.dtype.type(layout.high_bit + 1 - layout.bits_stored)
    stored = signed_bits(cells, layout)
    whole = cells.view(stored.dtype)
    if np.array_equal(whole, stored):
        return stored
    lowest, highest = layout.value_range
    first, last = layout.padding or (1, 0)
    is_padding = (whole >= first) & (whole <= last) & ((whole < lowest) | (whole > highest))
    whole_picture = np.where(is_padding, stored, whole)
    # Of a small part of an image only its own rows tell. Signed values need not be continued in the bits above.
    above = np.where(cells >> cells.dtype.type(layout.bits_stored) == 0, stored, whole_picture)
    rows = np.flatnonzero((above != stored).any(axis=tuple(axis for axis in range(above.ndim) if axis != 1)))
    rows = rows[:: len(rows) // _MAX_ROWS + 1] + np.array([[-1], [0], [1]])
    every = np.arange(0, layout.rows, _EVERY_ROW)[np.newaxis]
    if _goes_on_above(whole_picture, stored, every, layout) or _goes_on_above(above, stored, rows, layout):
        raise _does_not_fit(layout)
    return np.where(is_padding, whole, stored)


def _goes_on_above(whole: np.ndarray, stored: np.ndarray, rows: np.ndarray, layout: Layout) -> bool:
    """Whether whole cells, not the stored bits of them, are the picture in rows [1 or 3, N]: also above and below them.

    They are smoother then, and where the bits above change those below begin again at the other end of their range.
    A large overlay is smooth, too, but the picture below does not change with it.
    """
    rows = rows.clip(0, layout.rows - 1)
    whole, stored = (cells[:, rows].astype(np.int64) for cells in (whole, stored))
    jumps = np.sign(_steps(whole - stored))
    # A marker of all bits is bright in those below as well: they change the same way, and do not begin again.
    steps = -(jumps * _steps(stored))[jumps != 0]
    return bool(len(steps) and steps.mean() > _WRAP * 2**layout.bits_stored and _roughness(whole) < _roughness(stored))


def _steps(values: np.ndarray) -> np.ndarray:
    """Steps between neighbours in rows [frames, 1 or 3, rows, columns, ...], and between rows that are neighbours."""
    return np.concatenate([np.diff(values, axis=3).ravel(), np.diff(values, axis=1).ravel()])


def _roughness(values: np.ndarray) -> float:
    """The mean step between neighbours, relative to that between any pixels: near 0 for a picture, 1 for noise."""
    others = np.random.default_rng(0).permutation(values.ravel()).reshape(values.shape)
    return float(np.abs(_steps(values)).mean() / (np.abs(values - others).mean() + 1e-9))


def fitted(values: np.ndarray, layout: Layout, may_overshoot: bool) -> np.ndarray:
    """A decoded frame in the shape and type of the header; `BadFile` if it does not fit them.

    With `may_overshoot` values are clipped to the stored bits that exceed them by no more than `MOST_OVERSHOOT`, and
    only `MAX_FRACTION_BEYOND_COMMON` of them by more than `COMMON_OVERSHOOT`. Without it they are whole cells, see
    `bits_of_cells`.
    """
    if values.shape != layout.frame_shape:
        raise BadFile(f"the decoder returned an array of shape {values.shape}, expected {layout.frame_shape}")
    if values.dtype.kind not in "ui" or values.dtype.itemsize * 8 > layout.bits_allocated:
        raise BadFile(f"the compressed image has {values.dtype} pixels, the header says {layout.bits_allocated} bits")
    if layout.signed and values.dtype.kind == "u":
        # From all decoders but JPEG 2000's: the unsigned integers with the same bits, of those stored or of more.
        num_bits = max(layout.bits_stored, int(values.max()).bit_length())
        values = signed_bits(values, dataclasses.replace(layout, bits_stored=num_bits))
    lowest, highest = layout.value_range
    if values.min() < lowest or values.max() > highest:
        if not may_overshoot:
            cells = values.astype(f"u{layout.bits_allocated // 8}")[np.newaxis]
            return bits_of_cells(cells, dataclasses.replace(layout, high_bit=layout.bits_stored - 1))[0]
        if not _is_overshoot(values, lowest, highest):
            raise _does_not_fit(layout)
        values = values.clip(lowest, highest)
    return values.astype(f"{'i' if layout.signed else 'u'}{layout.bits_allocated // 8}", copy=False)


def _is_overshoot(values: np.ndarray, lowest: int, highest: int) -> bool:
    """Whether an image exceeds its range as overshoot does: by little, or in few pixels."""
    span = highest - lowest
    most, common = span * MOST_OVERSHOOT, span * COMMON_OVERSHOOT
    if values.min() < lowest - most or values.max() > highest + most:
        return False
    return float(((values < lowest - common) | (values > highest + common)).mean()) <= MAX_FRACTION_BEYOND_COMMON


def _does_not_fit(layout: Layout) -> BadFile:
    return BadFile(f"the image has values that do not fit the {layout.bits_stored} bits of the header")

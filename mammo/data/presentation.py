"""From the stored values of a DICOM image to the grey levels that are meant to be shown.

Padding, modality lookup table, window or VOI lookup table and polarity are all functions of the stored value
alone: they become one table. Formulas: DICOM PS3.3 C.11.1 (modality LUT) and C.11.2 (VOI LUT),
https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pydicom
from pydicom import uid

from mammo.data.elements import bad_file_if_it_fails, integer_of, text_of, transfer_syntax_of
from mammo.data.grey import GreyImage
from mammo.data.preprocess import breast_percentiles
from mammo.errors import BadFile

# Of the way from black to white. Where all pixels are nearer to one another, nothing is seen.
LEAST_CONTRAST = 0.1
SHOWS_NOTHING = "the window or lookup table shows nothing: all pixels lie within a tenth of its range"
_CONSTANT, _NOT_FINITE = "constant image", "the pixel values are mapped to grey levels that are not finite"


def may_be_reduced(dataset: pydicom.Dataset, is_negative: bool) -> bool:
    """Whether neighbouring stored values may be mixed before they are mapped.

    A mixture of padding and tissue lies between the two. Where padding is the dark end of all values that
    is a darker tissue, anywhere else it would be a bright line around the breast.
    """
    padding = _padding_range(dataset)
    lowest, highest = _stored_range(dataset)
    return padding is None or (padding[1] >= highest if is_negative else padding[0] <= lowest)


def shown_image(values: np.ndarray, dataset: pydicom.Dataset, is_negative: bool, for_presentation: bool) -> GreyImage:
    """The image that is meant to be shown, in 0..1.

    Arguments:
        values: integers [rows, columns] as they are stored.
        dataset: holds the elements that say how values are shown.
        is_negative: low values are bright (MONOCHROME1).
        for_presentation: without a window, the range of the stored bits is what is meant to be seen; other
            images are shown between the percentiles 0.5 and 99.5 of the breast.

    The stored bits may be more than the images of a detector use: where their range shows nothing, it is not what is
    meant. A window that shows nothing is refused, as is what leads to values that are not finite. Raises `BadFile`.
    """
    if values.dtype.itemsize > 2:
        raise BadFile("pixels of 32 bits: no projection X-ray image has more than 16")
    padding = _padding_range(dataset)
    lowest, highest = min(int(values.min()), 0), int(values.max())
    stored = np.arange(lowest, highest + 1)
    if not _contrast(GreyImage(values, stored.astype(np.float32), lowest), padding, enough=1):
        raise BadFile(_CONSTANT)
    with np.errstate(all="ignore"):
        shown = _table(values, stored, dataset, padding, is_negative, for_presentation)
    if not np.isfinite(shown).all():
        raise BadFile(_NOT_FINITE)
    if padding is not None:
        shown[(stored >= padding[0]) & (stored <= padding[1])] = 0
    return GreyImage(values, shown.astype(np.float32), lowest)


def _table(
    values: np.ndarray,
    stored: np.ndarray,
    dataset: pydicom.Dataset,
    padding: tuple[int, int] | None,
    is_negative: bool,
    for_presentation: bool,
) -> np.ndarray:
    """The grey level of each of the `stored` values, see `shown_image`; that of padding means nothing."""
    lowest = int(stored[0])
    inputs = _after_modality_lut(stored, dataset)
    if not np.isfinite(inputs).all():
        raise BadFile(_NOT_FINITE)
    if inputs.min() == inputs.max():
        raise BadFile(_CONSTANT)
    shown = _after_voi_lut(inputs, dataset)
    if shown is not None:
        contrast = _contrast(GreyImage(values, shown, lowest), padding)
        if contrast < LEAST_CONTRAST:
            raise BadFile(SHOWS_NOTHING if contrast > 0 else _CONSTANT)
    elif for_presentation:
        first, last = _stored_range(dataset)
        possible = _after_modality_lut(np.arange(first, last + 1), dataset)
        shown = np.clip((inputs - possible.min()) / np.ptp(possible), 0, 1)
        if _contrast(GreyImage(values, shown, lowest), padding) < LEAST_CONTRAST:
            shown = None
    if shown is None:
        visible = _visible(values, padding)
        seen = slice(int(visible.min()) - lowest, int(visible.max()) - lowest + 1)
        return _between_percentiles(values, -inputs if is_negative else inputs, seen, lowest)
    return 1 - shown if is_negative else shown


def _between_percentiles(values: np.ndarray, bright: np.ndarray, seen: slice, lowest: int) -> np.ndarray:
    """The table `bright` of all values scaled between two percentiles of the breast; `seen` is no padding."""
    clipped = np.clip(bright, bright[seen].min(), bright[seen].max()).astype(np.float32)
    low, high = breast_percentiles(GreyImage(values, clipped, lowest))
    if not high > low:
        raise BadFile("constant image")
    return np.clip((bright - low) / (high - low), 0, 1)


def _visible(values: np.ndarray, padding: tuple[int, int] | None) -> np.ndarray:
    """The values that are no padding."""
    return values if padding is None else values[(values < padding[0]) | (values > padding[1])]


def _contrast(image: GreyImage, padding: tuple[int, int] | None, enough: float = LEAST_CONTRAST) -> float:
    """How far the grey levels lie apart that are no padding, or how far some of them do if that is enough."""
    contrast = 0.0
    # A few pixels nearly always answer the question.
    for step in (16, 1):
        levels = image.sample(step)
        if padding is not None:
            values = image.values[::step, ::step]
            levels = levels[(values < padding[0]) | (values > padding[1])]
        contrast = float(np.ptp(levels)) if levels.size else 0.0
        if contrast >= enough:
            break
    return contrast


def _stored_range(dataset: pydicom.Dataset) -> tuple[int, int]:
    """Lowest and highest value that the stored bits can hold."""
    bits = integer_of(dataset, "BitsStored", integer_of(dataset, "BitsAllocated"))
    is_signed = integer_of(dataset, "PixelRepresentation", 0) == 1
    return (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if is_signed else (0, 2**bits - 1)


def _padding_range(dataset: pydicom.Dataset) -> tuple[int, int] | None:
    """Lowest and highest stored value that mean "no image here" (PS3.3 C.7.5.1.1.2)."""
    if dataset.get("PixelPaddingValue") in (None, ""):
        return None
    ends = [integer_of(dataset, "PixelPaddingValue")]
    ends.append(integer_of(dataset, "PixelPaddingRangeLimit", ends[0]))
    # The sign of these two is often that of the wrong value representation (US for SS).
    bits = integer_of(dataset, "BitsAllocated")
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if _stored_range(dataset)[0] < 0 else (0, 2**bits)
    ends = [end - 2**bits if end >= high else end + 2**bits if end < low else end for end in ends]
    return min(ends), max(ends)


def _lookup_table(dataset: pydicom.Dataset, keyword: str) -> tuple[np.ndarray, int, int] | None:
    """Entries, first input value and bits of an entry of the first table in a LUT sequence (C.11.1.1).

    Items without content are no tables: some writers add one beside a window.
    """
    with bad_file_if_it_fails(f"malformed {keyword}"):
        items = [item for item in dataset.get(keyword) or [] if _has_content(item)]
        if not items:
            return None
        num_entries, first, bits = (int(number) for number in items[0].LUTDescriptor)
        entries = _entries_of(items[0].LUTData, num_entries & 0xFFFF or 65536, transfer_syntax_of(dataset))
    return entries, first, _bits_of_entry(entries, bits)


def _has_content(item: pydicom.Dataset) -> bool:
    values = [item.get("LUTDescriptor"), item.get("LUTData")]
    return any(value is not None and np.size(value) > 0 and value != b"" for value in values)


def _entries_of(data: bytes | Sequence[int], num_entries: int, syntax: uid.UID) -> np.ndarray:
    """The entries of LUT data, float64: bytes or words, of 16 bits or of two times 8."""
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    content = data if isinstance(data, bytes) else (np.atleast_1d(data) & 0xFFFF).astype(f"{order}u2").tobytes()
    width = 1 if len(content) < 2 * num_entries else 2
    if len(content) < num_entries:
        raise BadFile(f"a lookup table of {len(content)} bytes for {num_entries} entries")
    return np.frombuffer(content, f"{order}u{width}", count=num_entries).astype(np.float64)


def _bits_of_entry(entries: np.ndarray, bits: int) -> int:
    """The bits of an entry: corrected where they cannot be true, as DCMTK does, or leave the whole table near black."""
    needed = max(8, int(entries.max()).bit_length())
    is_possible = needed <= bits <= 16 and entries.max() >= LEAST_CONTRAST * (2**bits - 1)
    return bits if is_possible else needed


def _look_up(inputs: np.ndarray, entries: np.ndarray, first: int) -> np.ndarray:
    """Inputs outside of the table get its first or last entry."""
    # The sign of the first input is often that of the wrong value representation (US for SS).
    for other in (first - 2**16, first + 2**16):
        if not _overlaps(inputs, first, entries) and _overlaps(inputs, other, entries):
            first = other
    return entries[np.clip(np.rint(inputs) - first, 0, len(entries) - 1).astype(np.int64)]


def _overlaps(inputs: np.ndarray, first: int, entries: np.ndarray) -> bool:
    return bool(first <= inputs.max() and inputs.min() < first + len(entries))


def _numbers_of(dataset: pydicom.Dataset, keyword: str) -> list[float]:
    with bad_file_if_it_fails(f"malformed value of {keyword}"):
        value = dataset.get(keyword)
        if value is None or value == "":
            return []
        numbers = [float(number) for number in (value if isinstance(value, pydicom.multival.MultiValue) else [value])]
    if not np.isfinite(numbers).all():
        raise BadFile(f"malformed value of {keyword}")
    return numbers


def _after_modality_lut(levels: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Output of the modality LUT, a table or `slope * x + intercept` (C.11.1), as float64."""
    table = _lookup_table(dataset, "ModalityLUTSequence")
    if table is not None:
        return _look_up(levels, table[0], table[1])
    slope = (_numbers_of(dataset, "RescaleSlope") or [1.0])[0]
    intercept = (_numbers_of(dataset, "RescaleIntercept") or [0.0])[0]
    return levels * slope + intercept


def _after_voi_lut(inputs: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray | None:
    """Output of the first VOI LUT, or else of the first window, scaled to 0..1; None when there is neither.

    Windows (C.11.2.1.2 and C.11.2.1.3), with centre c and width w: LINEAR is 0 up to c - 0.5 - (w - 1)/2,
    1 above c - 0.5 + (w - 1)/2 and (x - (c - 0.5)) / (w - 1) + 0.5 between; LINEAR_EXACT is
    (x - c) / w + 0.5; SIGMOID is 1 / (1 + exp(-4 (x - c) / w)).
    """
    table = _lookup_table(dataset, "VOILUTSequence")
    if table is not None:
        entries, first, bits = table
        return np.clip(_look_up(inputs, entries, first) / (2**bits - 1), 0, 1)
    centres, widths = _numbers_of(dataset, "WindowCenter"), _numbers_of(dataset, "WindowWidth")
    if not centres or not widths:
        return None
    centre, width = centres[0], widths[0]
    function = text_of(dataset, "VOILUTFunction").upper() or "LINEAR"
    if width < (1 if function == "LINEAR" else 1e-9):
        raise BadFile(f"impossible window width {width:g} for the VOI LUT function")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (inputs - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((inputs - centre) / width + 0.5, 0, 1)
    if function != "LINEAR":
        raise BadFile("unknown VOI LUT function")
    if width == 1:
        return (inputs > centre - 0.5).astype(np.float64)
    return np.clip((inputs - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)

"""From the stored values of a DICOM image to the grey levels that are meant to be shown.

Padding, modality lookup table, window or VOI lookup table and polarity are all functions of the stored value
alone: they become one table. Formulas: DICOM PS3.3 C.11.1 (modality LUT) and C.11.2 (VOI LUT),
https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.11.html
"""

from __future__ import annotations

import numpy as np
import pydicom
from pydicom import uid

from mammo.data.decode import bad_file_if_it_fails, integer_of, quotable, text_of, transfer_syntax_of
from mammo.data.grey import GreyImage
from mammo.data.preprocess import breast_percentiles
from mammo.errors import BadFile


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

    Raises `BadFile`.
    """
    if values.dtype.itemsize > 2:
        raise BadFile("pixels of 32 bits: no projection X-ray image has more than 16")
    padding = _padding_range(dataset)
    if not _shows_something(values, padding):
        raise BadFile("constant image")
    lowest, highest = min(int(values.min()), 0), int(values.max())
    stored = np.arange(lowest, highest + 1)
    inputs = _after_modality_lut(stored, dataset)
    shown = _after_voi_lut(inputs, dataset)
    if shown is None and for_presentation:
        ends = _after_modality_lut(np.array(_stored_range(dataset)), dataset)
        shown = np.clip((inputs - ends.min()) / np.ptp(ends), 0, 1)
    if shown is None:
        visible = _visible(values, padding)
        seen = slice(int(visible.min()) - lowest, int(visible.max()) - lowest + 1)
        shown = _between_percentiles(values, -inputs if is_negative else inputs, seen, lowest)
    elif is_negative:
        shown = 1 - shown
    if padding is not None:
        shown[(stored >= padding[0]) & (stored <= padding[1])] = 0
    return GreyImage(values, shown.astype(np.float32), lowest)


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


def _shows_something(values: np.ndarray, padding: tuple[int, int] | None) -> bool:
    """Whether the values that are no padding differ."""
    # A few pixels nearly always answer the question.
    for part in (values[::16, ::16], values):
        visible = _visible(part, padding)
        if visible.size and visible.min() != visible.max():
            return True
    return False


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
    """Entries, first input value and bits of an entry of the first table in a LUT sequence (C.11.1.1)."""
    with bad_file_if_it_fails(f"malformed {keyword}"):
        sequence = dataset.get(keyword)
        if not sequence:
            return None
        num_entries, first, bits = (int(number) for number in sequence[0].LUTDescriptor)
        num_entries = num_entries or 65536
        data = sequence[0].LUTData
        if isinstance(data, bytes):
            width = 1 if len(data) < 2 * num_entries else 2
            order = ">" if transfer_syntax_of(dataset) == uid.ExplicitVRBigEndian else "<"
            data = np.frombuffer(data, f"{order}u{width}", count=num_entries)
        entries = np.asarray(data, dtype=np.float64).reshape(-1)[:num_entries]
        if len(entries) != num_entries or not 8 <= bits <= 16:
            raise BadFile(f"malformed {keyword}: {len(entries)} of {num_entries} entries of {bits} bits")
        return entries, first, bits


def _look_up(inputs: np.ndarray, entries: np.ndarray, first: int) -> np.ndarray:
    """Inputs outside of the table get its first or last entry."""
    return entries[np.clip(np.rint(inputs).astype(np.int64) - first, 0, len(entries) - 1)]


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
        raise BadFile(f"impossible window width {width:g} for the VOI LUT function {function}")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(np.clip(-4 * (inputs - centre) / width, -700, 700)))
    if function == "LINEAR_EXACT":
        return np.clip((inputs - centre) / width + 0.5, 0, 1)
    if function != "LINEAR":
        raise BadFile(f"unknown VOI LUT function {quotable(function)}")
    if width == 1:
        return (inputs > centre - 0.5).astype(np.float64)
    return np.clip((inputs - (centre - 0.5)) / (width - 1) + 0.5, 0, 1)

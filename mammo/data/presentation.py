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

from mammo.data.dicom_elements import bad_file_if_it_fails, text_of, transfer_syntax_of
from mammo.data.grey import GreyImage
from mammo.data.pixel_layout import padding_range, stored_range
from mammo.data.preprocess import breast_percentiles
from mammo.support.errors import BadFile

# Of the way from black to white. Where all pixels are nearer to one another, or the breast but for 5% at either end,
# nothing is seen. Of real films and mammograms the breast has two times as much and more.
LEAST_CONTRAST = 0.1
_BREAST_PERCENTILES = (5, 95)
SHOWS_NOTHING = "the window or lookup table shows nothing: the breast or all pixels lie within a tenth of its range"
# What an item of a LUT sequence stands beside, or in the place of.
_BESIDE = {"VOILUTSequence": "WindowCenter", "ModalityLUTSequence": "RescaleSlope"}
# Of the range: rounded to float32, grey levels of 16 bits may move by no more.
_MOST_ROUNDING = 2**-17
CONSTANT, _NOT_FINITE = "constant image", "the pixel values are mapped to grey levels that are not finite"


def may_be_reduced(dataset: pydicom.Dataset, is_negative: bool) -> bool:
    """Whether neighbouring stored values may be mixed before they are mapped.

    A mixture of padding and tissue lies between the two. Where padding is the dark end of all values that
    is a darker tissue, anywhere else it would be a bright line around the breast.
    """
    padding = padding_range(dataset)
    lowest, highest = stored_range(dataset)
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
    padding = padding_range(dataset)
    lowest, highest = min(int(values.min()), 0), int(values.max())
    stored = np.arange(lowest, highest + 1)
    if not _contrast(GreyImage(values, stored.astype(np.float32), lowest), padding, enough=1):
        raise BadFile(CONSTANT)
    is_padding = np.zeros(len(stored), bool) if padding is None else (stored >= padding[0]) & (stored <= padding[1])
    with np.errstate(all="ignore"):
        shown = _table(values, stored, dataset, is_padding, padding, is_negative, for_presentation)
    if not np.isfinite(shown).all():
        raise BadFile(_NOT_FINITE)
    shown[is_padding] = 0
    return GreyImage(values, shown.astype(np.float32), lowest)


def _table(
    values: np.ndarray,
    stored: np.ndarray,
    dataset: pydicom.Dataset,
    is_padding: np.ndarray,
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
        raise BadFile(CONSTANT)
    shown = _after_voi_lut(inputs, dataset)
    is_stated = shown is not None
    if shown is None and for_presentation:
        first, last = stored_range(dataset)
        possible = _after_modality_lut(np.arange(first, last + 1), dataset)
        shown = np.clip((inputs - possible.min()) / np.ptp(possible), 0, 1)
    if shown is not None:
        shown = 1 - shown if is_negative else shown
        contrast = _contrast(GreyImage(values, shown, lowest), padding)
        if contrast >= LEAST_CONTRAST and _shows_a_breast(values, np.where(is_padding, 0, shown), lowest):
            return shown
        if is_stated:
            raise BadFile(SHOWS_NOTHING if contrast > 0 else CONSTANT)
    return _between_percentiles(values, -inputs if is_negative else inputs, is_padding, lowest)


def _shows_a_breast(values: np.ndarray, shown: np.ndarray, lowest: int) -> bool:
    """Whether the breast is more than one grey level; beside one that is none, a marker has all the contrast.

    In a negative that the header does not call one, what looks like the breast is the background.
    """
    for table in (shown, 1 - shown):
        low, high = breast_percentiles(GreyImage(values, table.astype(np.float32), lowest), *_BREAST_PERCENTILES)
        if not high - low < LEAST_CONTRAST:
            return True
    return False


def _between_percentiles(values: np.ndarray, bright: np.ndarray, is_padding: np.ndarray, lowest: int) -> np.ndarray:
    """The table `bright` of all values scaled between two percentiles of the breast, in which padding is dark."""
    visible = values if not is_padding.any() else values[~is_padding[values.astype(np.int32) - lowest]]
    seen = bright[int(visible.min()) - lowest : int(visible.max()) - lowest + 1]
    dark, light = seen.min(), seen.max()
    bright = np.where(is_padding, dark, np.clip(bright, dark, light))
    # A large intercept or slope leaves float32 too few digits, or none.
    if not np.abs(bright - bright.astype(np.float32)).max() <= _MOST_ROUNDING * (light - dark):
        if not light > dark:
            raise BadFile(CONSTANT)
        bright = (bright - dark) / (light - dark)
    low, high = breast_percentiles(GreyImage(values, bright.astype(np.float32), lowest))
    if not high > low:
        raise BadFile(CONSTANT)
    return np.clip((bright - low) / (high - low), 0, 1)


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


def _lookup_table(dataset: pydicom.Dataset, keyword: str) -> tuple[np.ndarray, int, int] | None:
    """Entries, first input value and bits of an entry of the first table in a LUT sequence (C.11.1.1).

    Items without content are no tables: some writers add one, or the descriptor alone, beside a window.
    """
    with bad_file_if_it_fails(f"malformed {keyword}"):
        is_beside = bool(_numbers_of(dataset, _BESIDE[keyword]))
        items = [item for item in dataset.get(keyword) or [] if _is_table(item, is_beside)]
        if not items:
            return None
        num_entries, first, bits = (int(number) for number in items[0].LUTDescriptor)
        entries = _entries_of(items[0].LUTData, num_entries & 0xFFFF or 65536, transfer_syntax_of(dataset))
    return entries, first, _bits_of_entry(entries, bits)


def _is_table(item: pydicom.Dataset, is_beside: bool) -> bool:
    """Whether an item of a LUT sequence is a table, or must not be passed over as if it were none."""
    descriptor, data = (
        value if value is not None and value != b"" and np.size(value) > 0 else None
        for value in (item.get("LUTDescriptor"), item.get("LUTData"))
    )
    return data is not None or (descriptor is not None and bool(np.any(descriptor)) and not is_beside)


def _entries_of(data: bytes | Sequence[int], num_entries: int, syntax: uid.UID) -> np.ndarray:
    """The entries of LUT data, float64: bytes or words, of 16 bits or of two times 8."""
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    content = data if isinstance(data, bytes) else (np.atleast_1d(data) & 0xFFFF).astype(f"{order}u2").tobytes()
    width = 1 if len(content) < 2 * num_entries else 2
    # Bytes may have one of padding. What lies between is words that were cut off.
    if width == 1 and len(content) not in (num_entries, num_entries + 1):
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


def _numbers_of(dataset: pydicom.Dataset, keyword: str) -> dict[int, float]:
    """The numbers of an element by their place; some writers leave places empty."""
    with bad_file_if_it_fails(f"malformed value of {keyword}"):
        value = dataset.get(keyword)
        values = value if isinstance(value, pydicom.multival.MultiValue) else [value]
        texts = ["" if value is None else str(value).strip(" \0") for value in values]
        numbers = {place: float(text) for place, text in enumerate(texts) if text}
    if not np.isfinite(list(numbers.values())).all():
        raise BadFile(f"malformed value of {keyword}")
    return numbers


def _first_number(dataset: pydicom.Dataset, keyword: str, default: float) -> float:
    return next(iter(_numbers_of(dataset, keyword).values()), default)


def _after_modality_lut(levels: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Output of the modality LUT, a table or `slope * x + intercept` (C.11.1), as float64."""
    table = _lookup_table(dataset, "ModalityLUTSequence")
    if table is not None:
        return _look_up(levels, table[0], table[1])
    return levels * _first_number(dataset, "RescaleSlope", 1.0) + _first_number(dataset, "RescaleIntercept", 0.0)


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
    complete = centres.keys() & widths.keys()
    if not complete:
        raise BadFile("no centre of a window has its width")
    centre, width = centres[min(complete)], widths[min(complete)]
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

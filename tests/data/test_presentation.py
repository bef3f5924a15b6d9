"""Lookup tables, windows, padding and polarity: what is shown of stored values, against pydicom and by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut

from mammo.data.decode import decode_stored_values
from mammo.support.errors import BadFile
from tests.data.dicom_files import (
    DICOM,
    EVERYTHING,
    RAMP,
    build,
    lut_item,
    needs_shared_data,
    quiet_pydicom,
    save,
    show,
)
from tests.data.reading import read_dicom

pytestmark = quiet_pydicom
GAMMA = [round(65535 * (index / 2047) ** 2) for index in range(2048)]
# With tissue of all values at any place, so that also a narrow window shows something of it.
MIXED = np.random.default_rng(0).permutation(RAMP.ravel()).reshape(RAMP.shape)
VOI = {
    "linear": {"WindowCenter": 2000, "WindowWidth": 1500},
    "linear of several": {"WindowCenter": [2000, 99], "WindowWidth": [1500, 9]},
    "linear, named": {"WindowCenter": 2000.5, "WindowWidth": 7, "VOILUTFunction": "LINEAR"},
    "linear, narrowest": {"WindowCenter": 2000, "WindowWidth": 1},
    "linear exact": {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "LINEAR_EXACT"},
    "sigmoid": {"WindowCenter": 2000, "WindowWidth": 1500, "VOILUTFunction": "SIGMOID"},
    "table": {"VOILUTSequence": [lut_item(GAMMA, 500, 16)]},
    "table before window": {
        "VOILUTSequence": [lut_item(GAMMA, 500, 16, words=True)],
        "WindowCenter": 9,
        "WindowWidth": 3,
    },
}
MODALITY = {
    "none": {},
    "slope": {"RescaleSlope": 0.75, "RescaleIntercept": 200},
    "table": {"ModalityLUTSequence": [lut_item([4095 - index for index in range(4096)], 0, 16)]},
}


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("modality", MODALITY)
@pytest.mark.parametrize("voi", VOI)
def test_lookup_tables_and_windows_against_pydicom(tmp_path: Path, voi: str, modality: str, photometric: str) -> None:
    dataset = build(MIXED, PhotometricInterpretation=photometric, **MODALITY[modality], **VOI[voi])
    image = show(tmp_path, dataset)
    after_modality = apply_modality_lut(MIXED, dataset)
    is_table = "VOILUTSequence" in dataset
    if is_table:
        after_modality = np.rint(after_modality).astype(np.int64)
    reference = apply_voi_lut(after_modality, dataset, prefer_lut=True).astype(float)
    # pydicom scales a window to the range that the modality LUT can give, a table to its own 16 bits.
    ends = np.array([0.0, 65535.0])
    if not is_table:
        slope, intercept = MODALITY[modality].get("RescaleSlope", 1), MODALITY[modality].get("RescaleIntercept", 0)
        ends = np.array([0.0, 65535.0 if modality == "table" else 4095.0]) * slope + intercept
    reference = (reference - ends[0]) / (ends[1] - ends[0])
    if photometric == "MONOCHROME1":
        reference = 1 - reference
    np.testing.assert_allclose(image, reference, atol=2e-6)


def test_monochrome1_is_inverted_after_voi(tmp_path: Path) -> None:
    """By hand: window 100 +- 50 LINEAR_EXACT shows 50 as 0, 75 as 0.25, 150 and 200 as 1; then 1 - y.

    Inverted before the window (255 - x: 205, 180, 105, 55) it would be 1, 1, 0.55, 0.05.
    """
    values = np.array([[50, 75], [150, 200]], np.uint8)
    window = {"WindowCenter": 100, "WindowWidth": 100, "VOILUTFunction": "LINEAR_EXACT"}
    image = show(tmp_path, build(values, 8, PhotometricInterpretation="MONOCHROME1", **window))
    assert image.tolist() == [[1, 0.75], [0, 0]]


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("dtype", "padding", "padded"),
    [
        (np.uint16, {"PixelPaddingValue": 0}, [0]),
        (np.uint16, {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4000}, [4000, 4050, 4095]),
        (np.uint16, {"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 30}, [0, 15, 30]),
        (np.int16, {"PixelPaddingValue": -2000}, [-2000]),
    ],
)
def test_padding_is_background(
    tmp_path: Path, photometric: str, dtype: type, padding: dict[str, int], padded: list[int]
) -> None:
    values = np.linspace(1000, 3000, 64 * 64).reshape(64, 64).astype(dtype)
    values[: len(padded), 0] = padded
    window = {"WindowCenter": 2000, "WindowWidth": 10000}
    image = show(tmp_path, build(values, 16, PhotometricInterpretation=photometric, **window, **padding))
    assert (image[: len(padded), 0] == 0).all()
    assert (np.delete(image.ravel(), np.arange(len(padded)) * 64) > 0.3).all()


def half_disc(shape: tuple[int, int] = (200, 150)) -> np.ndarray:
    """1000..3000 inside a half disc at the left, 40 outside."""
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = (y - shape[0] / 2) ** 2 + x**2 < (0.4 * shape[0]) ** 2
    return np.where(inside, 1000 + 10 * y, 40).astype(np.uint16)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_without_window_percentiles_of_the_breast(tmp_path: Path, photometric: str) -> None:
    bright = half_disc()
    values = 4095 - bright if photometric == "MONOCHROME1" else bright
    dataset = build(values, PhotometricInterpretation=photometric, PresentationIntentType=None)
    image = show(tmp_path, dataset)
    low, high = np.percentile(bright[bright > 40], (0.5, 99.5))
    expected = np.clip((bright - low) / (high - low), 0, 1)
    np.testing.assert_allclose(image, expected, atol=0.01)
    # Taken over the whole image the background would be the lower end and the darkest tissue mid-grey.
    assert image[bright > 40].min() == 0


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [0, 1000 / 4095, 2000 / 4095, 1]),
        ({"PhotometricInterpretation": "MONOCHROME1"}, [1, 1 - 1000 / 4095, 1 - 2000 / 4095, 0]),
        ({"RescaleSlope": 2, "RescaleIntercept": -7}, [0, 1000 / 4095, 2000 / 4095, 1]),
        ({"WindowCenter": "", "WindowWidth": ""}, [0, 1000 / 4095, 2000 / 4095, 1]),
    ],
)
def test_for_presentation_without_window_is_taken_over_its_range(
    tmp_path: Path, changes: dict[str, Any], expected: list[float]
) -> None:
    image = show(tmp_path, build(np.array([[0, 1000], [2000, 4095]], np.uint16), **changes))
    np.testing.assert_allclose(image.ravel(), expected, atol=1e-6)


def without(item: Dataset, keyword: str) -> Dataset:
    delattr(item, keyword)
    return item


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"WindowCenter": 100, "WindowWidth": 0}, "impossible window width 0"),
        ({"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "CUBIC"}, "unknown VOI LUT function"),
        ({"WindowCenter": 9999, "WindowWidth": 10}, "constant image"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1, "PresentationIntentType": None}, "constant image"),
        ({"VOILUTSequence": [lut_item([1, 2, 3], 0, 40)]}, "the window or lookup table shows nothing"),
        ({"VOILUTSequence": [without(lut_item([1, 2, 3], 0, 16), "LUTData")]}, "malformed VOILUTSequence"),
        ({"VOILUTSequence": [without(lut_item([1, 2, 3], 0, 16), "LUTDescriptor")]}, "malformed VOILUTSequence"),
        ({"VOILUTSequence": [lut_item([0, 65535], 0, 16, descriptor=[9, 0, 16])]}, "4 bytes for 9 entries"),
        ({"VOILUTSequence": [lut_item([0, 9, 65535], 0, 16, descriptor=[4, 0, 16])]}, "6 bytes for 4 entries"),
        ({"VOILUTSequence": [lut_item([9] * 3000, 0, 12, descriptor=[4096, 0, 12])]}, "6000 bytes for 4096 entries"),
        ({"ModalityLUTSequence": [lut_item([9] * 4095, 0, 12, True, [4096, 0, 12])]}, "8190 bytes for 4096 entries"),
        ({"WindowCenter": [2000, ""], "WindowWidth": ["", 4000]}, "no centre of a window has its width"),
        ({"WindowCenter": 30000, "WindowWidth": 60000}, "the window or lookup table shows nothing"),
        ({"WindowCenter": 2000, "WindowWidth": 60000}, "the window or lookup table shows nothing"),
        ({"WindowCenter": -30000, "WindowWidth": 70000}, "the window or lookup table shows nothing"),
        (
            {"WindowCenter": 30000, "WindowWidth": 60000, "PhotometricInterpretation": "MONOCHROME1"},
            "the window or lookup table shows nothing",
        ),
        ({"RescaleSlope": 0}, "constant image"),
        ({"RescaleSlope": 0, "WindowCenter": 2000, "WindowWidth": 4000}, "constant image"),
        ({"RescaleSlope": "0", "PhotometricInterpretation": "MONOCHROME1"}, "constant image"),
        ({"RescaleSlope": 1e305}, "not finite"),
        ({"RescaleSlope": 1e305, "PresentationIntentType": None}, "not finite|cannot be mapped|constant image"),
        ({"RescaleSlope": 1e305, "VOILUTSequence": [lut_item([0, 255], 0, 8)]}, "not finite"),
        ({"RescaleIntercept": 1e308, "RescaleSlope": 1e305}, "not finite"),
        ({"RescaleIntercept": "nan"}, "malformed value of RescaleIntercept"),
        ({"ModalityLUTSequence": [lut_item([7, 7], 0, 16)]}, "constant image"),
        ({"BitsAllocated": 32, "BitsStored": 32, "HighBit": 31, "Columns": 32}, "pixels of 32 bits"),
        ({"PixelPaddingValue": 0, "PixelPaddingRangeLimit": 4095}, "constant image"),
    ],
)
def test_images_that_cannot_be_shown(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadFile, match=reason):
        read_dicom(save(build(RAMP, **changes), tmp_path / "image.dcm"))


def test_constant_images_are_refused(tmp_path: Path) -> None:
    constant = np.full((8, 8), 700, np.uint16)
    mostly_padding = constant.copy()
    mostly_padding[0] = 0
    for dataset in (build(constant), build(mostly_padding, PixelPaddingValue=0)):
        with pytest.raises(BadFile, match="constant image"):
            read_dicom(save(dataset, tmp_path / "image.dcm"))


@needs_shared_data
@pytest.mark.parametrize(
    ("name", "full_scale"),
    [("mg_ge_jpegll_12bit_voilutseq_sigmoid_RMLO", 4095), ("vlut_04", 65535), ("RG1_J2KI", 32767), ("RG3_UNC", 1023)],
)
def test_real_tables_and_windows_against_pydicom(name: str, full_scale: int) -> None:
    image, header = read_dicom(DICOM / f"{name}.dcm", EVERYTHING)
    dataset = pydicom.dcmread(DICOM / f"{name}.dcm")
    stored = decode_stored_values(dataset)
    if name.startswith("mg_ge"):
        dataset.RescaleSlope = dataset.RescaleIntercept = None  # 1 and 0: pydicom makes floats of them
    reference = apply_voi_lut(stored, dataset) / full_scale
    if header.photometric == "MONOCHROME1":
        reference = 1 - reference
    if "PixelPaddingValue" in dataset:
        is_padding = (stored >= 0) & (stored <= 30)
        assert is_padding.mean() > 0.1
        reference[is_padding] = 0
    np.testing.assert_allclose(image, reference, atol=1e-6)


def empty_item() -> Dataset:
    """As LEADTOOLS writes it: elements without a value."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", None)
    item.add_new("LUTData", "OW", b"")
    return item


@pytest.mark.parametrize("keyword", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("items", [[Dataset()], [empty_item()], [Dataset(), empty_item()], []])
def test_items_without_content_are_no_tables(tmp_path: Path, keyword: str, items: list[Dataset]) -> None:
    for changes in ({}, {"WindowCenter": 2000, "WindowWidth": 1500, "RescaleSlope": 2, "RescaleIntercept": -900}):
        expected = show(tmp_path, build(RAMP, **changes))
        np.testing.assert_array_equal(show(tmp_path, build(RAMP, **changes, **{keyword: items})), expected)
    table = lut_item(GAMMA, 500, 16)
    expected = show(tmp_path, build(RAMP, VOILUTSequence=[table]))
    np.testing.assert_array_equal(show(tmp_path, build(RAMP, VOILUTSequence=[*items, table])), expected)


SQUARES = [index**2 // 4096 for index in range(4096)]


@pytest.mark.parametrize(
    ("entries", "bits", "right_bits"),
    [
        (SQUARES, 16, 12),  # the whole table would lie below 6% of the range
        (SQUARES, 8, 12),  # the half of it would be white
        (SQUARES, 0, 12),
        (SQUARES, 40, 12),
        (SQUARES, 12, 12),
        (SQUARES, 13, 13),  # darker than it might be, and possible
        ([entry >> 4 for entry in SQUARES], 16, 8),
        ([entry << 4 for entry in SQUARES], 12, 16),
        ([entry << 4 for entry in SQUARES], 16, 16),
        ([entry * 10 for entry in SQUARES], 16, 16),
    ],
)
@pytest.mark.parametrize("words", [True, False])
def test_bits_of_a_table(tmp_path: Path, entries: list[int], bits: int, right_bits: int, words: bool) -> None:
    image = show(tmp_path, build(RAMP, VOILUTSequence=[lut_item(entries, 0, bits, words)]))
    np.testing.assert_allclose(image.ravel(), np.array(entries) / (2**right_bits - 1), atol=1e-6)


def test_a_table_of_65536_entries_and_one_of_bytes_in_words(tmp_path: Path) -> None:
    wide = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    inverse = lut_item(list(range(65535, -1, -1)), 0, 16, words=True, descriptor=[0, 0, 16])
    image = show(tmp_path, build(wide, 16, VOILUTSequence=[inverse]))
    np.testing.assert_allclose(image, 1 - wide / 65535, atol=1e-6)
    levels = [255 - index // 16 for index in range(4096)]
    packed = np.array(levels, np.uint8).view("<u2").tolist()
    for words in (True, False):
        table = lut_item(packed, 0, 8, words, descriptor=[4096, 0, 8])
        image = show(tmp_path, build(RAMP, VOILUTSequence=[table]))
        np.testing.assert_allclose(image.ravel(), np.array(levels) / 255, atol=1e-6)


@pytest.mark.parametrize("first", [-2048, 63488])
def test_the_first_input_of_a_table_for_signed_values(tmp_path: Path, first: int) -> None:
    """63488 is -2048 in the wrong value representation."""
    values = RAMP.astype(np.int16) - 2048
    table = lut_item(SQUARES, 0, 12, descriptor=[4096, first, 12])
    for changes in ({"VOILUTSequence": [table]}, {"ModalityLUTSequence": [table]}):
        image = show(tmp_path, build(values, **changes))
        np.testing.assert_allclose(image.ravel(), np.array(SQUARES) / SQUARES[-1], atol=1e-3)
    shifted = build(RAMP, RescaleSlope=1, RescaleIntercept=-2048, VOILUTSequence=[table])
    np.testing.assert_allclose(show(tmp_path, shifted).ravel(), np.array(SQUARES) / 4095, atol=1e-6)


def test_a_modality_table_that_falls_again(tmp_path: Path) -> None:
    """The range that is taken without a window is that of all its entries, not what lies between its ends."""
    hill = [min(index, 4095 - index) for index in range(4096)]
    image = show(tmp_path, build(RAMP, ModalityLUTSequence=[lut_item(hill, 0, 16)]))
    np.testing.assert_allclose(image.ravel(), np.array(hill) / 2047, atol=1e-6)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("bits", [12, 16])
def test_stored_bits_that_are_more_than_an_image_uses_are_no_range(tmp_path: Path, photometric: str, bits: int) -> None:
    """12 bits in a file that says 16: between percentiles, as without any statement. Nothing else is changed."""
    bright = half_disc()
    values = 4095 - bright if photometric == "MONOCHROME1" else bright
    image = show(tmp_path, build(values, bits, PhotometricInterpretation=photometric))
    unstated = show(tmp_path, build(values, 12, PhotometricInterpretation=photometric, PresentationIntentType=None))
    np.testing.assert_allclose(image, bright / 4095 if bits == 12 else unstated, atol=1e-6)


def test_padding_does_not_make_a_window_show_something(tmp_path: Path) -> None:
    values = RAMP.copy()
    values[0] = 60000
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        dataset = build(
            values, 16, PixelPaddingValue=60000, PhotometricInterpretation=photometric,
            WindowCenter=32768, WindowWidth=65536,
        )  # fmt: skip
        with pytest.raises(BadFile, match="shows nothing"):
            read_dicom(save(dataset, tmp_path / "image.dcm"))
    values[:, ::4] = 60000
    shown = show(tmp_path, build(values, 16, WindowCenter=32768, WindowWidth=65536))
    assert shown.max() > 0.9


def breast_and_marker(marker: int, tissue: np.ndarray | int | None = None) -> np.ndarray:
    """A half disc of 12 bits with a marker beside it, in 1% of the image."""
    values = half_disc()
    if tissue is not None:
        values = np.where(values > 40, tissue, values).astype(np.uint16)
    values[4:14, 115:145] = marker
    return values


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_marker_does_not_make_a_window_show_something(tmp_path: Path, photometric: str) -> None:
    values = breast_and_marker(65535)
    cells = 65535 - values if photometric == "MONOCHROME1" else values
    window = {"WindowCenter": 32768, "WindowWidth": 65536}
    with pytest.raises(BadFile, match="shows nothing: the breast"):
        read_dicom(save(build(cells, 16, PhotometricInterpretation=photometric, **window), tmp_path / "image.dcm"))
    shown = show(tmp_path, build(cells, 16, PhotometricInterpretation=photometric))
    unstated = show(tmp_path, build(cells, 16, PhotometricInterpretation=photometric, PresentationIntentType=None))
    np.testing.assert_array_equal(shown, unstated)
    assert np.ptp(np.percentile(shown[values > 40], (10, 90))) > 0.5


@pytest.mark.parametrize(
    "changes",
    [{"WindowCenter": 500, "WindowWidth": 1}, {"RescaleSlope": 50, "WindowCenter": 2000, "WindowWidth": 4000}],
)
@pytest.mark.parametrize("marker", [40, 4095])
def test_a_saturated_breast_is_not_shown(tmp_path: Path, changes: dict[str, Any], marker: int) -> None:
    with pytest.raises(BadFile, match="shows nothing: the breast"):
        read_dicom(save(build(breast_and_marker(marker), **changes), tmp_path / "image.dcm"))


def test_a_negative_that_the_header_does_not_call_one_shows_a_breast(tmp_path: Path) -> None:
    """What is large and bright in it is one grey level: the background."""
    values = breast_and_marker(4095)
    shown = show(tmp_path, build(4095 - values, WindowCenter=2048, WindowWidth=4096))
    assert np.ptp(np.percentile(shown[values > 40], (5, 95))) > 0.3


@pytest.mark.parametrize("intent", ["FOR PRESENTATION", None])
@pytest.mark.parametrize("padding", [65535, 4096, 4095, 2000])
def test_padding_brighter_than_tissue_is_no_breast(tmp_path: Path, padding: int, intent: str | None) -> None:
    """Also where the stored bits have no room for it."""
    values = half_disc()
    values[values == 2000] = 2001
    expected = show(tmp_path, build(values, PixelPaddingValue=40, PresentationIntentType=intent))
    cells = np.where(values == 40, padding, values).astype(np.uint16)
    for limit in (padding, padding - 1):
        dataset = build(cells, PixelPaddingValue=padding, PixelPaddingRangeLimit=limit, PresentationIntentType=intent)
        np.testing.assert_allclose(show(tmp_path, dataset), expected, atol=1e-6)


@pytest.mark.parametrize("bits", [12, 16])
def test_padding_of_signed_values(tmp_path: Path, bits: int) -> None:
    values = half_disc().astype(np.int16) - 2048
    expected = show(tmp_path, build(values, PixelPaddingValue=-2008, WindowCenter=0, WindowWidth=4096))
    cells = np.where(values == -2008, -32768, values).astype(np.int16)
    shown = show(tmp_path, build(cells, bits, PixelPaddingValue=-32768, WindowCenter=0, WindowWidth=4096))
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("data", [None, b""])
@pytest.mark.parametrize("descriptor", [[4096, 0, 12], [0, 0, 0]])
def test_a_descriptor_without_data_beside_a_window_is_no_table(
    tmp_path: Path, data: bytes | None, descriptor: list[int]
) -> None:
    item = Dataset()
    item.add_new("LUTDescriptor", "US", descriptor)
    if data is not None:
        item.add_new("LUTData", "OW", data)
    window = {"WindowCenter": 2000, "WindowWidth": 1500, "RescaleSlope": 2}
    expected = show(tmp_path, build(RAMP, **window))
    for keyword in ("VOILUTSequence", "ModalityLUTSequence"):
        np.testing.assert_array_equal(show(tmp_path, build(RAMP, **window, **{keyword: [item]})), expected)
        alone = build(RAMP, **{keyword: [item]})
        if any(descriptor):
            with pytest.raises(BadFile, match=f"malformed {keyword}"):
                read_dicom(save(alone, tmp_path / "image.dcm"))
        else:
            np.testing.assert_array_equal(show(tmp_path, alone), show(tmp_path, build(RAMP)))


@pytest.mark.parametrize(
    ("centres", "widths"),
    [
        (["2000", ""], ["1500", ""]),
        (["", "2000"], ["", "1500"]),
        (["2000", "9"], ["1500", ""]),
        (["2000", ""], "1500"),
        (["9", "2000"], [" ", "1500"]),
    ],
)
def test_empty_places_in_a_list_of_windows(tmp_path: Path, centres: list[str], widths: list[str]) -> None:
    expected = show(tmp_path, build(RAMP, WindowCenter=2000, WindowWidth=1500))
    np.testing.assert_array_equal(show(tmp_path, build(RAMP, WindowCenter=centres, WindowWidth=widths)), expected)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("slope", "intercept"),
    [("1", "1e10"), ("1", "-1e10"), ("1e37", "0"), ("1e300", "0"), ("1e-300", "0"), ("1", "1e6")],
)
def test_rescaling_that_leaves_single_precision_too_few_digits(
    tmp_path: Path, photometric: str, slope: str, intercept: str
) -> None:
    values = half_disc()
    changes = {"PhotometricInterpretation": photometric, "PresentationIntentType": None}
    expected = show(tmp_path, build(values, **changes))
    shown = show(tmp_path, build(values, RescaleSlope=slope, RescaleIntercept=intercept, **changes))
    np.testing.assert_allclose(shown, expected, atol=1e-4)

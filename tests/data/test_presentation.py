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
from mammo.data.dicom import read_dicom
from mammo.errors import BadFile
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

pytestmark = quiet_pydicom
GAMMA = [round(65535 * (index / 2047) ** 2) for index in range(2048)]
VOI = {
    "linear": {"WindowCenter": 2000, "WindowWidth": 1500},
    "linear of several": {"WindowCenter": [2000, 99], "WindowWidth": [1500, 9]},
    "linear, named": {"WindowCenter": 300.5, "WindowWidth": 7, "VOILUTFunction": "LINEAR"},
    "linear, narrowest": {"WindowCenter": 300, "WindowWidth": 1},
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
    dataset = build(RAMP, PhotometricInterpretation=photometric, **MODALITY[modality], **VOI[voi])
    image = show(tmp_path, dataset)
    after_modality = apply_modality_lut(RAMP, dataset)
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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"WindowCenter": 100, "WindowWidth": 0}, "impossible window width 0"),
        ({"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "CUBIC"}, "unknown VOI LUT function"),
        ({"WindowCenter": 9999, "WindowWidth": 10}, "constant image"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1, "PresentationIntentType": None}, "constant image"),
        ({"VOILUTSequence": [lut_item([1, 2, 3], 0, 40)]}, "the window or lookup table shows nothing"),
        ({"VOILUTSequence": [lut_of_half_a_table()]}, "malformed VOILUTSequence"),
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

"""Headers and shown images of DICOM files: vendors' conventions, refusals, malformed files."""

from __future__ import annotations

import csv
import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mammo.data.decode import decode_stored_values
from mammo.data.dicom import looks_like_dicom, read_dicom, read_header
from mammo.errors import BadFile

DICOM = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dicom"
INDEX = list(csv.DictReader((DICOM / "INDEX.csv").open())) if DICOM.is_dir() else []
# pytest undoes the filter that mammo.data.dicom sets; damaged files make pydicom warn.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
needs_shared_data = pytest.mark.skipif(not INDEX, reason="the shared real data (../shared/data/dicom) is missing")
EVERYTHING = ("for_processing", "other_modality", "colour", "multiframe")
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)


def lut_item(entries: list[int], first: int, bits: int, words: bool = False) -> Dataset:
    """An item of a LUT sequence, its data as numbers (US) or as bytes (OW)."""
    item = Dataset()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW" if words else "US", np.array(entries, "<u2").tobytes() if words else entries)
    return item


def code_item(value: str, **changes: Any) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    for keyword, element in changes.items():
        setattr(item, keyword, element)
    return item


def build(values: np.ndarray, bits: int = 12, **changes: Any) -> Dataset:
    """A mammogram for presentation; `changes` set or, with None, remove elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Secret^Name", "000123", "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = values.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        elif "PixelPadding" in keyword:
            dataset.add_new(keyword, "SS" if values.dtype.kind == "i" else "US", value)
        else:
            setattr(dataset, keyword, value)
    dataset.add_new("PixelData", "OW" if values.dtype.itemsize > 1 else "OB", values.tobytes())
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def show(tmp_path: Path, dataset: Dataset, accept: tuple[str, ...] = ()) -> np.ndarray:
    image, _ = read_dicom(save(dataset, tmp_path / "image.dcm"), accept)
    assert image.dtype == np.float32
    assert image.shape == (dataset.Rows, dataset.Columns)
    assert 0 <= image.min() < image.max() <= 1
    return image


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
    ("changes", "accept", "reason"),
    [
        ({"Modality": "CT"}, "other_modality", "modality CT is no projection X-ray (expected MG, CR, DX, RG)"),
        ({"Modality": None}, "other_modality", "modality none is no projection X-ray (expected MG, CR, DX, RG)"),
        (
            {"PresentationIntentType": "FOR PROCESSING"},
            "for_processing",
            "FOR PROCESSING image: raw detector values, not meant to be shown",
        ),
        ({"Rows": 16, "NumberOfFrames": 4}, "multiframe", "multi-frame image (4 frames)"),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 3, "Columns": 32}, "colour", "colour image (RGB)"),
    ],
)
def test_refused_unless_accepted(tmp_path: Path, changes: dict[str, Any], accept: str, reason: str) -> None:
    values = np.random.default_rng(0).integers(0, 4095, (64, 96)).astype(np.uint16)
    dataset = build(values, **changes) if "Columns" in changes else build(values[:, :64], **changes)
    show(tmp_path, dataset, (accept,))
    others = tuple(name for name in EVERYTHING if name != accept)
    with pytest.raises(BadFile) as caught:
        read_dicom(tmp_path / "image.dcm", others)
    assert caught.value.reason == reason


def test_middle_frame_and_luminance(tmp_path: Path) -> None:
    frames = np.repeat(np.arange(5, dtype=np.uint8), 4)
    frames[::2] += 100
    dataset = build(frames.reshape(10, 2), 8, NumberOfFrames=5, Rows=2)
    np.testing.assert_allclose(show(tmp_path, dataset, ("multiframe",)) * 255, [[102, 2], [102, 2]], rtol=1e-6)
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 10, 10]]], np.uint8)
    changes = {"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0}
    grey = show(tmp_path, build(colours, 8, **changes), ("colour",))
    np.testing.assert_allclose(grey, [[0.299, 0.587], [0.114, 10 / 255]], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"WindowCenter": 100, "WindowWidth": 0}, "impossible window width 0"),
        ({"WindowCenter": 100, "WindowWidth": 10, "VOILUTFunction": "CUBIC"}, "unknown VOI LUT function"),
        ({"WindowCenter": 9999, "WindowWidth": 10}, "constant image"),
        ({"RescaleSlope": 0, "RescaleIntercept": 1, "PresentationIntentType": None}, "constant image"),
        ({"VOILUTSequence": [lut_item([1, 2, 3], 0, 40)]}, "malformed VOILUTSequence"),
        ({"VOILUTSequence": [Dataset()]}, "malformed VOILUTSequence"),
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


def view_sequence(code: str, *modifiers: str) -> dict[str, Any]:
    return {"ViewCodeSequence": [code_item(code, ViewModifierCodeSequence=[code_item(text) for text in modifiers])]}


@pytest.mark.parametrize(
    ("changes", "view", "modifiers"),
    [
        ({}, "", ()),
        ({"ViewPosition": " mlo"}, "MLO", ()),
        (view_sequence("R-10242"), "CC", ()),
        (view_sequence("399368009"), "MLO", ()),
        (view_sequence("R-1024A") | {"ViewPosition": "CC"}, "XCCL", ()),
        (view_sequence("unheard of") | {"ViewPosition": "LM"}, "LM", ()),
        (view_sequence("R-10242", "R-102D7"), "CC-SPOT", ("SPOT",)),
        (view_sequence("R-10226", "399163009", "399055006"), "MLO-MAG-SPOT", ("MAG", "SPOT")),
        (view_sequence("R-10242", "R-102D5"), "CC", ("ID",)),
        (view_sequence("R-10242", "R-102D2"), "CC-CV", ("CV",)),
    ],
)
def test_views(tmp_path: Path, changes: dict[str, Any], view: str, modifiers: tuple[str, ...]) -> None:
    header = read_header(save(build(RAMP, **changes), tmp_path / "image"))
    assert (header.view, header.view_modifiers) == (view, modifiers)


def test_header_fields(tmp_path: Path) -> None:
    dataset = build(
        RAMP, ImageLaterality="R", Laterality="L", BreastImplantPresent="YES", BurnedInAnnotation="NO", Manufacturer="X"
    )
    header = read_header(save(dataset, tmp_path / "image"))
    assert dataclasses.asdict(header) == {
        "modality": "MG",
        "patient_id": "000123",
        "laterality": "R",
        "view": "",
        "view_modifiers": (),
        "photometric": "MONOCHROME2",
        "rows": 64,
        "columns": 64,
        "frames": 1,
        "samples_per_pixel": 1,
        "presentation_intent": "FOR PRESENTATION",
        "implant": True,
        "burned_in_annotation": False,
        "manufacturer": "X",
        "transfer_syntax": str(ExplicitVRLittleEndian),
    }
    assert "000123" not in repr(header)
    assert read_dicom(tmp_path / "image")[1] == header


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_files_without_preamble(tmp_path: Path, syntax: pydicom.uid.UID) -> None:
    dataset = build(RAMP.astype(">u2") if syntax == ExplicitVRBigEndian else RAMP)
    expected = RAMP / 4095
    del dataset.file_meta
    little = syntax != ExplicitVRBigEndian
    dataset.save_as(tmp_path / "bare", implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=little)
    assert (tmp_path / "bare").read_bytes()[128:132] != b"DICM"
    assert looks_like_dicom(tmp_path / "bare")
    image, header = read_dicom(tmp_path / "bare")
    np.testing.assert_allclose(image, expected, atol=1e-6)
    assert header.transfer_syntax == syntax


@pytest.mark.parametrize(
    "content", [b"", b"DICM", b"hello, this is a text " * 20, bytes(200), b"\x89PNG\r\n\x1a\n" * 40]
)
def test_other_files_are_no_dicom(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "text.dcm"
    path.write_bytes(content)
    assert not looks_like_dicom(path)
    for read in (read_header, read_dicom):
        with pytest.raises(BadFile, match="not a DICOM file"):
            read(path)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.dcm", tmp_path):
        with pytest.raises(BadFile, match="the file cannot be read") as caught:
            read_dicom(path)
        assert str(tmp_path) not in caught.value.reason


@needs_shared_data
@pytest.mark.parametrize("row", INDEX, ids=lambda row: row["file"])
def test_every_real_file_is_shown_or_refused(row: dict[str, str], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        if row["modality"] not in ("CR", "MG", "RG"):
            with pytest.raises(BadFile, match=r"\w+"):
                read_dicom(DICOM / row["file"])
            return
        image, header = read_dicom(DICOM / row["file"])
    assert (header.modality, header.photometric) == (row["modality"], row["photometric"])
    assert image.shape == (int(row["rows"]), int(row["cols"]))
    assert image.dtype == np.float32
    assert 0 <= image.min() < image.max() <= 1
    assert image.std() > 0.05
    assert not caplog.records


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


@needs_shared_data
def test_cut_off_real_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.dcm"
    for name in ("RG3_JPLL", "RG3_J2KR", "RG3_JLSL", "RG3_RLE", "RG3_UNC", "mg_jpegll_12bit_overlay_LCC_spot"):
        whole = (DICOM / f"{name}.dcm").read_bytes()
        for length in (100, 140, 300, 700, 1500, 3000, len(whole) // 2, len(whole) - 5000):
            path.write_bytes(whole[:length])
            with pytest.raises(BadFile):
                read_dicom(path, EVERYTHING)


@needs_shared_data
def test_damaged_headers_never_raise_anything_else(tmp_path: Path) -> None:
    """Bytes of the header of real files are overwritten at random; whatever comes is an image or `BadFile`."""
    random = np.random.default_rng(0)
    path = tmp_path / "damaged.dcm"
    refused = 0
    for name in ("MR_small_bigendian", "emri_small_RLE", "CT_small", "vlut_04", "image_dfl", "JPEG-lossy"):
        whole = np.frombuffer((DICOM / f"{name}.dcm").read_bytes(), np.uint8)
        for _ in range(25):
            damaged = whole.copy()
            where = random.integers(132, min(3000, len(whole)), 12)
            damaged[where] = random.integers(0, 256, len(where))
            path.write_bytes(damaged.tobytes())
            try:
                image, _ = read_dicom(path, EVERYTHING)
                assert np.isfinite(image).all()
            except BadFile:
                refused += 1
    assert refused > 20


def test_a_reason_quotes_no_value(tmp_path: Path) -> None:
    path = save(build(RAMP, WindowCenter=100, WindowWidth=1234), tmp_path / "image.dcm")
    path.write_bytes(path.read_bytes().replace(b"1234", b"Jane"))
    with pytest.raises(BadFile) as caught:
        read_dicom(path)
    assert caught.value.reason == "malformed value of WindowWidth (ValueError)"

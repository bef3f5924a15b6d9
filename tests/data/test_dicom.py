"""Headers of DICOM files, which images are refused, and malformed files; tables and windows: test_presentation.py."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mammo.data.dicom import looks_like_dicom, read_header
from mammo.data.dicom_header import accepted_kinds
from mammo.support.errors import BadFile
from tests.data.dicom_files import (
    DICOM,
    EVERYTHING,
    INDEX,
    RAMP,
    build,
    code_item,
    dicom_file,
    needs_shared_data,
    quiet_pydicom,
    save,
    show,
)  # fmt: skip
from tests.data.reading import read_dicom
from tests.mutations.damage_to_dicom import deflate_a_bomb

pytestmark = quiet_pydicom


@pytest.mark.parametrize(
    ("changes", "accept", "reason"),
    [
        ({"Modality": "CT"}, "other_modality", "modality CT is no projection X-ray (expected MG, CR, DX, RG)"),
        (
            {"Modality": None, "SOPClassUID": None},
            "other_modality",
            "modality none is no projection X-ray (expected MG, CR, DX, RG)",
        ),
        (
            {"PresentationIntentType": "FOR PROCESSING"},
            "for_processing",
            "FOR PROCESSING image: raw detector values, not meant to be shown",
        ),
        *(
            (changes, "for_processing", "FOR PROCESSING image: raw detector values, not meant to be shown")
            for changes in (
                {"PresentationIntentType": "FOR_PROCESSING"},
                {"PresentationIntentType": "ForProcessing"},
                {"PresentationIntentType": None, "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2.1"},
                {"PresentationIntentType": "", "SOPClassUID": "1.2.840.10008.5.1.4.1.1.13.1.5"},
            )
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


def view_sequence(code: str, *modifiers: str) -> dict[str, Any]:
    return {"ViewCodeSequence": [code_item(code, ViewModifierCodeSequence=[code_item(text) for text in modifiers])]}


@pytest.mark.parametrize(
    ("changes", "view"),
    [
        ({}, ""),
        ({"ViewPosition": " mlo"}, "MLO"),
        ({"ViewPosition": "RCC"}, "CC"),
        ({"ViewPosition": "L-MLO"}, "MLO"),
        ({"ViewPosition": "CRANIO-CAUDAL"}, "CC"),
        ({"ViewPosition": "CC-ID"}, "CC"),
        ({"ViewPosition": "CC Jane"}, "CC JANE"),
        ({"AcquisitionDeviceProcessingDescription": "MAMMO,R CC"}, "CC"),
        ({"AcquisitionDeviceProcessingDescription": "PREMIUM_VIEW"}, ""),
        ({"PatientOrientation": "MLO"}, "MLO"),
        ({"PatientOrientation": ["L", "F"]}, ""),
        ({"SeriesDescription": "R MLO"}, "MLO"),
        ({"SeriesDescription": "Screening MLO Jane"}, ""),
        ({"SeriesDescription": "R MLO", "ViewPosition": "CC"}, "CC"),
        ({"SeriesDescription": "R MLO", "ImageLaterality": "L"}, ""),
        (view_sequence("Y-X1770"), "XCCL"),
        (view_sequence("Y-X1771"), "XCCM"),
        (view_sequence("399265009"), "XCC"),
        (view_sequence("r-102cf "), "XCC"),
        ({"ViewCodeSequence": [code_item("99", CodeMeaning="cranio-caudal")]}, "CC"),
        (view_sequence("R-10242") | {"ViewPosition": "RMCC"}, "CC-MAG"),
        (view_sequence("R-10226") | {"ViewModifierCodeSequence": [code_item("R-102D7")]}, "MLO-SPOT"),
        (view_sequence("R-10242"), "CC"),
        (view_sequence("399368009"), "MLO"),
        (view_sequence("R-1024A") | {"ViewPosition": "CC"}, "XCCL"),
        (view_sequence("unheard of") | {"ViewPosition": "LM"}, "LM"),
        (view_sequence("R-10242", "R-102D7"), "CC-SPOT"),
        (view_sequence("R-10226", "399163009", "399055006"), "MLO-MAG-SPOT"),
        (view_sequence("R-10242", "R-102D5"), "CC"),
        (view_sequence("R-10242", "R-102D2"), "CC-CV"),
    ],
)
def test_views(tmp_path: Path, changes: dict[str, Any], view: str) -> None:
    assert read_header(save(build(RAMP, **changes), tmp_path / "image")).view == view


@pytest.mark.parametrize(
    ("changes", "side", "two_sides"),
    [
        ({"ImageLaterality": "R"}, "R", False),
        ({"ImageLaterality": "left "}, "L", False),
        ({"Laterality": "L"}, "L", False),
        ({"ImageLaterality": "B"}, "", False),
        ({"ImageLaterality": "R", "Laterality": "L"}, "R", True),
        ({"ViewPosition": "RCC"}, "R", False),
        ({"ViewPosition": "RCC", "ImageLaterality": "R"}, "R", False),
        ({"ViewPosition": "RCC", "ImageLaterality": "L"}, "", True),
        ({"ViewPosition": "RCC", "Laterality": "L"}, "", True),
        ({"AcquisitionDeviceProcessingDescription": "MAMMO,R CC"}, "R", False),
        ({"AcquisitionDeviceProcessingDescription": "MAMMO,R CC", "ImageLaterality": "L"}, "", True),
        ({"SeriesDescription": "R MLO"}, "R", False),
        ({"SeriesDescription": "R MLO", "ImageLaterality": "L"}, "L", False),
        (view_sequence("R-10242") | {"ViewPosition": "LCC"}, "L", False),
    ],
)
def test_sides(tmp_path: Path, changes: dict[str, Any], side: str, two_sides: bool) -> None:
    header = read_header(save(build(RAMP, **changes), tmp_path / "image"))
    assert (header.laterality, header.two_sides) == (side, two_sides)


CR, CT, DX = (f"1.2.840.10008.5.1.4.1.1.{number}" for number in ("1", "2", "1.1"))
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"


@pytest.mark.parametrize(
    ("changes", "alone", "stated"),
    [
        ({"Modality": None}, True, True),
        ({"Modality": ""}, True, True),
        ({"Modality": "  "}, True, True),
        ({"Modality": "mg "}, True, True),
        ({"Modality": None, "SOPClassUID": None}, False, True),
        ({"Modality": None, "SOPClassUID": DX}, False, True),
        ({"Modality": None, "SOPClassUID": CR, "ViewPosition": "RMLO"}, True, True),
        ({"Modality": None, "SOPClassUID": None, "ViewPosition": "PA"}, False, True),
        ({"Modality": None, "SOPClassUID": None, **view_sequence("Y-X1770")}, True, True),
        ({"Modality": None, "SOPClassUID": CT}, False, False),
        ({"Modality": None, "SOPClassUID": CT, "ViewPosition": "CC"}, False, False),
        ({"Modality": None, "SOPClassUID": FOR_PROCESSING, "PresentationIntentType": None}, False, False),
        ({"Modality": "OT"}, False, False),
        ({"Modality": "SC", "ViewPosition": "CC"}, False, False),
        ({"Modality": "CT"}, False, False),
    ],
)
def test_files_without_a_modality(tmp_path: Path, changes: dict[str, Any], alone: bool, stated: bool) -> None:
    path = save(build(RAMP, **changes), tmp_path / "image.dcm")
    for kinds, is_used in (((), alone), (accepted_kinds([], "MG", "refuse"), stated)):
        if is_used:
            assert read_dicom(path, kinds)[0].std() > 0.1
        else:
            with pytest.raises(BadFile, match=r"is no projection X-ray \(expected MG, CR, DX, RG\)|FOR PROCESSING"):
                read_dicom(path, kinds)


def test_header_fields(tmp_path: Path) -> None:
    dataset = build(
        RAMP,
        ImageLaterality="R",
        Laterality="L",
        BreastImplantPresent="YES",
        BurnedInAnnotation="NO",
        Manufacturer="X",
        PatientAge="061Y",
        StudyInstanceUID="1.2.3",
    )
    header = read_header(save(dataset, tmp_path / "image"))
    assert dataclasses.asdict(header) == {
        "modality": "MG",
        "patient_id": "000123",
        "study_uid": "1.2.3",
        "age": "061Y",
        "laterality": "R",
        "view": "",
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
        "sop_class": "1.2.840.10008.5.1.4.1.1.1.2",
        "two_sides": True,
    }
    assert not {"000123", "1.2.3", "061Y"} & set(re.findall(r"[\w.]+", repr(header)))
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


def test_a_deflated_bomb_is_refused_before_it_is_inflated() -> None:
    bomb = deflate_a_bomb(dicom_file(RAMP), np.random.default_rng(0), gigabytes=0.25)
    assert len(bomb) < 5_000_000
    for read in (read_header, read_dicom):
        with pytest.raises(BadFile, match="the deflated file holds more than"):
            read(bomb)


def test_a_reason_quotes_code_words_only(tmp_path: Path) -> None:
    for keyword in ("Modality", "PhotometricInterpretation"):
        with pytest.raises(BadFile) as caught:
            read_dicom(save(build(RAMP, **{keyword: "JANE"}), tmp_path / "image.dcm"))
        assert "unknown" in caught.value.reason
        assert "JANE" not in caught.value.reason


def test_a_reason_quotes_no_value(tmp_path: Path) -> None:
    path = save(build(RAMP, WindowCenter=100, WindowWidth=1234), tmp_path / "image.dcm")
    path.write_bytes(path.read_bytes().replace(b"1234", b"Jane"))
    with pytest.raises(BadFile) as caught:
        read_dicom(path)
    assert caught.value.reason == "malformed value of WindowWidth (ValueError)"

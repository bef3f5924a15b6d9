"""Stored values: every real file against the table of shared data, and what must be refused."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from mammo.data.decode import decode_stored_values
from mammo.data.pixel_layout import MAX_FRAME_VALUES, MAX_VALUES
from mammo.support.errors import BadFile
from tests.data.dicom_files import DICOM, INDEX, decoded_by_pydicom, needs_shared_data, quiet_pydicom

pytestmark = quiet_pydicom

# What the reference of INDEX.csv could not read: the array that is in the file, or why there is none.
BEYOND_THE_REFERENCE = {
    "CR-MONO1-10-chest.dcm": "(440, 440) uint16 0..979",  # no meta information, its length proves the guess
    "JPEG-lossy.dcm": "(1024, 256) uint16 0..264",
    "mammo_film_jpegextended12_undecodable_LMLO.dcm": "(4664, 3064) uint16 0..4095",
    "ExplVR_BigEndNoMeta.dcm": "the object holds no pixel data",
    "MR_truncated.dcm": "8130 bytes of pixel data, expected 8192",
    "badVR.dcm": "malformed value of NumberOfFrames (ValueError)",
    "emri_small_jpeg_2k_lossless_too_short.dcm": "the object holds no pixel data",
    "genFile.dcm": "the compressed pixel data is no JPEG image",
    "meta_missing_tsyntax.dcm": "BitsAllocated is missing",
    "no_meta.dcm": "the object holds no pixel data",
    "no_meta_group_length.dcm": "the object holds no pixel data",
    "reportsi.dcm": "the object holds no pixel data",
    "rtplan.dcm": "the object holds no pixel data",
}


def make(values: np.ndarray, syntax: UID = ExplicitVRLittleEndian, **changes: object) -> pydicom.Dataset:
    """A data set with uncompressed pixels; `changes` set or (None) remove elements."""
    dataset = pydicom.Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel = 3 if values.ndim == 3 else 1
    dataset.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = values.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    dataset.add_new("PixelData", "OW" if values.dtype.itemsize > 1 else "OB", values.tobytes())
    for keyword, value in changes.items():
        if keyword == "PixelData":
            dataset["PixelData"].value = value
        else:
            setattr(dataset, keyword, value)
    return dataset


def make_compressed(stream: bytes, values: np.ndarray, syntax: UID, **changes: object) -> pydicom.Dataset:
    return make(values, syntax, PixelData=encapsulate([stream]), **changes)


@needs_shared_data
@pytest.mark.parametrize("row", INDEX, ids=lambda row: row["file"])
def test_real_files_give_the_right_array_or_a_reason(row: dict[str, str]) -> None:
    dataset = pydicom.dcmread(DICOM / row["file"], force=True)
    try:
        values = decode_stored_values(dataset)
        found = f"{values.shape} {values.dtype} {values.min()}..{values.max()}"
        assert values.dtype.isnative
    except BadFile as bad:
        found = bad.reason
    reference = row["decoded_with_pydicom3_pylibjpeg_gdcm"].replace(">i2", "int16").replace(">u2", "uint16")
    assert found == BEYOND_THE_REFERENCE.get(row["file"], reference)
    assert reference.startswith("ERR") == (row["file"] in BEYOND_THE_REFERENCE)


def independent_values(path: Path) -> np.ndarray:
    """Stored values by another decoder; by numpy for the file that does not say its transfer syntax."""
    dataset = pydicom.dcmread(path, force=True)
    if path.name.startswith("CR-MONO1"):
        return np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    return decoded_by_pydicom(dataset)


@needs_shared_data
@pytest.mark.parametrize("row", INDEX, ids=lambda row: row["file"])
def test_real_files_equal_an_independent_decoder_or_are_refused(row: dict[str, str]) -> None:
    path = DICOM / row["file"]
    dataset = pydicom.dcmread(path, force=True)
    outcome = BEYOND_THE_REFERENCE.get(row["file"], "(")
    if not outcome.startswith("("):
        with pytest.raises(BadFile, match=f"^{re.escape(outcome)}$"):
            decode_stored_values(dataset)
        return
    values, expected = decode_stored_values(dataset), independent_values(path)
    assert values.shape == expected.shape
    # Decoders of lossy JPEG round differently; everything else is the same to the bit, lossy JPEG 2000 and JPEG-LS too.
    tolerance = 2 if "JPEG Extended" in row["transfer_syntax"] else 0
    assert np.abs(values.astype(np.int64) - expected).max() <= tolerance


@needs_shared_data
@pytest.mark.parametrize(
    ("compressed", "uncompressed"),
    [
        *((f"CT1_{kind}", "CT1_UNC") for kind in ("J2KR", "JLSL", "JPLL", "RLE")),
        ("D_CLUNIE_CT1_RLE_FRAGS", "CT1_UNC"),
        *((f"RG3_{kind}", "RG3_UNC") for kind in ("J2KR", "JLSL", "JPLL", "RLE")),
        *(
            (f"emri_small_{kind}", "emri_small")
            for kind in ("RLE", "big_endian", "jpeg_2k_lossless", "jpeg_ls_lossless")
        ),
    ],
)
def test_lossless_files_equal_the_uncompressed_one(compressed: str, uncompressed: str) -> None:
    expected = pydicom.dcmread(DICOM / f"{uncompressed}.dcm").pixel_array
    np.testing.assert_array_equal(decode_stored_values(pydicom.dcmread(DICOM / f"{compressed}.dcm")), expected)


@needs_shared_data
def test_lossy_files_against_pillow_and_bounds() -> None:
    film = pydicom.dcmread(DICOM / "RG1_J2KI.dcm")
    stream = next(generate_frames(film.PixelData, number_of_frames=1))
    # Pillow moves the 15 bits up to 16.
    np.testing.assert_array_equal(decode_stored_values(film), np.asarray(Image.open(io.BytesIO(stream))) >> 1)
    exact = decode_stored_values(pydicom.dcmread(DICOM / "RG3_UNC.dcm")).astype(int)
    near = decode_stored_values(pydicom.dcmread(DICOM / "RG3_JLSN.dcm")).astype(int)
    assert 0 < np.abs(exact - near).max() <= 10
    # The same film in JPEG 2000 and in 12-bit JPEG Extended, which no decoder of pydicom reads.
    one, other = (
        decode_stored_values(pydicom.dcmread(DICOM / f"mammo_film_{kind}_LMLO.dcm")).astype(int)
        for kind in ("j2k_lossy_12bit", "jpegextended12_undecodable")
    )
    assert np.abs(one - other).mean() < 20


@needs_shared_data
def test_one_frame_is_that_frame_of_all() -> None:
    for name in ("emri_small", "emri_small_RLE", "emri_small_jpeg_2k_lossless"):
        dataset = pydicom.dcmread(DICOM / f"{name}.dcm")
        np.testing.assert_array_equal(decode_stored_values(dataset, 7), decode_stored_values(dataset)[7])
        with pytest.raises(BadFile, match="no frame 10"):
            decode_stored_values(dataset, 10)


GRID = np.arange(12, dtype=np.uint16).reshape(3, 4)


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]
)
def test_native_syntaxes_signs_and_unused_bits(syntax: UID) -> None:
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    # 12 bits stored in bits 0-11, the bits above hold an overlay; -1 is FFF, -2048 is 800.
    words = np.array([[0xFFFF, 0x1800], [0x07FF, 0xF001]], f"{order}u2")
    changes = {"BitsStored": 12, "HighBit": 11}
    signed = decode_stored_values(make(words, syntax, PixelRepresentation=1, **changes))
    unsigned = decode_stored_values(make(words, syntax, **changes))
    high = decode_stored_values(make(words, syntax, BitsStored=12, HighBit=15))
    assert (signed.tolist(), signed.dtype) == ([[-1, -2048], [2047, 1]], np.dtype("=i2"))
    assert (unsigned.tolist(), unsigned.dtype) == ([[0xFFF, 0x800], [0x7FF, 1]], np.dtype("=u2"))
    assert high.tolist() == [[0xFFF, 0x180], [0x07F, 0xF00]]


def test_big_endian_bytes_in_words() -> None:
    swapped = np.array([[2, 1], [4, 3]], np.uint8)
    dataset = make(swapped, ExplicitVRBigEndian)
    dataset["PixelData"].VR = "OW"
    assert decode_stored_values(dataset).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
def test_planar_and_interleaved_colour(syntax: UID) -> None:
    colours = np.arange(30, dtype=np.uint8).reshape(2, 5, 3)
    dataset = make(colours)
    if syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    else:
        planes = np.ascontiguousarray(colours.transpose(2, 0, 1)).tobytes()
        np.testing.assert_array_equal(
            decode_stored_values(make(colours, PlanarConfiguration=1, PixelData=planes)), colours
        )
    np.testing.assert_array_equal(decode_stored_values(dataset), colours)


ENCODERS: dict[UID, Callable[[np.ndarray], bytes]] = {
    JPEGLosslessSV1: imagecodecs.ljpeg_encode,
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEG2000Lossless: lambda values: imagecodecs.jpeg2k_encode(values, level=0, codecformat="j2k"),
}


@pytest.mark.parametrize("syntax", ENCODERS, ids=lambda syntax: UID(syntax).name)
def test_signed_values_in_unsigned_streams(syntax: UID) -> None:
    values = np.random.default_rng(0).integers(-2048, 2047, (40, 50), dtype=np.int16)
    stream = ENCODERS[syntax](values.view(np.uint16) & 0xFFF)
    dataset = make_compressed(stream, values, syntax, BitsStored=12, HighBit=11)
    np.testing.assert_array_equal(decode_stored_values(dataset), values)


@pytest.mark.parametrize("syntax", [*ENCODERS, JPEGBaseline8Bit], ids=lambda syntax: UID(syntax).name)
def test_cut_streams_never_become_images(syntax: UID) -> None:
    values = np.random.default_rng(0).integers(0, 255, (64, 64)).astype(np.uint8)
    stream = ENCODERS.get(syntax, imagecodecs.jpeg8_encode)(values)
    assert decode_stored_values(make_compressed(stream, values, syntax)).shape == (64, 64)
    for length in (1, 3, 10, 60, len(stream) // 2, len(stream) - 3):
        with pytest.raises(BadFile):
            decode_stored_values(make_compressed(stream[:length], values, syntax))
    for keyword, value in (("Rows", 32), ("SamplesPerPixel", 3), ("NumberOfFrames", 2)):
        with pytest.raises(BadFile):
            decode_stored_values(make_compressed(stream, values, syntax, **{keyword: value}))


def test_8_bit_jpeg_in_16_bits_is_a_contradiction() -> None:
    values = np.random.default_rng(0).integers(0, 255, (16, 16)).astype(np.uint16)
    stream = imagecodecs.jpeg8_encode(values.astype(np.uint8))
    with pytest.raises(BadFile, match="16 bits allocated to a pixel of 8-bit JPEG"):
        decode_stored_values(make_compressed(stream, values, JPEGBaseline8Bit))


def test_codes_of_more_bits_than_the_header_says() -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    stream = imagecodecs.jpegls_encode(values)
    with pytest.raises(BadFile, match="do not fit the 10 bits"):
        decode_stored_values(make_compressed(stream, values, JPEGLSLossless, BitsStored=10, HighBit=9))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PixelData": GRID.tobytes()[:-1]}, "23 bytes of pixel data, expected 24"),
        ({"PixelData": GRID.tobytes() * 2}, "48 bytes of pixel data, expected 24"),
        ({"Rows": 0}, "impossible image size"),
        ({"Rows": 60000, "Columns": 60000}, f"60000 x 60000 pixels, more than {MAX_FRAME_VALUES} values"),
        ({"Rows": 8000, "Columns": 8000, "NumberOfFrames": 10}, f"more than {MAX_VALUES} values in all"),
        ({"SamplesPerPixel": 3}, "3 samples in a pixel that is MONOCHROME2"),
        ({"PhotometricInterpretation": "YBR_FULL"}, "1 samples in a pixel that is YBR_FULL"),
        ({"PhotometricInterpretation": "R&B"}, "unknown PhotometricInterpretation"),
        ({"PhotometricInterpretation": None}, "PhotometricInterpretation is missing"),
        ({"Rows": None}, "Rows is missing"),
        ({"BitsStored": None}, "BitsStored is missing"),
        ({"PixelRepresentation": None}, "PixelRepresentation is missing"),
        ({"PixelRepresentation": 2}, "PixelRepresentation is 2, expected 0 or 1"),
        ({"SamplesPerPixel": 2}, "impossible image size"),
        ({"NumberOfFrames": -1}, "impossible image size"),
        ({"NumberOfFrames": 0}, "impossible image size"),
        ({"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}, "1 bits allocated"),
        ({"BitsStored": 17}, "impossible pixel"),
        ({"HighBit": 3}, "impossible pixel"),
        (
            {"PhotometricInterpretation": "YBR_FULL_422", "SamplesPerPixel": 3},
            "uncompressed pixels of this colour model are not supported",
        ),
    ],
)
def test_headers_that_cannot_be_true(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(BadFile, match=reason):
        decode_stored_values(make(GRID, **changes))


def test_a_pad_byte_is_no_defect_and_a_video_is() -> None:
    odd = np.arange(9, dtype=np.uint8).reshape(3, 3)
    np.testing.assert_array_equal(decode_stored_values(make(odd, PixelData=odd.tobytes() + b"\0")), odd)
    with pytest.raises(BadFile, match=r"MPEG2 .* is not supported"):
        decode_stored_values(make_compressed(b"abcd", odd, UID("1.2.840.10008.1.2.4.100")))

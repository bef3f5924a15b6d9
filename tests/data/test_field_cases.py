"""Files as they are found, each against the same pixels in plain form; and all of them through a command."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000, JPEG2000Lossless, JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from mammo.data.decode import decode_stored_values
from mammo.data.phantom import render_view
from mammo.data.pixels import PixelSettings, pixels_of
from mammo.support.errors import BadFile
from tests.checks.conftest import status_of
from tests.data.dicom_files import decoded_by_pydicom, dicom_file, lut_item, quiet_pydicom
from tests.data.reading import read_image
from tests.data.test_ends_of_streams import INSIDE, padded_segments
from tests.data.test_presentation import empty_item
from tests.data.test_stored_bits import jpeg_2000

pytestmark = quiet_pydicom

# Folder of ../shared/data/field-cases, file, file with the same pixels, mean difference of the grey levels (of 1).
EQUAL = [
    *(("03-bytes-after-eoi", f"pad_{kind}_20.dcm", "ref.dcm", 0) for kind in ("jpegll", "jpegls", "j2k")),
    ("03-bytes-after-eoi", "pad_jpeg8_20.dcm", "ref.dcm", 0.005),
    *(
        ("04-rle-padding", f"pad_rle{bits}_{pad}.dcm", f"pad_rle{bits}_none.dcm", 0)
        for bits in (8, 16)
        for pad in ("00", "20")
    ),
    *(("05-jpeg-thumbnail", f"{name}.jpg", "ref.jpg", 0) for name in ("exif_thumb", "jfxx_thumb", "comment_ffda")),
    *(("02-j2k-fast-refused", f"j2k_lossless_prec{bits}_marker.dcm", "marker_ref.dcm", 0) for bits in (12, 16)),
]


@pytest.mark.parametrize(("folder", "name", "reference", "tolerance"), EQUAL, ids=lambda value: str(value))
def test_files_from_the_field(shared_data: Path, folder: str, name: str, reference: str, tolerance: float) -> None:
    cases = shared_data / "field-cases" / folder
    image, expected = (read_image(cases / file)[0] for file in (name, reference))
    assert np.abs(image - expected).mean() <= tolerance
    content, plain = ((cases / file).read_bytes() for file in (name, reference))
    for decode in ("fast", "exact"):
        fast = pixels_of(content, "", PixelSettings(96, True, True, decode=decode)).astype(int)
        square = pixels_of(plain, "", PixelSettings(96, True, True)).astype(int)
        assert abs(fast.mean() - square.mean()) <= max(1, 270 * tolerance)


@pytest.mark.parametrize(
    ("file", "frame"),
    [
        ("03-bytes-after-eoi/GH184.dcm", None),
        ("05-jpeg-thumbnail/jpeg_app1_thumb.dcm", None),
        ("07-lossy-overshoot/j2k_lossy_prec16_40.dcm", None),
        ("07-lossy-overshoot/jpeg2000-multiframe-multifragments.dcm", 9),
    ],
)
def test_files_from_the_field_against_pydicom(shared_data: Path, file: str, frame: int | None) -> None:
    dataset = pydicom.dcmread(shared_data / "field-cases" / file)
    expected = decoded_by_pydicom(dataset)
    expected = expected if frame is None else expected[frame]
    high = 2 ** (dataset.BitsStored - dataset.PixelRepresentation) - 1
    tolerance = 2 if dataset.file_meta.TransferSyntaxUID == JPEGBaseline8Bit else 0
    values = decode_stored_values(dataset, frame)
    assert np.abs(values.astype(int) - np.minimum(expected, high)).max() <= tolerance


@pytest.mark.parametrize("name", ["slope0", "slope0_nowin"])
def test_a_slope_of_0_is_refused(shared_data: Path, name: str) -> None:
    with pytest.raises(BadFile, match=r"^constant image$"):
        read_image(shared_data / "field-cases" / "08-slope-0" / f"{name}.dcm")


@pytest.mark.parametrize("name", ["VOILUTSequence", "ModalityLUTSequence"])
@pytest.mark.parametrize("item", ["bare", "empty"])
def test_items_without_content_from_the_field(shared_data: Path, item: str, name: str) -> None:
    cases = shared_data / "field-cases"
    image, _ = read_image(cases / "14-empty-lut-item" / f"{item}_item_{name}.dcm")
    np.testing.assert_array_equal(image, read_image(cases / "03-bytes-after-eoi" / "ref.dcm")[0])


def with_stream(content: bytes, change: Callable[[bytes], bytes]) -> bytes:
    """A compressed DICOM file whose only frame is changed."""
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.PixelData = encapsulate([change(next(generate_frames(dataset.PixelData, number_of_frames=1)))])
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


WINDOW = {"WindowCenter": 2048, "WindowWidth": 4096}


def bytes_of(values: np.ndarray) -> np.ndarray:
    return (values >> 4).astype(np.uint8)


def padded(values: np.ndarray, syntax: str) -> bytes:
    return with_stream(dicom_file(values, syntax, **WINDOW), lambda stream: stream + b" \x07")


def with_thumbnail(stream: bytes) -> bytes:
    return stream[:2] + INSIDE["EXIF"] + stream[2:]


def baseline(values: np.ndarray, change: Callable[[bytes], bytes]) -> bytes:
    return with_stream(dicom_file(bytes_of(values), JPEGBaseline8Bit, bits=8), change)


# A mammogram of 12 bits as it is found: every file is to be read ...
FOUND: dict[str, Callable[[np.ndarray], bytes]] = {
    **{f"padded {syntax}": partial(padded, syntax=syntax) for syntax in (JPEGLosslessSV1, JPEGLSLossless, JPEG2000)},
    "padded RLE": lambda values: with_stream(
        dicom_file(values, RLELossless, **WINDOW), lambda stream: padded_segments(stream, b"  ")
    ),
    "padded baseline": lambda values: baseline(values, lambda stream: stream + b"abc"),
    "thumbnail in DICOM": lambda values: baseline(values, with_thumbnail),
    "thumbnail": lambda values: with_thumbnail(imagecodecs.jpeg8_encode(bytes_of(values), level=95)) + b"trailer",
    "16 bits in the stream": lambda values: with_stream(
        dicom_file(values, JPEG2000Lossless, **WINDOW), lambda _: jpeg_2000(values)
    ),
    "empty item": lambda values: dicom_file(values, **WINDOW, VOILUTSequence=[empty_item()]),
    "table of 12 bits that says 16": lambda values: dicom_file(
        values, VOILUTSequence=[lut_item(list(range(4096)), 0, 16, words=True)]
    ),
    "overlay bits": lambda values: dicom_file(
        values | np.where(np.indices(values.shape)[1] % 50, 0, 0x8000).astype(np.uint16), **WINDOW
    ),
}
# ... and these are not.
REFUSED: dict[str, Callable[[np.ndarray], bytes]] = {
    "shows nothing": lambda values: dicom_file(values, WindowCenter=30000, WindowWidth=60000),
    "constant image": lambda values: dicom_file(values, RescaleSlope=0),
    "do not fit the 10 bits": lambda values: dicom_file(values, bits=10),
}


def test_what_is_found_is_read_by_a_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With the values of the plain file; what shows nothing is listed with its reason."""
    image = render_view(0, 3, "R", "MLO").image
    image[40:80, :80] = 4095
    exact = PixelSettings(64, True, True, decode="exact")
    for number, (name, make) in enumerate((FOUND | REFUSED).items()):
        values = np.ascontiguousarray(image[number // 4 :: 4, number % 4 :: 4])
        path = tmp_path / "data" / "ABCD"[number % 4] / f"{number}{'.jpg' if name == 'thumbnail' else '.dcm'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make(values))
        if name in FOUND:
            plain = pixels_of(dicom_file(values, **WINDOW), "", exact).astype(int)
            assert np.abs(pixels_of(path.read_bytes(), "", exact) - plain).mean() < 1, name
    status_of(
        "data=folders", f"data.root={tmp_path / 'data'}", "data.group_by=image", "data.image_size=64",
        "data.max_bad_fraction=0.3", f"cache_dir={tmp_path / 'cache'}",
    )  # fmt: skip
    printed = " ".join(capsys.readouterr().out.split())
    assert f"{len(FOUND)} images" in printed, printed
    for reason in REFUSED:
        assert reason in printed, printed

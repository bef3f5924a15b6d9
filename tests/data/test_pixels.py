"""The square of a file: like a plain computation on the whole image, whatever is saved on the way."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from mammo.data.grey import GreyImage
from mammo.data.images import open_image
from mammo.data.phantom import render_view
from mammo.data.pixels import LEAST_OVERSAMPLING, PixelSettings, image_and_placement, pixels_of
from mammo.data.preprocess import Breast, block_edges, locate, prepare
from mammo.support.errors import BadFile
from tests.data.dicom_files import DICOM, EVERYTHING, INDEX, dicom_file, needs_shared_data, quiet_pydicom
from tests.data.reading import read_image
from tests.pictures import save_turned

pytestmark = quiet_pydicom
FAST = PixelSettings(size_px=256, crop=True, orient=True)
EXACT = dataclasses.replace(FAST, decode="exact")


@pytest.fixture(scope="module")
def mammogram() -> np.ndarray:
    """A generated mammogram of 12 bits, 1152 x 928 pixels."""
    return render_view(0, 3, "R", "MLO").image


def plain_square(content: bytes, laterality: str, size_px: int) -> np.ndarray:
    """The definition: the whole image as floats, blackened beside the breast, cropped, flipped, resized."""
    image, header = read_image(content, EVERYTHING)
    breast: Breast = locate(GreyImage.of(image))
    row_edges, column_edges = block_edges(image.shape, breast.with_margin.shape)
    mask = np.repeat(np.repeat(breast.with_margin, np.diff(row_edges), axis=0), np.diff(column_edges), axis=1)
    top, bottom, left, right = breast.box(image.shape)
    picture = (image * mask)[top:bottom, left:right].astype(np.float32)
    side = laterality or (header.laterality if header is not None else "")
    if breast.asymmetry() > 0.12 or (abs(breast.asymmetry()) < 0.12 and side == "R"):
        picture = np.ascontiguousarray(picture[:, ::-1])
    scale = size_px / max(picture.shape)
    height, width = (max(1, round(length * scale)) for length in picture.shape)
    small = np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))
    square = np.zeros((size_px, size_px), np.float32)
    square[(size_px - height) // 2 :][:height, :width] = small
    return np.rint(255 * square).astype(np.uint8)


@pytest.mark.parametrize("syntax", [None, RLELossless, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless])
def test_the_square_is_that_of_the_plain_computation_to_the_bit(mammogram: np.ndarray, syntax: str | None) -> None:
    expected = plain_square(dicom_file(mammogram), "", 256)
    assert expected.max() > 100
    np.testing.assert_array_equal(pixels_of(dicom_file(mammogram, syntax), "", EXACT), expected)
    if syntax != JPEG2000Lossless:
        np.testing.assert_array_equal(pixels_of(dicom_file(mammogram, syntax), "", FAST), expected)


def test_large_images_windows_and_polarity_too(mammogram: np.ndarray) -> None:
    """Larger than what is sampled to find the breast, odd sizes, the negative of a window, signed values."""
    large = np.repeat(np.repeat(mammogram, 3, axis=0), 3, axis=1)[:-2, 1:]
    for changes in (
        {"WindowCenter": 1500, "WindowWidth": 2000},
        {"PhotometricInterpretation": "MONOCHROME1", "PixelPaddingValue": 4095},
        {"RescaleSlope": 2, "RescaleIntercept": -50, "WindowCenter": 2000, "WindowWidth": 4000},
        {"PresentationIntentType": None},
    ):
        values = 4095 - large if "PhotometricInterpretation" in changes else large
        content = dicom_file(values, **changes)
        np.testing.assert_array_equal(pixels_of(content, "L", FAST), plain_square(content, "L", 256))
    signed = dicom_file(large.astype(np.int16) - 2048)
    np.testing.assert_array_equal(pixels_of(signed, "", FAST), plain_square(signed, "", 256))


@pytest.mark.parametrize("name", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("side", ["L", "R"])
def test_fast_jpeg_2000_moves_few_grey_levels(mammogram: np.ndarray, name: str, side: str) -> None:
    """And no edge: a shift by the half pixel of a reduced image alone would move more."""
    values = mammogram if side == "R" else np.ascontiguousarray(mammogram[:, ::-1])
    values = np.repeat(np.repeat(values, 2, axis=0), 2, axis=1)
    values = 4095 - values if name == "MONOCHROME1" else values
    content = dicom_file(values, JPEG2000Lossless, PhotometricInterpretation=name)
    assert open_image(content).grey(384).reduction == 2
    fast, exact = (pixels_of(content, "", settings).astype(int) for settings in (FAST, EXACT))
    difference = np.abs(fast - exact)
    assert 0 < difference.mean() < 0.15
    assert np.percentile(difference, 99.9) <= 8


def test_a_small_breast_is_decoded_again_and_keeps_its_detail(mammogram: np.ndarray) -> None:
    """The breast is a fifth of the film: at the reduction that suits the film, less than the square is left of it."""
    film = np.zeros((5 * mammogram.shape[0], 3 * mammogram.shape[1]), np.uint16)
    film[mammogram.shape[0] : 2 * mammogram.shape[0], -mammogram.shape[1] :] = mammogram
    content = dicom_file(film, JPEG2000Lossless)
    settings = dataclasses.replace(FAST, size_px=320)
    coarse = open_image(content).grey(480)
    top, bottom, *_ = locate(coarse).box(coarse.whole_shape)
    assert bottom - top < LEAST_OVERSAMPLING * settings.size_px * 2**coarse.reduction
    enlarged = prepare(coarse, "", 320, True, True)
    exact = pixels_of(content, "", dataclasses.replace(settings, decode="exact"))
    assert detail(pixels_of(content, "", settings)) == pytest.approx(detail(exact), rel=0.05)
    assert detail(enlarged) < 0.9 * detail(exact)


def detail(square: np.ndarray) -> float:
    """How much neighbours differ inside the breast."""
    return float(np.diff(square[100:200, 20:80].astype(float)).std())


def test_padding_that_is_not_the_dark_end_is_never_mixed_with_tissue(mammogram: np.ndarray) -> None:
    """Padding of 4095 beside tissue: reduced, its border would be a bright line around the breast."""
    values = mammogram.copy()
    values[values == 0] = 4095
    content = dicom_file(values, JPEG2000Lossless, PixelPaddingValue=4095)
    assert open_image(content).grey(300).reduction == 0
    np.testing.assert_array_equal(pixels_of(content, "", FAST), pixels_of(content, "", EXACT))
    dark = dicom_file(mammogram, JPEG2000Lossless, PixelPaddingValue=0)
    assert open_image(dark).grey(300).reduction == 1


def test_pictures_come_from_their_content(tmp_path: Path) -> None:
    grey = np.random.default_rng(0).integers(0, 256, (90, 60)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "image.png")
    content = (tmp_path / "image.png").read_bytes()
    np.testing.assert_array_equal(read_image(content)[0], read_image(tmp_path / "image.png")[0])
    with pytest.raises(BadFile, match="neither a DICOM file nor a readable picture"):
        pixels_of(content[:20], "", FAST)


@needs_shared_data
@pytest.mark.parametrize("row", INDEX, ids=lambda row: row["file"])
def test_real_files_fast_and_exact(row: dict[str, str]) -> None:
    """Equal to the bit, or refused for the same reason; JPEG 2000 films and radiographs differ by little."""
    content = (DICOM / row["file"]).read_bytes()
    results = []
    for decode in ("fast", "exact"):
        settings = PixelSettings(256, crop=True, orient=True, accept=EVERYTHING, decode=decode)
        try:
            results.append(pixels_of(content, "", settings))
        except BadFile as bad:
            results.append(bad.reason)
    fast, exact = results
    if isinstance(exact, str) or "2000" not in row["transfer_syntax"]:
        np.testing.assert_array_equal(fast, exact)
    else:
        assert np.abs(fast.astype(int) - exact).mean() < 1


@needs_shared_data
def test_a_film_at_512_px() -> None:
    content = (DICOM / "mammo_film_j2k_lossy_12bit_LMLO.dcm").read_bytes()
    fast, exact = (pixels_of(content, "", PixelSettings(512, True, True, decode=how)) for how in ("fast", "exact"))
    difference = np.abs(fast.astype(int) - exact)
    assert difference.mean() < 0.1
    assert np.percentile(difference, 99.9) <= 5
    image = open_image(content).grey(768)
    assert image.shape == (1166, 766)


def test_the_square_of_a_turned_picture_is_that_of_the_upright_one(mammogram: np.ndarray, tmp_path: Path) -> None:
    values = (mammogram // 16).astype(np.uint8)
    upright = pixels_of(save_turned(values, tmp_path / "1.png", 1).read_bytes(), "", FAST)
    for orientation in range(2, 9):
        content = save_turned(values, tmp_path / f"{orientation}.png", orientation).read_bytes()
        np.testing.assert_array_equal(pixels_of(content, "", FAST), upright)
        grey, placement = image_and_placement(content, "", FAST, 256)
        assert (grey.whole_shape, placement.box_px[1] <= values.shape[0]) == (values.shape, True)


def test_stores_of_before_do_not_serve_pictures_on_their_side() -> None:
    """The key that these settings had when no picture was turned."""
    assert PixelSettings(512, crop=True, orient=True).key() != "fe938ed5eeffc4e0"

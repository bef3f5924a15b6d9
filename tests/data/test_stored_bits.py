"""Values and bits that the header has no room for: overshoot is clipped, overlays are masked, the rest is refused."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from mammo.data.decode import decode_reduced, decode_stored_values
from mammo.data.pixel_layout import layout_of
from mammo.data.stored_bits import fitted
from mammo.support.errors import BadFile
from tests.data.test_decode import make, make_compressed
from tests.data.test_ends_of_streams import rle

BITS_12 = {"BitsStored": 12, "HighBit": 11}
DOES_NOT_FIT = "values that do not fit the {} bits of the header"


def film(highest: int = 4095) -> np.ndarray:
    """A smooth bright disc with noise on black, and white letters beside it."""
    y, x = np.mgrid[:200, :160]
    inside = (y - 100) ** 2 + x**2 < 95**2
    noise = np.random.default_rng(0).normal(0, highest / 200, (200, 160))
    values = np.where(inside, highest * (0.5 + 0.35 * np.sin(y / 25) * np.cos(x / 19)) + noise, 0)
    values[20:40:2, 120:150] = values[20:40, 120:150:6] = highest
    return values.clip(0, highest).astype(np.uint16)


def jpeg_2000(values: np.ndarray, bits: int = 16, **options: object) -> bytes:
    options = {"level": 0, "codecformat": "j2k", "reversible": True} | options
    return imagecodecs.jpeg2k_encode(values, bitspersample=bits, **options)


LOSSY = {
    "JPEG 2000": (JPEG2000, lambda values: jpeg_2000(values, reversible=False, level=65)),
    "JPEG 2000, reversible": (JPEG2000, lambda values: jpeg_2000(values, level=55)),
    "JPEG 2000, named lossless": (JPEG2000Lossless, lambda values: jpeg_2000(values, reversible=False, level=65)),
    "near-lossless JPEG-LS, named lossless": (
        JPEGLSLossless,
        lambda values: imagecodecs.jpegls_encode(values, level=9),
    ),
    "near-lossless JPEG-LS": (JPEGLSNearLossless, lambda values: imagecodecs.jpegls_encode(values, level=9)),
}


@pytest.mark.parametrize("name", LOSSY)
def test_overshoot_of_lossy_streams_is_clipped(name: str) -> None:
    syntax, encode = LOSSY[name]
    values = film()
    stream = encode(values)
    raw = (imagecodecs.jpegls_decode if "LS" in name else imagecodecs.jpeg2k_decode)(stream)
    assert 4095 < raw.max() < 1.25 * 4095
    shown = decode_stored_values(make_compressed(stream, values, syntax, **BITS_12))
    np.testing.assert_array_equal(shown, np.minimum(raw, 4095))


def test_overshoot_of_12_bit_jpeg_in_10_stored_bits() -> None:
    values = film(1023)
    stream = imagecodecs.jpeg_encode(values, level=60, bitspersample=12)
    raw = imagecodecs.jpeg8_decode(stream)
    assert raw.max() > 1023
    dataset = make_compressed(stream, values, JPEGExtended12Bit, BitsStored=10, HighBit=9)
    np.testing.assert_array_equal(decode_stored_values(dataset), np.minimum(raw, 1023))


def test_overshoot_of_signed_values_at_both_ends() -> None:
    values = film().astype(np.int16) - 2048
    stream = jpeg_2000(values, reversible=False, level=62)
    raw = imagecodecs.jpeg2k_decode(stream)
    assert raw.min() < -2048
    assert raw.max() > 2047
    shown = decode_stored_values(make_compressed(stream, values, JPEG2000, **BITS_12))
    np.testing.assert_array_equal(shown, raw.clip(-2048, 2047))


@pytest.mark.parametrize("syntax", [JPEG2000, JPEG2000Lossless, JPEGExtended12Bit, JPEGLosslessSV1, JPEGLSLossless])
@pytest.mark.parametrize("bits", [8, 10, 11])
def test_an_image_of_more_bits_is_no_overshoot(syntax: UID, bits: int) -> None:
    values = film()
    streams = {
        JPEG2000: lambda: jpeg_2000(values, reversible=False, level=80),
        JPEG2000Lossless: lambda: jpeg_2000(values),
        JPEGExtended12Bit: lambda: imagecodecs.jpeg_encode(values, level=95, bitspersample=12),
        JPEGLosslessSV1: lambda: imagecodecs.jpeg_encode(values, lossless=True, predictor=1, bitspersample=12),
        JPEGLSLossless: lambda: imagecodecs.jpegls_encode(values),
    }
    dataset = make_compressed(streams[syntax](), values, syntax, BitsStored=bits, HighBit=bits - 1)
    for decode in (decode_stored_values, lambda data: decode_reduced(data, 30)):
        with pytest.raises(BadFile, match=DOES_NOT_FIT.format(bits)):
            decode(dataset)


def test_the_stated_bounds_of_overshoot() -> None:
    """By half of the range, and by more than a sixteenth in 2 of 100 pixels."""
    layout = layout_of(make(np.zeros((10, 100), np.uint16), **BITS_12), None)
    for excess, count, is_clipped in (
        (2047, 20, True), (2048, 1, False), (255, 1000, True), (256, 20, True), (256, 21, False),
    ):  # fmt: skip
        values = np.full(1000, 7, np.uint16)
        values[:count] = 4095 + excess
        if is_clipped:
            assert fitted(values.reshape(10, 100), layout, True).max() == 4095
        else:
            with pytest.raises(BadFile, match=DOES_NOT_FIT.format(12)):
                fitted(values.reshape(10, 100), layout, True)


@pytest.mark.parametrize("min_side_px", [100, 50, 25])
def test_the_low_band_of_a_lossless_image_overshoots_where_no_pixel_does(min_side_px: int) -> None:
    """Streams of 16 bits, and of 12, in which the decoder itself clips."""
    values = film()
    values[150:182, 120:152] = 4095
    by_12, reduction = decode_reduced(
        make_compressed(jpeg_2000(values, 12), values, JPEG2000Lossless, **BITS_12), min_side_px
    )
    by_16, other = decode_reduced(
        make_compressed(jpeg_2000(values, 16), values, JPEG2000Lossless, **BITS_12), min_side_px
    )
    assert reduction == other > 0
    assert by_16.max() == 4095
    np.testing.assert_array_equal(by_12, by_16)


def test_a_reduced_image_that_overshoots_more_is_decoded_whole() -> None:
    """A pattern of pixels that the low band cannot hold, in too much of the image."""
    values = ((np.indices((128, 128)) // 3).sum(axis=0) % 2 * 4095).astype(np.uint16)
    dataset = make_compressed(jpeg_2000(values), values, JPEG2000Lossless, **BITS_12)
    shown, reduction = decode_reduced(dataset, 64)
    assert reduction == 0
    np.testing.assert_array_equal(shown, values)


def with_bits_above(values: np.ndarray) -> dict[str, np.ndarray]:
    """What was found in the four bits above: text of an overlay, a filled one, noise, all of them set."""
    text, filled = np.zeros((2, *values.shape), np.uint16)
    text[20:90:3, 20:60] = 0x8000
    text[60:90, 30:34] = 0x8000
    filled[40:120, 20:80] = 0x8000
    noise = (np.random.default_rng(3).integers(0, 16, values.shape) << 12).astype(np.uint16)
    above = {"text": text, "filled": filled, "noise": noise, "noise beside": noise * (values < 100), "set": 0xF000}
    return {name: values.view(np.uint16) & 0xFFF | bits for name, bits in above.items()}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("values", [film(), film().astype(np.int16) - 2048], ids=["unsigned", "signed"])
def test_bits_above_the_stored_ones_that_are_not_the_picture(syntax: UID, values: np.ndarray) -> None:
    for name, cells in with_bits_above(values).items():
        changes = {"PixelRepresentation": int(values.dtype.kind == "i"), **BITS_12}
        dataset = make(cells, syntax, **changes)
        if syntax == RLELossless:
            dataset = make_compressed(rle(cells), cells, syntax, **changes)
        np.testing.assert_array_equal(decode_stored_values(dataset), values, err_msg=name)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize("bits", [8, 10, 11])
def test_a_picture_that_goes_on_above_the_stored_bits(syntax: UID, bits: int) -> None:
    """Masked, it would begin again at black."""
    values = film()
    for cells, sign in ((values, 0), (values.astype(np.int16) - 2048, 1)):
        changes = {"BitsStored": bits, "HighBit": bits - 1, "PixelRepresentation": sign}
        dataset = make(cells, syntax, **changes)
        if syntax == RLELossless:
            dataset = make_compressed(rle(cells.view(np.uint16)), cells, syntax, **changes)
        with pytest.raises(BadFile, match=DOES_NOT_FIT.format(bits)):
            decode_stored_values(dataset)


@pytest.mark.parametrize("precision", [12, 13, 16])
def test_signed_values_in_unsigned_streams_of_any_precision(precision: int) -> None:
    values = np.random.default_rng(0).integers(-2048, 2048, (40, 50)).astype(np.int16)
    stream = imagecodecs.jpegls_encode(values.view(np.uint16) & np.uint16(2**precision - 1))
    dataset = make_compressed(stream, values, JPEGLSLossless, **BITS_12)
    np.testing.assert_array_equal(decode_stored_values(dataset), values)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless])
def test_a_small_part_of_a_picture_that_goes_on_above(syntax: UID) -> None:
    """The same answer in whatever rows it lies, and where it changes from row to row alone."""
    y, x = np.mgrid[:200, :160]
    smooth = film().clip(0, 3700)
    pictures = {"band": np.broadcast_to(np.linspace(2000, 5200, 200)[:, np.newaxis], smooth.shape)}
    for row in range(60, 69):
        blob = np.clip(1 - ((y - row) ** 2 + (x - 25) ** 2) / 9, 0, None)
        pictures[f"blob at {row}"] = np.where(blob > 0, np.maximum(smooth, 3795 + 900 * blob), smooth)
    for name, picture in pictures.items():
        with pytest.raises(BadFile, match=DOES_NOT_FIT.format(12)):
            print(name, decode_stored_values(in_syntax(picture.astype(np.uint16), syntax, **BITS_12)).max())


def in_syntax(cells: np.ndarray, syntax: UID, **changes: object) -> pydicom.Dataset:
    encode = {RLELossless: rle, JPEGLSLossless: imagecodecs.jpegls_encode, JPEG2000Lossless: jpeg_2000}
    if syntax in encode:
        return make_compressed(encode[syntax](cells), cells, syntax, **changes)
    return make(cells, syntax, **changes)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_overlays_and_markers_of_all_bits_are_masked(syntax: UID) -> None:
    values = film()
    cells = with_bits_above(values)
    cells["marker"] = values.copy()
    values[150:180, 120:150] = 4095
    cells["marker"][150:180, 120:150] = 65535
    for name in ("text", "filled"):
        cells[name][150:180, 120:150] |= 4095
    for name in ("text", "filled", "marker"):
        shown = decode_stored_values(in_syntax(cells[name], syntax, **BITS_12))
        np.testing.assert_array_equal(shown, values, err_msg=name)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEGLSLossless, JPEG2000Lossless])
def test_padding_that_has_no_room_in_the_stored_bits_stays_what_it_is(syntax: UID) -> None:
    values = film()
    cells = np.where(values == 0, 65535, values).astype(np.uint16)
    dataset = in_syntax(cells, syntax, PixelPaddingValue=65535, **BITS_12)
    np.testing.assert_array_equal(decode_stored_values(dataset), cells)

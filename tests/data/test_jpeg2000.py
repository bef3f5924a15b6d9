"""JPEG 2000 at a fraction of the size: what comes out, when it is not done, and that the checks still hold."""

from __future__ import annotations

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from mammo.data.decode import decode_reduced, decode_stored_values
from mammo.support.errors import BadFile
from tests.data.test_decode import DICOM, make, make_compressed, needs_shared_data


def encode(values: np.ndarray, **options: object) -> bytes:
    options = {"level": 0, "codecformat": "j2k", "reversible": True} | options
    return imagecodecs.jpeg2k_encode(values, **options)


def smooth(rows: int, columns: int) -> np.ndarray:
    """12 bits that change by less than a hundred from pixel to pixel."""
    y, x = np.mgrid[:rows, :columns]
    return (2048 + 900 * np.sin(y / 19) + 900 * np.cos(x / 23)).astype(np.uint16)


def twelve_bits(stream: bytes, values: np.ndarray, **changes: object) -> pydicom.Dataset:
    return make_compressed(stream, values, JPEG2000Lossless, **({"BitsStored": 12, "HighBit": 11} | changes))


@pytest.mark.parametrize("shape", [(256, 192), (241, 190), (243, 185), (250, 257), (1955, 1841)])
@pytest.mark.parametrize("reduction", [1, 2, 3])
def test_a_reduced_pixel_shows_the_first_of_the_pixels_it_stands_for(shape: tuple[int, int], reduction: int) -> None:
    values = smooth(*shape)
    step = 2**reduction
    rows, columns = -(-shape[0] // step), -(-shape[1] // step)
    dataset = twelve_bits(encode(values, bitspersample=12), values)
    reduced, found = decode_reduced(dataset, max(rows, columns))
    assert (found, reduced.shape, reduced.dtype) == (reduction, (rows, columns), np.uint16)
    picked = values[::step, ::step].astype(int)
    means = np.pad(values, ((0, -shape[0] % step), (0, -shape[1] % step)), mode="edge").astype(int)
    means = means.reshape(rows, step, columns, step).mean(axis=(1, 3))
    inside = (slice(2, -2), slice(2, -2))
    assert np.abs(reduced - picked)[inside].mean() < 0.5 * np.abs(reduced - means)[inside].mean()
    assert np.abs(reduced - picked)[inside].max() < 40


@pytest.mark.parametrize(
    ("min_side_px", "levels", "expected"), [(257, 6, 0), (256, 6, 0), (255, 6, 0), (128, 6, 1), (65, 6, 1), (1, 3, 2)]
)
def test_the_strongest_reduction_that_leaves_enough(min_side_px: int, levels: int, expected: int) -> None:
    values = smooth(256, 100)
    dataset = twelve_bits(encode(values, bitspersample=12, resolutions=levels), values)
    reduced, found = decode_reduced(dataset, min_side_px)
    assert found == expected
    if expected == 0:
        np.testing.assert_array_equal(reduced, values)


def test_8_bits_and_a_jp2_file() -> None:
    values = (smooth(200, 100) >> 4).astype(np.uint8)
    for options in ({}, {"codecformat": "jp2"}):
        reduced, reduction = decode_reduced(make_compressed(encode(values, **options), values, JPEG2000Lossless), 50)
        assert (reduction, reduced.shape, reduced.dtype) == (2, (50, 25), np.uint8)
        assert np.abs(reduced[2:-2, 2:-2].astype(int) - values[::4, ::4][2:-2, 2:-2]).max() <= 3


def test_one_frame_of_several() -> None:
    values = smooth(128, 128)
    streams = [encode(values, bitspersample=12), encode(values[::-1].copy(), bitspersample=12)]
    dataset = twelve_bits(streams[0], values, NumberOfFrames=2)
    dataset.PixelData = encapsulate(streams)
    second, reduction = decode_reduced(dataset, 64, frame=1)
    assert reduction == 1
    np.testing.assert_array_equal(second, decode_reduced(twelve_bits(streams[1], values), 64)[0])


def test_what_cannot_be_reduced_is_decoded_whole() -> None:
    values = smooth(128, 128)
    signed = (values.astype(np.int16) - 2048).astype(np.int16)
    colour = np.repeat((values >> 4).astype(np.uint8)[..., None], 3, axis=2)
    datasets = [
        make(values),
        make_compressed(imagecodecs.jpegls_encode(values), values, JPEGLSLossless),
        make_compressed(encode(signed), signed, JPEG2000Lossless),
        make_compressed(encode(colour), colour, JPEG2000Lossless),
    ]
    for dataset in datasets:
        whole, reduction = decode_reduced(dataset, 16)
        assert reduction == 0
        np.testing.assert_array_equal(whole, decode_stored_values(dataset))


def test_the_checks_hold_for_reduced_images() -> None:
    values = smooth(128, 128)
    stream = encode(values, bitspersample=12)
    for length in (1, 3, 10, 60, len(stream) // 2, len(stream) - 3):
        with pytest.raises(BadFile):
            decode_reduced(twelve_bits(stream[:length], values), 32)
    with pytest.raises(BadFile, match="the header says 64 x 128"):
        decode_reduced(twelve_bits(stream, values, Rows=64), 32)
    with pytest.raises(BadFile, match="do not fit the 10 bits"):
        decode_reduced(twelve_bits(stream, values, BitsStored=10, HighBit=9), 32)
    with pytest.raises(BadFile, match="no JPEG 2000 image"):
        decode_reduced(twelve_bits(b"nothing at all", values), 32)
    with pytest.raises(BadFile, match="no frame 3"):
        decode_reduced(twelve_bits(stream, values), 32, frame=3)


@needs_shared_data
@pytest.mark.parametrize("name", ["RG1_J2KI", "RG3_J2KR", "mammo_film_j2k_lossy_12bit_LMLO"])
def test_real_streams(name: str) -> None:
    dataset = pydicom.dcmread(DICOM / f"{name}.dcm")
    whole = decode_stored_values(dataset).astype(int)
    reduced, reduction = decode_reduced(dataset, -(-max(whole.shape) // 4))
    assert reduction == 2
    # At a quarter of the size noise is gone and letters are finer than a pixel; the picture is the same.
    difference = np.abs(reduced - whole[::4, ::4])
    assert difference.mean() < 0.01 * np.ptp(whole)

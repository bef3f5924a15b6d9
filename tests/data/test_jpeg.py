"""JPEG streams that lack data are refused, and whole ones never are, however even their end is."""

from __future__ import annotations

import io
from collections.abc import Callable

import imagecodecs
import numpy as np
import pytest
from PIL import Image

from mammo.data.jpeg import decode_jpeg, parts_of
from mammo.support.errors import BadFile


def progressive(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG", quality=95, progressive=True)
    return stream.getvalue()


Encode = Callable[[np.ndarray], bytes]
ENCODERS: dict[str, tuple[int, Encode]] = {
    "baseline": (8, lambda values: imagecodecs.jpeg8_encode(values, level=95)),
    "progressive": (8, progressive),
    "extended": (12, lambda values: imagecodecs.jpeg_encode(values, level=95, bitspersample=12)),
    **{
        f"lossless, predictor {predictor}": (
            12,
            lambda values, predictor=predictor: imagecodecs.jpeg_encode(
                values, lossless=True, predictor=predictor, bitspersample=12
            ),
        )
        for predictor in range(1, 8)
    },
}


def textured(bits: int, num_even_rows: int = 0, level: int = 0) -> np.ndarray:
    """Noise [96, 80] above rows of one grey level."""
    values = np.random.default_rng(0).integers(0, 2**bits, (96, 80)).astype(np.uint16 if bits > 8 else np.uint8)
    values[len(values) - num_even_rows :] = level
    return values


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("num_even_rows", [0, 1, 5, 40, 90])
@pytest.mark.parametrize("level", [0, 128, 2048])
def test_whole_streams_are_read_whatever_their_end(name: str, num_even_rows: int, level: int) -> None:
    bits, encode = ENCODERS[name]
    values = textured(bits, num_even_rows, min(level, 2**bits - 1))
    decoded = decode_jpeg(encode(values))
    assert decoded.shape == values.shape
    if name.startswith("lossless"):
        np.testing.assert_array_equal(decoded, values)


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("num_even_rows", [0, 40])
def test_streams_with_a_proper_end_that_lack_data_are_refused(name: str, num_even_rows: int) -> None:
    """The end is missing, or the middle, so that an even end is really there."""
    bits, encode = ENCODERS[name]
    stream = encode(textured(bits, num_even_rows))
    assert stream.endswith(b"\xff\xd9")
    for fraction in (0.5, 0.7, 0.9) if num_even_rows == 0 else (0.5,):
        with pytest.raises(BadFile, match="lacks data"):
            decode_jpeg(stream[: int(fraction * len(stream))] + b"\xff\xd9")


@pytest.mark.parametrize("name", ["baseline", "lossless, predictor 1"])
def test_markers_that_have_no_place_in_a_scan_do_not_hide_that_data_is_missing(name: str) -> None:
    """Data cut between the two bytes of FF 00, an end mark and a restart mark in the middle."""
    bits, encode = ENCODERS[name]
    stream = encode(textured(bits))
    half = len(stream) // 2
    cut = stream[: stream.index(b"\xff\x00", half) + 1]
    damaged = (cut + b"\xff\xd9", *(stream[:half] + bytes([0xFF, n]) + stream[half + 2 :] for n in (0xD9, 0xD3)))
    for content in damaged:
        with pytest.raises(BadFile, match="lacks data"):
            decode_jpeg(content)


def test_what_is_no_stream() -> None:
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff\xe0\x00\x04ab", b"RIFF" * 9):
        with pytest.raises(BadFile, match="no JPEG image"):
            parts_of(content)

"""JPEG streams that are read to their end: libjpeg completes one that lacks data, and says so to nobody.

What it puts in place of the missing data is recognised by its form: mid-grey blocks, or in a lossless image a last
row that only repeats. Such an image is decoded once more with further data before the end mark. A stream that was
whole is not read beyond its end, so its image stays the same.
"""

from __future__ import annotations

import re
import struct

import imagecodecs
import numpy as np

from mammo.errors import BadFile

_BLOCK_PX = 8
_LOSSLESS, _PROGRESSIVE = (0xC3, 0xC7, 0xCB, 0xCF), (0xC2, 0xC6, 0xCA, 0xCE)
_SCAN, _MARKER = b"\xff\xda", re.compile(rb"\xff[^\x00\xff]")
_RESTARTS = bytes(range(0xD0, 0xD8))
# Huffman tables, scans, number of lines, restart interval, quantisation tables, application data and comments.
_BETWEEN_SCANS = bytes([0xC4, 0xDA, 0xDB, 0xDC, 0xDD, *range(0xE0, 0xF0), 0xFE])
# Any data will do that holds no marker (FF).
_FURTHER_DATA = bytes(range(1, 0xFF))
# By how much the even end of an image and that of its data may differ: where they begin is within a byte.
_SLACK_BYTES = 4


def frame_header(stream: bytes) -> tuple[int, int, int, int]:
    """(marker, rows, columns, components) of a JPEG (T.81 B.2.2) or JPEG-LS (T.87 C.2.2) stream; raises `BadFile`."""
    position = 2
    while stream[:2] == b"\xff\xd8" and position + 10 <= len(stream) and stream[position] == 0xFF:
        marker = stream[position + 1]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return marker, *struct.unpack_from(">HHB", stream, position + 5)
        if marker == 0xFF:  # a fill byte
            position += 1
        else:
            position += 2 + struct.unpack_from(">H", stream, position + 2)[0]
    raise BadFile("the compressed pixel data is no JPEG image")


def decode_jpeg(stream: bytes, colorspace: str | None = None) -> np.ndarray:
    """The image of a JPEG stream, lossy or lossless; raises `BadFile` when data is missing.

    `colorspace` is that of the samples where the stream does not say it, and then also that of the result.
    """
    values = imagecodecs.jpeg8_decode(stream, colorspace=colorspace, outcolorspace=colorspace)
    refuse_completed(stream, values)
    return values


def refuse_completed(stream: bytes, values: np.ndarray) -> None:
    """Raise `BadFile` when `values`, decoded by libjpeg, are not all from the stream."""
    end = stream.rfind(b"\xff\xd9")
    if end < 0:
        raise BadFile("the compressed image is cut off")
    # Bytes FF before a marker mean nothing, but with further data behind them they would be another marker.
    data = stream[:end].rstrip(b"\xff")
    if not _looks_completed(data, values):
        return
    one, other = (imagecodecs.jpeg8_decode(data + more + b"\xff\xd9") for more in (b"", _FURTHER_DATA))
    if _is_interrupted(data) or not np.array_equal(one, other):
        raise BadFile("the compressed image lacks data")


def _is_interrupted(data: bytes) -> bool:
    """Whether there is a marker within a scan that has no place there: libjpeg reads no further."""
    start = data.find(_SCAN)
    expected = _BETWEEN_SCANS + (_RESTARTS if b"\xff\xdd" in data[:start] else b"")
    return any(found[1] not in expected for found in _MARKER.findall(data, start))


def _looks_completed(data: bytes, values: np.ndarray) -> bool:
    """Whether the last pixels are like those that libjpeg puts in place of missing data."""
    marker = frame_header(data)[0]
    if marker in _PROGRESSIVE:  # an earlier scan has them all: what is missing is detail
        return True
    if marker not in _LOSSLESS:
        corner = values[-1, -_BLOCK_PX:]
        return bool((corner == corner[-1]).all())
    last = values[-1]
    if (last == last[0]).all():
        return not _has_data_for_the_end(data, values)
    return len(values) > 1 and bool((last == values[-2]).all())


def _has_data_for_the_end(data: bytes, values: np.ndarray) -> bool:
    """Whether a lossless stream ends with the code of an unchanged value as often as its image ends with one value.

    That is how an even background is stored. Interleaved colour and restart markers are not followed: False.
    """
    changes = np.flatnonzero((values != values[-1, -1]).ravel())
    num_even = values.size - (int(changes[-1]) + 1 if len(changes) else 0)
    code_bits = _bits_of_no_difference(data)
    if values.ndim != 2 or code_bits == 0:
        return False
    expected_bytes = num_even * code_bits // 8
    # The code repeats after as many bytes as it has bits. The last byte is filled up with ones.
    tail = np.frombuffer(data, np.uint8)[-expected_bytes - code_bits - 2 * _SLACK_BYTES : -1]
    others = np.flatnonzero(tail[code_bits:] != tail[:-code_bits])
    num_bytes = len(tail) - (int(others[-1]) + 1 if len(others) else 0)
    return abs(num_bytes - expected_bytes) <= _SLACK_BYTES + code_bits


def _bits_of_no_difference(data: bytes) -> int:
    """Length of the code of category 0 in the first Huffman table (T.81 B.2.4.2); 0 when there is none."""
    start = data.find(b"\xff\xc4")
    counts, symbols = data[start + 5 : start + 21], data[start + 21 :]
    lengths = [length for length, count in enumerate(counts, start=1) for _ in range(count)]
    position = symbols[: len(lengths)].find(0) if start >= 0 else -1
    return lengths[position] if position >= 0 else 0

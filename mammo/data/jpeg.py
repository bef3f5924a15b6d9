"""JPEG streams that are read to their end: libjpeg completes one that lacks data, and says so to nobody.

An image is decoded once more with further data behind each of its scans: one that was whole is not read beyond its
end, so its image stays the same. A lossless image, which takes longer, need not be where its data ends with the code of
its even background.

Where scans and the image end is found as a decoder finds it: segments are skipped by their length, whatever they
hold (thumbnails are JPEG images with all their markers), and the first end mark outside of them ends the image. The
parsers that there are (Pillow, pydicom) stop at the first scan.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import imagecodecs
import numpy as np

from mammo.support.errors import BadFile

Decode = Callable[[bytes], np.ndarray]

_JPEG_LS, _LOSSLESS = 0xF7, (0xC3, 0xC7, 0xCB, 0xCF)
_FRAMES = (_JPEG_LS, *(marker for marker in range(0xC0, 0xD0) if marker not in (0xC4, 0xC8, 0xCC)))
_TABLES, _END, _SCAN, _RESTART_INTERVAL = 0xC4, 0xD9, 0xDA, 0xDD
_WITHOUT_LENGTH = (0x01, *range(0xD0, 0xD9))
# Scans, number of lines, restart interval, tables of JPEG and of JPEG-LS, application data and comments.
_BETWEEN_SCANS = (_TABLES, _SCAN, 0xDB, 0xDC, _RESTART_INTERVAL, *range(0xE0, 0xF0), 0xF8, 0xFE)
_MARKER = re.compile(rb"\xff[^\x00\xff]")
# Within a scan; restart marks have no place in one without an interval. In JPEG-LS data FF comes before a bit 0.
_MARKER_IN_SCAN = {False: _MARKER, True: re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")}
_MARKER_IN_JPEG_LS = {False: re.compile(rb"\xff[\x80-\xfe]"), True: re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")}
# Any data will do that holds no marker (FF).
_FURTHER_DATA = bytes(range(1, 0xFF))
# By how much the even end of an image and that of its data may differ: where they begin is within a byte.
_SLACK_BYTES = 4
_LEAST_BYTES = 32


class Parts(NamedTuple):
    """What a JPEG (T.81 B.2.2) or JPEG-LS (T.87 C.2.2) stream consists of.

    `marker` is that of the frame header, `end` the position behind the end mark, `scan_ends` those of the markers that
    end the data of a scan. `is_interrupted` tells whether one of them has no place there: libjpeg reads no further.
    `tables` is the first segment of Huffman tables, without marker and length. `selection` is what the first scan says
    of itself: the predictor of lossless JPEG, the allowed error of JPEG-LS.
    """

    marker: int
    rows: int
    columns: int
    components: int
    end: int
    scan_ends: tuple[int, ...]
    is_interrupted: bool
    tables: bytes
    selection: int

    @property
    def is_lossy(self) -> bool:
        """Whether the values may differ from those that were compressed."""
        return self.selection > 0 if self.marker == _JPEG_LS else self.marker not in _LOSSLESS


def parts_of(stream: bytes) -> Parts:
    """The parts of a stream up to its end mark; `BadFile` when it is none or has no end."""
    frame: tuple[int, int, int, int] | None = None
    scan_ends, tables, selection = [], b"", -1
    is_interrupted = in_scan = has_restarts = False
    position = 2
    while True:
        pattern = _MARKER
        if in_scan:
            pattern = (_MARKER_IN_JPEG_LS if frame and frame[0] == _JPEG_LS else _MARKER_IN_SCAN)[has_restarts]
        found = pattern.search(stream, position) if stream[:2] == b"\xff\xd8" else None
        if found is None:
            break
        marker, position = found[0][1], found.end()
        if in_scan:
            in_scan = marker != _END and marker not in _BETWEEN_SCANS
            is_interrupted |= in_scan
            if not in_scan:
                scan_ends.append(found.start())
        if marker == _END:
            if not frame:
                break
            return Parts(*frame, position, tuple(scan_ends), is_interrupted, tables, selection)
        if in_scan or marker in _WITHOUT_LENGTH:
            continue
        length = int.from_bytes(stream[position : position + 2])
        segment, position = stream[position + 2 : position + length], position + length
        if marker in _FRAMES and not frame and len(segment) >= 6:
            frame = (marker, *struct.unpack_from(">HHB", segment, 1))
        elif marker == _TABLES:
            tables = tables or segment
        elif marker == _RESTART_INTERVAL:
            has_restarts = segment[:2] != b"\0\0"
        elif marker == _SCAN and selection < 0 and len(segment) > 1 + 2 * segment[0]:
            selection = segment[1 + 2 * segment[0]]
        in_scan = marker == _SCAN
    raise BadFile("the compressed image is cut off" if frame else "the compressed pixel data is no JPEG image")


def decode_jpeg(stream: bytes, colorspace: str | None = None) -> np.ndarray:
    """The image of a JPEG stream, lossy or lossless; raises `BadFile` when data is missing.

    `colorspace` is that of the samples where the stream does not say it, and then also that of the result.
    """
    decode = partial(imagecodecs.jpeg8_decode, colorspace=colorspace, outcolorspace=colorspace)
    values = decode(stream)
    _refuse_completed(stream, values, lambda: values, decode)
    return values


def refuse_completed(stream: bytes, values: np.ndarray) -> None:
    """Raise `BadFile` when `values`, decoded by any libjpeg, are not all from the stream."""
    decode = imagecodecs.jpeg8_decode
    _refuse_completed(stream, values, lambda: decode(stream), decode)


def _refuse_completed(stream: bytes, values: np.ndarray, whole: Callable[[], np.ndarray], decode: Decode) -> None:
    parts = parts_of(stream)
    # The end of a lossless image tells whether it may be what libjpeg puts in place of missing data.
    is_lossless = parts.marker in _LOSSLESS and min(values.shape[:2]) > 1
    if is_lossless and _has_data_for_the_end(stream, parts, values):
        return
    if parts.is_interrupted or not np.array_equal(whole(), decode(_with_more_data(stream, parts))):
        raise BadFile("the compressed image lacks data")


def _with_more_data(stream: bytes, parts: Parts) -> bytes:
    """The stream with more data at the end of each of its scans."""
    edges = (0, *parts.scan_ends)
    # Bytes FF before a marker mean nothing, but with further data behind them they would be another marker.
    scans = [stream[start:stop].rstrip(b"\xff") + _FURTHER_DATA for start, stop in pairwise(edges)]
    return b"".join(scans) + stream[edges[-1] : parts.end]


def _has_data_for_the_end(stream: bytes, parts: Parts, values: np.ndarray) -> bool:
    """Whether a lossless stream ends with the code of an unchanged value as often as its image ends with one value.

    That is how an even background is stored. Interleaved colour and restart markers are not followed, and a few bytes
    tell nothing: False.
    """
    changes = np.flatnonzero((values != values[-1, -1]).ravel())
    num_even = values.size - (int(changes[-1]) + 1 if len(changes) else 0)
    code_bits = _bits_of_no_difference(parts.tables)
    if values.ndim != 2 or code_bits == 0 or not parts.scan_ends:
        return False
    expected_bytes = num_even * code_bits // 8
    if expected_bytes < _LEAST_BYTES:
        return False
    data = stream[: parts.scan_ends[-1]].rstrip(b"\xff")
    # The code repeats after as many bytes as it has bits. The last byte is filled up with ones.
    tail = np.frombuffer(data, np.uint8)[-expected_bytes - code_bits - 2 * _SLACK_BYTES : -1]
    others = np.flatnonzero(tail[code_bits:] != tail[:-code_bits])
    num_bytes = len(tail) - (int(others[-1]) + 1 if len(others) else 0)
    return abs(num_bytes - expected_bytes) <= _SLACK_BYTES + code_bits


def _bits_of_no_difference(tables: bytes) -> int:
    """Length of the code of category 0 in the first Huffman table (T.81 B.2.4.2); 0 when there is none."""
    counts, symbols = tables[1:17], tables[17:]
    lengths = [length for length, count in enumerate(counts, start=1) for _ in range(count)]
    position = symbols[: len(lengths)].find(0)
    return lengths[position] if position >= 0 else 0

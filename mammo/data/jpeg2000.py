"""JPEG 2000 code streams: what their headers say, and decoding at a fraction of the size.

A wavelet code stream holds the image at 1/2, 1/4, ... of its size, and decoding only that far costs a
fraction of the time. OpenJPEG does it for Pillow; imagecodecs has no option for it.
"""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

import numpy as np
from PIL import Image

from mammo.support.errors import BadFile

_COD, _START_OF_TILE, _END = 0x52, 0x90, b"\xff\xd9"


class CodeStream(NamedTuple):
    """The main header of a code stream (T.800 A.5 and A.6).

    `levels` is how often the size can be halved; `starts_at_0` tells whether the image lies at the origin of
    its grid, as everywhere but in theory; `is_reversible` is the wavelet; `end` is the position behind the end mark.
    """

    rows: int
    columns: int
    components: int
    bits: int
    is_signed: bool
    starts_at_0: bool
    levels: int
    is_reversible: bool
    end: int

    def reduced_shape(self, reduction: int) -> tuple[int, int]:
        """(rows, columns) of the image at 1 / 2**reduction of its size."""
        return -(-self.rows >> reduction), -(-self.columns >> reduction)

    def strongest_reduction(self, min_side_px: int) -> int:
        """The largest r for which the long side of the image at 1 / 2**r is at least `min_side_px`; at least 0."""
        possible = [r for r in range(self.levels + 1) if max(self.reduced_shape(r)) >= min_side_px]
        return max(possible, default=0)

    @property
    def can_be_reduced(self) -> bool:
        """Whether `decode_reduced` can read it: one component of at most 16 bits, unsigned."""
        return self.components == 1 and self.bits <= 16 and not self.is_signed and self.starts_at_0


def read_code_stream(stream: bytes) -> CodeStream:
    """The main header of a code stream or of a JP2 file; `BadFile` when it is neither, or has no end."""
    start = _start_of_code_stream(stream)
    if stream[start : start + 4] != b"\xff\x4f\xff\x51":
        raise BadFile("the compressed pixel data is no JPEG 2000 image")
    width, height, left, top = struct.unpack_from(">4I", stream, start + 8)
    components, depth = struct.unpack_from(">HB", stream, start + 40)
    levels, is_reversible, first_tile = _coding_style(stream, start + 2)
    return CodeStream(
        rows=height - top,
        columns=width - left,
        components=components,
        bits=(depth & 0x7F) + 1,
        is_signed=depth >= 0x80,
        starts_at_0=left == top == 0,
        levels=levels,
        is_reversible=is_reversible,
        end=_end_of_code_stream(stream, first_tile),
    )


def _start_of_code_stream(stream: bytes) -> int:
    """0, or where the box of the code stream begins in a JP2 file (T.800 I.4): others may hold the same bytes."""
    position = 0
    while stream[4:8] == b"jP  " and position + 8 <= len(stream):
        length, kind = struct.unpack_from(">I4s", stream, position)
        header_bytes = 8
        if length == 1:
            length, header_bytes = struct.unpack_from(">Q", stream, position + 8)[0], 16
        if kind == b"jp2c":
            return position + header_bytes
        if length < header_bytes:
            break
        position += length
    return 0


def _coding_style(stream: bytes, position: int) -> tuple[int, bool, int]:
    """Levels and reversibility of the COD segment, and where the first tile begins; `position`: the first segment."""
    levels, is_reversible = 0, False
    while position + 14 <= len(stream) and stream[position] == 0xFF and stream[position + 1] != _START_OF_TILE:
        if stream[position + 1] == _COD:
            levels, is_reversible = stream[position + 9], stream[position + 13] == 1
        position += 2 + struct.unpack_from(">H", stream, position + 2)[0]
    return levels, is_reversible, position


def _end_of_code_stream(stream: bytes, position: int) -> int:
    """Where a code stream ends that has its first tile at `position`; `BadFile` when its end is missing."""
    first_tile = position
    while stream[position : position + 2] == bytes([0xFF, _START_OF_TILE]) and position + 12 <= len(stream):
        length = struct.unpack_from(">I", stream, position + 6)[0]
        if length == 0:
            break
        position += length
    if stream[position : position + 2] != _END:
        # The length of the last tile may be left open, and is sometimes wrong. Its data holds no marker.
        position = stream.rfind(_END, first_tile) if position < len(stream) else -1
    if position < 0:
        raise BadFile("the compressed image is cut off")
    return position + 2


def decode_reduced(stream: bytes, header: CodeStream, reduction: int) -> np.ndarray:
    """The image at 1 / 2**reduction of its size, uint8 or uint16; the header must say `can_be_reduced`."""
    rows, columns = header.reduced_shape(reduction)
    with Image.open(io.BytesIO(stream), formats=("JPEG2000",)) as picture:
        # Pillow rounds the reduced size to the nearest and refuses the image where the code stream, as the
        # standard says, rounds up. With a size that divides evenly the two agree.
        picture._size = (columns << reduction, rows << reduction)
        picture.reduce = reduction  # type: ignore[method-assign, assignment]
        picture.load()
        values = np.asarray(picture)
    # Pillow shifts the values to the top of 8 or 16 bits.
    return values >> (values.dtype.itemsize * 8 - header.bits)

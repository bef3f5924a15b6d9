"""One frame of compressed pixels, by transfer syntax; imagecodecs decodes.

It reads all syntaxes that mammography uses (12-bit JPEG Extended included, which pydicom's plugins cannot) and
lets other threads run meanwhile. Decoders are lenient: they complete images that lack data, and none checks the
code stream against the header. So that is done here, before memory is taken for the pixels: a wrong image is
worse than a missing one.
"""

from __future__ import annotations

import dataclasses
import struct
from contextlib import suppress
from itertools import pairwise

import imagecodecs
import numpy as np
from pydicom import uid

from mammo.data import jpeg, jpeg2000
from mammo.data.pixel_layout import Layout
from mammo.data.stored_bits import bits_of_cells, fitted
from mammo.support.errors import BadFile

JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)

# Bytes that may follow the end of a compressed image: a writer pads to an even length, a word or a block of its buffer
# with whatever is there. Further bytes 00 or FF at the very end do not count.
MAX_PADDING_BYTES = 4096

_RLE_HEADER = struct.Struct("<16I")


def refuse_syntax(syntax: uid.UID, layout: Layout) -> None:
    """Raise `BadFile` for a transfer syntax that `decode_frame` cannot read, or not with this layout."""
    if syntax not in (uid.RLELossless, *_JPEG, *_JPEG_LS, *JPEG_2000):
        known = syntax.name if syntax.is_transfer_syntax else "of the file"
        raise BadFile(f"the transfer syntax {known} is not supported")
    if syntax == uid.JPEGBaseline8Bit and layout.bits_allocated != 8:
        raise BadFile(f"{layout.bits_allocated} bits allocated to a pixel of 8-bit JPEG")


def decode_frame(stream: bytes, layout: Layout, syntax: uid.UID) -> np.ndarray:
    """A frame in the shape and type of the header; raises `BadFile`, or what the decoder raises."""
    if syntax == uid.RLELossless:
        return _decode_rle(stream, layout)
    if syntax in JPEG_2000:
        stream, header = checked_jpeg_2000(stream, layout)
        is_lossy = syntax == uid.JPEG2000 or not header.is_reversible
        return fitted(imagecodecs.jpeg2k_decode(stream), layout, is_lossy)
    parts = jpeg.parts_of(stream)
    _refuse_other_size((parts.rows, parts.columns, parts.components), layout)
    stream = _without_padding(stream, parts.end)
    if syntax in _JPEG_LS:
        return fitted(imagecodecs.jpegls_decode(stream), layout, parts.is_lossy)
    # A colour stream without markers is taken for YCbCr by libjpeg; the header knows better.
    values = jpeg.decode_jpeg(stream, "RGB" if layout.photometric == "RGB" else None)
    return fitted(values, layout, parts.is_lossy)


def is_whole(stream: bytes, syntax: uid.UID) -> bool:
    """Whether the end of a code stream of the JPEG family is there."""
    try:
        return bool(jpeg2000.read_code_stream(stream) if syntax in JPEG_2000 else jpeg.parts_of(stream))
    except (BadFile, struct.error):
        return False


def checked_jpeg_2000(stream: bytes, layout: Layout) -> tuple[bytes, jpeg2000.CodeStream]:
    """A JPEG 2000 stream without what follows its end, and its main header; `BadFile` if it is not the image."""
    header = jpeg2000.read_code_stream(stream)
    _refuse_other_size((header.rows, header.columns, header.components), layout)
    return _without_padding(stream, header.end), header


def _decode_rle(stream: bytes, layout: Layout) -> np.ndarray:
    item = np.dtype(f"<u{layout.bits_allocated // 8}")
    cells = np.empty(0, item)
    # imagecodecs takes all bytes of a segment for code but one of padding. PS3.5 G.3.2: the size of the output ends it.
    with suppress(imagecodecs.DicomrleError):
        cells = np.frombuffer(imagecodecs.dicomrle_decode(stream, item.str), item)
    if cells.size != layout.frame_values:
        cells = np.frombuffer(imagecodecs.dicomrle_decode(_segments_without_padding(stream, layout), item.str), item)
    if cells.size != layout.frame_values:
        raise BadFile(f"an RLE frame of {cells.size} values, expected {layout.frame_values}")
    # Samples of a colour image lie side by side, whatever PlanarConfiguration says: PS3.5 G.
    if layout.samples == 3:
        cells = cells.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    # As in all compressed images the highest bit is that of the stored ones, whatever HighBit says: PS3.5 8.2.2.
    lowest = dataclasses.replace(layout, high_bit=layout.bits_stored - 1)
    return bits_of_cells(cells.reshape(1, *layout.frame_shape), lowest)[0]


def _segments_without_padding(stream: bytes, layout: Layout) -> bytes:
    """An RLE frame in which nothing follows the code of a segment."""
    count, *starts = _RLE_HEADER.unpack_from(stream)
    edges = [*starts[:count], len(stream)]
    segments = [stream[start:stop] for start, stop in pairwise(edges)]
    segments = [segment[: _end_of_code(segment, layout)] for segment in segments]
    starts = [_RLE_HEADER.size + sum(map(len, segments[:i])) for i in range(count)] + [0] * (15 - count)
    return b"".join([_RLE_HEADER.pack(count, *starts), *segments])


def _end_of_code(segment: bytes, layout: Layout) -> int:
    """Where the code of all pixels ends in an RLE segment (PS3.5 G.3.1); `BadFile` if what follows is no padding.

    A wrong length of a run shifts all pixels after it, and leaves code at the end. No run crosses a row (G.3.1), so
    such a shift is seen; where an encoder does not care for rows, padding is one value repeated.
    """
    position = produced = 0
    crosses_a_row = False
    while produced < layout.rows * layout.columns and position < len(segment):
        code = segment[position]
        length = code + 1 if code < 128 else 257 - code if code > 128 else 0
        crosses_a_row |= produced % layout.columns + length > layout.columns
        produced += length
        position += code + 2 if code < 128 else 2 if code > 128 else 1
    if produced != layout.rows * layout.columns or position > len(segment):
        raise BadFile(f"an RLE segment of {produced} bytes, expected {layout.rows * layout.columns}")
    # Behind any padding there may be the byte 0 that makes the length even.
    if crosses_a_row and len(set(segment[position:].rstrip(b"\0"))) > 1:
        raise BadFile("an RLE segment goes on after its last pixel")
    # A segment of odd length has one byte of padding that is its own.
    _without_padding(segment, position + position % 2)
    return position


def _without_padding(stream: bytes, end: int) -> bytes:
    """What comes before `end`; `BadFile` if more follows than padding."""
    num_bytes = len(stream[end:].rstrip(b"\0\xff"))
    if num_bytes > MAX_PADDING_BYTES:
        raise BadFile(f"{num_bytes} bytes after the end of the compressed image, more than {MAX_PADDING_BYTES}")
    return stream[:end]


def _refuse_other_size(size: tuple[int, int, int], layout: Layout) -> None:
    """Refuse a stream whose (rows, columns, samples) are not those of the header."""
    expected = (layout.rows, layout.columns, layout.samples)
    if size != expected:
        raise BadFile("the compressed image is {} x {} x {}, the header says {} x {} x {}".format(*size, *expected))

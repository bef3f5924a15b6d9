"""Stored values of a DICOM image, by transfer syntax.

pydicom reads the data set and cuts the encapsulated frames; `mammo.data.codecs` decodes the compressed ones. What
comes out is held against the header, whatever the decoders are content with.

JPEG 2000 can also be decoded at a fraction of its size (`decode_reduced`), under the same checks.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import generate_fragments, generate_frames, parse_basic_offsets

from mammo.data import jpeg2000
from mammo.data.codecs import JPEG_2000, checked_jpeg_2000, decode_frame, is_whole, refuse_syntax
from mammo.data.dicom_elements import bad_file_if_it_fails, transfer_syntax_of
from mammo.data.pixel_layout import Layout, layout_of
from mammo.data.stored_bits import bits_of_cells, fitted
from mammo.support.errors import BadFile

_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)


def decode_stored_values(dataset: pydicom.Dataset, frame: int | None = None) -> np.ndarray:
    """Stored values of the image, before any lookup table.

    Arguments:
        dataset: read from a file, with `file_meta` and `PixelData`.
        frame: only this frame (from 0) of a multi-frame image.

    Returns an array [rows, columns], with samples [rows, columns, 3], with several frames [frames, ...],
    of the integer type in native byte order that `BitsAllocated` and `PixelRepresentation` name. Colour
    in a lossy compressed or JPEG 2000 image comes as RGB, else as stored.

    Raises `BadFile` for what cannot be decoded or contradicts its header.
    """
    layout = layout_of(dataset, frame)
    syntax = transfer_syntax_of(dataset)
    with bad_file_if_it_fails("malformed pixel data"):
        pixels = bytes(dataset.PixelData or b"")
        value_representation = str(dataset["PixelData"].VR)
    start, stop = (0, layout.frames) if frame is None else (frame, frame + 1)
    if syntax in _NATIVE:
        cells = _native(pixels, layout, syntax != uid.ExplicitVRBigEndian, value_representation)[start:stop]
        values = bits_of_cells(cells.astype(cells.dtype.newbyteorder("=")), layout)
    else:
        values = _decode_encapsulated(pixels, layout, syntax, start, stop)
    return values[0] if len(values) == 1 else values


def decode_reduced(dataset: pydicom.Dataset, min_side_px: int, frame: int | None = None) -> tuple[np.ndarray, int]:
    """Stored values of an image of one frame at a fraction of its size, where that is cheaper.

    Arguments:
        dataset, frame: see `decode_stored_values`.
        min_side_px: the long side is reduced to no less than this.

    Returns the array [rows, columns] and r: it has 1 / 2**r of the size, rounded up. r is 0, and the array
    that of `decode_stored_values`, for all but unsigned grey JPEG 2000 images. Raises `BadFile`.
    """
    layout = layout_of(dataset, frame)
    if transfer_syntax_of(dataset) in JPEG_2000 and not layout.signed and (frame is not None or layout.frames == 1):
        with bad_file_if_it_fails("malformed compressed pixel data"):
            streams = _streams(bytes(dataset.PixelData or b""), layout, transfer_syntax_of(dataset))
            stream = next(islice(streams, frame or 0, None), b"")
            stream, header = checked_jpeg_2000(stream, layout)
            reduction = header.strongest_reduction(min_side_px)
        if reduction > 0 and header.can_be_reduced:
            rows, columns = header.reduced_shape(reduction)
            # What Pillow cannot read, the exact decoder may be able to; its message is the better one too. And the low
            # band of a wavelet overshoots where no pixel does: beyond what is common the whole image decides.
            with suppress(BadFile, OSError, ValueError, Image.DecompressionBombError):
                values = jpeg2000.decode_reduced(stream, header, reduction)
                return fitted(values, dataclasses.replace(layout, rows=rows, columns=columns), True), reduction
    return decode_stored_values(dataset, frame), 0


def _native(pixels: bytes, layout: Layout, is_little_endian: bool, value_representation: str) -> np.ndarray:
    """All frames [frames, ...] of uncompressed pixels (PS3.5 section 8.1): cells of the file, in its byte order."""
    if layout.photometric in ("YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420"):
        raise BadFile("uncompressed pixels of this colour model are not supported")
    item_bytes = layout.bits_allocated // 8
    num_bytes = layout.frame_values * layout.frames * item_bytes
    surplus = len(pixels) - num_bytes
    # A pad byte is normal; a whole row more means that the size in the header is another image's.
    if surplus < 0 or surplus >= max(2, layout.columns * layout.samples * item_bytes):
        raise BadFile(f"{len(pixels)} bytes of pixel data, expected {num_bytes}")
    if not is_little_endian and item_bytes == 1 and value_representation == "OW" and len(pixels) % 2 == 0:
        pixels = np.frombuffer(pixels, "<u2").byteswap().tobytes()
    dtype = np.dtype(f"{'<' if is_little_endian else '>'}u{item_bytes}")
    values = np.frombuffer(pixels, dtype, count=num_bytes // item_bytes)
    if layout.samples == 3 and layout.planar:
        values = values.reshape(layout.frames, 3, layout.rows, layout.columns).transpose(0, 2, 3, 1)
    return values.reshape(layout.frames, *layout.frame_shape)


def _decode_encapsulated(pixels: bytes, layout: Layout, syntax: uid.UID, start: int, stop: int) -> np.ndarray:
    """Frames `start` to `stop` of compressed pixels (PS3.5 annex A.4)."""
    refuse_syntax(syntax, layout)
    with bad_file_if_it_fails("malformed compressed pixel data"):
        streams = islice(_streams(pixels, layout, syntax), start, stop)
        decoded = [decode_frame(stream, layout, syntax) for stream in streams]
    if len(decoded) != stop - start:
        raise BadFile(f"the pixel data holds fewer than the {layout.frames} frames of the header")
    return decoded[0][np.newaxis] if len(decoded) == 1 else np.stack(decoded)


def _streams(pixels: bytes, layout: Layout, syntax: uid.UID) -> Iterator[bytes]:
    """The compressed frames.

    Where neither offsets nor the number of fragments tell frames apart, pydicom looks for an end mark in the last bytes
    of each fragment, and finds none before padding. Here a frame ends with the fragment that holds the end of its code.
    """
    content = io.BytesIO(pixels)
    has_offsets = bool(parse_basic_offsets(content))
    fragments = [] if has_offsets or layout.frames == 1 else list(generate_fragments(content))
    if len(fragments) <= layout.frames:
        yield from generate_frames(pixels, number_of_frames=layout.frames)
        return
    stream = b""
    for fragment in fragments:
        stream += fragment
        if b"\xff\xd9" in stream[-len(fragment) - 1 :] and is_whole(stream, syntax):
            yield stream
            stream = b""

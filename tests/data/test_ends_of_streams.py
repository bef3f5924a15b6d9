"""Where a compressed image begins and ends: padding behind it, thumbnails and comments in it, several fragments."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    UID,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from mammo.data.codecs import MAX_PADDING_BYTES
from mammo.data.decode import decode_reduced, decode_stored_values
from mammo.support.errors import BadFile
from tests.data.dicom_files import STREAMS
from tests.data.reading import read_image
from tests.data.test_decode import make, make_compressed


def even_end(dtype: type = np.uint16) -> np.ndarray:
    """Noise of 12 (or 8) bits above rows of 0, as nearly every mammogram ends."""
    values = np.random.default_rng(0).integers(0, 4096 if dtype == np.uint16 else 256, (60, 44)).astype(dtype)
    values[45:] = 0
    return values


def rle(values: np.ndarray) -> bytes:
    dataset = make(values)
    dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def progressive(values: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG", quality=95, progressive=True)
    return stream.getvalue()


Encode = Callable[[np.ndarray], bytes]
CODECS: dict[str, tuple[UID, type, Encode]] = {
    "baseline": (JPEGBaseline8Bit, np.uint8, lambda values: imagecodecs.jpeg8_encode(values, level=95)),
    "progressive": (JPEGBaseline8Bit, np.uint8, progressive),
    "extended": (JPEGExtended12Bit, np.uint16, partial(imagecodecs.jpeg_encode, level=95, bitspersample=12)),
    "lossless": (JPEGLosslessSV1, np.uint16, STREAMS[JPEGLosslessSV1]),
    "JPEG-LS": (JPEGLSLossless, np.uint16, imagecodecs.jpegls_encode),
    "JPEG 2000": (JPEG2000Lossless, np.uint16, STREAMS[JPEG2000Lossless]),
    "JP2": (JPEG2000Lossless, np.uint16, partial(imagecodecs.jpeg2k_encode, codecformat="jp2", reversible=True)),
    "RLE, 8 bits": (RLELossless, np.uint8, rle),
    "RLE, 16 bits": (RLELossless, np.uint16, rle),
}  # fmt: skip
PADDING = {
    "zeros": bytes(MAX_PADDING_BYTES),
    "spaces": b" " * MAX_PADDING_BYTES,
    "ones": b"\xff" * MAX_PADDING_BYTES,
    "end marks": b"\xff\xd9" * (MAX_PADDING_BYTES // 2),
    "noise": np.random.default_rng(1).bytes(MAX_PADDING_BYTES),
    "another image": (b"\xff\xd8\xff\xda\x00\x08" + bytes(range(1, 255))) * (MAX_PADDING_BYTES // 200),
}


def decoded(codec: str, change: Callable[[bytes], bytes] = bytes) -> np.ndarray:
    syntax, dtype, encode = CODECS[codec]
    values = even_end(dtype)
    return decode_stored_values(make_compressed(change(encode(values)), values, syntax))


@pytest.mark.parametrize("padding", PADDING)
@pytest.mark.parametrize("codec", CODECS)
def test_what_follows_the_end_of_an_image_is_not_read(codec: str, padding: str) -> None:
    for length in (1, 2, 3, 4, 7, 8, 13, 100, 4096):
        more = PADDING[padding][:length]
        np.testing.assert_array_equal(decoded(codec, lambda stream, more=more: stream + more), decoded(codec))


@pytest.mark.parametrize("codec", CODECS)
def test_more_than_the_stated_length_is_another_image(codec: str) -> None:
    with pytest.raises(BadFile, match="4097 bytes after the end of the compressed image, more than 4096"):
        decoded(codec, lambda stream: stream + b" " * 4097)
    # Fill bytes at the very end are no content, however many there are.
    np.testing.assert_array_equal(decoded(codec, lambda stream: stream + b" " + bytes(9000)), decoded(codec))


@pytest.mark.parametrize("codec", CODECS)
def test_padding_does_not_hide_that_the_end_is_missing(codec: str) -> None:
    """Also where the padding is an end mark, or holds one; also in a reduced image."""
    syntax, dtype, encode = CODECS[codec]
    values = np.random.default_rng(0).integers(0, 256, (60, 44)).astype(dtype)
    stream = encode(values)
    for more in (b" ", b"\xff\xd9", b"    \xff\xd9  "):
        for length in (len(stream) // 2, len(stream) - 150):
            dataset = make_compressed(stream[:length] + more, values, syntax)
            for decode in (decode_stored_values, lambda data: decode_reduced(data, 11)):
                with pytest.raises(BadFile):
                    decode(dataset)


@pytest.mark.parametrize("padding", [b"\0\0", b"  ", b"\xff" * 3, b"\x80" * 5, b"\x05\x99 \0\x81"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_segment_of_an_rle_frame_may_be_padded(padding: bytes, dtype: type) -> None:
    values = even_end(dtype)
    np.testing.assert_array_equal(
        decode_stored_values(make_compressed(padded_segments(rle(values), padding), values, RLELossless)), values
    )
    colours = np.random.default_rng(2).integers(0, 9, (20, 30, 3)).astype(np.uint8)
    np.testing.assert_array_equal(
        decode_stored_values(make_compressed(padded_segments(rle(colours), padding), colours, RLELossless)), colours
    )


def padded_segments(stream: bytes, padding: bytes) -> bytes:
    count, *starts = struct.unpack_from("<16I", stream)
    segments = [stream[a:b] + padding for a, b in pairwise([*starts[:count], len(stream)])]
    offsets = [64 + sum(map(len, segments[:i])) for i in range(count)]
    return struct.pack("<16I", count, *offsets, *[0] * (15 - count)) + b"".join(segments)


def test_an_rle_run_of_another_length_is_no_padding() -> None:
    """Each damage shifts the pixels after it, and leaves code at the end of the segment."""
    values = even_end(np.uint8)
    stream, num_longer = rle(values), 0
    for position in range(64, len(stream)):
        damaged = stream[:position] + bytes([stream[position] ^ 4]) + stream[position + 1 :]
        try:
            shown = decode_stored_values(make_compressed(damaged, values, RLELossless))
        except BadFile:
            num_longer += 1
            continue
        assert (shown != values).sum() <= 128
    assert num_longer > 40


@pytest.mark.parametrize("padding", [b" ", b" \0", b"\x05\0\0", b"\0", b"\x99\x99\0"])
def test_an_rle_segment_whose_runs_cross_rows_may_be_padded_to_an_even_length(padding: bytes) -> None:
    values = np.repeat(np.arange(8, dtype=np.uint8), 100).reshape(20, 40)
    code = b"".join(bytes([257 - 100, value]) for value in range(8))
    stream = struct.pack("<16I", 1, 64, *[0] * 14) + code
    np.testing.assert_array_equal(decode_stored_values(make_compressed(stream + padding, values, RLELossless)), values)
    with pytest.raises(BadFile, match="goes on after its last pixel"):
        decode_stored_values(make_compressed(stream + b"\x05\x99\0", values, RLELossless))


def segment(marker: int, content: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content


def exif_with(thumbnail: bytes) -> bytes:
    """EXIF data of one directory, whose next is that of the thumbnail."""
    tags = struct.pack("<HHHII", 2, 0x0201, 4, 1, 38) + struct.pack("<HHII", 0x0202, 4, 1, len(thumbnail))
    return b"Exif\0\0II*\0" + struct.pack("<IHI", 8, 0, 14) + tags + bytes(4) + thumbnail


THUMBNAIL = imagecodecs.jpeg8_encode(np.arange(256, dtype=np.uint8).reshape(16, 16))
INSIDE = {
    "EXIF": segment(0xE1, exif_with(THUMBNAIL)),
    "JFXX": segment(0xE0, b"JFXX\0\x10" + THUMBNAIL),
    "Photoshop": segment(
        0xED, b"Photoshop 3.0\x008BIM\x04\x0c\0\0" + struct.pack(">I", 28 + len(THUMBNAIL)) + bytes(28) + THUMBNAIL
    ),
    "progressive": segment(0xE2, progressive(np.arange(256, dtype=np.uint8).reshape(16, 16))),
    "comment with a scan": segment(0xFE, b"abc\xff\xda\x00\x08 not a scan"),
    "comment with an end": segment(0xFE, b"abc\xff\xd9\xff\xd9"),
    "comment with a frame": segment(0xFE, b"\xff\xc0\x00\x0b\x08\x00\x10\x00\x10\x01\xff\xc4\xff\xdd\x00\x04\x00\x01"),
    "fill bytes": b"\xff\xff\xff" + segment(0xFE, b"text")[1:],
}  # fmt: skip


@pytest.mark.parametrize(
    ("codec", "inside"),
    [
        (codec, inside)
        for codec in ("baseline", "progressive", "extended", "lossless", "JPEG-LS")
        for inside in INSIDE
        if (codec, inside) != ("JPEG-LS", "fill bytes")  # CharLS knows none
    ],
)
def test_what_segments_hold_is_not_the_image(codec: str, inside: str) -> None:
    more = INSIDE[inside]
    for pad in (b"", b" "):
        shown = decoded(codec, lambda stream, pad=pad: stream[:2] + more + stream[2:] + pad)
        np.testing.assert_array_equal(shown, decoded(codec))


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("encode", [CODECS["baseline"][2], progressive])
def test_pictures_with_thumbnails(tmp_path: Path, inside: str, encode: Encode) -> None:
    stream = encode(even_end(np.uint8))
    plain, _ = read_image(stream)
    for behind in (b"", b" ", b"\0" * 9000, stream, PADDING["noise"]):
        shown, _ = read_image(stream[:2] + INSIDE[inside] + stream[2:] + behind)
        np.testing.assert_array_equal(shown, plain)


@pytest.mark.parametrize("inside", ["EXIF", "comment with a scan"])
@pytest.mark.parametrize("codec", ["baseline", "progressive", "lossless"])
def test_a_thumbnail_does_not_hide_that_data_is_missing(codec: str, inside: str) -> None:
    syntax, dtype, encode = CODECS[codec]
    values = np.random.default_rng(0).integers(0, 256, (60, 44)).astype(dtype)
    stream = encode(values)
    cut = stream[:2] + INSIDE[inside] + stream[2 : int(0.6 * len(stream))] + b"\xff\xd9"
    with pytest.raises(BadFile, match="lacks data"):
        decode_stored_values(make_compressed(cut, values, syntax))


def test_an_earlier_scan_that_lacks_data() -> None:
    """A progressive image whose first scan is cut, all later ones are whole."""
    values = even_end(np.uint8)
    stream = progressive(values)
    first = stream.index(b"\xff\xda")
    second = stream.index(b"\xff\xc4", first)
    cut = stream[: (first + second) // 2].rstrip(b"\xff") + stream[second:]
    with pytest.raises(BadFile, match="lacks data"):
        decode_stored_values(make_compressed(cut, values, JPEGBaseline8Bit))


def test_a_box_of_a_jp2_file_that_holds_a_code_stream_is_not_the_image() -> None:
    def with_decoy(stream: bytes) -> bytes:
        decoy = CODECS["JPEG 2000"][2](np.full((8, 8), 7, np.uint16))
        box = struct.pack(">I4s", len(decoy) + 24, b"uuid") + bytes(16) + decoy
        place = stream.index(b"jp2c") - 4
        return stream[:place] + box + stream[place:]

    np.testing.assert_array_equal(decoded("JP2", with_decoy), decoded("JP2"))


@pytest.mark.parametrize("length", [0, 5])
def test_tiles_of_jpeg_2000_whose_length_is_open_or_wrong(length: int) -> None:
    def edited(stream: bytes) -> bytes:
        tile = stream.index(b"\xff\x90")
        return stream[: tile + 6] + struct.pack(">I", length and len(stream) - tile - 2) + stream[tile + 10 :] + b"  "

    np.testing.assert_array_equal(decoded("JPEG 2000", edited), decoded("JPEG 2000"))


@pytest.mark.parametrize("codec", [codec for codec in CODECS if not codec.startswith("RLE")])
@pytest.mark.parametrize("num_frames", [1, 3])
def test_frames_in_several_fragments(codec: str, num_frames: int) -> None:
    syntax, dtype, encode = CODECS[codec]
    frames = [np.roll(even_end(dtype), 3 * number, axis=1) for number in range(num_frames)]
    for padding in (b"", b" ", b"    ", PADDING["noise"][:7], PADDING["noise"][:600]):
        streams = [encode(values) + padding for values in frames]
        dataset = make(frames[0], syntax, NumberOfFrames=num_frames, PixelData=encapsulate(streams, 3, has_bot=False))
        for number, values in enumerate(frames):
            plain = decode_stored_values(make_compressed(encode(values), values, syntax))
            np.testing.assert_array_equal(decode_stored_values(dataset, number), plain)

"""Stored values of a DICOM image, by transfer syntax.

pydicom reads the data set and cuts the encapsulated frames; the compressed ones go to imagecodecs, which
reads all syntaxes that mammography uses (12-bit JPEG Extended included, which pydicom's plugins cannot)
and lets other threads run meanwhile. Decoders are lenient: they complete images that lack data, and none
checks the code stream against the header. So that is done here, before memory is taken for the pixels:
a wrong image is worse than a missing one.

JPEG 2000 can also be decoded at a fraction of its size (`decode_reduced`), under the same checks.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import islice

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import generate_frames

from mammo.data import jpeg2000
from mammo.data.jpeg import decode_jpeg, frame_header
from mammo.errors import BadFile

# The largest mammograms are films of 30 million pixels, and a 100-slice tomosynthesis stack of 2457 x 1996 pixels
# has 490 million values. Beyond this an image is a lie of its header, and a file of a few kB can claim billions.
MAX_FRAME_VALUES = 80_000_000
MAX_VALUES = 600_000_000

_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_JPEG_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
_ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_THREE_SAMPLES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_422", "YBR_PARTIAL_420", "YBR_ICT", "YBR_RCT")
_NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
)
# Codes that a message may quote. Anything else in their place can be anything, in a shifted header also a name.
_SHOWN_CODES = {
    "MG", "CR", "DX", "RG", "CT", "MR", "US", "NM", "PT", "XA", "RF", "IO", "PX", "OT", "SC", "SM", "ES", "GM", "BI",
    "SR", "PR", "KO", "DOC", "SEG", "REG", "RTPLAN", "RTSTRUCT", "RTDOSE", "RTIMAGE",
    "MONOCHROME1", "MONOCHROME2", "PALETTE COLOR", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_PARTIAL_420",
    "YBR_PARTIAL_422", "YBR_ICT", "YBR_RCT",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class _Layout:
    """What the header says of the pixels (PS3.3 C.7.6.3); sizes in pixels and bits."""

    rows: int
    columns: int
    frames: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    planar: bool
    photometric: str

    @property
    def frame_shape(self) -> tuple[int, ...]:
        plane = (self.rows, self.columns)
        return plane if self.samples == 1 else (*plane, self.samples)

    @property
    def frame_values(self) -> int:
        return self.rows * self.columns * self.samples


@contextmanager
def bad_file_if_it_fails(what: str) -> Iterator[None]:
    """Turn any exception into `BadFile` with the reason `what` and the kind of the exception.

    pydicom and the decoders raise whatever malformed bytes lead them to. The text of an exception is
    left out: it may quote the value of an element.
    """
    try:
        yield
    except BadFile:
        raise
    except Exception as error:
        raise BadFile(f"{what} ({type(error).__name__})") from error


def integer_of(dataset: pydicom.Dataset, keyword: str, default: int | None = None) -> int:
    """The value of an element as an integer; `BadFile` if it is malformed, or missing without a default."""
    with bad_file_if_it_fails(f"malformed value of {keyword}"):
        value = dataset.get(keyword)
        if value is not None and value != "":
            return int(value)
    if default is None:
        raise BadFile(f"{keyword} is missing")
    return default


def text_of(dataset: pydicom.Dataset, keyword: str) -> str:
    """The value of an element as stripped text, the first of several, empty when missing."""
    with bad_file_if_it_fails(f"malformed value of {keyword}"):
        value = dataset.get(keyword)
        if isinstance(value, pydicom.multival.MultiValue):
            value = value[0] if len(value) else None
        return "" if value is None else str(value).strip(" \0")


def shown_code(code: str) -> str:
    """A modality or colour model as a message may quote it."""
    return "none" if not code else code if code in _SHOWN_CODES else "unknown"


def transfer_syntax_of(dataset: pydicom.Dataset) -> uid.UID:
    """The transfer syntax of a data set that was read from a file.

    A file without one (no file meta information) is in one of the native syntaxes if it can be read at
    all, and pydicom found out which; the length of the pixels confirms it in `decode_stored_values`.
    """
    syntax = getattr(getattr(dataset, "file_meta", None), "TransferSyntaxUID", None)
    if syntax is not None:
        return uid.UID(str(syntax))
    encodings: dict[tuple[bool | None, bool | None], uid.UID] = {
        (True, True): uid.ImplicitVRLittleEndian,
        (False, True): uid.ExplicitVRLittleEndian,
        (False, False): uid.ExplicitVRBigEndian,
    }
    guess = encodings.get(dataset.original_encoding)
    if guess is None:
        raise BadFile("the transfer syntax is not known")
    return guess


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
    layout = _layout_of(dataset, frame)
    syntax = transfer_syntax_of(dataset)
    with bad_file_if_it_fails("malformed pixel data"):
        pixels = bytes(dataset.PixelData or b"")
        value_representation = str(dataset["PixelData"].VR)
    if syntax in _NATIVE:
        wanted = slice(None) if frame is None else slice(frame, frame + 1)
        values = _decode_native(pixels, layout, syntax != uid.ExplicitVRBigEndian, value_representation, wanted)
    else:
        start, stop = (0, layout.frames) if frame is None else (frame, frame + 1)
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
    layout = _layout_of(dataset, frame)
    if transfer_syntax_of(dataset) in _JPEG_2000 and not layout.signed and (frame is not None or layout.frames == 1):
        with bad_file_if_it_fails("malformed compressed pixel data"):
            streams = generate_frames(bytes(dataset.PixelData or b""), number_of_frames=layout.frames)
            stream = next(islice(streams, frame or 0, None), b"")
            header = _checked_code_stream(stream, layout)
            reduction = header.strongest_reduction(min_side_px)
        if reduction > 0 and header.can_be_reduced:
            rows, columns = header.reduced_shape(reduction)
            # What Pillow cannot read, the exact decoder may be able to; its message is the better one too.
            with suppress(OSError, ValueError, Image.DecompressionBombError):
                values = jpeg2000.decode_reduced(stream, header, reduction)
                return _checked(values, dataclasses.replace(layout, rows=rows, columns=columns)), reduction
    return decode_stored_values(dataset, frame), 0


def _layout_of(dataset: pydicom.Dataset, frame: int | None) -> _Layout:
    if "PixelData" not in dataset:
        raise BadFile("the object holds no pixel data")
    layout = _read_layout(dataset)
    if frame is not None and not 0 <= frame < layout.frames:
        raise BadFile(f"there is no frame {frame}, the image has {layout.frames}")
    return layout


def _read_layout(dataset: pydicom.Dataset) -> _Layout:
    bits_allocated = integer_of(dataset, "BitsAllocated")
    bits_stored = integer_of(dataset, "BitsStored")
    representation = integer_of(dataset, "PixelRepresentation")
    if representation not in (0, 1):
        raise BadFile(f"PixelRepresentation is {representation}, expected 0 or 1")
    layout = _Layout(
        rows=integer_of(dataset, "Rows"),
        columns=integer_of(dataset, "Columns"),
        frames=integer_of(dataset, "NumberOfFrames", 1),
        samples=integer_of(dataset, "SamplesPerPixel"),
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=integer_of(dataset, "HighBit", bits_stored - 1),
        signed=representation == 1,
        planar=integer_of(dataset, "PlanarConfiguration", 0) == 1,
        photometric=text_of(dataset, "PhotometricInterpretation").upper(),
    )
    if layout.rows < 1 or layout.columns < 1 or layout.frames < 1 or layout.samples not in (1, 3):
        raise BadFile(
            f"impossible image size: {layout.frames} frames of {layout.rows} x {layout.columns} pixels "
            f"with {layout.samples} samples"
        )
    if layout.frame_values > MAX_FRAME_VALUES or layout.frame_values * layout.frames > MAX_VALUES:
        most = f"{MAX_FRAME_VALUES} values" if layout.frame_values > MAX_FRAME_VALUES else f"{MAX_VALUES} values in all"
        raise BadFile(
            f"the header claims {layout.frames} frames of {layout.rows} x {layout.columns} pixels, more than {most}"
        )
    if not layout.photometric:
        raise BadFile("PhotometricInterpretation is missing: the image may be a negative")
    if layout.photometric not in (*_ONE_SAMPLE, *_THREE_SAMPLES):
        raise BadFile(f"unknown PhotometricInterpretation {shown_code(layout.photometric)}")
    expected_samples = 1 if layout.photometric in _ONE_SAMPLE else 3
    if layout.samples != expected_samples:
        raise BadFile(f"{layout.samples} samples in a pixel that is {shown_code(layout.photometric)}")
    if bits_allocated not in (8, 16, 32):
        raise BadFile(f"{bits_allocated} bits allocated to a pixel, expected 8, 16 or 32")
    if not 1 <= bits_stored <= layout.high_bit + 1 <= bits_allocated:
        raise BadFile(f"impossible pixel: {bits_stored} bits up to bit {layout.high_bit} in {bits_allocated}")
    return layout


def _decode_native(
    pixels: bytes, layout: _Layout, is_little_endian: bool, value_representation: str, wanted: slice
) -> np.ndarray:
    """The wanted frames [frames, ...] of uncompressed pixels (PS3.5 section 8.1)."""
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
    values = values.reshape(layout.frames, *layout.frame_shape)[wanted].astype(dtype.newbyteorder("="))
    # Bits around the stored ones may hold an overlay (retired, but found).
    return _with_sign(values >> dtype.type(layout.high_bit + 1 - layout.bits_stored), layout)


def _with_sign(values: np.ndarray, layout: _Layout) -> np.ndarray:
    """The low `bits_stored` bits of integers, signed if the header says so, in the type that it names."""
    bits = layout.bits_allocated
    unused = bits - layout.bits_stored
    values = values.astype(f"u{bits // 8}", copy=False)
    if not layout.signed:
        return values if unused == 0 else values & values.dtype.type(2**layout.bits_stored - 1)
    signed = np.ascontiguousarray(values).view(f"i{bits // 8}")
    return signed if unused == 0 else (signed << unused) >> unused


def _decode_encapsulated(pixels: bytes, layout: _Layout, syntax: uid.UID, start: int, stop: int) -> np.ndarray:
    """Frames `start` to `stop` of compressed pixels (PS3.5 annex A.4)."""
    decode = _frame_decoder(syntax)
    if decode is None:
        known = syntax.name if syntax.is_transfer_syntax else "of the file"
        raise BadFile(f"the transfer syntax {known} is not supported")
    if syntax == uid.JPEGBaseline8Bit and layout.bits_allocated != 8:
        raise BadFile(f"{layout.bits_allocated} bits allocated to a pixel of 8-bit JPEG")
    decoded = []
    with bad_file_if_it_fails("malformed compressed pixel data"):
        streams = generate_frames(pixels, number_of_frames=layout.frames)
        for stream in islice(streams, start, stop):
            decoded.append(_checked(decode(stream, layout), layout))
    if len(decoded) != stop - start:
        raise BadFile(f"the pixel data holds fewer than the {layout.frames} frames of the header")
    return decoded[0][np.newaxis] if len(decoded) == 1 else np.stack(decoded)


def _frame_decoder(syntax: uid.UID) -> Callable[[bytes, _Layout], np.ndarray] | None:
    if syntax == uid.RLELossless:
        return _decode_rle
    if syntax in _JPEG or syntax in _JPEG_LOSSLESS:
        return _decode_jpeg
    if syntax in _JPEG_LS:
        return _decode_jpeg_ls
    if syntax in _JPEG_2000:
        return _decode_jpeg_2000
    return None


def _decode_rle(stream: bytes, layout: _Layout) -> np.ndarray:
    # imagecodecs puts samples of a colour image side by side, whatever PlanarConfiguration says: PS3.5 G.
    raw = imagecodecs.dicomrle_decode(stream, f"<u{layout.bits_allocated // 8}")
    values = np.frombuffer(raw, f"<u{layout.bits_allocated // 8}")
    if values.size != layout.frame_values:
        raise BadFile(f"an RLE frame of {values.size} values, expected {layout.frame_values}")
    if layout.samples == 3:
        return values.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    return values.reshape(layout.frame_shape)


def _decode_jpeg(stream: bytes, layout: _Layout) -> np.ndarray:
    _check_code_stream(stream, frame_header(stream)[1:], layout)
    # A colour stream without markers is taken for YCbCr by libjpeg; the header knows better.
    return decode_jpeg(stream, "RGB" if layout.photometric == "RGB" else None)


def _decode_jpeg_ls(stream: bytes, layout: _Layout) -> np.ndarray:
    _check_code_stream(stream, frame_header(stream)[1:], layout)
    return imagecodecs.jpegls_decode(stream)


def _decode_jpeg_2000(stream: bytes, layout: _Layout) -> np.ndarray:
    _checked_code_stream(stream, layout)
    return imagecodecs.jpeg2k_decode(stream)


def _checked_code_stream(stream: bytes, layout: _Layout) -> jpeg2000.CodeStream:
    header = jpeg2000.read_code_stream(stream)
    _check_code_stream(stream, (header.rows, header.columns, header.components), layout)
    return header


def _check_code_stream(stream: bytes, size: tuple[int, int, int], layout: _Layout) -> None:
    """Refuse a stream that is cut off or whose (rows, columns, samples) are not those of the header."""
    # All JPEG family streams end with FF D9; pad bytes 00 or FF may follow.
    if not stream.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise BadFile("the compressed image is cut off")
    expected = (layout.rows, layout.columns, layout.samples)
    if size != expected:
        raise BadFile("the compressed image is {} x {} x {}, the header says {} x {} x {}".format(*size, *expected))


def _checked(values: np.ndarray, layout: _Layout) -> np.ndarray:
    """A decoded frame in the shape and type of the header; `BadFile` if it does not fit them."""
    if values.shape != layout.frame_shape:
        raise BadFile(f"the decoder returned an array of shape {values.shape}, expected {layout.frame_shape}")
    if values.dtype.kind not in "ui" or values.dtype.itemsize * 8 > layout.bits_allocated:
        raise BadFile(f"the compressed image has {values.dtype} pixels, the header says {layout.bits_allocated} bits")
    # Signed values come as the unsigned integers with the same bits from all decoders but JPEG 2000's.
    if layout.signed:
        return _with_sign(values, layout)
    if values.min() < 0 or values.max() >= 2**layout.bits_stored:
        raise BadFile(f"the compressed image has values that do not fit the {layout.bits_stored} bits of the header")
    return values.astype(f"u{layout.bits_allocated // 8}", copy=False)

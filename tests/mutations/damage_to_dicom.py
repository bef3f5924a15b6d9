"""Damage to a DICOM file that keeps its form: headers, transfer syntaxes, code streams, sequences, tables."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_data_element
from pydicom.sequence import Sequence

from tests.data.dicom_files import lut_item
from tests.mutations.damage_anywhere import HUGE_PX, Damage, Random, burst_at_the_start, insert

FIELDS: dict[str, list[object]] = {
    "Rows": [0, 1, 7, 63, 65, 95, 97, 512, 60000, 65535],
    "Columns": [0, 1, 7, 63, 65, 71, 73, 512, 60000, 65535],
    "BitsStored": [0, 1, 8, 10, 11, 13, 16, 32, 255],
    "BitsAllocated": [0, 1, 8, 12, 16, 32, 64],
    "HighBit": [0, 7, 10, 12, 15, 31, 65535],
    "SamplesPerPixel": [0, 2, 3, 4, 65535],
    "PixelRepresentation": [0, 1, 2, 65535],
    "PlanarConfiguration": [0, 1, 2],
    "NumberOfFrames": ["0", "-1", "2", "9", "10", "11", "2147483647"],
    "PhotometricInterpretation": ["MONOCHROME1", "RGB", "YBR_FULL", "YBR_FULL_422", "PALETTE COLOR", "?"],
    "WindowWidth": ["0", "-1", "1", "1e300", "1e-300"],
    "WindowCenter": ["1e300", "-32768", "4095"],
    "RescaleSlope": ["0", "-1", "1e300", "1e-300"],
    "RescaleIntercept": ["1e300", "-1024"],
    "PixelPaddingValue": [0, 1, 4095, 65535],
    "PixelPaddingRangeLimit": [0, 4095, 65535],
    "VOILUTFunction": ["SIGMOID", "LINEAR_EXACT", "CUBIC"],
}  # fmt: skip

SYNTAXES = (
    uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.RLELossless,
    uid.DeflatedExplicitVRLittleEndian, uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLosslessSV1,
    uid.JPEGLSLossless, uid.JPEGLSNearLossless, uid.JPEG2000Lossless, uid.JPEG2000, uid.MPEG2MPML,
    uid.UID("1.2.3.4"), uid.UID(""),
)  # fmt: skip


def _edited(content: bytes, edit: Callable[[Dataset], None]) -> bytes:
    """The file with its data set changed, written without any check."""
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    edit(dataset)
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=False)
    return stream.getvalue()


def _set(dataset: Dataset, keyword: str, value: object) -> None:
    tag = pydicom.datadict.tag_for_keyword(keyword)
    vr = pydicom.datadict.dictionary_VR(tag)
    dataset.add(pydicom.DataElement(tag, "US" if "US" in vr else vr, value, validation_mode=0))


def change_fields(content: bytes, random: Random) -> bytes:
    """One to three fields that decide what the pixels are say something else."""
    names = random.choice(list(FIELDS), random.integers(1, 4), replace=False)

    def edit(dataset: Dataset) -> None:
        for name in names:
            _set(dataset, name, FIELDS[name][random.integers(len(FIELDS[name]))])

    return _edited(content, edit)


def claim_a_huge_image(content: bytes, random: Random) -> bytes:
    """60000 x 60000 pixels in the header, and in the code stream where there is one."""

    def edit(dataset: Dataset) -> None:
        dataset.Rows = dataset.Columns = HUGE_PX
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated and random.integers(2):
            frames = generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
            dataset.PixelData = encapsulate([huge_stream(frame) for frame in frames])

    return _edited(content, edit)


def contradict_the_stream(content: bytes, random: Random) -> bytes:
    """60000 x 60000 pixels in the code stream alone."""

    def edit(dataset: Dataset) -> None:
        if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            frames = generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1))
            dataset.PixelData = encapsulate([huge_stream(frame) for frame in frames])

    return _edited(content, edit)


def huge_stream(stream: bytes) -> bytes:
    """A JPEG, JPEG-LS or JPEG 2000 stream whose header claims 60000 x 60000 pixels."""
    start = stream.find(b"\xff\x4f\xff\x51")
    if start >= 0:
        sizes = struct.pack(">4I", HUGE_PX, HUGE_PX, 0, 0) + struct.pack(">2I", HUGE_PX, HUGE_PX)
        return stream[: start + 8] + sizes + stream[start + 8 + len(sizes) :]
    for marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7):
        start = stream.find(bytes([0xFF, marker]))
        if start >= 0:
            return stream[: start + 5] + struct.pack(">HH", HUGE_PX, HUGE_PX) + stream[start + 9 :]
    return stream


def lose_the_middle_of_the_stream(content: bytes, random: Random) -> bytes:
    """The compressed image lacks a part in its middle; its end and the form of the file are right."""

    def shorten(frame: bytes, start: int) -> bytes:
        return frame[:start] + frame[int(random.integers(start, len(frame))) :]

    return _with_a_frame_changed(content, random, shorten)


def end_the_stream_early(content: bytes, random: Random) -> bytes:
    """The compressed image ends early, with a proper end marker."""
    return _with_a_frame_changed(content, random, lambda frame, start: frame[:start] + b"\xff\xd9")


def pad_a_frame(content: bytes, random: Random) -> bytes:
    """Bytes of any value behind one of the compressed images, up to more than may follow."""
    length = int(random.choice([1, 2, 3, 7, 100, 4000, 5000]))
    more = (bytes(length), b" " * length, b"\xff\xd9" * length, random.bytes(length))[random.integers(4)]
    return _with_a_frame_changed(content, random, lambda frame, _: frame + more)


def put_an_image_into_a_frame(content: bytes, random: Random) -> bytes:
    """A thumbnail, or something like it, in a segment of one of the compressed images, if they are JPEG."""
    return _with_a_frame_changed(content, random, lambda frame, _: with_a_thumbnail(frame, random))


def with_a_thumbnail(stream: bytes, random: Random) -> bytes:
    """A JPEG stream with a segment in front that holds a part of the stream, or markers alone."""
    markers = b"\xff\xda\x00\x08\xff\xd9\xff\xc4"
    inside = markers if random.integers(2) else stream[: int(random.integers(2, min(len(stream), 60000)))]
    kind = (0xE0, 0xE1, 0xED, 0xFE)[random.integers(4)]
    segment = bytes([0xFF, kind]) + struct.pack(">H", len(inside) + 2) + inside
    return stream[:2] + segment + stream[2:] if stream[:2] == b"\xff\xd8" else stream


def _with_a_frame_changed(content: bytes, random: Random, change: Callable[[bytes, int], bytes]) -> bytes:
    """One of the compressed frames changed from a place in its last two thirds on."""

    def edit(dataset: Dataset) -> None:
        if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            return
        frames = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)))
        which = int(random.integers(len(frames)))
        start = int(random.integers(len(frames[which]) // 3, len(frames[which])))
        frames[which] = change(frames[which], start)
        dataset.PixelData = encapsulate(frames)

    return _edited(content, edit)


def swap_the_transfer_syntax(content: bytes, random: Random) -> bytes:
    """The meta information names another transfer syntax than the file is in."""
    old = pydicom.dcmread(io.BytesIO(content), force=True, stop_before_pixels=True).file_meta.TransferSyntaxUID
    new = SYNTAXES[random.integers(len(SYNTAXES))]
    padded = (new + "\0" * (len(new) % 2)).encode()
    start = content.index(b"\x02\x00\x10\x00UI")
    value = start + 8
    old_length = struct.unpack_from("<H", content, start + 6)[0]
    assert content[value : value + len(old)].decode() == old
    return content[: start + 6] + struct.pack("<H", len(padded)) + padded + content[value + old_length :]


def change_a_representation(content: bytes, random: Random) -> bytes:
    """The value representation or the length of one element is another one."""
    names = ("US", "SS", "DS", "IS", "SQ", "OW", "OB", "UN", "FD", "AT", "UT", "??")
    places = [
        i for i in range(132, min(len(content) - 8, 4000), 2) if content[i + 4 : i + 6].decode("latin-1") in names
    ]
    if not places:
        return burst_at_the_start(content, random)
    place = places[random.integers(len(places))]
    if random.integers(2):
        return content[: place + 4] + names[random.integers(len(names))].encode() + content[place + 6 :]
    lengths = (1, 3, 0x7FFF, 0xFFFE, 0xFFFF)
    return content[: place + 6] + struct.pack("<H", lengths[random.integers(len(lengths))]) + content[place + 8 :]


def nest_sequences(content: bytes, random: Random) -> bytes:
    """A sequence in a sequence in ..., some thousands deep, of undefined length and perhaps without an end."""
    depth = int(random.choice([3, 200, 5000, 50000]))
    place = content.find(b"\x08\x00\x60\x00")
    if place < 0:
        return insert(content, random)
    opening = b"\x40\x00\x55\x05SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    closing = b"\xfe\xff\x0d\xe0\0\0\0\0" + b"\xfe\xff\xdd\xe0\0\0\0\0"
    nested = opening * depth + (closing * depth if random.integers(2) else b"")
    # Into the code of the view, which is read, or into an element that is not.
    if random.integers(2):
        nested = nested.replace(b"\x40\x00\x55\x05", b"\x54\x00\x20\x02")
        return content[:place] + content[place : place + 10] + nested + content[place + 10 :]
    return content[:place] + nested + content[place:]


def change_the_lookup_table(content: bytes, random: Random) -> bytes:
    """A VOI lookup table whose descriptor and data do not agree, or that maps to one level."""
    numbers = [int(random.choice([0, 1, 2, 255, 4096, 65535])), int(random.choice([0, 1, 4095, 65535]))]
    item = lut_item([1, 2, 3, 4], 0, 16, words=bool(random.integers(2)))
    item.LUTDescriptor = [*numbers, int(random.choice([0, 1, 8, 12, 16, 17, 255]))]
    if random.integers(2):
        del item.LUTData

    def edit(dataset: Dataset) -> None:
        sequence = Sequence([item] if random.integers(5) else [])
        dataset.add_new("VOILUTSequence" if random.integers(2) else "ModalityLUTSequence", "SQ", sequence)

    return _edited(content, edit)


def deflate_a_bomb(content: bytes, random: Random, gigabytes: float | None = None) -> bytes:
    """A file of some megabytes at most that inflates to gigabytes, in the header or in the pixels."""
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    dataset.file_meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    header = Dataset({element.tag: element for element in dataset if element.keyword != "PixelData"})
    plain = DicomBytesIO()
    plain.is_little_endian, plain.is_implicit_VR = True, False
    for element in header:
        write_data_element(plain, element)
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    gigabytes = gigabytes or int(random.integers(1, 4))
    parts = [deflate.compress(plain.getvalue()), deflate.compress(b"\xe0\x7f\x10\x00OW\0\0\xfe\xff\xff\xff")]
    parts += [deflate.compress(bytes(1 << 24)) for _ in range(int(64 * gigabytes))]
    meta = DicomBytesIO()
    pydicom.filewriter.write_file_meta_info(meta, dataset.file_meta, enforce_standard=False)
    return bytes(128) + b"DICM" + meta.getvalue() + b"".join(parts) + deflate.flush()


OF_DICOM: list[Damage] = [
    change_fields, change_fields, change_fields, claim_a_huge_image, contradict_the_stream, swap_the_transfer_syntax,
    lose_the_middle_of_the_stream, end_the_stream_early, change_a_representation, nest_sequences,
    change_the_lookup_table, pad_a_frame, put_an_image_into_a_frame,
]  # fmt: skip

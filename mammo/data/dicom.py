"""DICOM mammograms: what the header says, and the image as it should be shown.

Vendors differ in polarity, in the window or lookup table that goes with an image and in what they call
background; what is read here follows the standard through all of it, and refuses what is no mammogram ready
for presentation. Only the tags listed here and in `mammo.data.dicom_header` are ever read: no name, no date.
"""

from __future__ import annotations

import dataclasses
import io
import logging
import os
import warnings
import zlib
from collections.abc import Collection
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom import uid
from pydicom.filereader import read_dataset, read_preamble

from mammo.data.decode import decode_reduced, decode_stored_values
from mammo.data.dicom_elements import bad_file_if_it_fails, integer_of, shown_code
from mammo.data.dicom_header import FRAMES, HEADER_TAGS, Header, header_of, refuse
from mammo.data.functional_groups import as_one_frame
from mammo.data.grey import GreyImage
from mammo.data.pixel_layout import MAX_FRAME_VALUES
from mammo.data.presentation import CONSTANT, SHOWS_NOTHING, may_be_reduced, shown_image
from mammo.support.errors import BadFile

# A file by its path, or its content.
Source = str | os.PathLike[str] | bytes

# What pydicom says of an odd element quotes its value, which may be a name: nothing of that reaches a log.
# Set for the process, because images are read in threads and `warnings.catch_warnings` is not safe there.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings("ignore", module=r"pydicom(\..*)?$")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

# Pixels of 16 bits, and as much for a header as any has.
MAX_INFLATED_BYTES = 2 * MAX_FRAME_VALUES + 20_000_000

_PIXEL_TAGS = [
    "PixelData", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
]  # fmt: skip
_VALUE_REPRESENTATIONS = {vr.value.encode() for vr in pydicom.valuerep.VR if len(vr.value) == 2}


def looks_like_dicom(source: Source) -> bool:
    """Whether the first bytes of a file are those of DICOM, with or without the 128-byte preamble.

    Raises `OSError` when the file cannot be opened.
    """
    if isinstance(source, bytes):
        head = source[:132]
    else:
        with open(source, "rb") as file:
            head = file.read(132)
    if head[128:132] == b"DICM":
        return True
    # Without preamble a data set starts with group 0002 or 0008, in either byte order.
    is_little = head[:2] in (b"\x02\x00", b"\x08\x00")
    is_big = head[:2] in (b"\x00\x02", b"\x00\x08")
    if (is_little or is_big) and head[4:6] in _VALUE_REPRESENTATIONS:
        return True
    element, length = int.from_bytes(head[2:4], "little"), int.from_bytes(head[4:8], "little")
    return is_little and len(head) == 132 and element <= 0x18 and length <= 64


def read_header(source: Source) -> Header:
    """The header of a DICOM file, pixels not read. Raises `BadFile`; `not a DICOM file` when it is none."""
    return header_of(_read(source, HEADER_TAGS))


def header_or_none(source: Source) -> Header | None:
    """The header of a DICOM file; None for any other file, and for one that cannot be read."""
    try:
        return read_header(source) if looks_like_dicom(source) else None
    except (OSError, BadFile):
        return None


@dataclasses.dataclass(frozen=True)
class OpenedDicom:
    """A DICOM image whose header has been read and accepted; nothing is decoded yet.

    `frames` says what several frames become: the `middle` one, or the `mean` or `max` of the grey levels of all.
    """

    header: Header
    dataset: pydicom.Dataset = dataclasses.field(repr=False)
    frames: str = "middle"

    def grey(self, min_side_px: int | None = None) -> GreyImage:
        """The image in 0..1 as meant to be shown: dense tissue bright, background and padding 0; raises `BadFile`.

        With `min_side_px` it may be decoded at 1/2, 1/4, ... of its size where that is cheaper, its long side
        no shorter than that.
        """
        num_frames = self.header.frames
        if num_frames == 1:
            image = self._frame(None, min_side_px)
        elif self.frames == "middle":
            image = self._frame(num_frames // 2, min_side_px)
        else:
            image = self._all_frames(num_frames, min_side_px)
        if image.is_constant():
            raise BadFile(CONSTANT)
        return image

    def _all_frames(self, num_frames: int, min_side_px: int | None) -> GreyImage:
        """The mean or the maximum of the grey levels of all frames."""
        together, num_visible = None, 0
        for frame in range(num_frames):
            try:
                image = self._frame(frame, min_side_px)
            except BadFile as bad:
                if bad.reason not in (CONSTANT, SHOWS_NOTHING):  # the outermost frames of a stack may be empty
                    raise
                continue
            num_visible += 1
            if together is None:
                together, like = image.levels().astype(np.float64), image
            elif image.shape != like.shape:  # not all can be decoded at a fraction of their size
                return self._all_frames(num_frames, None)
            else:
                (np.add if self.frames == "mean" else np.maximum)(together, image.levels(), out=together)
        if together is None:
            raise BadFile(CONSTANT)
        values = together / num_visible if self.frames == "mean" else together
        return dataclasses.replace(like, values=values.astype(np.float32), table=None, lowest=0)

    def _frame(self, frame: int | None, min_side_px: int | None) -> GreyImage:
        header, dataset = self.header, as_one_frame(self.dataset, frame or 0)
        is_negative = header.photometric == "MONOCHROME1"
        reduction = 0
        if min_side_px is not None and not header.is_colour and may_be_reduced(dataset, is_negative):
            values, reduction = decode_reduced(dataset, min_side_px, frame)
        else:
            values = decode_stored_values(dataset, frame)
        with bad_file_if_it_fails("the pixel values cannot be mapped to grey levels"):
            if header.is_colour:
                image = GreyImage(_luminance(values, dataset, header))
            else:
                for_presentation = header.presentation_intent == "FOR PRESENTATION"
                image = shown_image(values, dataset, is_negative, for_presentation)
        if reduction == 0:
            return image
        return dataclasses.replace(image, reduction=reduction, reduced_from=(header.rows, header.columns))


def open_dicom(source: Source, accept: Collection[str] = ()) -> OpenedDicom:
    """Read a DICOM file, with or without preamble, by its path or content; its pixels are not decoded yet.

    `accept` are kinds of image that are otherwise refused: `for_processing`, `other_modality`, `colour` (becomes
    luminance), `multiframe` (the middle frame is read), and those of `accepted_kinds`. Raises `BadFile` for an image
    that is refused or cannot be read.
    """
    dataset = _read(source, HEADER_TAGS + _PIXEL_TAGS)
    header = header_of(dataset)
    if "PixelData" not in dataset:
        # pydicom drops every element where the file ends within the pixels: ask for those before them.
        header = read_header(source)
        if header.rows:
            raise BadFile("the file is cut off before the end of its pixel data")
        raise BadFile(f"the object holds no image (modality {shown_code(header.modality)})")
    refuse(header, accept)
    return OpenedDicom(header, dataset, next((how for how, kind in FRAMES.items() if kind in accept), "middle"))


def _read(source: Source, keywords: list[str]) -> pydicom.Dataset:
    with bad_file_if_it_fails("the file cannot be read"):
        if not looks_like_dicom(source):
            raise BadFile("not a DICOM file")
    with bad_file_if_it_fails("malformed DICOM file"), _opened(source) as stream:
        _refuse_inflation(stream)
        return pydicom.dcmread(
            stream, force=True, specific_tags=list(keywords), stop_before_pixels="PixelData" not in keywords
        )


def _opened(source: Source) -> BinaryIO:
    return io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")


def _refuse_inflation(stream: BinaryIO) -> None:
    """Raise `BadFile` for a deflated file that inflates to more than any image needs; pydicom would inflate it all."""
    read_preamble(stream, force=True)
    meta = read_dataset(
        stream, is_implicit_VR=False, is_little_endian=True, stop_when=lambda tag, _vr, _length: tag >> 16 != 2
    )
    if meta.get("TransferSyntaxUID") == uid.DeflatedExplicitVRLittleEndian:
        inflating = zlib.decompressobj(-zlib.MAX_WBITS)
        inflating.decompress(stream.read(), MAX_INFLATED_BYTES)
        if inflating.unconsumed_tail:
            raise BadFile(f"the deflated file holds more than {MAX_INFLATED_BYTES} bytes")
    stream.seek(0)


def _luminance(values: np.ndarray, dataset: pydicom.Dataset, header: Header) -> np.ndarray:
    """Luminance (ITU-R BT.601) in 0..1 of palette, RGB or YBR samples."""
    full_scale = float(2 ** integer_of(dataset, "BitsStored") - 1)
    if header.photometric == "PALETTE COLOR":
        values = pydicom.pixels.apply_color_lut(values, dataset)
        full_scale = float(np.iinfo(values.dtype).max)
    came_as_rgb = header.transfer_syntax in (
        uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEG2000, uid.JPEG2000Lossless
    )  # fmt: skip
    if header.photometric.startswith("YBR") and not came_as_rgb:
        return (values[..., 0] / full_scale).astype(np.float32)
    return (values @ np.array([0.299, 0.587, 0.114]) / full_scale).astype(np.float32)

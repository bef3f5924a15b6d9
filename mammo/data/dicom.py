"""DICOM mammograms: what the header says, and the image as it should be shown.

Vendors differ in polarity, in the window or lookup table that goes with an image and in what they call
background; `read_dicom` follows the standard through all of it, and refuses what is no mammogram ready
for presentation. Only the tags listed here are ever read from a header: no name, no date.
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

from mammo.data.decode import (
    MAX_FRAME_VALUES,
    bad_file_if_it_fails,
    decode_reduced,
    decode_stored_values,
    integer_of,
    shown_code,
    text_of,
    transfer_syntax_of,
)
from mammo.data.grey import GreyImage
from mammo.data.presentation import may_be_reduced, shown_image
from mammo.errors import BadFile

# A file by its path, or its content.
Source = str | os.PathLike[str] | bytes

# What pydicom says of an odd element quotes its value, which may be a name: nothing of that reaches a log.
# Set for the process, because images are read in threads and `warnings.catch_warnings` is not safe there.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings("ignore", module=r"pydicom(\..*)?$")
logging.getLogger("pydicom").setLevel(logging.CRITICAL)

# Pixels of 16 bits, and as much for a header as any has.
MAX_INFLATED_BYTES = 2 * MAX_FRAME_VALUES + 20_000_000

PROJECTION_MODALITIES = ("MG", "CR", "DX", "RG")  # RG: digitised film

_HEADER_TAGS = [
    "Modality", "Manufacturer", "PatientAge", "PatientID", "StudyInstanceUID", "PresentationIntentType",
    "ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence", "BreastImplantPresent", "BurnedInAnnotation",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation",
]  # fmt: skip
_PIXEL_TAGS = [
    "PixelData", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "PlanarConfiguration",
    "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
]  # fmt: skip

# CID 4014 of PS3.16, as SNOMED CT and as the older SRT codes (scheme SNM3 or SRT).
_VIEWS = {
    "399162004": "CC", "R-10242": "CC", "399368009": "MLO", "R-10226": "MLO", "399260004": "ML", "R-10224": "ML",
    "399352003": "LM", "R-10228": "LM", "399099002": "LMO", "R-10230": "LMO", "399196006": "FB", "R-10244": "FB",
    "399188001": "SIO", "R-102D0": "SIO", "441555000": "ISO", "R-40AAA": "ISO", "399192008": "XCCL",
    "R-1024A": "XCCL", "399101009": "XCCM", "R-1024B": "XCCM", "127457009": "SPECIMEN", "G-8310": "SPECIMEN",
}  # fmt: skip
# CID 4015. Those that show less or something else than the whole breast in its usual position ...
_OTHER_VIEW_MODIFIERS = {
    "399055006": "SPOT", "R-102D7": "SPOT", "399163009": "MAG", "R-102D6": "MAG", "399161006": "CV", "R-102D2": "CV",
    "399011000": "AT", "R-102D1": "AT", "442580003": "AX", "R-40AB2": "AX", "399110001": "TAN", "R-102C2": "TAN",
    "399197002": "RL", "R-102D3": "RL", "399226006": "RM", "R-102D4": "RM", "415670009": "RS", "R-102C9": "RS",
    "414493004": "RI", "R-102CA": "RI",
}  # fmt: skip
# ... and those that leave a CC a CC.
_SAME_VIEW_MODIFIERS = {
    "399209000": "ID", "R-102D5": "ID", "442581004": "NP", "R-40AB3": "NP", "441752004": "AC", "P2-00161": "AC",
    "442593008": "IMF", "R-40ABE": "IMF",
}  # fmt: skip

_VALUE_REPRESENTATIONS = {vr.value.encode() for vr in pydicom.valuerep.VR if len(vr.value) == 2}


@dataclasses.dataclass(frozen=True)
class Header:
    """What is read of a DICOM header; text is empty and numbers are 0 where the file says nothing.

    `view` is CC, MLO, ML, LM, XCCL, ...; with a modifier that makes it another view it is CC-SPOT,
    MLO-MAG, ... `view_modifiers` has all known modifiers (ID: implant displaced, ...). `patient_id` and
    `study_uid` are identifiers: they are never written as they are. `age` is as DICOM writes it: 045Y.
    """

    modality: str
    patient_id: str = dataclasses.field(repr=False)
    study_uid: str = dataclasses.field(repr=False)
    age: str = dataclasses.field(repr=False)
    laterality: str
    view: str
    view_modifiers: tuple[str, ...]
    photometric: str
    rows: int
    columns: int
    frames: int
    samples_per_pixel: int
    presentation_intent: str
    implant: bool
    burned_in_annotation: bool
    manufacturer: str
    transfer_syntax: str

    @property
    def is_colour(self) -> bool:
        """Whether the pixels are anything but grey levels."""
        return self.samples_per_pixel > 1 or self.photometric not in ("MONOCHROME1", "MONOCHROME2", "")


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
    return _header_of(_read(source, _HEADER_TAGS))


def read_dicom(source: Source, accept: Collection[str] = ()) -> tuple[np.ndarray, Header]:
    """The image of a DICOM file as it is meant to be shown, and its header.

    Arguments:
        source: a DICOM file with or without preamble, as a path or its content.
        accept: kinds of image that are otherwise refused: `for_processing`, `other_modality`, `colour`
            (becomes luminance), `multiframe` (the middle frame is read).

    Returns a float32 array [rows, columns] in 0..1, dense tissue bright, background and padding 0.
    Raises `BadFile` for an image that is refused or cannot be read.
    """
    opened = open_dicom(source, accept)
    return opened.grey().levels(), opened.header


@dataclasses.dataclass(frozen=True)
class OpenedDicom:
    """A DICOM image whose header has been read and accepted; nothing is decoded yet."""

    header: Header
    dataset: pydicom.Dataset = dataclasses.field(repr=False)

    def grey(self, min_side_px: int | None = None) -> GreyImage:
        """The image as `read_dicom` gives it, raises `BadFile`.

        With `min_side_px` it may be decoded at 1/2, 1/4, ... of its size where that is cheaper, its long side
        no shorter than that.
        """
        header, dataset = self.header, self.dataset
        frame = header.frames // 2 if header.frames > 1 else None
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
        if image.is_constant():
            raise BadFile("constant image")
        if reduction == 0:
            return image
        return dataclasses.replace(image, reduction=reduction, reduced_from=(header.rows, header.columns))


def open_dicom(source: Source, accept: Collection[str] = ()) -> OpenedDicom:
    """Read a DICOM file without decoding its pixels, see `read_dicom`; raises `BadFile`."""
    dataset = _read(source, _HEADER_TAGS + _PIXEL_TAGS)
    header = _header_of(dataset)
    if "PixelData" not in dataset:
        # pydicom drops every element where the file ends within the pixels: ask for those before them.
        header = read_header(source)
        if header.rows:
            raise BadFile("the file is cut off before the end of its pixel data")
        raise BadFile(f"the object holds no image (modality {shown_code(header.modality)})")
    _refuse(header, accept)
    return OpenedDicom(header, dataset)


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


def _header_of(dataset: pydicom.Dataset) -> Header:
    view, modifiers = _view_of(dataset)
    laterality = text_of(dataset, "ImageLaterality").upper() or text_of(dataset, "Laterality").upper()
    return Header(
        modality=text_of(dataset, "Modality").upper(),
        patient_id=text_of(dataset, "PatientID"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        age=text_of(dataset, "PatientAge"),
        laterality=laterality if laterality in ("L", "R") else "",
        view=view,
        view_modifiers=modifiers,
        photometric=text_of(dataset, "PhotometricInterpretation").upper(),
        rows=integer_of(dataset, "Rows", 0),
        columns=integer_of(dataset, "Columns", 0),
        frames=integer_of(dataset, "NumberOfFrames", 0) or (1 if "Rows" in dataset else 0),
        samples_per_pixel=integer_of(dataset, "SamplesPerPixel", 1 if "Rows" in dataset else 0),
        presentation_intent=text_of(dataset, "PresentationIntentType").upper(),
        implant=text_of(dataset, "BreastImplantPresent").upper() == "YES",
        burned_in_annotation=text_of(dataset, "BurnedInAnnotation").upper() == "YES",
        manufacturer=text_of(dataset, "Manufacturer"),
        transfer_syntax=str(transfer_syntax_of(dataset)),
    )


def _view_of(dataset: pydicom.Dataset) -> tuple[str, tuple[str, ...]]:
    """View and modifiers. The code is what an MG object must have; `ViewPosition` is free text beside it."""
    view = ""
    modifiers: list[str] = []
    with bad_file_if_it_fails("malformed ViewCodeSequence"):
        for item in (dataset.get("ViewCodeSequence") or [])[:1]:
            view = _VIEWS.get(text_of(item, "CodeValue"), "")
            known = _OTHER_VIEW_MODIFIERS | _SAME_VIEW_MODIFIERS
            codes = [text_of(modifier, "CodeValue") for modifier in item.get("ViewModifierCodeSequence") or []]
            modifiers = [known[code] for code in codes if code in known]
    view = view or text_of(dataset, "ViewPosition").upper()
    kinds_of_view = [name for name in modifiers if name in _OTHER_VIEW_MODIFIERS.values()]
    return "-".join([view, *sorted(set(kinds_of_view))]).strip("-"), tuple(modifiers)


def _refuse(header: Header, accept: Collection[str]) -> None:
    if header.modality not in PROJECTION_MODALITIES and "other_modality" not in accept:
        found, expected = shown_code(header.modality), ", ".join(PROJECTION_MODALITIES)
        raise BadFile(f"modality {found} is no projection X-ray (expected {expected})")
    if header.is_colour and "colour" not in accept:
        raise BadFile(f"colour image ({shown_code(header.photometric)})")
    if header.frames > 1 and "multiframe" not in accept:
        raise BadFile(f"multi-frame image ({header.frames} frames)")
    if header.presentation_intent == "FOR PROCESSING" and "for_processing" not in accept:
        raise BadFile("FOR PROCESSING image: raw detector values, not meant to be shown")


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

"""What the header of a DICOM image says, and whether it may be that of a mammogram.

Only the tags listed here are read, beside those of the pixels: no name, no date.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection

import pydicom

from mammo.data.dicom_elements import bad_file_if_it_fails, integer_of, shown_code, text_of, transfer_syntax_of
from mammo.data.functional_groups import GROUP_TAGS, as_one_frame
from mammo.data.views import MODIFIER_CODES, VIEW_CODES, VIEWS, full_view, read_view, side_of
from mammo.support.errors import BadFile

# Kinds of image that options other than `data.accept` let in: files without a modality that are known to be MG, and how
# several frames become one image.
UNSTATED_MG = "unstated_mg"
FRAMES = {"middle": "frames_middle", "mean": "frames_mean", "max": "frames_max"}

PROJECTION_MODALITIES = ("MG", "CR", "DX", "RG")  # RG: digitised film
# For presentation and for processing: digital mammography, breast projection; and breast tomosynthesis.
_FOR_PROCESSING = {"1.2.840.10008.5.1.4.1.1.1.2.1", "1.2.840.10008.5.1.4.1.1.13.1.5"}
_MAMMOGRAPHIC = {
    "1.2.840.10008.5.1.4.1.1.1.2", "1.2.840.10008.5.1.4.1.1.13.1.3", "1.2.840.10008.5.1.4.1.1.13.1.4", *_FOR_PROCESSING,
}  # fmt: skip
# Of the objects of the standard these may be one: CR, DX and MG, secondary capture, enhanced X-ray of the breast.
_STORAGE = "1.2.840.10008.5.1.4.1.1."
_MAY_BE_MAMMOGRAM = re.compile(re.escape(_STORAGE) + r"(?:1(?:\.[12](?:\.1)?)?|7(?:\.[1-4])?|13\.1\.[345])")
# Its two values, however their words are joined.
_INTENT = re.compile(r"^FOR[\W_]*(PROCESSING|PRESENTATION)$")

HEADER_TAGS = [
    "SOPClassUID", "Modality", "Manufacturer", "PatientAge", "PatientID", "StudyInstanceUID", "PresentationIntentType",
    "ImageLaterality", "Laterality", "ViewPosition", "ViewCodeSequence", "ViewModifierCodeSequence",
    "PatientOrientation", "AcquisitionDeviceProcessingDescription", "SeriesDescription",
    "BreastImplantPresent", "BurnedInAnnotation",
    "Rows", "Columns", "NumberOfFrames", "SamplesPerPixel", "PhotometricInterpretation", *GROUP_TAGS,
]  # fmt: skip
# Texts that may say view and side, after ViewPosition. Fuji's plates have both in the first alone, films that were
# converted to DICOM the view in the second; the third is of a series, which may have several images.
_TEXTS_OF_IMAGE = ("AcquisitionDeviceProcessingDescription", "PatientOrientation")
_TEXT_OF_SERIES = "SeriesDescription"


@dataclasses.dataclass(frozen=True)
class Header:
    """What is read of a DICOM header; text is empty and numbers are 0 where the file says nothing.

    `view` is CC, MLO, ML, LM, XCCL, ...; with a modifier that makes it another view it is CC-SPOT,
    MLO-MAG, ... `two_sides` says that the header contradicts itself about the side. `patient_id` and `study_uid` are
    identifiers: they are never written as they are. `age` is as DICOM writes it: 045Y. Of several frames it is the
    middle one that is described.
    """

    modality: str
    patient_id: str = dataclasses.field(repr=False)
    study_uid: str = dataclasses.field(repr=False)
    age: str = dataclasses.field(repr=False)
    laterality: str
    view: str
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
    sop_class: str
    two_sides: bool

    @property
    def is_mammogram(self) -> bool:
        """Whether it says that it is of a breast: by modality, by SOP class where there is none, or by view.

        CR, DX and RG are of any part of the body.
        """
        is_of_breast = self.modality == "MG" or (not self.modality and self.sop_class in _MAMMOGRAPHIC)
        return is_of_breast or self.view.split("-")[0] in VIEWS

    @property
    def is_for_processing(self) -> bool:
        """Whether the pixels are raw detector values: by what is said of the image, or by its SOP class."""
        of_class = not self.presentation_intent and self.sop_class in _FOR_PROCESSING
        return self.presentation_intent == "FOR PROCESSING" or of_class

    @property
    def is_colour(self) -> bool:
        """Whether the pixels are anything but grey levels."""
        return self.samples_per_pixel > 1 or self.photometric not in ("MONOCHROME1", "MONOCHROME2", "")


def accepted_kinds(accept: Collection[str], modality: str | None, frames: str) -> tuple[str, ...]:
    """What `data.accept`, `data.modality` and `data.frames` let in, sorted: the `accept` of every reader."""
    more = {UNSTATED_MG} if modality == "MG" else set()
    return tuple(sorted({*accept, *more, *(kind for how, kind in FRAMES.items() if how == frames)}))


def header_of(dataset: pydicom.Dataset) -> Header:
    """The header of a data set with `HEADER_TAGS`; raises `BadFile` for malformed elements."""
    frames = integer_of(dataset, "NumberOfFrames", 0) or (1 if "Rows" in dataset else 0)
    dataset = as_one_frame(dataset, frames // 2)
    view, sides_in_texts = _view_of(dataset)
    laterality, two_sides = _side_of(dataset, sides_in_texts)
    return Header(
        modality=text_of(dataset, "Modality").upper(),
        patient_id=text_of(dataset, "PatientID"),
        study_uid=text_of(dataset, "StudyInstanceUID"),
        age=text_of(dataset, "PatientAge"),
        laterality=laterality,
        view=view,
        photometric=text_of(dataset, "PhotometricInterpretation").upper(),
        rows=integer_of(dataset, "Rows", 0),
        columns=integer_of(dataset, "Columns", 0),
        frames=frames,
        samples_per_pixel=integer_of(dataset, "SamplesPerPixel", 1 if "Rows" in dataset else 0),
        presentation_intent=_INTENT.sub(r"FOR \1", text_of(dataset, "PresentationIntentType").upper()),
        implant=text_of(dataset, "BreastImplantPresent").upper() == "YES",
        burned_in_annotation=text_of(dataset, "BurnedInAnnotation").upper() == "YES",
        manufacturer=text_of(dataset, "Manufacturer"),
        transfer_syntax=str(transfer_syntax_of(dataset)),
        sop_class=_sop_class_of(dataset),
        two_sides=two_sides,
    )


def _sop_class_of(dataset: pydicom.Dataset) -> str:
    meta = getattr(dataset, "file_meta", None) or pydicom.Dataset()
    return text_of(dataset, "SOPClassUID") or text_of(meta, "MediaStorageSOPClassUID")


def _view_of(dataset: pydicom.Dataset) -> tuple[str, set[str]]:
    """View with modifiers, and the sides that texts name.

    The code is what an MG object must have; `ViewPosition` is free text beside it, taken as it is written where it is
    not certain what it says. Other texts count only where they are certain.
    """
    view, modifiers = _coded_view(dataset)
    position = text_of(dataset, "ViewPosition")
    of_position = read_view(position)
    found = [of_position, *(read_view(text_of(dataset, keyword)) for keyword in _TEXTS_OF_IMAGE)]
    texts = [text for text in found if text is not None]
    if not view and of_position is None:
        view = position.upper()
    if not view and not texts:
        of_series, side = read_view(text_of(dataset, _TEXT_OF_SERIES)), _side_of(dataset, set())[0]
        texts = [of_series] if of_series is not None and not {of_series.side, side} >= {"L", "R"} else []
    for text in texts:
        view = view or text.view
        if text.view in ("", view):
            modifiers += text.modifiers
    return full_view(view, modifiers), {text.side for text in texts} - {""}


def _coded_view(dataset: pydicom.Dataset) -> tuple[str, list[str]]:
    view = ""
    modifiers: list[str] = []
    with bad_file_if_it_fails("malformed ViewCodeSequence"):
        for item in (dataset.get("ViewCodeSequence") or [])[:1]:
            meaning = read_view(text_of(item, "CodeMeaning"))
            view = VIEW_CODES.get(text_of(item, "CodeValue").upper(), "" if meaning is None else meaning.view)
            modifiers += _coded_modifiers(item)
        return view, modifiers + _coded_modifiers(dataset)


def _coded_modifiers(dataset: pydicom.Dataset) -> list[str]:
    codes = [text_of(item, "CodeValue").upper() for item in dataset.get("ViewModifierCodeSequence") or []]
    return [MODIFIER_CODES[code] for code in codes if code in MODIFIER_CODES]


def _side_of(dataset: pydicom.Dataset, of_texts: set[str]) -> tuple[str, bool]:
    """The side of the breast, empty where it is not certain, and whether two are named.

    What is said of an image comes before what is said of its series.
    """
    of_image = {side_of(text_of(dataset, keyword)) for keyword in ("ImageLaterality", "FrameLaterality")} - {""}
    of_series = {side_of(text_of(dataset, "Laterality"))} - {""}
    sides = (of_image or of_series) | of_texts
    two_sides = len(sides) > 1 or bool(of_image and of_series - of_image)
    return "".join(sides) if len(sides) == 1 else "", two_sides


def refuse(header: Header, accept: Collection[str]) -> None:
    """Raise `BadFile` for an image that is not a mammogram for presentation, unless its kind is accepted."""
    if not _may_be_mammogram(header, accept) and "other_modality" not in accept:
        found, expected = shown_code(header.modality), ", ".join(PROJECTION_MODALITIES)
        raise BadFile(f"modality {found} is no projection X-ray (expected {expected})")
    if header.is_colour and "colour" not in accept:
        raise BadFile(f"colour image ({shown_code(header.photometric)})")
    if header.frames > 1 and not {"multiframe", *FRAMES.values()}.intersection(accept):
        raise BadFile(f"multi-frame image ({header.frames} frames)")
    if header.is_for_processing and "for_processing" not in accept:
        raise BadFile("FOR PROCESSING image: raw detector values, not meant to be shown")


def _may_be_mammogram(header: Header, accept: Collection[str]) -> bool:
    """Without a modality it has to say otherwise that it is of a breast, unless that is known of all files."""
    if header.modality:
        return header.modality in PROJECTION_MODALITIES
    is_other = header.sop_class.startswith(_STORAGE) and not _MAY_BE_MAMMOGRAM.fullmatch(header.sop_class)
    return not is_other and (header.is_mammogram or UNSTATED_MG in accept)

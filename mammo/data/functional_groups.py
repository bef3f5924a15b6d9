"""Functional groups of a multi-frame DICOM object: what it says of one frame, as a single-frame image would say it.

Tomosynthesis objects, and synthesised 2D views, which come as such an object of one frame, have window, rescaling and
side in sequences, once for all frames (shared) or for each (per frame). Here the elements that matter are copied to
where an image of one frame has them, so that nobody else needs to know of it. DICOM PS3.3 C.7.6.16,
https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.7.6.16.html
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pydicom
from pydicom.datadict import tag_for_keyword

from mammo.data.dicom_elements import bad_file_if_it_fails

SHARED, PER_FRAME = "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"
GROUP_TAGS = [SHARED, PER_FRAME]

# What is said together: all of it comes from one place, the first that says all of one of the alternatives.
_TOGETHER: tuple[tuple[Sequence[str], Sequence[Sequence[str]]], ...] = (
    (
        ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
        (("WindowCenter", "WindowWidth"), ("VOILUTSequence",)),
    ),
    (
        ("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
        (("RescaleSlope",), ("RescaleIntercept",), ("ModalityLUTSequence",)),
    ),
    *(
        ((keyword,), ((keyword,),))
        for keyword in ("FrameLaterality", "ImageLaterality", "ViewCodeSequence", "ViewPosition")
    ),
)


def as_one_frame(dataset: pydicom.Dataset, frame: int) -> pydicom.Dataset:
    """A data set with what its functional groups say of a frame (from 0) at the top, and without the groups.

    What is said of the frame comes before what is said of all, and that before what stands at the top. A data set
    without groups is returned as it is. Raises `BadFile` for malformed groups.
    """
    if not any(keyword in dataset for keyword in GROUP_TAGS):
        return dataset
    with bad_file_if_it_fails("malformed functional groups"):
        flat = pydicom.Dataset()
        flat.update(dataset)
        flat.file_meta = getattr(dataset, "file_meta", None)
        flat.set_original_encoding(*dataset.original_encoding, dataset.original_character_set)
        for keyword in GROUP_TAGS:
            flat.pop(keyword, None)
        places = list(_places(dataset, frame))
        for keywords, alternatives in _TOGETHER:
            said = next((place for place in places if _says(place, alternatives)), None)
            if said is not None:
                for keyword in keywords:
                    flat.pop(keyword, None)
                flat.update({tag: said[tag] for tag in map(tag_for_keyword, keywords) if tag in said})
        return flat


def _places(dataset: pydicom.Dataset, frame: int) -> Iterator[pydicom.Dataset]:
    """Where something may be said of a frame: its own groups, then those of all, and what is in their sequences."""
    per_frame = dataset.get(PER_FRAME) or []
    for groups in (*per_frame[frame : frame + 1], *(dataset.get(SHARED) or [])[:1]):
        yield groups
        for element in groups:
            if element.VR == "SQ" and element.keyword != "ViewCodeSequence":
                yield from element.value[:1]


def _says(place: pydicom.Dataset, alternatives: Sequence[Sequence[str]]) -> bool:
    return any(all(place.get(keyword) not in (None, "", []) for keyword in keywords) for keywords in alternatives)

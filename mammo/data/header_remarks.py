"""What is worth saying of an image that is used all the same: it does not say what it is, or contradicts itself.

Looked at where a file is read anyway, that is once, and remembered beside its pixels in the image store.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from mammo.data.dicom import looks_like_dicom, read_header
from mammo.data.dicom_header import UNSTATED_MG, Header
from mammo.support.files import MAX_TABLE_BYTES, read_bytes

NO_MODALITY, TWO_SIDES, OTHER_SIDE = "no_modality", "two_sides", "other_side"
WORDS = {
    NO_MODALITY: "no Modality in the header, taken for a mammogram by SOP class or view",
    TWO_SIDES: "two sides named in the header (laterality, texts of the view)",
    OTHER_SIDE: "the header names another side than the label table, which comes first",
}
# In the folder of a store: a line of JSON for each image of which there is something to say.
_FILE = "remarks.jsonl"


def remarks_on(header: Header, laterality: str, accept: Collection[str]) -> list[str]:
    """What there is to say of an image with a header; `laterality` is what a label table says, or empty."""
    found = {
        NO_MODALITY: not header.modality and not {UNSTATED_MG, "other_modality"}.intersection(accept),
        TWO_SIDES: header.two_sides,
        OTHER_SIDE: {laterality, header.laterality} == {"L", "R"},
    }
    return [remark for remark, is_so in found.items() if is_so]


def remarks_on_file(content: bytes, laterality: str, accept: Collection[str]) -> list[str]:
    """`remarks_on` a file that has been read; raises `BadFile` for DICOM that cannot be."""
    return remarks_on(read_header(content), laterality, accept) if looks_like_dicom(content) else []


def in_words(remarks: Iterable[str]) -> list[str]:
    """A sentence for each remark with the number of images, in a fixed order."""
    counts = Counter(remarks)
    return [f"{counts[key]} image{'s' * (counts[key] > 1)}: {words}" for key, words in WORDS.items() if counts[key]]


def remember(folder: Path, remarks: Mapping[str, Sequence[str]]) -> None:
    """Append to the remarks in the folder of a store, by the key of an image."""
    lines = [json.dumps({"key": key, "remarks": list(found)}) + "\n" for key, found in remarks.items() if found]
    if lines:
        with (folder / _FILE).open("a", encoding="utf-8") as stream:
            stream.write("".join(lines))


def remembered(folder: Path) -> dict[str, list[str]]:
    """The remarks in the folder of a store, by the key of an image; a line that is none is passed over."""
    found: dict[str, list[str]] = {}
    try:
        text = read_bytes(folder / _FILE, MAX_TABLE_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return found
    for line in text.splitlines():
        try:
            entry = json.loads(line)
            found[str(entry["key"])] = [str(remark) for remark in entry["remarks"]]
        except (ValueError, KeyError, TypeError, RecursionError):
            continue
    return found

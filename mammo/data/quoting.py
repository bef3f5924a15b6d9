"""What a message may quote of a dataset: words that this project knows, and of everything else the shape.

Messages are written into run folders, summaries and studies. A cell, a column name, a folder or a file can be
somebody's name or birth date: where a table has no header line, the first woman is the header. So a text is quoted
only if it is made of words that datasets use anyway; else its type and length are said, and its position leads to it.
What a user has typed may be quoted: it is in `config.yaml` anyway.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import Path

_OF_COLUMNS = (
    "path image images file files filename filepath folder label labels density class classification classificacao "
    "category patient patients id ids patientid subject client exam exams study series accession accessionnumber "
    "laterality side breast view viewposition position projection split subset fold manufacturer vendor age "
    "pathology tissue birads finding"
)
_OF_FILES = (
    "number training train val valid validation test testing csv tsv txt table tables metadata meta annotation "
    "annotations dataset data mammo mammogram mammograms mammography inbreast rads bi dicom dcm png jpg other info "
    "features level case description set mass calc left right cc mlo ml findings classes of with without"
)
_OF_CLASSES = (
    "benign malignant cancer normal abnormal fatty fat glandular fibroglandular scattered heterogeneous "
    "heterogeneously homogeneously dense extremely extreme entirely almost predominantly nonfatty nondense mostly "
    "areas callback recall positive negative yes no true false mild moderate minimal severe low medium high lesion "
    "calcification calcifications asymmetry distortion architectural healthy suspicious incomplete probably highly "
    "suggestive unknown none screening diagnostic type grade"
)
_COLUMN_WORDS = frozenset(_OF_COLUMNS.split())
_WORDS = _COLUMN_WORDS.union(_OF_FILES.split(), _OF_CLASSES.split())
# A-D, AB, 4, B3, IV: too short to name a person.
_CODE = re.compile(r"[a-z]|[a-e]?\d|AB|CD|I{1,3}|IV|VI?", re.ASCII | re.IGNORECASE)
_LONGEST = 64
_MOST_LISTED = 8
_SHORTEST_COLUMN = 4
_LIKE = 0.8  # of difflib: one letter too many or too few


def is_known(text: str) -> bool:
    """Whether a text has nothing but words of the vocabulary, and at most one short code (`birads 4`)."""
    words = _words_of(text)
    others = [word for word in words if word not in _WORDS]
    return bool(words) and len(text) <= _LONGEST and len(others) <= 1 and all(map(_CODE.fullmatch, others))


def has_known_word(text: str) -> bool:
    """Whether one of the words of a text belongs to the vocabulary."""
    return any(word in _WORDS for word in _words_of(text))


def _words_of(text: str) -> list[str]:
    return [word for word in re.split(r"[\s_.\-'/]+", text.casefold()) if word]


def is_header(cells: Sequence[str]) -> bool:
    """Whether a line of a table names columns: one of its cells at least is what columns are called."""
    return any(
        len(cell) >= _SHORTEST_COLUMN and set(_words_of(cell)) <= _COLUMN_WORDS and is_known(cell) for cell in cells
    )


def shape_of(text: str) -> str:
    """Type and length of a text, such as `a text of 12 characters`; nothing of its content."""
    if not text:
        return "empty"
    kind, unit = ("number", "digit") if text.isdecimal() else ("text", "character")
    return f"a {kind} of {len(text)} {unit}{'s' * (len(text) > 1)}"


def shown(text: str) -> str:
    """A text in quotes where it is known, else its shape in brackets."""
    return repr(text) if is_known(text) else f"({shape_of(text)})"


def shown_columns(cells: Sequence[str]) -> list[str]:
    """The columns of a table: known ones by name, the others by number and shape.

    In a line that is a header, a word that is nearly known is a misspelt column.
    """
    known = _COLUMN_WORDS if is_header(cells) else ()
    return [
        cell
        if is_known(cell) or difflib.get_close_matches(cell.casefold(), known, n=1, cutoff=_LIKE)
        else f"column {number} ({shape_of(cell)})"
        for number, cell in enumerate(cells, start=1)
    ]


def some(names: Sequence[str]) -> str:
    """The first of some names that may be shown, and how many there are."""
    more = f", ... ({len(names)} in all)" if len(names) > _MOST_LISTED else ""
    return ", ".join(names[:_MOST_LISTED]) + more


def shown_names(names: Sequence[str], noun: str, typed: Sequence[str] = ()) -> str:
    """Several names: those that are known or typed, and how many others there are (`benign and 2 other labels`)."""
    known = [name for name in names if name in typed or is_known(name)]
    lengths = sorted(len(name) for name in names if name not in known)
    if not lengths:
        return some(known)
    span = f"{lengths[0]}" if lengths[0] == lengths[-1] else f"{lengths[0]} to {lengths[-1]}"
    rest = f"{len(lengths)} {'other ' * bool(known)}{noun}{'s' * (len(lengths) > 1)} of {span} characters"
    return f"{some(known)} and {rest}" if known else rest


def shown_file(path: Path, number: int = 1, of: int = 1) -> str:
    """A label table in a message: its name where it is known, else that it is the label table, or one of several."""
    if is_known(path.name):
        return path.name
    return "the label table" if of == 1 else f"label table {number} of {of}"

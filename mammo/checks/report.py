"""Findings of the doctor, and how they are shown: in columns that fit a terminal, or as JSON."""

from __future__ import annotations

import dataclasses
import enum
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

WIDTH = 80
SCHEMA_VERSION = 1
_INDENT = "  "
_LONGEST_SUBJECT = 20


class Level(enum.StrEnum):
    """How a finding is meant: a note needs a thought, a problem needs to be mended."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "PROBLEM"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One thing that was looked at: what it is, what was found, and what to do about it."""

    level: Level
    subject: str
    text: str
    to_do: str = ""


def ok(subject: str, text: str) -> Finding:
    """Something is as it should be."""
    return Finding(Level.OK, subject, text)


def note(subject: str, text: str, to_do: str = "") -> Finding:
    """Something is worth knowing and not wrong."""
    return Finding(Level.NOTE, subject, text, to_do)


def problem(subject: str, text: str, to_do: str = "") -> Finding:
    """Something is wrong."""
    return Finding(Level.PROBLEM, subject, text, to_do)


@dataclasses.dataclass(frozen=True)
class Table:
    """Numbers that belong together; the first column is text, the others are counts."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str | int]]


@dataclasses.dataclass(frozen=True)
class Section:
    """Findings about one thing; tables stand before them."""

    title: str
    findings: Sequence[Finding]
    tables: Sequence[Table] = ()

    @property
    def has_problem(self) -> bool:
        """Whether something in it is wrong."""
        return any(finding.level is Level.PROBLEM for finding in self.findings)


def text_lines(sections: Iterable[Section]) -> list[str]:
    """The sections for a terminal, 80 columns wide, with a last line that counts what was found."""
    every = [section for section in sections if section.findings or section.tables]
    lines: list[str] = []
    for section in every:
        lines += [printable(section.title), *_section_lines(section), ""]
    return [*lines, _closing_line(every)]


def sections_as_json(sections: Iterable[Section]) -> dict[str, Any]:
    """The sections as plain values."""
    every = list(sections)
    return {
        "schema_version": SCHEMA_VERSION,
        "problems": _counts(every)[Level.PROBLEM],
        "sections": [dataclasses.asdict(section) for section in every],
    }


def printable(text: str) -> str:
    """The text without control characters: it may come from a stranger's file and goes to a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def some(names: Sequence[str], shown: int = 3) -> str:
    """The first names and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 image, 2 images, 2 patches."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith(('s', 'ch')) else 's'}"


def _section_lines(section: Section) -> list[str]:
    lines = []
    for table in section.tables:
        lines += [*_table_lines(table), ""]
    if not section.findings:
        return lines[:-1]
    widths = [len(finding.subject) for finding in section.findings]
    subject_width = max((width for width in widths if width <= _LONGEST_SUBJECT), default=_LONGEST_SUBJECT)
    for finding in section.findings:
        lines += _finding_lines(finding, subject_width)
    return lines


def _finding_lines(finding: Finding, subject_width: int) -> list[str]:
    start = f"{_INDENT}{finding.level.value:<7}  {printable(finding.subject)}"
    hanging = " " * (len(_INDENT) + 7 + 2 + subject_width + 2)
    lines = []
    if len(finding.subject) > subject_width:  # what is said of a long name stands below it
        hanging = " " * (len(_INDENT) + 7 + 2 + 2)
        lines.append(start)
        start = hanging
    for number, paragraph in enumerate(finding.text.split("\n") if finding.text else []):
        indent = " " * (len(paragraph) - len(paragraph.lstrip()))
        first = f"{start:<{len(hanging)}}" if number == 0 else hanging
        lines += _wrapped(printable(paragraph), first, hanging + indent + "  " * bool(indent))
    if finding.to_do:
        lines += _wrapped(f"to do: {printable(finding.to_do)}", hanging, hanging + " " * 7)
    return lines


def _wrapped(text: str, first: str, hanging: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=hanging, break_on_hyphens=False, break_long_words=False
    )


def _table_lines(table: Table) -> list[str]:
    cells = [[printable(str(cell)) for cell in row] for row in (table.columns, *table.rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.columns))]
    widths[0] = min(widths[0], WIDTH - len(_INDENT) - sum(width + 2 for width in widths[1:]))
    lines = [f"{_INDENT}{table.title}"] if table.title else []
    for row in cells:
        counts = "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        lines.append(f"{_INDENT}{row[0][: widths[0]]:<{widths[0]}}{counts}".rstrip())
    return lines


def _counts(sections: Iterable[Section]) -> Counter[Level]:
    return Counter(finding.level for section in sections for finding in section.findings)


def _closing_line(sections: Sequence[Section]) -> str:
    counts = _counts(sections)
    what = [counted(counts[level], name) for level, name in ((Level.PROBLEM, "problem"), (Level.NOTE, "note"))]
    return f"{', '.join(what)}; {counts[Level.OK]} of {counts.total()} checks are well."

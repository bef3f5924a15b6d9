"""What a report consists of, whatever it is written as: sections of text, tables, figures and pictures.

Texts are plain: each writer escapes for its own format, so that nothing in the data can be taken for markup.
"""

from __future__ import annotations

import dataclasses

from matplotlib.figure import Figure

from mammo.support.table import Table, Tone


@dataclasses.dataclass(frozen=True)
class Group:
    """Blocks side by side where there is room."""

    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    tone: Tone = ""


@dataclasses.dataclass(frozen=True)
class Code:
    """What is typed, or was."""

    text: str


@dataclasses.dataclass(frozen=True)
class Heading:
    """The title of a part of a section."""

    text: str


@dataclasses.dataclass(frozen=True)
class Panel:
    """A figure with what is to be seen on it, in words."""

    description: str
    figure: Figure


@dataclasses.dataclass(frozen=True)
class Drawing:
    """Figures side by side; `files` are the names, without suffix, of what shows the same beside the report."""

    panels: tuple[Panel, ...]
    caption: str
    files: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Photograph:
    """A picture in PNG; `file` is the name, without suffix, of a figure beside the report that shows it too."""

    png: bytes
    alt: str
    caption: str
    file: str = ""


@dataclasses.dataclass(frozen=True)
class Details:
    """What is shown on demand."""

    summary: str
    blocks: tuple[Block, ...]


Block = Table | Group | Text | Code | Heading | Drawing | Photograph | Details


@dataclasses.dataclass(frozen=True)
class Tile:
    """One of the numbers that stand first."""

    label: str
    value: str
    interval: str
    hint: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of the report; `key` is its anchor."""

    key: str
    title: str
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class Report:
    """A whole report; `warnings` are what has to be known before any number is believed."""

    title: str
    subtitle: str
    finding: tuple[str, ...]
    warnings: tuple[str, ...]
    tiles: tuple[Tile, ...]
    sections: tuple[Section, ...]
    disclaimer: str

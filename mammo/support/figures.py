"""How figures look, and how they are written: fit for print, the same bytes for the same content."""

from __future__ import annotations

import io
from collections.abc import Hashable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Literal, TypeVar

import matplotlib.style
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from mammo.support.files import write_bytes
from mammo.support.plain_text import figure_text

Key = TypeVar("Key", bound=Hashable)

DPI = 300
DOUBLE_COLUMN_INCHES = 7.0

# Okabe & Ito (2008): distinguishable with the common forms of colour blindness.
TRAIN_COLOUR = "#0072B2"
VAL_COLOUR = "#D55E00"
OTHER_COLOURS = ("#009E73", "#CC79A7", "#56B4E9", "#E69F00")
GREY = "#666666"

STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "font.size": 8,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 8,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.labelsize": 7.5,
    "ytick.labelsize": 7.5,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "lines.linewidth": 1.4,
    "pdf.fonttype": 42,
    "svg.hashsalt": "mammo",
}
# No dates and no versions: the same run writes the same bytes.
METADATA: dict[str, dict[str, Any]] = {
    ".png": {"Software": None},
    ".pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    ".svg": {"Creator": None, "Date": None},
}
LABEL_LINE_INCHES = 0.125  # height of one line of a label


def house_style() -> AbstractContextManager[None]:
    """The style of the project and nothing of the user's; a figure is drawn and written within it."""
    return matplotlib.style.context(STYLE, after_reset=True)


def new_figure(
    width_inches: float, height_inches: float, layout: Literal["constrained"] | None = "constrained", **options: Any
) -> Figure:
    """An empty figure without pyplot: no global state and no display."""
    figure = Figure(figsize=(width_inches, height_inches), layout=layout, **options)
    FigureCanvasAgg(figure)
    return figure


def subtitle(figure: Figure, text: str) -> None:
    """A small grey title above all panels, where there is a text."""
    if text:
        figure.suptitle(figure_text(text), fontsize=8, color=GREY, x=0.01, ha="left")


def distinct_colours(keys: Sequence[Key], few: Sequence[str]) -> dict[Key, Any]:
    """A colour for each key: the first of `few`, and of a scale where these do not suffice."""
    if len(keys) <= len(few):
        return dict(zip(keys, few, strict=False))
    return dict(zip(keys, matplotlib.colormaps["viridis"](np.linspace(0, 0.9, len(keys))), strict=True))


def save_figure(figure: Figure, path: Path) -> None:
    """Write atomically: whoever opens `path` sees the whole old file or the whole new one."""
    write_bytes(Path(path), figure_bytes(figure, Path(path).name))


def figure_bytes(figure: Figure, name: str) -> bytes:
    """The content of a figure's file, PNG, PDF or SVG by the suffix of its name; raises ValueError for another one."""
    suffix = Path(name).suffix
    if suffix not in METADATA:
        raise ValueError(f"figures are written as {' or '.join(METADATA)}, not {name!r}")
    buffer = io.BytesIO()
    with house_style():
        figure.savefig(buffer, format=suffix[1:], dpi=DPI, metadata=METADATA[suffix])
    return buffer.getvalue()

"""Figures of cases: an image beside its heat map, and a page of the most confident right and wrong ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from mammo.explanation.cases import Case
from mammo.support.figures import DOUBLE_COLUMN_INCHES, GREY, OTHER_COLOURS, VAL_COLOUR, house_style, new_figure
from mammo.support.plain_text import figure_text

# Perceptually uniform, and told apart from the greys below it by its hue throughout.
COLOURS = "plasma"
BOX_COLOUR = OTHER_COLOURS[2]
# Below the first value the map is transparent; from the second on it hides this fraction of the image.
TRANSPARENT_BELOW, FULL_FROM, MAX_OPACITY = 0.08, 0.5, 0.6
BAR_GREY = 0.35  # what the colour scale is laid over

SINGLE_COLUMN_INCHES = 3.5  # about half the width of a page
MAX_PANEL_HEIGHT_INCHES = 2.9
GAP_INCHES = 0.06
SMALL_POINTS = 6.5
MAX_NAME_CHARACTERS = 20
GRID_PANEL_HEIGHT_INCHES = (1.2, 1.75)  # least, for the name of the class beside it, and most, for a page
GRID_NAME_CHARACTERS = 12
PAIR_GAP_INCHES, CELL_GAP_INCHES = 0.03, 0.16
GRID_LEFT_INCHES = 0.28
# A page has room for so many right and so many wrong cases of a class.
GRID_CASES = 2

METHOD_NAMES = {
    "gradcam": "Grad-CAM",
    "gradcam++": "Grad-CAM++",
    "layercam": "Layer-CAM",
    "hirescam": "HiResCAM",
    "eigencam": "Eigen-CAM",
}


def overlay(case: Case) -> np.ndarray:
    """The image with its heat map over it, RGB float32 [R, C, 3] in 0..1; where the map is low it is not seen."""
    return _over(case.picture, case.heat)


def _over(grey: np.ndarray, heat: np.ndarray) -> np.ndarray:
    colours = matplotlib.colormaps[COLOURS](heat)[..., :3].astype(np.float32)
    opacity = MAX_OPACITY * np.clip((heat - TRANSPARENT_BELOW) / (FULL_FROM - TRANSPARENT_BELOW), 0, 1)[..., None]
    return (1 - opacity) * grey[..., None] + opacity * colours


def case_figure(case: Case) -> Figure:
    """An image beside the same image with its heat map, with true and predicted class; half a page wide."""
    rows, columns = case.picture.shape
    width = (SINGLE_COLUMN_INCHES - 3 * GAP_INCHES) / 2
    height = min(width * rows / columns, MAX_PANEL_HEIGHT_INCHES)
    above, below, line = 0.32, 0.44, 0.12
    with house_style():
        total = above + height + below
        figure = new_figure(SINGLE_COLUMN_INCHES, total, layout=None)
        _draw_pair(*_pair(figure, case, (GAP_INCHES, below), (width, height), GAP_INCHES), case)
        start = GAP_INCHES / SINGLE_COLUMN_INCHES
        verdict, colour = ("", "black") if case.is_right else (", wrong", VAL_COLOUR)
        prediction = f"predicted: {_short(case.y_pred)}, probability {case.confidence:.2f}{verdict}"
        head: dict[str, Any] = {"va": "bottom", "fontsize": 7.5}
        figure.text(start, (below + height + 0.175) / total, f"true: {_short(case.y_true)}", **head)
        figure.text(start, (below + height + 0.045) / total, prediction, color=colour, **head)
        for number, words in enumerate(_caption(case)):
            y = (below - 0.05 - number * line) / total
            figure.text(start, y, words, va="top", fontsize=SMALL_POINTS, color=GREY)
        _draw_scale(figure, SINGLE_COLUMN_INCHES - 0.9, below - 0.05 - 2.75 * line, 0.6)
    return figure


def _caption(case: Case) -> list[str]:
    """What the map is, how it is scaled, and what the frame is where there is one."""
    kind = f"{METHOD_NAMES[case.method]}{_about([case])}, {_block(case)}"
    scaled = "nothing in it speaks for this class"
    if case.fraction_on_black is not None:
        scaled = f"scaled to its own maximum; {case.fraction_on_black:.0%} of its sum is on black"
    return [kind, scaled, *(["frame: what the network saw"] if _has_frame(case) else [])]


def _has_frame(case: Case) -> bool:
    """Whether the network saw less than the whole image."""
    rows, columns = case.picture.shape
    return case.box_px != (0, rows, 0, columns)


def _short(name: str, most_characters: int = MAX_NAME_CHARACTERS) -> str:
    """The name of a class as it fits over a panel."""
    return figure_text(name if len(name) <= most_characters else name[: most_characters - 3] + "...")


def _panel(figure: Figure, left: float, bottom: float, width: float, height: float) -> Axes:
    """Axes at a place in inches."""
    across, up = figure.get_size_inches()
    axes = figure.add_axes((left / across, bottom / up, width / across, height / up))
    axes.set_axis_off()
    axes.set_anchor("NW")
    return axes


def _pair(
    figure: Figure, case: Case, corner_inches: tuple[float, float], size_inches: tuple[float, float], gap_inches: float
) -> tuple[Axes, Axes]:
    """Axes for an image and its heat map side by side, each at most of the given width and height."""
    (left, bottom), (width, height) = corner_inches, size_inches
    rows, columns = case.picture.shape
    drawn = min(width, height * columns / rows)
    return _panel(figure, left, bottom, drawn, height), _panel(figure, left + drawn + gap_inches, bottom, drawn, height)


def _draw_pair(left: Axes, right: Axes, case: Case) -> None:
    left.imshow(case.picture, cmap="gray", vmin=0, vmax=1, interpolation="antialiased")
    right.imshow(overlay(case), interpolation="antialiased")
    if _has_frame(case):
        top, bottom, start, stop = case.box_px
        corner, size = (start - 0.5, top - 0.5), (stop - start, bottom - top)
        right.add_patch(Rectangle(corner, *size, fill=False, edgecolor=BOX_COLOUR, linewidth=0.6))


def _draw_scale(figure: Figure, left: float, bottom: float, width: float) -> None:
    """The colours from 0 to the maximum of a map, over grey as on an image."""
    axes = _panel(figure, left, bottom, width, 0.07)
    values = np.linspace(0, 1, 128, dtype=np.float32)[None]
    axes.imshow(_over(np.full_like(values, BAR_GREY), values), aspect="auto")
    text: dict[str, Any] = {"transform": axes.transAxes, "va": "center", "fontsize": SMALL_POINTS, "color": GREY}
    axes.text(-0.04, 0.45, "0", ha="right", **text)
    axes.text(1.04, 0.45, "max", ha="left", **text)


def grid_figure(cases: Sequence[Case], class_names: Sequence[str]) -> Figure:
    """A row for each class with its most confident right and wrong cases, each image beside its heat map.

    `cases` are as `most_confident` orders them. Of each class one right and one wrong case is shown, or up to
    `GRID_CASES` where the classes have so many on average. Raises ValueError without a case.
    """
    if not cases:
        raise ValueError("there is no case to draw")
    sides = [
        [[c for c in cases if c.y_true == name and c.is_right == right][:GRID_CASES] for name in class_names]
        for right in (True, False)
    ]
    counts = [max(1, sum(map(len, side)) // len(class_names)) for side in sides]
    rows = [[side[i][:count] for side, count in zip(sides, counts, strict=True)] for i in range(len(class_names))]
    num_pairs = sum(counts)
    pair = (DOUBLE_COLUMN_INCHES - GRID_LEFT_INCHES) / num_pairs
    panel = (pair - PAIR_GAP_INCHES - CELL_GAP_INCHES) / 2
    heights = [_row_height([case for side in row for case in side], panel) for row in rows]
    above, below, label = 0.28, 0.4, 0.2
    with house_style():
        total = above + sum(heights) + len(rows) * label + below
        figure = new_figure(DOUBLE_COLUMN_INCHES, total, layout=None)
        lefts = [GRID_LEFT_INCHES + i * pair for i in range(num_pairs)]
        places = [lefts[: counts[0]], lefts[counts[0] :]]
        for side, text in zip(places, ("most confident, right", "most confident, wrong"), strict=True):
            x = side[0] / DOUBLE_COLUMN_INCHES
            figure.text(x, 1 - 0.06 / total, text, va="top", fontweight="bold", fontsize=8.5)
        bottom = total - above
        for name, row, height in zip(class_names, rows, heights, strict=True):
            bottom -= height + label
            middle = (bottom + height / 2) / total
            figure.text(
                0.02,
                middle,
                f"true: {_short(name, GRID_NAME_CHARACTERS)}",
                rotation=90,
                va="center",
                ha="center",
                fontsize=7.5,
            )
            for found, side in zip(row, places, strict=True):
                _draw_cells(figure, found, side, bottom, panel, height)
        _draw_foot(figure, cases, below)
    return figure


def _row_height(cases: Sequence[Case], panel_inches: float) -> float:
    least, most = GRID_PANEL_HEIGHT_INCHES
    shapes = [case.picture.shape for case in cases]
    return min(max([least, *(panel_inches * rows / columns for rows, columns in shapes)]), most)


def _draw_cells(
    figure: Figure, cases: Sequence[Case], places: Sequence[float], bottom: float, panel: float, height: float
) -> None:
    """Pairs of panels from left to right with the prediction above each; where there is none, a word."""
    across, up = figure.get_size_inches()
    if not cases:
        figure.text(places[0] / across, (bottom + height) / up, "none shown", va="top", color=GREY, fontsize=7.5)
    for case, left in zip(cases, places, strict=False):
        _draw_pair(*_pair(figure, case, (left, bottom), (panel, height), PAIR_GAP_INCHES), case)
        text = f"predicted {_short(case.y_pred)}, {case.confidence:.2f}"
        figure.text(left / across, (bottom + height + 0.03) / up, text, va="bottom", fontsize=7.5)


def _draw_foot(figure: Figure, cases: Sequence[Case], below: float) -> None:
    """What all the maps are, and their colours."""
    kinds = f"{METHOD_NAMES[cases[0].method]}{_about(cases)}, {_block(cases[0])}; numbers: probability"
    text = f"{kinds}\neach map is scaled to its own maximum; frame: what the network saw"
    across, up = figure.get_size_inches()
    style: dict[str, Any] = {"va": "top", "fontsize": SMALL_POINTS, "color": GREY, "linespacing": 1.25}
    figure.text(GRID_LEFT_INCHES / across, (below - 0.08) / up, text, **style)
    _draw_scale(figure, across - 1.2, below - 0.17, 0.8)


def _about(cases: Sequence[Case]) -> str:
    """Which class some maps are about, in words."""
    if cases[0].method == "eigencam":
        return ""
    if len({case.target for case in cases}) == 1:
        return f" for class {_short(cases[0].target)}"
    return f" for the {'predicted' if all(case.target == case.y_pred for case in cases) else 'true'} class"


def _block(case: Case) -> str:
    return "last block" if case.layer == 1 else f"block {case.layer} from the end"

"""The figures that a report adds: training curves of one or all runs, and heat maps in a grid."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from PIL import Image

from mammo.runs.json_access import number_or_none
from mammo.support.figures import (
    DOUBLE_COLUMN_INCHES,
    GREY,
    OTHER_COLOURS,
    TRAIN_COLOUR,
    VAL_COLOUR,
    distinct_colours,
    house_style,
    new_figure,
    subtitle,
)
from mammo.support.plain_text import figure_text

PANEL_INCHES = (3.4, 2.35)
GROUP_COLOURS = (VAL_COLOUR, TRAIN_COLOUR, *OTHER_COLOURS)
FEW_POINTS = 25
GRADCAM_COLUMNS = 2


@dataclasses.dataclass(frozen=True)
class Curve:
    """The history of a run; runs of one `group` (a configuration) are drawn alike.

    `best_epoch` is marked. What is in the background is thin and grey, without mean and marks.
    """

    group: str
    records: Sequence[Mapping[str, Any]]
    best_epoch: int | None
    is_background: bool = False


@dataclasses.dataclass(frozen=True)
class Panel:
    """Keys of `train_history.json` for training and validation; `train` may be None."""

    title: str
    ylabel: str
    train: str | None
    val: str


LOSS = Panel("Loss", "cross-entropy", "train_loss", "val_loss")
ACCURACY = Panel("Accuracy", "fraction correct", "train_acc", "val_acc")
BALANCED = Panel("Balanced accuracy, chance-adjusted", "validation", None, "val_bal_acc_adj")
KAPPA = Panel("Quadratic kappa", "validation", None, "val_kappa_quadratic")
PANELS = (LOSS, ACCURACY, BALANCED, KAPPA)


def training_figure(curves: Sequence[Curve], panels: Sequence[Panel] = (LOSS, ACCURACY), title: str = "") -> Figure:
    """A panel for each measure with the curves of all runs; training dashed, validation solid.

    With one group and several runs the mean over the runs is drawn bold where all of them have the epoch; rings
    are the epochs that were kept and evaluated. Raises `ValueError` without an epoch to draw.
    """
    drawn = [curve for curve in curves if curve.records]
    if not drawn:
        raise ValueError("there is no epoch to draw")
    with house_style():
        width = PANEL_INCHES[0] if len(panels) == 1 else DOUBLE_COLUMN_INCHES
        num_rows = -(-len(panels) // 2)
        drawn.sort(key=lambda curve: not curve.is_background)
        groups = list(dict.fromkeys(curve.group for curve in drawn))
        entries = _legend(drawn, groups, panels)
        legend_columns = 2 if len(panels) == 1 else 4
        legend_inches = 0.17 * -(-len(entries) // legend_columns) + 0.1
        height = PANEL_INCHES[1] * num_rows + (0.2 if title else 0) + legend_inches
        figure = new_figure(width, height)
        figure.get_layout_engine().set(w_pad=0.06, h_pad=0.06)  # type: ignore[union-attr, call-arg]
        axes_of = np.atleast_1d(figure.subplots(num_rows, min(len(panels), 2))).ravel()
        for axes, panel in zip(axes_of, panels, strict=True):
            _draw_panel(axes, drawn, groups, panel)
        figure.legend(handles=entries, loc="outside lower center", ncols=legend_columns, frameon=False, fontsize=7.5,
                      handletextpad=0.5, columnspacing=1.2)  # fmt: skip
        subtitle(figure, title)
    return figure


def _colours(curves: Sequence[Curve]) -> dict[str, Any]:
    """Group to colour."""
    background = {curve.group: GREY for curve in curves if curve.is_background}
    groups = list(dict.fromkeys(curve.group for curve in curves if not curve.is_background))
    return background | distinct_colours(groups, GROUP_COLOURS)


def _draw_panel(axes: Axes, curves: Sequence[Curve], groups: Sequence[str], panel: Panel) -> None:
    colours = _colours(curves)
    for group in groups:
        members = [curve for curve in curves if curve.group == group]
        lines: list[tuple[str, Any, Any]] = [(panel.val, colours[group], "-")]
        if panel.train is not None:
            lines.insert(0, (panel.train, TRAIN_COLOUR if len(groups) == 1 else colours[group], (0, (3, 1.6))))
        for key, colour, style in lines:
            _draw_lines(axes, members, key, colour, style)
        for curve in (member for member in members if not member.is_background):
            axes.plot(*_best(curve, panel.val), color=colours[group], linestyle="none", marker="o", markersize=5.5,
                      markerfacecolor="white", markeredgewidth=1.2, zorder=4)  # fmt: skip
    axes.set(title=panel.title, ylabel=panel.ylabel, xlabel="epoch")
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
    axes.margins(x=0.03, y=0.08)


def _draw_lines(axes: Axes, curves: Sequence[Curve], key: str, colour: Any, style: Any) -> None:
    """A line for each run, and their mean where there are several."""
    single = len(curves) == 1 and not curves[0].is_background
    thin: dict[str, Any] = {"linewidth": 1.4, "alpha": 1.0} if single else {"linewidth": 0.8, "alpha": 0.45}
    for curve in curves:
        epochs, values = _points(curve, key)
        marker = "o" if len(epochs) <= FEW_POINTS and single else None
        axes.plot(epochs, values, color=colour, linestyle=style, marker=marker, markersize=2.4, **thin)
    if not single and not curves[0].is_background:
        epochs, values = _mean(curves, key)
        axes.plot(epochs, values, color=colour, linestyle=style, linewidth=1.7, zorder=3)


def _points(curve: Curve, key: str) -> tuple[list[int], list[float]]:
    """Epochs and values; what is no finite number leaves a gap."""
    return [int(record["epoch"]) for record in curve.records], [_value(record.get(key)) for record in curve.records]


def _value(value: Any) -> float:
    number = number_or_none(value)
    return math.nan if number is None else number


def _best(curve: Curve, key: str) -> tuple[list[int], list[float]]:
    """The best epoch and its value, empty where one of them is not known."""
    points = zip(*_points(curve, key), strict=True)
    found = [(epoch, value) for epoch, value in points if epoch == curve.best_epoch and math.isfinite(value)]
    return [epoch for epoch, _ in found], [value for _, value in found]


def _mean(curves: Sequence[Curve], key: str) -> tuple[list[int], list[float]]:
    """Mean over the runs at the epochs that all of them have."""
    by_epoch: dict[int, list[float]] = {}
    for curve in curves:
        for epoch, value in zip(*_points(curve, key), strict=True):
            by_epoch.setdefault(epoch, []).append(value)
    whole = {epoch: values for epoch, values in sorted(by_epoch.items()) if len(values) == len(curves)}
    return list(whole), [float(np.mean(values)) for values in whole.values()]


def _legend(curves: Sequence[Curve], groups: Sequence[str], panels: Sequence[Panel]) -> list[Line2D]:
    in_front = [curve.group for curve in curves if not curve.is_background]
    several = len(in_front) > len(set(in_front))
    dashed: Any = (0, (3, 1.6))
    entries = []
    if len(groups) == 1:
        if any(panel.train for panel in panels):
            entries.append(Line2D([], [], color=TRAIN_COLOUR, linestyle=dashed, label="training"))
        entries.append(Line2D([], [], color=VAL_COLOUR, label="validation"))
    else:
        colours = _colours(curves)
        entries += [Line2D([], [], color=colours[group], label=figure_text(group)) for group in groups]
        if any(panel.train for panel in panels):
            entries.append(Line2D([], [], color=GREY, linestyle=dashed, label="training"))
            entries.append(Line2D([], [], color=GREY, label="validation"))
    if several:
        entries.append(Line2D([], [], color=GREY, linewidth=0.8, label="a run (bold: mean)"))
    if any(curve.best_epoch is not None for curve in curves):
        entries.append(Line2D([], [], color=GREY, linestyle="none", marker="o", markersize=5.5, markerfacecolor="white",
                              markeredgewidth=1.2, label="evaluated epoch"))  # fmt: skip
    return entries


def gradcam_figure(pictures: Sequence[tuple[str, bytes]], title: str = "") -> Figure:
    """A grid of images (PNG) with a title above each. Raises `ValueError` without one, or for what is no image."""
    if not pictures:
        raise ValueError("there is no picture to draw")
    num_columns = min(GRADCAM_COLUMNS, len(pictures))
    num_rows = -(-len(pictures) // num_columns)
    arrays = []
    for _, png in pictures:
        try:
            arrays.append(np.asarray(Image.open(io.BytesIO(png)).convert("RGB")))
        except OSError as error:
            raise ValueError("not an image") from error
    tallest = max(array.shape[0] / array.shape[1] for array in arrays)
    with house_style():
        cell_inches = DOUBLE_COLUMN_INCHES / num_columns
        height = num_rows * (cell_inches * tallest + 0.35) + (0.25 if title else 0)
        figure = new_figure(DOUBLE_COLUMN_INCHES, height)
        grid = np.atleast_1d(figure.subplots(num_rows, num_columns, squeeze=False)).ravel()
        for axes in grid:
            axes.axis("off")
        for axes, (name, _), array in zip(grid, pictures, arrays, strict=False):
            axes.imshow(array)
            axes.set_title(figure_text(name), fontsize=7, fontweight="normal")
        subtitle(figure, title)
    return figure

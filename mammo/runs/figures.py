"""The two figures of a run: training history and confusion matrix, fit for print.

A figure is built by one function and written by another, so that tests can look at what is drawn. The
object interface of matplotlib is used, without pyplot: no global state, no display, no user style.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammo.evaluation.selection import Select
from mammo.support.figures import (
    DOUBLE_COLUMN_INCHES,
    GREY,
    LABEL_LINE_INCHES,
    OTHER_COLOURS,
    TRAIN_COLOUR,
    VAL_COLOUR,
    house_style,
    new_figure,
    save_figure,
)
from mammo.support.plain_text import figure_text

MARKER_MAX_EPOCHS = 25  # above, markers would touch each other
LOG_SCALE_RATIO = 10.0
PANEL_HEIGHT_INCHES = 1.45  # near enough to keep labels apart


def plot_history(records: Sequence[dict[str, Any]], path: Path, which: Select = "best") -> None:
    """Write the history of a run as PNG or PDF (by the suffix of `path`).

    `records` are those of `train_history.json`, `which` is what to call the epoch that is kept. Raises `ValueError`
    when there is none, or for another suffix.
    """
    save_figure(history_figure(records, which), path)


def plot_confusion_matrix(
    matrix: Sequence[Sequence[int]], class_names: Sequence[str], path: Path, title: str = ""
) -> None:
    """Write a confusion matrix [true][predicted] as PNG or PDF (by the suffix of `path`)."""
    save_figure(confusion_matrix_figure(matrix, class_names, title), path)


def history_figure(records: Sequence[dict[str, Any]], which: Select = "best") -> Figure:
    """Loss, accuracy, validation scores and learning rate over the epochs; the one that is kept is marked.

    It is the last record with `is_best`, `which` is what to call it. A value that is missing or None leaves a gap.
    """
    if not records:
        raise ValueError("there is no epoch to draw")
    epochs = [int(record["epoch"]) for record in records]
    best_epochs = [int(record["epoch"]) for record in records if record.get("is_best")]
    best_epoch = best_epochs[-1] if best_epochs else None
    with house_style():
        figure = new_figure(DOUBLE_COLUMN_INCHES, 4.4)
        figure.get_layout_engine().set(w_pad=0.08, h_pad=0.08)  # type: ignore[union-attr, call-arg]
        (loss, accuracy), (scores, rate) = figure.subplots(2, 2)
        train, val = ("train", TRAIN_COLOUR), ("validation", VAL_COLOUR)
        panels = [
            (loss, "Loss", "cross-entropy", {train: "train_loss", val: "val_loss"}),
            (accuracy, "Accuracy", "fraction correct", {train: "train_acc", val: "val_acc"}),
            (
                scores,
                "Validation scores",
                "chance-corrected score",
                {
                    ("quadratic\nkappa", OTHER_COLOURS[0]): "val_kappa_quadratic",
                    ("balanced acc.,\nadjusted", VAL_COLOUR): "val_bal_acc_adj",
                },
            ),
        ]
        for axes, title, ylabel, series in panels:
            axes.set(title=title, ylabel=ylabel)
            lines = [(label, colour, _column(records, key)) for (label, colour), key in series.items()]
            _draw_lines(axes, epochs, lines)
            _mark_best(axes, epochs, lines, best_epoch)
        _draw_learning_rate(rate, records, epochs)
        _mark_best(rate, epochs, [], best_epoch)
        for axes in (loss, accuracy, scores, rate):
            axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True, min_n_ticks=1))
        for axes in (scores, rate):
            axes.set_xlabel("epoch")
        if best_epoch is not None:
            where = {"xy": (best_epoch, 1), "xycoords": loss.get_xaxis_transform()}
            late = best_epoch > (epochs[0] + epochs[-1]) / 2
            offset = {"xytext": (-3 if late else 3, -1), "textcoords": "offset points"}
            align = {"ha": "right" if late else "left", "va": "top"}
            loss.annotate(f"{which} epoch: {best_epoch}", **where, **offset, **align, color=GREY, fontsize=7.5)
    return figure


def _column(records: Sequence[dict[str, Any]], key: str) -> list[float]:
    values = (record.get(key) for record in records)
    return [math.nan if value is None else float(value) for value in values]


def _draw_lines(axes: Axes, epochs: Sequence[int], lines: Sequence[tuple[str, str, list[float]]]) -> None:
    """Lines with their names at the right ends; nothing is drawn where a value is not finite."""
    few = len(epochs) <= MARKER_MAX_EPOCHS
    for label, colour, values in lines:
        finite = [math.isfinite(value) for value in values]
        # A value between two gaps has no line: only a marker shows it.
        neighbours = zip([False, *finite[:-1]], finite, [*finite[1:], False], strict=True)
        marked = [i for i, (before, here, after) in enumerate(neighbours) if here and (few or not (before or after))]
        shown = [value if is_finite else math.nan for value, is_finite in zip(values, finite, strict=True)]
        axes.plot(epochs, shown, color=colour, marker="o", markersize=2.6, markevery=marked, label=label)
    margin = 0.5 if len(epochs) == 1 else 0.03 * (epochs[-1] - epochs[0])
    axes.set_xlim(epochs[0] - margin, epochs[-1] + margin)
    axes.margins(y=0.08)
    axes.autoscale_view(scalex=False)
    _label_ends(axes, lines)


def _label_ends(axes: Axes, lines: Sequence[tuple[str, str, list[float]]]) -> None:
    """Write each line's name right of the axes at the height of its last value, moved apart where they would touch."""
    to_axes = axes.transScale + axes.transLimits
    ends: list[tuple[float, str, str]] = []
    for label, colour, values in lines:
        last = next((value for value in reversed(values) if math.isfinite(value)), None)
        if last is not None:
            ends.append((float(to_axes.transform((0, last))[1]), label, colour))
    ends.sort()
    sizes = [LABEL_LINE_INCHES * (label.count("\n") + 1) / PANEL_HEIGHT_INCHES for _, label, _ in ends]
    heights = [height for height, _, _ in ends]
    for i in range(1, len(ends)):
        heights[i] = max(heights[i], heights[i - 1] + (sizes[i - 1] + sizes[i]) / 2)
    excess = max(heights[-1] - 1.0, 0.0) if heights else 0.0
    for height, (_, label, colour) in zip(heights, ends, strict=True):
        place: dict[str, Any] = {"transform": axes.transAxes, "va": "center", "ha": "left", "linespacing": 1.05}
        axes.text(1.02, height - excess, label, color=colour, **place)


def _mark_best(
    axes: Axes, epochs: Sequence[int], lines: Sequence[tuple[str, str, list[float]]], best_epoch: int | None
) -> None:
    """A dashed line at the best epoch, and a ring on each validation curve there."""
    if best_epoch is None:
        return
    axes.axvline(best_epoch, color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=0.5)
    for label, colour, values in lines:
        value = values[epochs.index(best_epoch)]
        if label != "train" and math.isfinite(value):
            ring = {"marker": "o", "markersize": 5.5, "markerfacecolor": "white", "markeredgewidth": 1.3}
            axes.plot([best_epoch], [value], color=colour, linestyle="none", zorder=3, **ring)  # type: ignore[arg-type]


def _draw_learning_rate(axes: Axes, records: Sequence[dict[str, Any]], epochs: Sequence[int]) -> None:
    """One line a parameter group; groups with equal rates share one, and its label names them all."""
    groups: dict[str, list[float]] = {}
    for name in dict.fromkeys(name for record in records for name in record.get("lr_groups") or {}):
        groups[name] = _column([record.get("lr_groups") or {} for record in records], name)
    if not groups:
        groups = {"all parameters": _column(records, "lr")}
    by_rates: dict[tuple[str, ...], list[str]] = {}
    for name, values in groups.items():
        by_rates.setdefault(tuple(map(repr, values)), []).append(name)
    merged = [("\n".join(names), groups[names[0]]) for names in by_rates.values()]
    palette = (OTHER_COLOURS[1], TRAIN_COLOUR, OTHER_COLOURS[0], VAL_COLOUR, *OTHER_COLOURS[2:])
    lines = [(label, palette[i % len(palette)], values) for i, (label, values) in enumerate(merged)]
    axes.set(title="Learning rate", ylabel="used in the epoch")
    rates = [rate for _, _, values in lines for rate in values if math.isfinite(rate)]
    if rates and min(rates) > 0 and max(rates) >= LOG_SCALE_RATIO * min(rates):
        axes.set_yscale("log")
    else:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3), useMathText=True)
    _draw_lines(axes, epochs, lines)


def confusion_matrix_figure(matrix: Sequence[Sequence[int]], class_names: Sequence[str], title: str = "") -> Figure:
    """Counts with the fraction of the row below, coloured by that fraction; true classes on y, predicted on x.

    A row without images has no fractions. Raises `ValueError` for a matrix that does not fit the names.
    """
    counts = np.asarray(matrix, dtype=np.int64)
    num_classes = len(class_names)
    if counts.shape != (num_classes, num_classes):
        raise ValueError(f"a confusion matrix of shape {counts.shape} does not fit {num_classes} class names")
    totals = counts.sum(axis=1, keepdims=True)
    fractions = np.divide(counts, totals, out=np.full(counts.shape, np.nan), where=totals > 0)
    cell_inches = {2: 0.95, 3: 0.8, 4: 0.66}.get(num_classes, 0.56)
    longest = max(len(name) for name in class_names)
    upright = longest * 0.075 < cell_inches
    with house_style():
        width = num_classes * cell_inches + 0.75 + 0.075 * max(longest, 7)
        height = num_classes * cell_inches + 0.6 + (0.25 if title else 0) + (0 if upright else 0.055 * longest)
        figure = new_figure(width, height)
        axes = figure.subplots()
        colours = matplotlib.colormaps["Blues"].with_extremes(bad="#EEEEEE")
        axes.imshow(np.ma.masked_invalid(fractions), cmap=colours, vmin=0, vmax=1.15)
        for true, predicted in np.ndindex(counts.shape):
            _write_cell(axes, predicted, true, int(counts[true, predicted]), float(fractions[true, predicted]))
        class_names = [figure_text(name) for name in class_names]
        axes.set_xticks(range(num_classes), class_names)
        if not upright:
            axes.tick_params(axis="x", labelrotation=45)
            for label in axes.get_xticklabels():
                label.set(ha="right", rotation_mode="anchor")
        axes.set_yticks(
            range(num_classes), [f"{n}\nn = {int(t)}" for n, t in zip(class_names, totals[:, 0], strict=True)]
        )
        axes.set(xlabel="predicted class", ylabel="true class")
        axes.tick_params(length=0)
        axes.spines[:].set_visible(False)
        separators = np.arange(num_classes - 1) + 0.5
        for position in separators:
            axes.axhline(position, color="white", linewidth=1.5)
            axes.axvline(position, color="white", linewidth=1.5)
        if title:
            axes.set_title(title)
    return figure


def _write_cell(axes: Axes, x: int, y: int, count: int, fraction: float) -> None:
    colour = "white" if fraction > 0.6 else "black"
    share = "-" if math.isnan(fraction) else f"{fraction:.2f}"
    axes.annotate(str(count), (x, y), (0, 1), textcoords="offset points", ha="center", va="bottom", color=colour)
    axes.annotate(share, (x, y), (0, -1.5), textcoords="offset points", ha="center", va="top", color=colour, fontsize=7)

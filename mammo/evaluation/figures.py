"""The figures of an evaluation, for a column of a paper: calibration, curves, subgroups, differences of two models."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammo.evaluation.calibration import Bins
from mammo.evaluation.comparison import Difference
from mammo.evaluation.curves import Curve
from mammo.evaluation.evaluation import Calibration
from mammo.evaluation.metrics import Metrics
from mammo.evaluation.paired import ScoreDifference
from mammo.evaluation.score_formulas import ECE_BINS
from mammo.evaluation.scores import BY_NAME, names_in
from mammo.evaluation.subgroups import FEW_PATIENTS, Subgroup
from mammo.support.figures import GREY, TRAIN_COLOUR, VAL_COLOUR, house_style, new_figure
from mammo.support.plain_text import figure_text

SINGLE_COLUMN_INCHES = 3.5
PALE = "#B0B0B0"  # subgroups too small to say much
GRID = "#E8E8E8"
ROW_INCHES = 0.19
ATTRIBUTE_TITLES = {
    "view": "View",
    "laterality": "Laterality",
    "manufacturer": "Manufacturer",
    "age_band": "Age (years)",
}
LABEL_CHARACTERS = 24  # of a subgroup, above which it is cut
SCORE_CHARACTERS = 18  # of a line of the name of a score
NAME_CHARACTERS = 52  # of a line across the figure


def class_colours(num_classes: int) -> list[Any]:
    """An ordered set of colours for ordered classes, light to dark, also for eyes that see few colours."""
    return list(matplotlib.colormaps["viridis"](np.linspace(0.8, 0.0, num_classes)))


def _figure(height_inches: float, **layout: Any) -> Figure:
    return new_figure(SINGLE_COLUMN_INCHES, height_inches, **layout)


def _unit_square(axes: Axes) -> None:
    axes.set(xlim=(-0.015, 1.015), ylim=(-0.015, 1.015), aspect="equal")
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set_yticks(np.linspace(0, 1, 6))
    axes.grid(color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)


def reliability_figure(calibration: Calibration) -> Figure:
    """Accuracy over confidence of the top class, before and after the temperature; below, where the images are.

    The size of a marker grows with the images in its bin; on the dashed diagonal probabilities mean what they say.
    """
    series = [(f"as predicted: ECE {calibration.before.top.ece:.3f}", TRAIN_COLOUR, "o", calibration.before.top)]
    if calibration.after is not None:
        label = f"temperature {calibration.temperature:.2f}: ECE {calibration.after.top.ece:.3f}"
        series.append((label, VAL_COLOUR, "D", calibration.after.top))
    with house_style():
        figure = _figure(4.3)
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3.6, 1])
        upper.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        for label, colour, marker, bins in series:
            _draw_bins(upper, bins, colour, marker, label)
        _unit_square(upper)
        upper.set_aspect("auto")  # as wide as the panel below
        upper.set_ylabel("fraction correct")
        handles = upper.legend(loc="lower right", frameon=False, fontsize=7.5, handletextpad=0.5).legend_handles
        for handle in handles:
            handle.set_sizes([22])
        edges = np.arange(ECE_BINS + 1) / ECE_BINS
        for _, colour, _, bins in series:
            lower.stairs(bins.num_images, edges, color=colour, linewidth=1.2, fill=len(series) == 1)
        lower.set(xlabel="probability of the predicted class", ylabel="images")
        lower.yaxis.set_major_locator(MaxNLocator(nbins=3, integer=True))
    return figure


def _draw_bins(axes: Axes, bins: Bins, colour: str, marker: str, label: str) -> None:
    filled = [i for i, n in enumerate(bins.num_images) if n]
    x = np.array([bins.confidence[i] for i in filled], dtype=np.float64)
    y = np.array([bins.accuracy[i] for i in filled], dtype=np.float64)
    share = np.array([bins.num_images[i] for i in filled]) / sum(bins.num_images)
    axes.plot(x, y, color=colour, linewidth=1.0, alpha=0.6, zorder=2)
    axes.scatter(x, y, s=6 + 150 * share, color=colour, marker=marker, edgecolors="white", linewidths=0.5,
                 zorder=3, label=label, clip_on=False)  # fmt: skip


def roc_figure(curves: Sequence[Curve], class_names: Sequence[str]) -> Figure:
    """ROC curve of each class against the rest, with area and interval.

    `class_names` are all classes in order, so that each has its colour also where another has no curve. Raises
    `ValueError` without a curve.
    """
    colours = dict(zip(class_names, class_colours(len(class_names)), strict=True))
    figure, axes = _curves_figure(curves, colours, "AUC", "lower right", "default")
    with house_style():
        axes.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=(0, (4, 3)), zorder=1)
        axes.set(xlabel="false positive rate", ylabel="true positive rate")
    return figure


def precision_recall_figure(curves: Sequence[Curve], class_names: Sequence[str]) -> Figure:
    """Precision over recall of each class against the rest, with average precision and interval.

    The mark at the right is the fraction of images of the class: the precision of guessing. `class_names` and
    errors as in `roc_figure`.
    """
    colours = dict(zip(class_names, class_colours(len(class_names)), strict=True))
    figure, axes = _curves_figure(curves, colours, "average precision", "outside", "steps-pre")
    with house_style():
        for curve in curves:
            axes.plot([1.0, 1.05], [curve.num_positive / curve.num_images] * 2, color=colours[curve.class_name],
                      linewidth=1.4, solid_capstyle="butt", clip_on=False, label="_guessing")  # fmt: skip
        axes.set(xlabel="recall", ylabel="precision")
    return figure


def _curves_figure(
    curves: Sequence[Curve], colours: Mapping[str, Any], area_name: str, legend: Any, drawstyle: Any
) -> tuple[Figure, Axes]:
    if not curves:
        raise ValueError("there is no curve to draw")
    with house_style():
        entry_inches = 0.16 * (len(curves) + 1)
        figure = _figure(3.4 + (entry_inches if legend == "outside" else 0))
        axes = figure.subplots()
        for curve in curves:
            interval = f" [{curve.ci95[0]:.2f}, {curve.ci95[1]:.2f}]" if curve.ci95 else ""
            label = f"{figure_text(curve.class_name)} (n = {curve.num_positive}): {curve.area:.2f}{interval}"
            axes.plot(curve.x, curve.y, color=colours[curve.class_name], linewidth=1.4, drawstyle=drawstyle,
                      label=label, zorder=2)  # fmt: skip
        _unit_square(axes)
        style: dict[str, Any] = {"frameon": False, "fontsize": 7.5, "title_fontsize": 7.5, "handlelength": 1.4}
        title = f"class: {area_name} [95% interval]"
        if legend == "outside":
            figure.legend(loc="outside lower center", title=title, alignment="left", **style)
        else:
            axes.legend(loc=legend, title=title, alignment="left", **style)
    return figure, axes


def subgroup_figure(subgroups: Sequence[Subgroup], overall: Metrics, score: str = "bal_acc_adj") -> Figure:
    """Forest plot of a score: one row a subgroup with its interval, images and patients beside it, all images on top.

    The band is the interval of all images. Small subgroups are grey; where the score is undefined there is no mark.
    `score` is one of `Scores`.
    """
    # Each row: label, metrics, colour, whether it is a heading.
    rows: list[tuple[str, Metrics | None, str]] = [("All images", overall, "black")]
    for attribute in dict.fromkeys(each.attribute for each in subgroups):
        rows.append((ATTRIBUTE_TITLES.get(attribute, attribute), None, "black"))
        members = [each for each in subgroups if each.attribute == attribute]
        rows += [(_short(each.value), each.metrics, PALE if each.is_small else TRAIN_COLOUR) for each in members]
    with house_style():
        figure = _figure(0.75 + ROW_INCHES * len(rows))
        axes = figure.subplots()
        for y, (_, metrics, colour) in enumerate(rows):
            if metrics is not None:
                _draw_row(axes, y, metrics.scores[score], (metrics.ci95 or {}).get(score), colour)
                counts = f"{metrics.num_images} / {metrics.num_patients}"
                axes.text(1.03, y, counts, transform=axes.get_yaxis_transform(), va="center_baseline", fontsize=7,
                          color=GREY if colour == PALE else "black")  # fmt: skip
        interval = (overall.ci95 or {}).get(score)
        if interval:
            axes.axvspan(*interval, color=TRAIN_COLOUR, alpha=0.10, linewidth=0, zorder=0)
        axes.text(1.03, -0.6, "images /\npatients", transform=axes.get_yaxis_transform(), va="bottom", fontsize=7,
                  color=GREY)  # fmt: skip
        note = f"\ngrey: fewer than {FEW_PATIENTS} patients" if any(each.is_small for each in subgroups) else ""
        _forest_axes(axes, [label for label, _, _ in rows], BY_NAME[score].title + _direction(score) + note)
        for tick, (_, metrics, colour) in zip(axes.get_yticklabels(), rows, strict=True):
            tick.set(fontweight="bold" if metrics is None or metrics is overall else "normal",
                     color=GREY if colour == PALE else "black")  # fmt: skip
        axes.tick_params(axis="y", pad=2)
    return figure


def comparison_figure(
    differences: Mapping[str, Difference | ScoreDifference],
    first_name: str,
    second_name: str,
    scores: Sequence[str] = names_in("compared"),
) -> Figure:
    """Difference of each score, second minus first, with its interval, and the zero line; both scores beside it.

    Of two networks intervals without zero are coloured, of two configurations what is told apart. A lower value is the
    better one where its label says so.
    """
    first_name, second_name = figure_text(first_name), figure_text(second_name)
    with house_style():
        figure = _figure(0.95 + 1.6 * ROW_INCHES * len(scores))
        axes = figure.subplots()
        axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
        for y, name in enumerate(scores):
            found = differences[name]
            differs = found.ci95 is not None and not found.ci95[0] <= 0 <= found.ci95[1]
            if isinstance(found, ScoreDifference):
                differs = found.better is not None
            _draw_row(axes, y, found.difference, found.ci95, TRAIN_COLOUR if differs else GREY)
            values = ("-" if value is None else f"{value:.3f}" for value in (found.first, found.second))
            axes.text(1.03, y, r" $\rightarrow$ ".join(values), transform=axes.get_yaxis_transform(),
                      va="center_baseline", fontsize=7)  # fmt: skip
        labels = [textwrap.fill(BY_NAME[name].title + _direction(name), SCORE_CHARACTERS) for name in scores]
        _forest_axes(axes, labels, "")
        # Below the whole figure, because the names of runs are long; in words, because they have hyphens.
        words = f"{second_name} minus {first_name} [95% interval]"
        figure.supxlabel(textwrap.fill(words, NAME_CHARACTERS, break_on_hyphens=False), fontsize=8)
        low, high = axes.get_xlim()
        reach = max(abs(low), abs(high))
        axes.set_xlim(-reach, reach)
    return figure


def _direction(score: str) -> str:
    return " (lower is better)" if BY_NAME[score].lower_is_better else ""


def _draw_row(axes: Axes, y: float, value: float | None, interval: Sequence[float] | None, colour: str) -> None:
    if interval is not None:
        axes.plot(interval, [y, y], color=colour, linewidth=1.2, marker="|", markersize=4, zorder=2)
    if value is not None:
        axes.plot(value, y, color=colour, marker="o", markersize=4.2, linestyle="none", markeredgecolor="white",
                  markeredgewidth=0.4, zorder=3)  # fmt: skip


def _forest_axes(axes: Axes, labels: Sequence[str], xlabel: str) -> None:
    axes.set_yticks(range(len(labels)), labels)
    axes.set_ylim(len(labels) - 0.4, -0.6)
    axes.set_xlabel(xlabel)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color=GRID, linewidth=0.5)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.margins(x=0.06)


def _short(text: str) -> str:
    return figure_text(text if len(text) <= LABEL_CHARACTERS else text[: LABEL_CHARACTERS - 3] + "...")

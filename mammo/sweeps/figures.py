"""The figure of a sweep: every run as a dot, with the mean and interval of its configuration."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from mammo.evaluation.scores import BY_NAME
from mammo.support.figures import (
    DOUBLE_COLUMN_INCHES,
    GREY,
    LABEL_LINE_INCHES,
    OTHER_COLOURS,
    TRAIN_COLOUR,
    VAL_COLOUR,
    distinct_colours,
    house_style,
    new_figure,
    subtitle,
)
from mammo.support.plain_text import figure_text
from mammo.sweeps.findings import Finding, score
from mammo.sweeps.reading import RunResult

FOLD_COLOURS = (TRAIN_COLOUR, VAL_COLOUR, *OTHER_COLOURS)
SEED_MARKERS = ("o", "s", "^", "D", "v", "P")
ROW_INCHES = (0.44, 1.0)  # height of a configuration: least and most, by the number of runs
MANY_ROWS_INCHES = 0.7  # most where there are six or more, so that the figure stays on a page
MAX_LEGEND_COLUMNS = 7  # three folds, three seeds and the mean fit into a line
LABEL_CHARACTERS = 30  # of a line of a configuration's label
# Heights as fractions of a row, from its middle: the runs, below them their mean, below it what others report.
DOTS_AT, DOTS_HEIGHT = -0.14, 0.52
MEAN_AT, PUBLISHED_AT = 0.22, 0.38


def comparison_figure(findings: Sequence[Finding], metric_names: Sequence[str]) -> Figure:
    """A panel for each metric with a row for each configuration that has a finished run.

    Dots are runs (colour: fold, shape: seed, where there are several), the diamond below them their mean, the
    line its 95% interval; a grey hollow circle is a value reported elsewhere. Raises `ValueError` without
    a finished run.
    """
    drawn = [finding for finding in findings if finding.configuration.completed]
    if not drawn:
        raise ValueError("there is no finished run to draw")
    colours, markers = _colours(drawn), _markers(drawn)
    labels = [figure_text(_wrapped(finding.configuration.label)) for finding in drawn]
    most_runs = max(len(finding.configuration.completed) for finding in drawn)
    row_inches = min(max(ROW_INCHES[0], 0.26 + 0.1 * most_runs), ROW_INCHES[1] if len(drawn) < 6 else MANY_ROWS_INCHES)
    most_lines = max(label.count("\n") + 1 for label in labels) if len(drawn) > 1 else 1
    height = 1.05 + len(drawn) * max(row_inches, LABEL_LINE_INCHES * (most_lines + 1))
    with house_style():
        figure = new_figure(DOUBLE_COLUMN_INCHES, height)
        panels = np.atleast_1d(figure.subplots(1, len(metric_names), sharey=True))
        for axes, name in zip(panels, metric_names, strict=True):
            _draw_panel(axes, drawn, name, colours, markers)
        panels[0].set_yticks(range(len(drawn)), labels)
        panels[0].set_ylim(len(drawn) - 0.45, -0.55)
        if len(drawn) == 1:
            panels[0].set_yticks([])
            subtitle(figure, drawn[0].configuration.label)
        entries = _legend(drawn, metric_names, colours, markers)
        columns = len(entries) if len(entries) <= MAX_LEGEND_COLUMNS else min(-(-len(entries) // 2), MAX_LEGEND_COLUMNS)
        figure.legend(
            # A legend is filled by columns; read in rows, folds come first, then seeds, then the rest.
            handles=[one for column in range(columns) for one in entries[column::columns]],
            loc="outside lower center",
            ncols=columns,
            frameon=False,
            fontsize=7.5,
            handletextpad=0.4,
            columnspacing=1.4,
        )
    return figure


def _wrapped(label: str) -> str:
    """The label in lines that end between two keys; a key that is too long is broken."""
    return "\n".join(textwrap.wrap(label, LABEL_CHARACTERS, break_on_hyphens=False))


def _runs(findings: Sequence[Finding]) -> list[RunResult]:
    return [run for finding in findings for run in finding.configuration.completed]


def _colours(findings: Sequence[Finding]) -> dict[int | None, Any]:
    """Fold to colour; all alike where there is one."""
    folds = sorted({run.fold for run in _runs(findings) if run.fold is not None})
    if len(folds) < 2:
        return {None: TRAIN_COLOUR, **dict.fromkeys(folds, TRAIN_COLOUR)}
    return {None: GREY, **distinct_colours(folds, FOLD_COLOURS)}


def _markers(findings: Sequence[Finding]) -> dict[int | None, str]:
    """Seed to shape; all alike where there is one, or more than can be told apart."""
    seeds = sorted({run.seed for run in _runs(findings) if run.seed is not None})
    if len(seeds) > len(SEED_MARKERS):
        return dict.fromkeys([None, *seeds], SEED_MARKERS[0])
    return {None: SEED_MARKERS[0], **dict(zip(seeds, SEED_MARKERS, strict=False))}


def _draw_panel(
    axes: Axes,
    findings: Sequence[Finding],
    name: str,
    colours: dict[int | None, Any],
    markers: dict[int | None, str],
) -> None:
    for row, finding in enumerate(findings):
        runs = [(run, value) for run in finding.configuration.completed if (value := score(run, name)) is not None]
        # Side by side in the order of fold and seed, so that equal values do not hide each other.
        runs.sort(key=lambda pair: (pair[0].fold or 0, pair[0].seed or 0))
        heights = row + DOTS_AT + DOTS_HEIGHT * ((np.arange(len(runs)) + 0.5) / max(len(runs), 1) - 0.5)
        for (run, value), height in zip(runs, heights, strict=True):
            axes.plot(
                value, height, color=colours[run.fold], marker=markers[run.seed], markersize=4.2, linestyle="none",
                markeredgecolor="white", markeredgewidth=0.4, zorder=3,
            )  # fmt: skip
        values = finding.aggregate[name]
        below = row + MEAN_AT
        if values.ci95 is not None:
            axes.plot(values.ci95, [below, below], color="black", linewidth=1.2, marker="|", markersize=5, zorder=2)
        if values.mean is not None and values.n > 1:
            axes.plot(values.mean, below, color="black", marker="D", markersize=4.2, linestyle="none", zorder=4)
        if name in finding.configuration.published:
            mean, std = finding.configuration.published[name]
            axes.errorbar(mean, row + PUBLISHED_AT, xerr=std, color=GREY, marker="o", markersize=4.2, linewidth=0.9,
                          markerfacecolor="white", markeredgewidth=0.9, zorder=2)  # fmt: skip
    for row in range(len(findings) - 1):
        axes.axhline(row + 0.5, color="#DDDDDD", linewidth=0.6, zorder=0)
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.margins(x=0.06)
    axes.set_title(BY_NAME[name].title)
    axes.set_xlabel(f"{name}{' (lower is better)' if BY_NAME[name].lower_is_better else ''}")


def _legend(
    findings: Sequence[Finding],
    metric_names: Sequence[str],
    colours: dict[int | None, Any],
    markers: dict[int | None, str],
) -> list[Line2D]:
    """Entries for what needs telling apart, and for mean, interval and values from elsewhere where they are drawn."""

    def entry(label: str, **style: Any) -> Line2D:
        return Line2D([], [], label=label, **{"linestyle": "none", "markersize": 4.2, "color": GREY, **style})

    folds = [fold for fold in colours if fold is not None]
    shapes = [seed for seed in markers if seed is not None]
    entries = []
    if len(folds) > 1:
        entries += [entry(f"fold {fold}", marker="o", color=colours[fold]) for fold in folds]
    if len(set(markers.values())) > 1:
        entries += [entry(f"seed {seed}", marker=markers[seed]) for seed in shapes]
    if not entries:
        entries.append(entry("run", marker="o", color=TRAIN_COLOUR))
    if any(finding.aggregate[name].n > 1 for finding in findings for name in metric_names):
        entries.append(entry("mean, 95% interval", marker="D", color="black", linestyle="-", linewidth=1.2))
    if any(name in finding.configuration.published for finding in findings for name in metric_names):
        entries.append(entry("reported on another dataset", marker="o", markerfacecolor="white"))
    return entries

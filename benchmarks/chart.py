"""The bar chart of docs/performance.md: how many times faster, on a logarithmic axis, with what was to be reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator

from benchmarks.samples import Comparison, number
from mammo.support.figures import DOUBLE_COLUMN_INCHES, GREY, METADATA, STYLE, TRAIN_COLOUR, VAL_COLOUR

DPI = 200
BAR_INCHES, FRAME_INCHES = 0.27, 0.9
LABEL_ROOM = 3.0  # the axis ends at this multiple of the largest ratio, so that its number fits


def chart_figure(machines: Mapping[str, Sequence[Comparison]]) -> Figure:
    """A panel for each machine, a bar for each comparison; all must have a ratio. Raises ValueError for none."""
    if not any(machines.values()):
        raise ValueError("there is no comparison to draw")
    heights = [FRAME_INCHES + BAR_INCHES * len(comparisons) for comparisons in machines.values()]
    with matplotlib.style.context(STYLE, after_reset=True):
        figure = Figure(figsize=(DOUBLE_COLUMN_INCHES, sum(heights)), layout="constrained")
        FigureCanvasAgg(figure)
        panels = figure.subplots(len(machines), 1, squeeze=False, height_ratios=heights)[:, 0]
        for axes, (name, comparisons) in zip(panels, machines.items(), strict=True):
            _draw(axes, name, comparisons)
        keys = [
            Line2D([], [], color=TRAIN_COLOUR, linewidth=6, label="ratio of medians"),
            Line2D([], [], color="black", linewidth=1.2, label="range of the rounds"),
            Line2D([], [], color=VAL_COLOUR, linewidth=2, label="to be reached"),
        ]
        figure.legend(handles=keys, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw(axes: Axes, name: str, comparisons: Sequence[Comparison]) -> None:
    ratios = [comparison.ratio or 1.0 for comparison in comparisons]
    places = range(len(comparisons))
    # Bars on a logarithmic axis begin at 1: as fast as the other.
    axes.barh(places, [ratio - 1 for ratio in ratios], left=1.0, height=0.62, color=TRAIN_COLOUR, zorder=2)
    for place, comparison, ratio in zip(places, comparisons, ratios, strict=True):
        low, high = comparison.ratio_range or (ratio, ratio)
        axes.plot([low, high], [place, place], color="black", linewidth=1.2, zorder=3)
        end = max(ratio, high, comparison.target or 0.0, 1.0)
        axes.annotate(f"{number(ratio)}x", (end, place), xytext=(5, 0), textcoords="offset points", va="center")
        if comparison.target is not None:
            axes.plot([comparison.target] * 2, [place - 0.42, place + 0.42], color=VAL_COLOUR, linewidth=2, zorder=4)
    axes.axvline(1.0, color=GREY, linewidth=0.8, zorder=1)
    ends = [max(ratio, comparison.target or 0.0) for ratio, comparison in zip(ratios, comparisons, strict=True)]
    axes.set_xscale("log")
    axes.set_xlim(min(0.9, *ratios) * 0.9, max(ends) * LABEL_ROOM)
    axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}x"))
    axes.xaxis.set_minor_formatter("")
    axes.grid(axis="x", color="#dddddd", linewidth=0.5)
    axes.set_axisbelow(True)
    axes.set_yticks(list(places), [comparison.name for comparison in comparisons])
    axes.invert_yaxis()
    axes.set_title(name)
    axes.set_xlabel("times faster than the plain way (logarithmic)")


def write_chart(machines: Mapping[str, Sequence[Comparison]], path: Path) -> None:
    """Write the chart as PNG; nothing where there is nothing to draw."""
    if not any(machines.values()):
        return
    figure = chart_figure(machines)
    with matplotlib.style.context(STYLE, after_reset=True):
        figure.savefig(path, format="png", dpi=DPI, metadata=METADATA[".png"])

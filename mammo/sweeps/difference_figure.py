"""How far configurations are from each other: a forest plot of paired differences with intervals over patients."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from mammo.evaluation.paired import PairedDifference
from mammo.evaluation.scores import BY_NAME
from mammo.runs.paired_words import short_p
from mammo.support.figures import DOUBLE_COLUMN_INCHES, GREY, TRAIN_COLOUR, house_style, new_figure, subtitle
from mammo.support.plain_text import figure_text
from mammo.sweeps.comparisons import Comparisons

DIFFERENCES_FILE = "differences.png"
MAX_ROWS = 24  # a figure stays on a page
LABEL_CHARACTERS, TITLE_CHARACTERS = 34, 26
ROW_INCHES, LINE_INCHES = 0.18, 0.13
OF_PART = {"test": "patients set aside", "val": "validation, out of fold"}


def difference_figure(found: Comparisons, score_names: Sequence[str]) -> Figure:
    """A panel for each score and a row for each comparison: the difference, its 95 % interval, p after adjustment.

    What is told apart is coloured, all else grey. Rows are the comparisons with the reference, the best configuration
    first, then the other pairs where there is room. Raises ValueError where nothing was compared.
    """
    rows = _rows(found)
    if not rows:
        raise ValueError("there is no pair to draw")
    labels = [textwrap.wrap(label, LABEL_CHARACTERS, break_on_hyphens=False) for label, _ in rows]
    height = sum(ROW_INCHES + LINE_INCHES * len(lines) for lines in labels)
    with house_style():
        figure = new_figure(DOUBLE_COLUMN_INCHES, 1.05 + height)
        panels = np.atleast_1d(figure.subplots(1, len(score_names), sharey=True))
        for axes, name in zip(panels, score_names, strict=True):
            _draw(axes, name, [pair for _, pair in rows])
        panels[0].set_yticks(range(len(rows)), [figure_text("\n".join(lines)) for lines in labels])
        panels[0].set_ylim(len(rows) - 0.4, -0.6)
        subtitle(figure, f"Differences on {OF_PART[found.part]}, 95% intervals over {found.unit}s")
        entries = {"told apart": TRAIN_COLOUR, "cannot be told apart": GREY}
        handles = [Line2D([], [], color=colour, marker="o", markersize=4.2, label=label)
                   for label, colour in entries.items()]  # fmt: skip
        figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False, fontsize=7.5)
    return figure


def _rows(found: Comparisons) -> list[tuple[str, PairedDifference]]:
    reference, labels = found.reference, found.labels
    rows = []
    for i in found.positions:
        pair = None if i == reference else found.of(i, reference)
        if pair is not None:
            rows.append((f"{labels[i]} minus {labels[reference]}", pair))
    others = [
        (f"{labels[j]} minus {labels[i]}", pair) for (i, j), pair in found.pairs.items() if reference not in (i, j)
    ]
    return rows + (others if len(rows) + len(others) <= MAX_ROWS else [])[: MAX_ROWS - len(rows)]


def _draw(axes: Axes, name: str, pairs: Sequence[PairedDifference]) -> None:
    axes.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    for y, pair in enumerate(pairs):
        one = pair.scores[name]
        colour = GREY if one.better is None else TRAIN_COLOUR
        if one.ci95 is not None:
            axes.plot(one.ci95, [y, y], color=colour, linewidth=1.2, marker="|", markersize=4, zorder=2)
        if one.difference is not None:
            axes.plot(one.difference, y, color=colour, marker="o", markersize=4.2, linestyle="none",
                      markeredgecolor="white", markeredgewidth=0.4, zorder=3)  # fmt: skip
        axes.text(1.02, y, short_p(one.p_adjusted), transform=axes.get_yaxis_transform(), va="center_baseline",
                  fontsize=7, color=colour)  # fmt: skip
    axes.text(1.02, len(pairs) - 0.4, "p (Holm)" if len(pairs) > 1 else "p", transform=axes.get_yaxis_transform(),
              va="top", fontsize=7, color=GREY)  # fmt: skip
    low, high = axes.get_xlim()
    reach = max(abs(low), abs(high))
    axes.set_xlim(-reach, reach)
    axes.set_title(textwrap.fill(BY_NAME[name].title, TITLE_CHARACTERS))
    axes.set_xlabel(f"difference of {name}{' (lower is better)' if BY_NAME[name].lower_is_better else ''}")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x", color="#EEEEEE", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))

"""Figures of features: images as points coloured by class, and what k-means makes of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from mammo.embedding.clusters import Clustering, best
from mammo.embedding.projections import Projection
from mammo.evaluation.figures import class_colours
from mammo.support.figures import DOUBLE_COLUMN_INCHES, TRAIN_COLOUR, house_style, new_figure, subtitle
from mammo.support.plain_text import figure_text

SCATTER_INCHES = (4.2, 3.3)
# Classes are told apart by shape too: in grey print, and where points are few.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
NAMES = {"pca": "PCA", "tsne": "t-SNE", "umap": "UMAP"}
# Above, points become pixels in a PDF too: no viewer draws so many shapes quickly.
MAX_VECTOR_POINTS = 2000


def axis_labels(projection: Projection) -> tuple[str, str]:
    """What the two axes are; those of PCA with their part of the variance."""
    if projection.name == "pca":
        first, second = projection.facts["explained_variance_fraction"]
        return f"PC 1 ({first:.1%} of the variance)", f"PC 2 ({second:.1%} of the variance)"
    return f"{NAMES[projection.name]} 1", f"{NAMES[projection.name]} 2"


def scatter_figure(projection: Projection, targets: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """Points [N, 2] of images, coloured by their class index [N]; large classes lie below small ones."""
    points, counts = projection.points, np.bincount(targets, minlength=len(class_names))
    area = float(np.clip(6000 / len(points), 4, 26))
    with house_style():
        figure = new_figure(*SCATTER_INCHES)
        axes = figure.subplots()
        order = {c: rank for rank, c in enumerate(np.argsort(-counts, kind="stable"))}
        for c, colour in enumerate(class_colours(len(class_names))):
            chosen = points[targets == c]
            axes.scatter(
                chosen[:, 0], chosen[:, 1], s=area, color=[colour], marker=MARKERS[c % len(MARKERS)], alpha=0.85,
                linewidths=0.3, edgecolors="white", zorder=2 + order[c] / len(class_names),
                label=f"{figure_text(class_names[c])} (n = {counts[c]})", rasterized=len(points) > MAX_VECTOR_POINTS,
            )  # fmt: skip
        xlabel, ylabel = axis_labels(projection)
        axes.set(xlabel=xlabel, ylabel=ylabel, title=figure_text(title))
        if projection.name != "pca":
            # Their distances have no unit.
            axes.set(xticks=[], yticks=[])
        legend = figure.legend(loc="outside right upper", frameon=False, fontsize=7.5, title="class", handletextpad=0.2)
        legend.get_title().set_fontsize(7.5)
        for handle in legend.legend_handles:
            handle.set(sizes=[26], alpha=1)  # type: ignore[union-attr]
    return figure


def clusters_figure(
    clusterings: Sequence[Clustering], targets: np.ndarray, class_names: Sequence[str], title: str
) -> Figure:
    """The silhouette over k beside the classes of the images in each cluster of the best k."""
    chosen = best(clusterings)
    if chosen is None:
        raise ValueError("there is no clustering to draw")
    with house_style():
        figure = new_figure(DOUBLE_COLUMN_INCHES, 2.9)
        figure.get_layout_engine().set(w_pad=0.08)  # type: ignore[union-attr, call-arg]
        silhouette, composition = figure.subplots(1, 2)
        _draw_silhouettes(silhouette, clusterings, chosen)
        _draw_composition(composition, chosen.composition(targets, len(class_names)), class_names)
        legend = figure.legend(loc="outside right upper", frameon=False, fontsize=7.5, title="class")
        legend.get_title().set_fontsize(7.5)
        agreement = f"clusters and classes agree by {chosen.adjusted_rand_index + 0:.2f} (adjusted Rand index)"
        subtitle(figure, f"{title}: {agreement}")
    return figure


def _draw_silhouettes(axes: Axes, clusterings: Sequence[Clustering], chosen: Clustering) -> None:
    counts, values = [one.k for one in clusterings], [one.silhouette for one in clusterings]
    axes.plot(counts, values, color=TRAIN_COLOUR, marker="o", markersize=3)
    ring = {"marker": "o", "markersize": 7, "markerfacecolor": "white", "markeredgewidth": 1.4}
    axes.plot([chosen.k], [chosen.silhouette], color=TRAIN_COLOUR, linestyle="none", zorder=3, **ring)  # type: ignore[arg-type]
    at_right = chosen.k > (counts[0] + counts[-1]) / 2
    axes.annotate(
        f"k = {chosen.k}", (chosen.k, chosen.silhouette), (-7 if at_right else 7, 0), textcoords="offset points",
        ha="right" if at_right else "left", va="center", fontsize=7.5, color=TRAIN_COLOUR,
    )  # fmt: skip
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.margins(y=0.12)
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.set(title="Silhouette of k-means", xlabel="number of clusters k", ylabel="mean silhouette (at most 1)")


def _draw_composition(axes: Axes, counts: np.ndarray, class_names: Sequence[str]) -> None:
    """Stacked bars of counts [k, K]: of the images in each cluster, the fraction of each class."""
    sizes = counts.sum(axis=1)
    fractions = counts / sizes[:, None]
    positions = np.arange(len(counts))
    left = np.zeros(len(counts))
    for c, colour in enumerate(class_colours(len(class_names))):
        axes.barh(
            positions, fractions[:, c], left=left, height=0.72, color=colour, edgecolor="white", linewidth=0.5,
            label=figure_text(class_names[c]),
        )  # fmt: skip
        left += fractions[:, c]
    axes.set_yticks(positions, [f"{i + 1} (n = {n})" for i, n in enumerate(sizes)])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.set(title="Classes in the clusters", xlim=(0, 1), xlabel="fraction of the images", ylabel="cluster")

"""What the figures of features show, read back from the axes."""

from __future__ import annotations

import numpy as np
import pytest

from mammo.embedding.clusters import cluster
from mammo.embedding.figures import clusters_figure, scatter_figure
from mammo.embedding.projections import project
from mammo.evaluation.figures import class_colours
from mammo.support.figures import save_figure
from tests.embedding.test_clusters import blobs

CLASSES = ("A", "cost_$5", "C")


def test_every_image_is_a_point_in_the_colour_of_its_class():
    features, targets = blobs((9, 4, 6))
    pca, tsne = project(features, seed=0, umap=False)
    figure = scatter_figure(pca, targets, CLASSES, "PCA")
    (axes,) = figure.axes
    for c, (drawn, colour) in enumerate(zip(axes.collections, class_colours(3), strict=True)):
        np.testing.assert_allclose(drawn.get_offsets(), pca.points[targets == c])
        np.testing.assert_allclose(drawn.get_facecolor()[0, :3], colour[:3])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["A (n = 9)", r"cost_\$5 (n = 4)", "C (n = 6)"]
    fraction = pca.facts["explained_variance_fraction"][0]
    assert axes.get_xlabel() == f"PC 1 ({fraction:.1%} of the variance)"
    assert axes.collections[1].zorder > axes.collections[0].zorder  # the rarest class lies on top
    assert list(scatter_figure(tsne, targets, CLASSES, "t-SNE").axes[0].get_xticks()) == []


def test_silhouettes_and_the_classes_of_each_cluster():
    features, owners = blobs((12, 25, 17))
    targets = np.where(owners == 2, 0, owners)
    found = cluster(features, targets, seed=0)
    silhouette, composition = clusters_figure(found, targets, ("A", "B"), "here").axes
    np.testing.assert_allclose(silhouette.get_lines()[0].get_ydata(), [one.silhouette for one in found])
    assert silhouette.get_lines()[1].get_xdata() == [3]
    widths = [[bar.get_width() for bar in bars] for bars in composition.containers]
    assert widths == [[0, 1, 1], [1, 0, 0]]
    assert [label.get_text() for label in composition.get_yticklabels()] == ["1 (n = 25)", "2 (n = 17)", "3 (n = 12)"]
    with pytest.raises(ValueError, match="no clustering"):
        clusters_figure([], targets, ("A", "B"), "")


@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_the_same_features_give_the_same_bytes(suffix, tmp_path):
    features, targets = blobs((9, 4, 6))
    for name in ("one", "two"):
        save_figure(scatter_figure(project(features, 0, False)[1], targets, CLASSES, "t"), tmp_path / f"{name}{suffix}")
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()

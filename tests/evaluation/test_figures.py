"""What the figures of an evaluation show, read back from the axes."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.colors import to_hex

from mammo.evaluation.comparison import compare
from mammo.evaluation.evaluation import evaluate
from mammo.evaluation.figures import (
    PALE,
    class_colours,
    comparison_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    subgroup_figure,
)
from mammo.support.figures import GREY, TRAIN_COLOUR, save_figure
from tests.evaluation.tables import DENSITY, random_table, table

SCORES = ("acc", "ece")


def labelled(axes):
    return {line.get_label(): line for line in axes.get_lines() if not line.get_label().startswith("_")}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def dots(axes):
    return {round(float(line.get_ydata()[0])): line for line in axes.get_lines() if line.get_marker() == "o"}


def bars(axes):
    return {round(float(line.get_ydata()[0])): line for line in axes.get_lines() if line.get_marker() == "|"}


def test_reliability_draws_the_bins_before_and_after():
    found = evaluate(random_table(1), temperature=2.0, draws=10).calibration
    upper, lower = reliability_figure(found).axes
    drawn = [np.asarray(points.get_offsets()) for points in upper.collections]
    for points, bins in zip(drawn, (found.before.top, found.after.top), strict=True):
        np.testing.assert_allclose(points[:, 0], [x for x in bins.confidence if x is not None])
        np.testing.assert_allclose(points[:, 1], [y for y in bins.accuracy if y is not None])
    legend = [text.get_text() for text in upper.get_legend().get_texts()]
    assert legend == [
        f"as predicted: ECE {found.before.top.ece:.3f}",
        f"temperature 2.00: ECE {found.after.top.ece:.3f}",
    ]
    np.testing.assert_array_equal(lower.patches[0].get_data().values, found.before.top.num_images)
    alone = reliability_figure(evaluate(random_table(1), draws=10).calibration)
    assert len(alone.axes[0].collections) == 1


@pytest.mark.parametrize("kind", ["roc", "precision_recall"])
def test_curves_have_the_colour_of_their_class_also_where_one_is_absent(kind):
    found = evaluate(random_table(2, classes=(0, 2, 3)), draws=10)
    curves = getattr(found, kind)
    figure = {"roc": roc_figure, "precision_recall": precision_recall_figure}[kind](curves, DENSITY)
    drawn = labelled(figure.axes[0])
    assert [label[0] for label in drawn] == ["A", "C", "D"]
    for curve, (label, line) in zip(curves, drawn.items(), strict=True):
        low, high = curve.ci95
        assert label == f"{curve.class_name} (n = {curve.num_positive}): {curve.area:.2f} [{low:.2f}, {high:.2f}]"
        np.testing.assert_array_equal(line.get_xdata(), curve.x)
        np.testing.assert_array_equal(line.get_ydata(), curve.y)
        assert to_hex(line.get_color()) == to_hex(class_colours(4)[DENSITY.index(curve.class_name)])


def test_without_a_curve_there_is_no_figure():
    with pytest.raises(ValueError, match="no curve"):
        roc_figure([], DENSITY)


def test_class_colours_grow_darker():
    lightness = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b, _ in class_colours(4)]
    assert lightness == sorted(lightness, reverse=True)
    assert min(-np.diff(lightness)) > 0.1


def test_subgroups_have_a_row_each_and_small_ones_are_grey():
    of_few = ["GE" if i % 30 < 5 else "$olo" for i in range(120)]
    found = evaluate(random_table(3, manufacturer=of_few), draws=50)
    (axes,) = subgroup_figure(found.subgroups, found.metrics, "acc").axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["All images", "View", "CC", "Laterality", "L", "Manufacturer", r"\$olo", "GE"]
    assert set(dots(axes)) == set(bars(axes)) == {0, 2, 4, 6, 7}
    assert {y: line.get_color() for y, line in dots(axes).items()} == {
        0: "black",
        2: TRAIN_COLOUR,
        4: TRAIN_COLOUR,
        6: TRAIN_COLOUR,
        7: PALE,
    }
    assert dots(axes)[0].get_xdata()[0] == found.metrics.scores["acc"]
    assert list(bars(axes)[0].get_xdata()) == found.metrics.ci95["acc"]
    assert {"120 / 30", "20 / 5", "100 / 25"} <= set(texts(axes))
    assert axes.get_xlabel() == "Accuracy\ngrey: fewer than 10 patients"


def test_an_undefined_score_leaves_its_row_empty():
    predictions = table([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], "ABA", view=["CC", "CC", "MLO"])
    found = evaluate(predictions, draws=20)
    (axes,) = subgroup_figure(found.subgroups, found.metrics, "auc_ovr").axes
    assert [tick.get_text() for tick in axes.get_yticklabels()][:4] == ["All images", "View", "CC", "MLO"]
    assert 2 in dots(axes)
    assert 3 not in dots(axes)


def test_differences_stand_beside_the_zero_line():
    first = random_table(4)
    better = 0.3 * first.probabilities + 0.7 * np.eye(4)[first.targets]
    second = table(better, first.table["y_true"].tolist(), patient_id=first.patient_ids)
    found = compare(first, second, draws=50)
    figure = comparison_figure(found.differences, "one", "two", SCORES)
    assert figure.get_supxlabel() == "two minus one [95% interval]"
    (axes,) = figure.axes
    assert list(axes.get_lines()[0].get_xdata()) == [0, 0]
    for y, name in enumerate(SCORES):
        assert dots(axes)[y].get_xdata()[0] == found.differences[name].difference
        assert list(bars(axes)[y].get_xdata()) == found.differences[name].ci95
    assert dots(axes)[0].get_color() == TRAIN_COLOUR
    assert "lower is better" in axes.get_yticklabels()[1].get_text().replace("\n", " ")
    low, high = axes.get_xlim()
    assert low == -high
    same = comparison_figure(compare(first, first, draws=20).differences, "one", "again", SCORES).axes[0]
    assert dots(same)[0].get_color() == GREY


def test_figures_are_the_same_bytes_each_time(tmp_path):
    found = evaluate(random_table(5), temperature=1.5, draws=20)
    for name in ("a.png", "b.png"):
        save_figure(subgroup_figure(found.subgroups, found.metrics), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    save_figure(reliability_figure(found.calibration), tmp_path / "reliability.pdf")
    assert (tmp_path / "reliability.pdf").read_bytes().startswith(b"%PDF")

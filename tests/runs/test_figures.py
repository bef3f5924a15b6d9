"""What the figures show (read back from the axes) and how they are written."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from mammo.runs.figures import confusion_matrix_figure, history_figure, plot_confusion_matrix, plot_history
from mammo.support.figures import DPI

MATRIX = [[2, 6, 0, 0], [4, 58, 11, 0], [0, 42, 98, 30], [0, 1, 9, 57]]


def records(num_epochs, **columns):
    """Epoch records; a column given as a list replaces the made-up one."""
    made = []
    for i in range(num_epochs):
        record = {
            "epoch": i + 1,
            "train_loss": 1.0 / (i + 1),
            "val_loss": 1.2 / (i + 1),
            "train_acc": 0.5,
            "val_acc": 0.4,
            "val_bal_acc_adj": 0.3,
            "val_kappa_quadratic": 0.5,
            "lr": 1e-4,
            "lr_groups": {"head": 1e-4, "backbone": 1e-5},
            "is_best": i == 0,
        }
        made.append(record | {name: values[i] for name, values in columns.items()})
    return made


def panels(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes}


def line(axes, label):
    return next(drawn for drawn in axes.get_lines() if drawn.get_label() == label)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_history_draws_the_records():
    axes = panels(history_figure(records(3, val_acc=[0.2, 0.6, 0.4])))
    assert list(axes) == ["Loss", "Accuracy", "Validation scores", "Learning rate"]
    np.testing.assert_allclose(line(axes["Loss"], "train").get_ydata(), [1, 1 / 2, 1 / 3])
    np.testing.assert_allclose(line(axes["Loss"], "validation").get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(line(axes["Accuracy"], "validation").get_ydata(), [0.2, 0.6, 0.4])
    assert {"train", "validation"} <= set(texts(axes["Loss"]))  # named beside the lines, not in a legend
    assert all(panel.get_legend() is None for panel in axes.values())


def test_the_last_best_epoch_is_marked():
    axes = panels(history_figure(records(4, is_best=[True, False, True, False])))
    assert "best epoch: 3" in texts(axes["Loss"])
    for panel in axes.values():
        vertical = [drawn for drawn in panel.get_lines() if list(drawn.get_xdata()) == [3, 3]]
        assert len(vertical) == 1
    rings = [drawn for drawn in axes["Loss"].get_lines() if list(drawn.get_xdata()) == [3]]
    assert [float(ring.get_ydata()[0]) for ring in rings] == [pytest.approx(0.4)]  # on the validation curve alone


def test_without_a_best_epoch_nothing_is_marked():
    axes = panels(history_figure(records(2, is_best=[False, False])))
    assert not any("best" in text for text in texts(axes["Loss"]))


def test_undefined_values_are_gaps_and_lone_points_have_markers():
    values = [0.1, None, 0.3, None, float("nan"), *[0.5] * 35]
    axes = panels(history_figure(records(40, val_kappa_quadratic=values, is_best=[False] * 40)))
    kappa = line(axes["Validation scores"], "quadratic\nkappa")
    np.testing.assert_array_equal(kappa.get_ydata(), [0.1, np.nan, 0.3, np.nan, np.nan, *[0.5] * 35])
    assert kappa.get_markevery() == [0, 2]


def test_a_column_that_is_never_defined_has_no_label():
    axes = panels(history_figure(records(3, val_loss=[None] * 3)))
    assert "validation" not in texts(axes["Loss"])


@pytest.mark.parametrize(
    ("groups", "scale", "labels"),
    [
        ([{"head": 1e-4, "backbone": 1e-5}] * 2, "log", {"head", "backbone"}),
        ([{"head": 1e-4, "backbone": 5e-5}] * 2, "linear", {"head", "backbone"}),
        ([{"head": 1e-4, "backbone": 0.0}] * 2, "linear", {"head", "backbone"}),
        ([{"head": 1e-4, "norms": 1e-4}, {"head": 1e-5, "norms": 1e-5}], "log", {"head\nnorms"}),
        ([None, None], "linear", {"all parameters"}),
    ],
)
def test_learning_rate_panel(groups, scale, labels):
    axes = panels(history_figure(records(2, lr_groups=groups)))["Learning rate"]
    assert axes.get_yscale() == scale
    assert set(texts(axes)) == labels


def test_labels_of_touching_lines_are_moved_apart_inside_the_panel():
    axes = panels(history_figure(records(3, val_acc=[0.5, 0.5, 0.5])))["Accuracy"]
    heights = sorted(text.get_position()[1] for text in axes.texts)
    assert heights[1] - heights[0] > 0.08
    assert heights[1] <= 1.0


@pytest.mark.parametrize("num_epochs", [1, 2, 100])
def test_epoch_ticks_are_whole_numbers(num_epochs):
    figure = history_figure(records(num_epochs))
    figure.canvas.draw()
    ticks = figure.axes[-1].get_xticks()
    assert len(ticks) >= 1
    assert all(tick == int(tick) for tick in ticks)


def test_no_records():
    with pytest.raises(ValueError, match="no epoch"):
        history_figure([])


def test_confusion_matrix_shows_counts_fractions_and_totals():
    axes = confusion_matrix_figure(MATRIX, "ABCD", "best epoch").axes[0]
    shown = texts(axes)
    assert shown[0::2] == [str(n) for row in MATRIX for n in row]
    assert shown[1::2] == [f"{n / sum(row):.2f}" for row in MATRIX for n in row]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "A\nn = 8",
        "B\nn = 73",
        "C\nn = 170",
        "D\nn = 67",
    ]
    assert [label.get_text() for label in axes.get_xticklabels()] == list("ABCD")
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("true class", "predicted class")
    assert axes.get_title(loc="left") == "best epoch"
    np.testing.assert_allclose(axes.get_images()[0].get_array()[2], np.array([0, 42, 98, 30]) / 170)
    # The first text lies in the upper left cell, the fourth pair in the upper right one.
    assert axes.texts[0].xy == (0, 0)
    assert axes.texts[6].xy == (3, 0)
    assert axes.yaxis_inverted()


def test_an_empty_row_has_no_fractions():
    axes = confusion_matrix_figure([[1, 1], [0, 0]], ["A", "B"]).axes[0]
    assert texts(axes) == ["1", "0.50", "1", "0.50", "0", "-", "0", "-"]
    assert np.ma.getmaskarray(axes.get_images()[0].get_array()).tolist() == [[False, False], [True, True]]


def test_a_matrix_that_does_not_fit_the_names():
    with pytest.raises(ValueError, match="3 class names"):
        confusion_matrix_figure([[1, 1], [0, 0]], ["A", "B", "C"])


@pytest.mark.parametrize("num_classes", [2, 3, 4, 7])
def test_all_texts_lie_inside_the_figure_and_its_cells(num_classes):
    matrix = np.full((num_classes, num_classes), 12345)
    names = ["a rather long name", *"bcdefg"][:num_classes]
    figure = confusion_matrix_figure(matrix, names, "Validation")
    figure.canvas.draw()
    axes = figure.axes[0]
    cell_width = axes.get_window_extent().width / num_classes
    assert all(text.get_window_extent().width < cell_width for text in axes.texts)
    page = figure.bbox
    for text in (*axes.get_xticklabels(), *axes.get_yticklabels(), axes.xaxis.label, axes.yaxis.label):
        box = text.get_window_extent()
        assert box.x0 >= page.x0
        assert box.y0 >= page.y0
        assert box.x1 <= page.x1
        assert box.y1 <= page.y1


def plot(kind, path):
    if kind == "history":
        plot_history(records(5), path)
    else:
        plot_confusion_matrix(MATRIX, "ABCD", path, "Validation")


@pytest.mark.parametrize("kind", ["history", "matrix"])
@pytest.mark.parametrize("suffix", [".png", ".pdf"])
def test_files_are_the_same_bytes_without_dates_and_without_leftovers(tmp_path, kind, suffix):
    first, second = tmp_path / f"first{suffix}", tmp_path / f"second{suffix}"
    second.write_text("an older figure is replaced")
    plot(kind, first)
    plot(kind, second)
    assert first.read_bytes() == second.read_bytes()
    assert not re.search(rb"CreationDate|Software|Producer", first.read_bytes())
    assert sorted(path.name for path in tmp_path.iterdir()) == [first.name, second.name]


def test_png_size_and_resolution(tmp_path):
    plot("history", tmp_path / "history.png")
    with Image.open(tmp_path / "history.png") as image:
        assert image.size == (7 * DPI, int(4.4 * DPI))
        assert image.info["dpi"] == pytest.approx((DPI, DPI), abs=0.5)
        assert np.asarray(image.convert("L")).min() < 100  # something is drawn


def test_other_suffixes_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"\.png or \.pdf"):
        plot("history", tmp_path / "history.jpg")
    assert list(tmp_path.iterdir()) == []

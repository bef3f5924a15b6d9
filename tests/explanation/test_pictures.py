"""What is drawn of cases."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from mammo.explanation.pictures import case_figure, grid_figure, overlay
from mammo.support.figures import save_figure
from tests.explanation.cases import make_case


def texts(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def misplaced(figure: Figure) -> list[str]:
    """Texts that reach beyond the edge of a figure, over a picture or over the colour scale."""
    figure.draw_without_rendering()
    width, height = figure.bbox.size
    panels = [axes.get_window_extent() for axes in figure.axes]
    scale_texts = [text.get_window_extent() for text in figure.axes[-1].texts]
    boxes = [text.get_window_extent() for text in figure.texts]
    wrong = []
    for text, box in zip(figure.texts, boxes, strict=True):
        outside = box.x0 < 0 or box.y0 < 0 or box.x1 > width + 1 or box.y1 > height + 1
        if outside or box.count_overlaps([*panels, *scale_texts, *(other for other in boxes if other is not box)]):
            wrong.append(text.get_text())
    return wrong


def test_an_overlay_leaves_the_image_as_it_is_where_the_map_is_low():
    case = make_case()
    shown = overlay(case)
    assert shown.shape == (60, 40, 3)
    low = case.heat == 0
    assert np.array_equal(shown[low], np.repeat(case.picture[low][:, None], 3, axis=1))
    assert (np.ptp(shown[~low], axis=1) > 0.1).all()  # coloured
    assert 0 <= shown.min() <= shown.max() <= 1


def test_a_picture_says_what_was_predicted_and_how_the_map_was_made():
    figure = case_figure(make_case())
    assert "true: B" in texts(figure)
    assert "predicted: C, probability 0.70, wrong" in texts(figure)
    assert "Grad-CAM for class C, last block" in texts(figure)
    assert "scaled to its own maximum; 25% of its sum is on black" in texts(figure)
    assert "frame" in texts(figure)
    assert "p01" not in texts(figure)
    left, right, _ = figure.axes
    assert [len(axes.patches) for axes in (left, right)] == [0, 1]
    assert right.patches[0].get_bbox().bounds == (-0.5, -0.5, 30, 60)
    assert figure.get_figwidth() == 3.5


def test_a_picture_without_a_frame_or_without_a_map():
    figure = case_figure(make_case(box_px=(0, 60, 0, 40), y_true="C"))
    assert "frame" not in texts(figure)
    assert "wrong" not in texts(figure)
    assert not figure.axes[1].patches
    empty = case_figure(make_case(heat=np.zeros((60, 40), dtype=np.float32), fraction_on_black=None))
    assert "nothing in it speaks for this class" in texts(empty)
    eigen = case_figure(make_case(method="eigencam", layer=3))
    assert "Eigen-CAM, block 3 from the end" in texts(eigen)


@pytest.mark.parametrize("shape", [(60, 40), (40, 90), (200, 30)])
@pytest.mark.parametrize("name", ["B", "heterogeneously $dense$, which may obscure small masses"])
def test_nothing_is_drawn_over_another_and_images_keep_their_proportions(shape, name):
    case = make_case(y_true=name, shape=shape, method="gradcam++", layer=12, target=name)
    for figure in (case_figure(case), grid_figure([case], ["A", name])):
        assert misplaced(figure) == []
        panel = figure.axes[0]
        figure.draw_without_rendering()
        box = panel.get_window_extent()
        assert box.height / box.width == pytest.approx(shape[0] / shape[1], rel=0.02)


def test_the_grid_has_a_row_for_each_class_and_right_before_wrong():
    cases = [
        make_case("1", "A", "A", 0.9), make_case("2", "A", "D", 0.8), make_case("3", "B", "B", 0.7),
        make_case("4", "C", "B", 0.6), make_case("5", "C", "B", 0.5),
    ]  # fmt: skip
    figure = grid_figure(cases, "ABCD")
    words = texts(figure)
    # One right and one wrong case of each class: the second wrong one of C has no room.
    assert [line for line in words.split("\n") if line.startswith(("predicted", "none"))] == [
        "predicted A, 0.90", "predicted D, 0.80", "predicted B, 0.70", "none shown",
        "none shown", "predicted B, 0.60", "none shown", "none shown",
    ]  # fmt: skip
    assert [line for line in words.split("\n") if line.startswith("true")] == [f"true: {name}" for name in "ABCD"]
    assert "Grad-CAM for the predicted class, last block" in words
    assert len(figure.axes) == 2 * 4 + 1
    two = grid_figure([make_case(str(i), name, name, 0.9 - i / 10) for name in "AB" for i in (0, 1)], "AB")
    assert sum(text.get_text().startswith("predicted") for text in two.texts) == 4
    with pytest.raises(ValueError, match="no case"):
        grid_figure([], "AB")


def test_the_grid_names_the_class_that_its_maps_are_about():
    cases = [make_case(y_true="A", y_pred="B", target="A"), make_case(y_true="C", y_pred="C", target="C")]
    assert "for the true class" in texts(grid_figure(cases, "ABC"))
    assert "for class A" in texts(grid_figure(cases[:1], "ABC"))


def test_the_same_case_is_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save_figure(case_figure(make_case()), tmp_path / f"{name}.png")
        save_figure(grid_figure([make_case()], "ABCD"), tmp_path / f"{name}.pdf")
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()
    with Image.open(io.BytesIO((tmp_path / "a.png").read_bytes())) as picture:
        assert picture.width == 1050  # half a page at 300 dots an inch

"""The breast is found, cut out, turned to the left and brought to the square."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from mammo.data.preprocess import breast_percentiles, prepare
from tests.data.reading import chest_wall_asymmetry, find_breast, read_image


def film(height: int = 512, width: int = 384, level: float = 0.5) -> np.ndarray:
    """A half ellipse with its chest wall at the left and its rim at half the level: rows 51-461, columns 0-230."""
    y, x = np.mgrid[:height, :width]
    distance = np.hypot((y - height / 2) / (0.4 * height), x / (0.6 * width))
    image = np.clip((1 - distance) * 8, 0, 1) * level
    return image.astype(np.float32)


def cluttered(image: np.ndarray) -> np.ndarray:
    """The same film with a white border, a label, a thin line at the chest wall and a grey film base."""
    image = np.maximum(image, 0.03)
    width = image.shape[1]
    image[:, -20:] = 1  # a white border as long as the film
    image[30:80, width - 110 : width - 60] = 1  # a label
    image[:, :3] = 1  # an edge of the film along the breast
    return image


def test_find_breast_gives_the_box_with_a_margin() -> None:
    top, bottom, left, right = find_breast(film())
    assert left == 0
    assert 30 <= top <= 55
    assert 457 <= bottom <= 482
    assert 220 <= right <= 250


def test_borders_labels_and_edges_are_no_breast() -> None:
    plain, with_clutter = film(), cluttered(film())
    np.testing.assert_allclose(find_breast(with_clutter), find_breast(plain), atol=12)
    stored = prepare(with_clutter, "L", 128, True, True)
    # The label and the border are bright and outside; the film base beside the breast is black too.
    assert np.abs(stored.astype(int) - prepare(plain, "L", 128, True, True))[:, 8:].mean() < 4
    assert stored[:8, -40:].max() == 0


def test_a_marker_in_the_box_is_blackened_and_the_skin_line_kept() -> None:
    image = film()
    image[70:100, 190:215] = 1  # inside the box of the breast, beside it
    assert image[70:100, 180:225].min() < 0.01
    stored = prepare(image, "L", 256, True, False)
    whole = prepare(film(), "L", 256, True, False)
    assert np.abs(stored.astype(int) - whole).max() <= 3  # the marker would be 255
    # Nothing of the breast down to its faintest rim is cut: equal light in the square and in the film.
    top, bottom, left, right = find_breast(image)
    scale = 256 / max(bottom - top, right - left)
    assert stored.sum() / 255 / scale**2 == pytest.approx(film().sum(), rel=0.01)


def test_the_dense_core_does_not_hide_the_fatty_rest() -> None:
    image = film(level=0.25)
    image[200:300, 60:140] = 1
    np.testing.assert_allclose(find_breast(image), find_breast(film()), atol=6)


def test_both_breasts_end_up_alike() -> None:
    left = film()
    right = np.ascontiguousarray(left[:, ::-1])
    stored = prepare(left, "L", 128, True, True)
    np.testing.assert_array_equal(prepare(right, "R", 128, True, True), stored)
    np.testing.assert_array_equal(prepare(right, "", 128, True, True), stored)
    np.testing.assert_array_equal(prepare(left, "", 128, True, True), stored)
    # Hung the other way round, or mirrored before: the tissue is plain, the header is not believed.
    np.testing.assert_array_equal(prepare(left, "R", 128, True, True), stored)
    np.testing.assert_array_equal(prepare(right, "L", 128, True, True), stored)
    assert chest_wall_asymmetry(left) == pytest.approx(-0.22, abs=0.04)
    assert chest_wall_asymmetry(right) == pytest.approx(0.22, abs=0.04)


def test_laterality_decides_where_the_tissue_does_not() -> None:
    image = np.zeros((200, 200), np.float32)
    image[20:180, 20:180] = 0.5  # as much on both sides, brighter at its right
    image[20:180, 120:180] = 0.8
    assert abs(chest_wall_asymmetry(image)) < 0.05
    stored = {laterality: prepare(image, laterality, 64, True, True) for laterality in ("L", "R")}
    np.testing.assert_array_equal(stored["R"], stored["L"][:, ::-1])
    assert stored["L"][32, 55] > stored["L"][32, 8]


def test_orientation_can_be_left_alone() -> None:
    right = np.ascontiguousarray(film()[:, ::-1])
    stored = prepare(right, "R", 128, True, False)
    assert chest_wall_asymmetry(stored.astype(np.float32)) > 0.1


@pytest.mark.parametrize(
    ("shape", "expected_rows", "expected_columns"),
    [
        ((40, 20), slice(0, 32), slice(0, 16)),
        ((20, 40), slice(8, 24), slice(0, 32)),
        ((3, 900), slice(15, 16), slice(0, 32)),
    ],
)
def test_square_keeps_the_aspect_ratio(shape: tuple[int, int], expected_rows: slice, expected_columns: slice) -> None:
    stored = prepare(np.ones(shape, np.float32), "L", 32, False, False)
    expected = np.zeros((32, 32), np.uint8)
    expected[expected_rows, expected_columns] = 255
    assert stored.dtype == np.uint8
    np.testing.assert_array_equal(stored, expected)


def test_shrinking_is_antialiased() -> None:
    """Lines of one pixel become an even grey, where picking every eighth pixel would give black or white."""
    image = np.zeros((256, 256), np.float32)
    image[:, ::2] = 1
    assert np.abs(prepare(image, "", 32, False, False)[:, 2:-2].astype(int) - 128).max() <= 2


def test_8_bits_survive_where_nothing_is_resized() -> None:
    values = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    np.testing.assert_array_equal(prepare((values / 255).astype(np.float32), "", 64, False, False), values)


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (5, 5), (17, 3)])
@pytest.mark.parametrize("content", [0.0, 0.5])
def test_images_without_a_breast_are_kept_whole(shape: tuple[int, int], content: float) -> None:
    image = np.full(shape, content, np.float32)
    assert find_breast(image) == (0, shape[0], 0, shape[1])
    stored = prepare(image, "L", 32, True, True)
    assert stored.max() == round(content * 255)


def test_percentiles_are_those_of_the_breast() -> None:
    y, x = np.mgrid[:800, :600]
    inside = (y - 400) ** 2 + x**2 < 300**2
    image = np.where(inside, 1000 + y, 10).astype(np.float32)
    exact = np.percentile(image[inside], (0.5, 99.5))
    np.testing.assert_allclose(breast_percentiles(image), exact, atol=6)


def test_mini_mias_is_turned_to_the_left(shared_data: Path) -> None:
    """Both breasts of 20 women: the tissue and the header agree, and labels and borders are gone."""
    folder = shared_data / "mini-mias"
    rows = list(csv.DictReader((folder / "labels.csv").open(encoding="utf-8")))[:320:8]
    rows += [
        row for row in csv.DictReader((folder / "labels.csv").open(encoding="utf-8")) if row["image"] == "mdb274.png"
    ]
    for row in rows:
        image, _ = read_image(folder / "images" / row["image"])
        asymmetry = chest_wall_asymmetry(image)
        assert (asymmetry > 0) == (row["laterality"] == "R"), row["image"]
        top, bottom, left, right = find_breast(image)
        assert 0.1 < (bottom - top) * (right - left) / image.size < 0.75, row["image"]
        stored = prepare(image, row["laterality"], 128, True, True)
        assert stored[:, :20].mean() > 2 * stored[:, 60:].mean(), row["image"]
        assert stored[:, 0].mean() > 30, row["image"]

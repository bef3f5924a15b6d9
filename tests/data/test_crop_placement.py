"""The way from the square back to the image undoes what made the square."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mammo.data.crop_placement import Placement
from mammo.data.grey import GreyImage
from mammo.data.phantom_cache import phantom_folder
from mammo.data.pixels import PixelSettings, image_and_placement, pixels_of
from mammo.data.preprocess import locate, placement_of, prepare


def breast(height: int, width: int, side: str) -> np.ndarray:
    """A smooth half ellipse that does not fill the image, brighter above than below; its chest wall at `side`."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    inside = ((y - 0.45 * height) / (0.35 * height)) ** 2 + (x / (0.7 * width)) ** 2
    image = np.clip((1 - inside) * 4, 0, 1) * (0.9 - 0.4 * y / height)
    return image if side == "L" else np.ascontiguousarray(image[:, ::-1])


@pytest.mark.parametrize("shape", [(300, 200), (180, 260), (256, 256)])
@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("crop", [True, False])
def test_the_stored_square_brought_back_is_the_image(shape, side, crop):
    image = breast(*shape, side)
    square = prepare(image, side, 512, crop, True)
    grey = GreyImage.of(image)
    placement = placement_of(grey, side, 512, crop, True, locate(grey))
    assert placement.flip == (side == "R")
    back = placement.back(square / 255, shape, shape)
    top, bottom, left, right = placement.box_px
    assert np.abs(back - image)[top:bottom, left:right].max() < 0.06
    beside = np.ones(shape, dtype=bool)
    beside[top:bottom, left:right] = False
    assert not back[beside].any()
    assert beside.any() == crop


def test_a_coarse_grid_lies_where_its_cells_are():
    """A box of 40 x 20 in an image of 100 x 50: half of the columns of the square are empty."""
    placement = Placement((10, 50, 30, 50), flip=False, size_px=8)
    assert (placement.shape_px, placement.first_row_px) == ((8, 4), 0)
    cells = np.zeros((4, 4), dtype=np.float32)
    cells[0, 0] = 1  # upper left of the box: rows 10-20, columns 30-40
    back = placement.back(cells, (100, 50), (100, 50))
    row, column = np.unravel_index(back.argmax(), back.shape)
    assert 10 <= row < 20
    assert 30 <= column < 40
    mirrored = placement._replace(flip=True).back(cells, (100, 50), (100, 50))
    assert np.array_equal(mirrored[:, 30:50], back[:, 49:29:-1])
    # What is on the empty half of the square is nowhere in the image.
    cells[:] = 0
    cells[:, 3] = 1
    assert not placement.back(cells, (100, 50), (100, 50)).any()


def test_a_wide_box_is_centred_from_top_to_bottom():
    placement = Placement((0, 10, 0, 40), flip=False, size_px=8)
    assert (placement.shape_px, placement.first_row_px) == ((2, 8), 3)
    rows = np.zeros((8, 8), dtype=np.float32)
    rows[3:5] = 1
    assert placement.back(rows, (10, 40), (10, 40)).min() > 0.5


def test_a_smaller_copy_has_the_same_map():
    placement = Placement((20, 220, 40, 160), flip=True, size_px=64)
    grid = np.random.default_rng(0).random((5, 5), dtype=np.float32)
    large = placement.back(grid, (240, 200), (240, 200))
    small = placement.back(grid, (60, 50), (240, 200))
    assert placement.box_in((60, 50), (240, 200)) == (5, 55, 10, 40)
    assert np.abs(large.reshape(60, 4, 50, 4).mean(axis=(1, 3)) - small).max() < 0.03


def test_the_placement_of_a_file_is_that_of_its_stored_pixels():
    image = (breast(300, 200, "R") * 255).round().astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    settings = PixelSettings(128, crop=True, orient=True)
    grey, placement = image_and_placement(buffer.getvalue(), "R", settings, enough_px=900)
    assert np.array_equal(grey.levels(), (np.arange(256) / 255).astype(np.float32)[image])
    square = pixels_of(buffer.getvalue(), "R", settings)
    top, bottom, left, right = placement.box_px
    back = placement.back(square / 255, image.shape, image.shape)
    assert np.abs(back - image / 255)[top:bottom, left:right].mean() < 0.01


def test_an_image_that_is_decoded_at_a_fraction_of_its_size_has_the_same_placement(tmp_path):
    """JPEG 2000 of generated exams: the square comes from a smaller copy than the one that is shown."""
    files = sorted(phantom_folder(tmp_path, 2, 0, lambda done, of: None).rglob("*.dcm"))
    settings = PixelSettings(96, crop=True, orient=True)
    num_reduced = 0
    for content in (file.read_bytes() for file in files):
        grey, placement = image_and_placement(content, "", settings, enough_px=300)
        rows, columns = grey.whole_shape
        assert max(grey.shape) >= 300
        num_reduced += grey.shape != grey.whole_shape
        back = placement.back(pixels_of(content, "", settings) / 255, (rows // 8, columns // 8), (rows, columns))
        top, bottom, left, right = placement.box_in(back.shape, (rows, columns))
        shown = np.asarray(Image.fromarray(grey.levels()).resize(back.shape[::-1], Image.Resampling.BOX))
        assert np.corrcoef(back[top:bottom, left:right].ravel(), shown[top:bottom, left:right].ravel())[0, 1] > 0.97
    assert 0 < num_reduced < len(files)

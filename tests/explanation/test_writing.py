"""Names of the pictures."""

from __future__ import annotations

from mammo.explanation.writing import picture_names
from mammo.support.files import safe_name


def test_a_picture_is_named_after_its_image():
    ids = ["p01_L", "images/mdb001.png", "0a1b2c3d4e5f"]
    assert picture_names(ids) == {image_id: f"{safe_name(image_id)}.png" for image_id in ids}


def test_no_two_pictures_share_a_name_on_any_file_system():
    ids = ["a/b", "a b", "A/B", "grid", "Grid", "x" * 300, "x" * 301, "\ud800"]
    names = picture_names(ids)
    assert names["A/B"] == "A_B.png"  # the first in order
    lowered = [name.lower() for name in names.values()]
    assert len(set(lowered)) == len(ids)
    assert "grid.png" not in lowered
    assert max(map(len, lowered)) < 255
    assert picture_names(reversed(ids)) == names

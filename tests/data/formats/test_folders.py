"""A folder a class."""

from __future__ import annotations

from collections import Counter

import pytest
from small_datasets import column, left_out, write_png

from mammo.data.formats import read_manifest
from mammo.errors import DataError


def test_the_real_samples(shared_data, options_of):
    root = shared_data / "density-samples"
    manifest = read_manifest(options_of("folders", group_by="image"), root)
    assert Counter(manifest.table["label"]) == {"A": 4, "B": 4, "C": 4, "D": 4}
    assert column(manifest, "label")["C/sample_C2.jpg"] == "C"
    assert list(manifest.table["patient_id"]) == list(manifest.table["image_id"])
    assert (manifest.group_by, manifest.left_out, manifest.notes) == ("image", [], [])


def test_images_are_independent_only_if_one_says_so(tmp_path, options_of):
    write_png(tmp_path / "A" / "x.png")
    with pytest.raises(DataError, match=r"data.group_by=image"):
        read_manifest(options_of("folders"), tmp_path)


@pytest.mark.parametrize(
    ("folders", "options", "labels", "class_names"),
    [
        (["a", "4"], None, "mixes", ()),
        (["1", "4"], {}, ["A", "D"], ("A", "B", "C", "D")),
        (["d", "B"], {}, ["B", "D"], ("A", "B", "C", "D")),
        (["G", "D", "F"], {}, ["D", "F", "G"], ("D", "F", "G")),
        (["G", "D", "F"], {"classes": ["F", "G", "D"]}, ["D", "F", "G"], ("F", "G", "D")),
        (["benign", "cancer"], {}, ["benign", "cancer"], ("benign", "cancer")),
        (["0", "3"], {"table": {"label_map": {"0": "A", "3": "D"}}}, ["A", "D"], ("A", "D")),
    ],
)
def test_label_sets(tmp_path, options_of, folders, options, labels, class_names):
    for folder in folders:
        write_png(tmp_path / folder / "x.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "LICENSE").write_text("text")
    (tmp_path / folders[0] / "Thumbs.db").write_text("no image")
    if labels == "mixes":
        with pytest.raises(DataError, match="mixes letters and digits"):
            read_manifest(options_of("folders", group_by="image"), tmp_path)
        return
    manifest = read_manifest(options_of("folders", group_by="image", **options), tmp_path)
    assert list(manifest.table["label"]) == labels
    assert manifest.class_names == class_names


def test_a_folder_outside_of_the_given_classes(tmp_path, options_of):
    write_png(tmp_path / "F" / "deep" / "x.png")
    write_png(tmp_path / "other" / "y.png")
    manifest = read_manifest(options_of("folders", group_by="image", classes=["F", "G"]), tmp_path)
    assert column(manifest, "label") == {"F/deep/x.png": "F"}
    assert left_out(manifest) == {"other/y.png": ("label", "the label is none of F, G")}


def test_no_images(tmp_path, options_of):
    (tmp_path / "A").mkdir()
    with pytest.raises(DataError, match=r"no image is below a class folder of data.root; there: 1 folders"):
        read_manifest(options_of("folders"), tmp_path)

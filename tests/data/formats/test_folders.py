"""A folder a class."""

from __future__ import annotations

import unicodedata
from collections import Counter

import pytest
from small_datasets import column, left_out, write_dicom, write_png

from mammo.data.formats import read_manifest
from mammo.support.errors import DataError


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
        (["a", "4"], None, "mix letters", ()),
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
    if labels == "mix letters":
        with pytest.raises(DataError, match="mix letters and digits"):
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


def test_the_content_decides_and_whatever_is_left_out_has_an_entry(tmp_path, options_of):
    for name in ("a.dcm", "B.DCM", "IM0001", "1.2.840.113619.2.503.1", "sub/no suffix"):
        write_dicom(tmp_path / "A" / name)
    write_png(tmp_path / "B" / "picture")
    write_png(tmp_path / "B" / "UPPER.PNG")
    write_dicom(tmp_path / "B" / "report", Modality="SR", Rows=None, Columns=None)
    for name in ("README", "notes.txt", "Thumbs.db", "sub/deeper/table.csv", "DICOMDIR", "P5 of a series"):
        (tmp_path / "B" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "B" / name).write_bytes(b"P5 is no picture")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "protocol.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "LICENSE").write_text("no part of the data")
    write_png(tmp_path / "unsorted")
    (tmp_path / "B" / "cut.png").write_bytes(b"\x89PNG")
    for name in ("._a.dcm", ".DS_Store"):
        (tmp_path / "A" / name).write_bytes(b"\0\5\x16\7")
    (tmp_path / "A" / "link").symlink_to(tmp_path / "B", target_is_directory=True)
    manifest = read_manifest(options_of("folders", group_by="image"), tmp_path)
    assert column(manifest, "label") == {
        **dict.fromkeys(("A/a.dcm", "A/B.DCM", "A/IM0001", "A/1.2.840.113619.2.503.1", "A/sub/no suffix"), "A"),
        **dict.fromkeys(("B/picture", "B/UPPER.PNG", "B/cut.png"), "B"),  # which decoding will find damaged
    }
    others = ("report", "README", "notes.txt", "Thumbs.db", "sub/deeper/table.csv", "DICOMDIR", "P5 of a series")
    no_image = [*(f"B/{name}" for name in others), "docs/protocol.pdf"]
    assert left_out(manifest) == {
        **dict.fromkeys(no_image, ("excluded", "the file is no image")),
        "unsorted": ("excluded", "the image is in no class folder"),
    }
    assert manifest.class_names == ("A", "B", "C", "D")
    assert manifest.notes == ["3 hidden files and links to folders are not looked at"]


def test_objects_without_an_image_are_none_whatever_they_are_called(tmp_path, options_of):
    write_dicom(tmp_path / "A" / "image.dcm")
    none = {"report.dcm": "SR", "shown.DCM": "PR", "notes.dicom": "KO", "IM7": "PR"}
    for name, modality in none.items():
        write_dicom(tmp_path / "A" / name, Modality=modality, Rows=None, Columns=None)
    write_dicom(tmp_path / "B" / "ct.dcm", Modality="CT")
    write_dicom(tmp_path / "B" / "unknown.dcm", Modality=None, Rows=None, Columns=None)
    (tmp_path / "B" / "cut.dcm").write_bytes((tmp_path / "A" / "image.dcm").read_bytes()[:150])
    (tmp_path / "B" / "text.dcm").write_text("no DICOM")
    manifest = read_manifest(options_of("folders", group_by="image"), tmp_path)
    images = ["A/image.dcm", "B/ct.dcm", "B/cut.dcm", "B/text.dcm", "B/unknown.dcm"]  # which decoding refuses, or not
    assert list(manifest.table["image_id"]) == images
    assert left_out(manifest) == {f"A/{name}": ("excluded", "the file is no image") for name in none}


@pytest.mark.parametrize(
    ("views", "excluded"),
    [
        (["CC", "MLO"], {"x.dcm": "XCCL", "spot": "CC-SPOT", "odd.dcm": "OTHER"}),
        (["RCC"], {"x.dcm": "XCCL", "spot": "CC-SPOT", "odd.dcm": "OTHER", "mlo.dcm": "MLO", "cc.dcm": "CC"}),
        (None, {}),
    ],
)
def test_views_are_those_of_headers(tmp_path, options_of, views, excluded):
    of_file = {
        "cc.dcm": "CC",
        "mlo.dcm": "MLO",
        "x.dcm": "XCCL",
        "spot": "CC-SPOT",
        "odd.dcm": "Jane",
        "none.dcm": None,
    }
    for name, view in of_file.items():
        write_dicom(tmp_path / "A" / name, ViewPosition=view)
    write_dicom(tmp_path / "B" / "rcc.dcm", ViewPosition="CC", ImageLaterality="R")
    for name in ("picture.png", "cut.dcm"):
        write_png(tmp_path / "B" / name)
    (tmp_path / "B" / "cut.dcm").write_bytes((tmp_path / "A" / "cc.dcm").read_bytes()[:150])
    manifest = read_manifest(options_of("folders", group_by="image", views=views), tmp_path)
    assert left_out(manifest) == {
        f"A/{name}": ("excluded", f"view {view} is not in data.views") for name, view in excluded.items()
    }
    kept = {*(f"A/{name}" for name in of_file if name not in excluded), "B/rcc.dcm", "B/picture.png", "B/cut.dcm"}
    assert set(manifest.table["image_id"]) == kept
    # Where images are found in a store goes by the side that the dataset states, as before.
    assert set(manifest.table["laterality"]) == {""}


def test_a_class_is_the_same_in_the_bytes_of_any_system(tmp_path, options_of):
    """A Mac writes an accent as a character of its own."""
    for name in ("gew\u00f6hnlich", "verd\u00e4chtig"):
        write_png(tmp_path / unicodedata.normalize("NFD", name) / "x.png")
    classes = ["gew\u00f6hnlich", "verd\u00e4chtig"]
    manifest = read_manifest(options_of("folders", group_by="image", task="labels", classes=classes), tmp_path)
    assert list(manifest.table["label"]) == classes
    assert manifest.left_out == []


def test_files_as_archives_export_them(shared_data, options_of):
    root = shared_data / "field-cases" / "11-folders-without-extension"
    manifest = read_manifest(options_of("folders", group_by="image"), root)
    assert Counter(manifest.table["label"]) == dict.fromkeys("ABCD", 6)
    assert (manifest.left_out, manifest.notes) == ([], [])

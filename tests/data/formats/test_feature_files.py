"""featureS.txt: its grammar, the exam folders (mamografias) and the flat folder (patches)."""

from __future__ import annotations

import pytest
from small_datasets import column, left_out, write_png

from mammo.data.formats import read_manifest
from mammo.data.formats.feature_files import parse_features
from mammo.data.formats.rows import ALLOW_OUTSIDE
from mammo.support.errors import DataError

GRAMMAR = [
    ("a.png\n0\nb.png\n3\n", [(1, "a.png", "0"), (3, "b.png", "3")]),
    ("# head\n\na (1).png\n\n# between\n 2 \n", [(3, "a (1).png", "2")]),
    ("a.png\r\n1\r\n", [(1, "a.png", "1")]),
    ("a\n0\n12\n1\n", [(1, "a", "0"), (3, "12", "1")]),
    ("a.png\nb.png\n1\nc.png\n2", [(1, "a.png", "?"), (2, "b.png", "1"), (4, "c.png", "2")]),
    ("a.png\n1\nb.png\n", [(1, "a.png", "1"), (3, "b.png", "?")]),
    ("", []),
]


@pytest.mark.parametrize(("text", "entries"), GRAMMAR)
def test_grammar(text, entries):
    assert parse_features(text) == entries


NAMES = [
    # name in featureS.txt, files on disk -> the image that is used, or the reason why none is
    ("a.png", ["a.png"], "a.png"),
    ("a", ["a.png"], "a.png"),
    ("a.jpg", ["a.jpg", "a.png"], "a.jpg"),
    ("a(1).png", ["a (1).png"], "a (1).png"),
    ("a(1)", ["a (1).png"], "a (1).png"),
    ("a (1).png", ["a(1).png"], "a(1).png"),
    ("a(1).png", ["a(1).png", "a (1).png"], "a(1).png"),
    ("A.PNG", ["a.png"], "a.png"),
    ("a(1).png", ["a (1).png", "a  (1).png"], "several files have this name"),
    ("gone.png", ["a.png"], "file is missing"),
    ("../secret.png", ["a.png"], f"the path leaves data.root{ALLOW_OUTSIDE}"),
]


@pytest.mark.parametrize(("name", "files", "expected"), NAMES)
def test_names_on_disk(tmp_path, options_of, name, files, expected):
    root = tmp_path / "root"
    for file in [*files, "other.png"]:
        write_png(root / file)
    write_png(tmp_path / "secret.png")
    (root / "featureS.txt").write_text(f"other.png\n3\n{name}\n1\n")
    manifest = read_manifest(options_of("patches", group_by="image"), root)
    used = {image for image, label in column(manifest, "label").items() if label == "B"}
    reasons = {reason for _, reason in left_out(manifest).values()}
    assert used | reasons == {expected}
    assert column(manifest, "label")["other.png"] == "D"


def test_patches(tmp_path, options_of):
    for name in ("a", "b", "c", "d", "e", "f"):
        write_png(tmp_path / f"{name}.png")
    (tmp_path / "featureS.txt").write_text("a\n0\nb\n1\nc\n2\nd\n3\ne\n4\n")
    with pytest.raises(DataError, match=r"data.group_by=image"):
        read_manifest(options_of("patches"), tmp_path)
    manifest = read_manifest(options_of("patches", group_by="image"), tmp_path)
    assert column(manifest, "label") == {"a.png": "A", "b.png": "B", "c.png": "C", "d.png": "D"}
    assert column(manifest, "patient_id")["a.png"] == "a.png"
    assert left_out(manifest) == {"e.png": ("label", "label '4' is none of 0, 1, 2, 3")}
    assert manifest.notes == ["1 image files are not in featureS.txt and are not used"]
    assert manifest.class_names == ("A", "B", "C", "D")


def test_letters_among_the_digits_stop(tmp_path, options_of):
    write_png(tmp_path / "a.png")
    (tmp_path / "featureS.txt").write_text("a\n0\nb\nB\n")
    with pytest.raises(DataError, match=r"featureS.txt line 3: 'B'|featureS.txt line 1: '0'"):
        read_manifest(options_of("patches", group_by="image"), tmp_path)


@pytest.fixture
def exams(tmp_path):
    for exam, text in (("001", "a.png\n0\nb(1)\n1\n"), ("002", "a.png\n3\n")):
        for name in ("a.png", "b (1).png"):
            write_png(tmp_path / exam / name)
        (tmp_path / exam / "featureS.txt").write_text(text)
    (tmp_path / "other").mkdir()
    return tmp_path


def test_mamografias(exams, options_of):
    manifest = read_manifest(options_of("mamografias"), exams)
    assert column(manifest, "label") == {"001/a.png": "A", "001/b (1).png": "B", "002/a.png": "D"}
    assert column(manifest, "exam_id") == column(manifest, "patient_id")
    assert list(manifest.table["exam_id"]) == ["001", "001", "002"]
    assert manifest.group_by == "exam"
    assert manifest.notes == [
        "1 image files are not in featureS.txt and are not used",
        "no image has a patient id: the exam stands for the patient",
    ]


@pytest.mark.parametrize(
    ("text", "labels", "bad"),
    [
        ("001/a.png\n2\n002\\a\n1\n", {"001/a.png": "C", "002/a.png": "B"}, {}),
        ("001/b(1)\n2\na.png\n1\n", {"001/b (1).png": "C"}, {"featureS.txt line 3": "several files have this name"}),
    ],
)
def test_a_feature_file_in_the_root_wins(exams, options_of, text, labels, bad):
    (exams / "featureS.txt").write_text(text)
    manifest = read_manifest(options_of("mamografias"), exams)
    assert column(manifest, "label") == labels
    assert list(manifest.table["exam_id"]) == [image[:3] for image in labels]
    assert {image: reason for image, (_, reason) in left_out(manifest).items()} == bad
    assert manifest.notes[0] == "featureS.txt in data.root is used, those in 2 folders are not"


@pytest.mark.parametrize(
    ("name", "message"), [("mamografias", "neither data.root nor"), ("patches", "holds no featureS")]
)
def test_no_feature_file(tmp_path, options_of, name, message):
    with pytest.raises(DataError, match=message):
        read_manifest(options_of(name), tmp_path)

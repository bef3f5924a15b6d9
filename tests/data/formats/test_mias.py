"""mini-MIAS: the prepared table and the original Info.txt say the same."""

from __future__ import annotations

import csv
from collections import Counter

import pytest
from PIL import Image
from small_datasets import column, left_out

from mammo.data.formats import read_manifest
from mammo.data.formats.mias import info_rows
from mammo.data.labels import apply_task
from mammo.support.errors import DataError

INFO = "MIAS\n2nd column: Character\n\nmdb001 G CIRC B 535 425 197\nmdb002 F NORM \nmdb003 D NORM\n"


def test_the_whole_real_dataset(shared_data, options_of):
    root = shared_data / "mini-mias"
    manifest = read_manifest(options_of("mias"), root)
    assert (len(manifest.table), manifest.table["patient_id"].nunique()) == (322, 161)
    assert Counter(manifest.table["label"]) == {"F": 106, "G": 104, "D": 112}
    assert manifest.class_names == ("F", "G", "D")
    assert (manifest.group_by, manifest.left_out, manifest.notes) == ("patient", [], [])
    with open(root / "labels.csv", newline="", encoding="utf-8") as file:
        expected = {f"images/{row['image']}": row for row in csv.DictReader(file)}
    for name, source in (("label", "tissue"), ("patient_id", "patient_id"), ("laterality", "laterality")):
        assert column(manifest, name) == {image: row[source] for image, row in expected.items()}


def test_info_agrees_with_the_table_on_every_film(shared_data):
    root = shared_data / "mini-mias"
    rows = info_rows(root / "Info.txt")
    assert len(rows) == 330  # some films have several abnormalities
    said = {(row.named, row.label, row.patient_id, row.laterality, row.view) for row in rows}
    with open(root / "labels.csv", newline="", encoding="utf-8") as file:
        table = {
            (f"images/{row['image']}", row["tissue"], row["patient_id"], row["laterality"], row["view"])
            for row in csv.DictReader(file)
        }
    assert said == table


def test_original_layout_on_real_films(tmp_path, shared_data, options_of):
    source = shared_data / "mini-mias"
    (tmp_path / "Info.txt").write_bytes((source / "Info.txt").read_bytes())
    films = ("mdb001", "mdb002", "mdb005", "mdb006")
    for film in films:
        with Image.open(source / "images" / f"{film}.png") as image:
            image.resize((64, 64)).save(tmp_path / f"{film}.pgm")
    manifest = read_manifest(options_of("mias"), tmp_path)
    assert column(manifest, "label") == dict(zip([f"{film}.pgm" for film in films], "GGFF", strict=True))
    assert list(manifest.table["patient_id"]) == ["p001", "p001", "p003", "p003"]
    assert list(manifest.table["laterality"]) == ["R", "L", "R", "L"]
    assert set(manifest.table["view"]) == {"MLO"}
    assert len(manifest.left_out) == 322 - 4
    assert set(left_out(manifest).values()) == {("file", "file is missing")}


def test_odd_tissue_letters_are_left_out(tmp_path, options_of):
    (tmp_path / "Info.txt").write_text(INFO + "mdb004 X NORM\n")
    for film in ("001", "002", "003", "004"):
        Image.new("L", (8, 8)).save(tmp_path / f"mdb{film}.pgm")
    manifest = read_manifest(options_of("mias"), tmp_path)
    assert list(manifest.table["label"]) == ["G", "F", "D"]
    assert left_out(manifest) == {"mdb004.pgm": ("label", "label 'X' is none of F, G, D")}


def test_density_tasks_are_wrong_here(tmp_path, options_of):
    (tmp_path / "Info.txt").write_text(INFO)
    Image.new("L", (8, 8)).save(tmp_path / "mdb001.pgm")
    options = options_of("mias")
    manifest = read_manifest(options, tmp_path)
    assert apply_task(manifest, options.task).class_names == ("F", "G", "D")
    with pytest.raises(DataError, match=r"(?s)wrong task: the labels of mias are F, G, D.*data.task=labels"):
        apply_task(manifest, "density4")


@pytest.mark.parametrize(("info", "message"), [(None, "neither labels.csv nor Info.txt"), ("x\n", "lists no film")])
def test_nothing_to_read(tmp_path, options_of, info, message):
    if info:
        (tmp_path / "Info.txt").write_text(info)
    with pytest.raises(DataError, match=message):
        read_manifest(options_of("mias"), tmp_path)

"""CBIS-DDSM on its real case tables; the images themselves are not needed for that."""

from __future__ import annotations

import csv
import os
from collections import Counter
from pathlib import Path

import pytest
from small_datasets import column, left_out, write_dicom

from mammo.data.formats import read_manifest
from mammo.data.formats.cbis_ddsm import case_rows
from mammo.support.errors import DataError

LETTERS = {"0": "", "1": "A", "2": "B", "3": "C", "4": "D"}
STUDIES = {"mass": ["mass"], "calc": ["calc"], "both": ["mass", "calc"], None: ["mass", "calc"]}


def read_independently(folder, kinds):
    """Image path -> (patient, density, split by file name) with the csv module alone."""
    images = {}
    for kind in kinds:
        for split in ("train", "test"):
            with open(folder / f"{kind}_case_description_{split}_set.csv", newline="", encoding="utf-8") as file:
                for row in csv.DictReader(file):
                    density = row.get("breast_density") or row.get("breast density")
                    images[row["image file path"].strip()] = (row["patient_id"], density, split)
    return images


@pytest.mark.parametrize(("kind", "num_moved"), [("mass", 0), ("calc", 0), ("both", 31), (None, 31)])
def test_case_tables(shared_data, options_of, kind, num_moved):
    folder = shared_data / "labels"
    rows, notes = case_rows(folder, options_of("cbis_ddsm", kind=kind))
    expected = read_independently(folder, STUDIES[kind])
    in_test = {patient for patient, _, split in expected.values() if split == "test"}
    in_both = {patient for patient, _, split in expected.values() if split == "train"} & in_test
    assert len(in_both) == num_moved
    assert {row.named: (row.patient_id, row.label, row.split) for row in rows} == {
        path: (patient, density, "test" if patient in in_test else "train")
        for path, (patient, density, _) in expected.items()
    }
    assert {row.laterality for row in rows} == {"LEFT", "RIGHT"}
    assert {row.view for row in rows} == {"CC", "MLO"}
    moved = "CBIS-DDSM: 31 patients are in train and test; all their images go to test"
    assert notes == ([moved] if num_moved else [])


@pytest.fixture(scope="module")
def downloaded(tmp_path_factory, shared_data):
    """The real tables with tiny files for every 40th image and all images without a density."""
    root = tmp_path_factory.mktemp("cbis")
    for table in (shared_data / "labels").glob("*.csv"):
        (root / table.name).write_bytes(table.read_bytes())
    images = read_independently(root, ["mass", "calc"])
    paths = sorted(images)[::40] + [path for path, (_, density, _) in images.items() if density == "0"]
    for path in paths:
        write_dicom(root / path)
    return root, {path: images[path] for path in paths}


def test_manifest(downloaded, options_of):
    root, images = downloaded
    manifest = read_manifest(options_of("cbis_ddsm"), root)
    assert column(manifest, "label") == {path: LETTERS[density] for path, (_, density, _) in images.items()}
    assert Counter(column(manifest, "label").values())[""] == 2
    assert column(manifest, "patient_id") == {path: patient for path, (patient, _, _) in images.items()}
    assert manifest.table.groupby("patient_id")["split"].nunique().max() == 1
    assert set(manifest.table["laterality"]) == {"L", "R"}
    assert len(manifest.notes) == 1
    assert len(manifest.left_out) == 1231 + 361 + 1227 + 284 - len(images)
    assert set(left_out(manifest).values()) == {("file", "file is missing")}


def test_files_that_newer_downloads_have_renamed(tmp_path, options_of):
    header = "patient_id,breast_density,left or right breast,image view,image file path\n"
    (tmp_path / "mass_case_description_train_set.csv").write_text(
        header + "P_1,2,LEFT,CC,Mass-Training_P_1_LEFT_CC/1.2/1.3/000000.dcm\n"
        "P_2,3,LEFT,CC,Mass-Training_P_2_LEFT_CC/1.2/1.3/000000.dcm\n"
    )
    write_dicom(tmp_path / "Mass-Training_P_1_LEFT_CC" / "07-20-2016-DDSM" / "1.000000-full" / "1-1.dcm")
    for name in ("1-1.dcm", "1-2.dcm"):
        write_dicom(tmp_path / "Mass-Training_P_2_LEFT_CC" / name)
    manifest = read_manifest(options_of("cbis_ddsm", kind="mass"), tmp_path)
    assert column(manifest, "label") == {"Mass-Training_P_1_LEFT_CC/07-20-2016-DDSM/1.000000-full/1-1.dcm": "B"}
    assert len(manifest.left_out) == 1
    assert manifest.notes == ["CBIS-DDSM mass: only the mass_case_description_train_set.csv is there"]


def test_a_study_that_is_not_there(tmp_path, options_of):
    with pytest.raises(DataError, match=r"(?s)no calc_case_description.*data.kind"):
        read_manifest(options_of("cbis_ddsm", kind="calc"), tmp_path)


@pytest.mark.parametrize("name", ["1-1.dcm", "1-1.DCM"])
def test_what_a_mac_leaves_beside_files_is_no_image(tmp_path, options_of, name):
    header = "patient_id,breast_density,left or right breast,image view,image file path\n"
    rows = [f"P_{n},{n},LEFT,CC,Mass-Training_P_{n}_LEFT_CC/1.2/1.3/000000.dcm\n" for n in (1, 2)]
    (tmp_path / "mass_case_description_train_set.csv").write_text(header + "".join(rows))
    (tmp_path / "._mass_case_description_train_set.csv").write_bytes(b"\0\5\x16\7")
    for n in (1, 2):
        folder = tmp_path / f"Mass-Training_P_{n}_LEFT_CC" / "07-20-2016-DDSM" / "1.000000-full"
        write_dicom(folder / name)
        (folder / f"._{name}").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    manifest = read_manifest(options_of("cbis_ddsm", kind="mass"), tmp_path)
    assert {image_id.rsplit("/", 1)[1] for image_id in manifest.table["image_id"]} == {name}
    assert (sorted(manifest.table["label"]), manifest.left_out) == (["A", "B"], [])


def test_appledouble_files_from_the_field(shared_data, options_of):
    manifest = read_manifest(options_of("cbis_ddsm"), shared_data / "field-cases" / "12-cbis-appledouble")
    assert (len(manifest.table), manifest.left_out) == (32, [])
    assert Counter(manifest.table["label"]) == dict.fromkeys("ABCD", 8)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.symlink_to(path), "a link to itself"),
        (os.mkfifo, "not a regular file"),
        (Path.mkdir, "not a regular file"),
    ],
    ids=["loop", "pipe", "folder"],
)
def test_a_case_table_that_is_no_file(tmp_path, options_of, make, reason):
    make(tmp_path / "mass_case_description_train_set.csv")
    with pytest.raises(DataError, match=f"mass_case_description_train_set.csv cannot be read: .*{reason}"):
        read_manifest(options_of("cbis_ddsm", kind="mass"), tmp_path)

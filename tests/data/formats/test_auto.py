"""Detection by content, and the YAML files as a whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from small_datasets import write_dicom, write_png

from mammo.data.formats import read_manifest
from mammo.data.formats.registry import READERS
from mammo.support.errors import DataError


def make_archive(root):
    write_dicom(root / "000001" / "a.dcm")
    (root / "classificacao.csv").write_text("AccessionNumber,Classification\n1,2\n2,3\n")


def make_mamografias(root):
    write_png(root / "x1" / "a.png")
    (root / "x1" / "featureS.txt").write_text("a\n2\n")


def make_patches(root):
    write_png(root / "p.png")
    (root / "featureS.txt").write_text("p\n2\n")


def make_table(root):
    write_png(root / "t.png")
    (root / "t.csv").write_text("image;density;patient_id\nt.png;C;01\n")


CASES = [
    (
        make_archive,
        "archive",
        "classificacao.csv has AccessionNumber and Classification, and 1 of 2 exam folders exist",
    ),
    (make_mamografias, "mamografias", "1 folders hold featureS.txt and images"),
    (make_patches, "patches", "featureS.txt and 1 images are in one folder"),
    (make_table, "table", "t.csv has columns for image and label, and 1 of 1 files exist"),
]


@pytest.mark.parametrize("folder", ["data", "archive", "mamografias_table_patches"])
@pytest.mark.parametrize(("make", "name", "why"), CASES)
def test_content_decides_whatever_the_folder_is_called(tmp_path, options_of, make, name, why, folder):
    root = tmp_path / folder
    make(root)
    group_by = "image" if name == "patches" else "patient"
    manifest = read_manifest(options_of("auto", group_by=group_by), root)
    direct = read_manifest(options_of(name, group_by=group_by), root)
    assert manifest.table.equals(direct.table)
    assert manifest.notes == [f"data.format=auto: {name}, because {why}", *direct.notes]
    assert manifest.name == "auto"


@pytest.mark.parametrize(
    ("makers", "names"),
    [
        ([make_archive, make_table], ["archive: classificacao.csv", "table: t.csv", "data=archive or data=table"]),
        ([make_mamografias, make_patches], ["mamografias: 1 folders", "patches: featureS.txt", "data=mamografias or"]),
    ],
)
def test_two_fit(tmp_path, options_of, makers, names):
    for make in makers:
        make(tmp_path)
    with pytest.raises(DataError) as caught:
        read_manifest(options_of("auto"), tmp_path)
    assert all(name in str(caught.value) for name in names)


def test_none_fits(tmp_path, options_of):
    (tmp_path / "prices.csv").write_text("item,price\nx,1\n")
    (tmp_path / "classificacao.csv").write_text("AccessionNumber,Classification\n1,2\n")
    (tmp_path / "sub").mkdir()
    with pytest.raises(DataError) as caught:
        read_manifest(options_of("auto"), tmp_path)
    for text in (
        "label table 2 of 2 has no columns AccessionNumber and Classification",
        "0 of 1 exam folders exist",
        "no folder holds featureS.txt",
        "label table 2 of 2 has no column path",
        "found there: 2 .csv files, 1 folders",
    ):
        assert text in str(caught.value)


def test_patches_found_automatically_still_need_group_by(tmp_path, options_of):
    make_patches(tmp_path)
    with pytest.raises(DataError, match=r"data.group_by=image"):
        read_manifest(options_of("auto"), tmp_path)


YAMLS = sorted((Path(__file__).resolve().parents[3] / "conf" / "data").glob("*.yaml"))


def test_all_datasets_have_a_file():
    expected = "archive auto cbis_ddsm folders inbreast mamografias mias patches phantom rsna table vindr"
    assert {path.stem for path in YAMLS} >= set(expected.split())


@pytest.mark.parametrize("path", YAMLS, ids=lambda path: path.stem)
def test_every_file_is_valid_documented_and_readable(path, options_of):
    options = options_of(path.stem)  # an unknown key is a TypeError
    assert options.name == path.stem
    assert options.format in READERS or path.stem == "phantom"
    assert options.root is None
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert any(line.startswith("# Files:") for line in lines)
    assert any(line.startswith("# Licence:") for line in lines)
    settings = [line for line in lines if not line.startswith("#") and not line.rstrip().endswith(":")]
    assert [line for line in settings if " # " not in line] == []
    mapping = yaml.safe_load("\n".join(lines)).get("table", {}).get("label_map", {})
    assert all(isinstance(key, str) and isinstance(value, str) for key, value in mapping.items())

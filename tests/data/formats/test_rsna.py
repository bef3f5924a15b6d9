"""RSNA: a YAML file over the table format; many images have no density, some another view."""

from __future__ import annotations

import dataclasses

import pytest
from small_datasets import column, left_out, write_dicom, write_like_kaggle

from mammo.data.dataset import load_dataset
from mammo.data.formats import read_manifest
from mammo.data.labels import apply_task
from mammo.support.errors import DataError
from mammo.support.progress import counting

TABLE = """site_id,patient_id,image_id,laterality,view,age,cancer,biopsy,invasive,BIRADS,implant,density,machine_id
2,10006,462822612,L,CC,61.0,0,0,0,,0,,29
2,10006,1459541791,L,MLO,61.0,0,0,0,,0,,29
1,00011,1031443799,R,CC,55.0,0,0,0,0.0,0,C,21
1,00011,220375232,R,ML,55.0,0,0,0,0.0,0,C,21
1,00011,220375233,R,MLO,55.0,0,0,0,0.0,0,C,21
"""


def test_reader(tmp_path, options_of):
    (tmp_path / "train.csv").write_text(TABLE)
    for name in ("10006/462822612", "00011/1031443799", "00011/220375232"):
        write_dicom(tmp_path / "train_images" / f"{name}.dcm")
    manifest = read_manifest(options_of("rsna"), tmp_path)
    assert column(manifest, "label") == {
        "train_images/00011/1031443799.dcm": "C",
        "train_images/10006/462822612.dcm": "",
    }
    assert list(manifest.table["patient_id"]) == ["00011", "10006"]
    assert left_out(apply_task(manifest, "density4")) == {
        "train_images/00011/220375232.dcm": ("excluded", "view ML is not in data.views"),
        "train_images/00011/220375233.dcm": ("file", "file is missing"),
        "train_images/10006/1459541791.dcm": ("excluded", "no label"),
        "train_images/10006/462822612.dcm": ("excluded", "no label"),
    }


def test_files_as_kaggle_serves_them_are_used(tmp_path, options_of):
    write_like_kaggle(tmp_path / "rsna")
    options = options_of("rsna", root=str(tmp_path / "rsna"), image_size=32, val_fraction=0.4)
    dataset = load_dataset(options, tmp_path / "cache", 0, counting)
    assert len(dataset.table) == 12
    assert dataset.manifest.left_out == []
    assert not any("Modality" in note for note in dataset.manifest.notes)
    with pytest.raises(DataError, match="12  pixels: modality none is no projection X-ray") as caught:
        load_dataset(dataclasses.replace(options, modality=None), tmp_path / "cache", 0, counting)
    assert "data.modality=MG" in caught.value.to_do


@pytest.mark.parametrize("name", ["rsna", "vindr", "inbreast", "cbis_ddsm"])
def test_public_sets_of_mammograms_say_what_their_files_are(name, options_of):
    assert options_of(name).modality == "MG"

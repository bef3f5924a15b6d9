"""RSNA: a YAML file over the table format; many images have no density, some another view."""

from __future__ import annotations

from small_datasets import column, left_out, write_dicom

from mammo.data.formats import read_manifest
from mammo.data.labels import apply_task

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

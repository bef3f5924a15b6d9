"""VinDr-Mammo: a YAML file over the table format."""

from __future__ import annotations

from small_datasets import column, left_out, write_dicom

from mammo.data.formats import read_manifest

TABLE = """study_id,series_id,laterality,view_position,height,width,image_id,breast_birads,breast_density,split
0aa1,s1,L,CC,3518,2800,i1,BI-RADS 2,DENSITY C,training
0aa1,s1,R,MLO,3518,2800,i2,BI-RADS 2,DENSITY C,training
0bb2,s2,L,MLO,3518,2800,i3,BI-RADS 1,DENSITY A,test
0bb2,s2,L,CC,3518,2800,i4,BI-RADS 1,DENSITY E,test
0cc3,s3,L,CC,3518,2800,i5,BI-RADS 1,DENSITY B,test
"""


def test_reader(tmp_path, options_of):
    (tmp_path / "breast-level_annotations.csv").write_text(TABLE)
    for name in ("0aa1/i1", "0aa1/i2", "0bb2/i3", "0bb2/i4"):
        write_dicom(tmp_path / "images" / f"{name}.dicom")
    manifest = read_manifest(options_of("vindr"), tmp_path)
    rows = manifest.table[["image_id", "patient_id", "exam_id", "laterality", "view", "label", "split"]]
    assert [tuple(row) for row in rows.itertuples(index=False)] == [
        ("images/0aa1/i1.dicom", "0aa1", "0aa1", "L", "CC", "C", "train"),
        ("images/0aa1/i2.dicom", "0aa1", "0aa1", "R", "MLO", "C", "train"),
        ("images/0bb2/i3.dicom", "0bb2", "0bb2", "L", "MLO", "A", "test"),
    ]
    assert manifest.class_names == ("A", "B", "C", "D")
    assert manifest.group_by == "exam"
    assert manifest.notes == ["no image has a patient id: the exam stands for the patient"]
    assert {image: stage for image, (stage, _) in left_out(manifest).items()} == {
        "images/0bb2/i4.dicom": "label",
        "images/0cc3/i5.dicom": "file",
    }
    assert column(manifest, "path")["images/0aa1/i1.dicom"] == str(tmp_path / "images" / "0aa1" / "i1.dicom")

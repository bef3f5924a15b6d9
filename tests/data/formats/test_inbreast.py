"""INbreast: patients, sides and views from file names."""

from __future__ import annotations

from small_datasets import column, left_out, write_dicom, write_png

from mammo.data.formats import read_manifest

TABLE = """Patient ID;Patient age;Laterality;View;Acquisition date;File Name;ACR;Bi-Rads
removed;removed;R;CC;201001;22678622;4;1
removed;removed;L;MLO;201001;22678646;1 ;2
removed;removed;L;CC;201001;22678670;;2
removed;removed;R;MLO;201001;22678694;5;2
removed;removed;R;CC;201001;22678718;2;2
"""


def test_reader(tmp_path, options_of):
    (tmp_path / "INbreast.csv").write_text(TABLE)
    first, second = "61b13c59bcba149e", "ca8d18a9bc5a5b76"
    write_dicom(tmp_path / "AllDICOMs" / f"22678622_{first}_MG_R_CC_ANON.dcm", PatientID="removed")
    write_png(tmp_path / f"22678622_{first}_MG_R_CC_ANON.png")  # the same image again: DICOM is preferred
    write_png(tmp_path / f"22678646_{first}_MG_L_ML_ANON.png")
    write_dicom(tmp_path / f"22678670_{second}_MG_L_CC_ANON.dcm")
    write_dicom(tmp_path / f"22678694_{second}_MG_R_ML_ANON.dcm")
    write_dicom(tmp_path / f"20000000_{second}_MG_R_ML_ANON.dcm")
    manifest = read_manifest(options_of("inbreast"), tmp_path)
    rows = manifest.table[["image_id", "patient_id", "laterality", "view", "label"]].itertuples(index=False)
    assert [tuple(row) for row in rows] == [
        (f"22678646_{first}_MG_L_ML_ANON.png", first, "L", "MLO", "A"),
        (f"22678670_{second}_MG_L_CC_ANON.dcm", second, "L", "CC", ""),
        (f"AllDICOMs/22678622_{first}_MG_R_CC_ANON.dcm", first, "R", "CC", "D"),
    ]
    assert left_out(manifest) == {
        f"22678694_{second}_MG_R_ML_ANON.dcm": ("label", "label '5' is none of A, B, C, D (or 1-4)"),
        "22678718": ("file", "file is missing"),
    }
    assert manifest.notes == ["1 image files are not in the label table and are not used"]
    assert set(column(manifest, "split").values()) == {""}

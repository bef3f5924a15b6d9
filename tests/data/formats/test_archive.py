"""The archive format on real DICOM files."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from small_datasets import column, left_out, write_dicom

from mammo.data.formats import read_manifest
from mammo.support.errors import DataError

HEADER = "AccessionNumber,Classification,ClassificationDate"


def write_csv(root, *rows, header=HEADER, encoding="utf-8"):
    root.mkdir(parents=True, exist_ok=True)
    (root / "classificacao.csv").write_text("\n".join([header, *rows]) + "\n", encoding=encoding)


@pytest.fixture
def read(tmp_path, options_of):
    def run(progress=None, **changes):
        return read_manifest(options_of("archive", **changes), tmp_path, progress=progress)

    return run


def test_every_image_of_an_exam_is_used_whatever_it_is_called(tmp_path, read):
    write_csv(tmp_path, "000123,2,2020-01-01")
    write_dicom(tmp_path / "000123" / "a.dcm", ViewPosition="CC", ImageLaterality="L")
    write_dicom(tmp_path / "000123" / "series" / "b", ViewPosition="MLO", ImageLaterality="R")
    (tmp_path / "000123" / "notes.txt").write_text("remarks")
    (tmp_path / "000123" / ".hidden").write_text("x")
    manifest = read()
    assert manifest.table.to_dict("records") == [
        {
            "image_id": f"000123/{name}",
            "path": str(tmp_path / "000123" / name),
            "patient_id": "P1",
            "exam_id": "000123",
            "laterality": laterality,
            "view": view,
            "label": "B",
            "split": "",
            "manufacturer": "",
            "age": "",
        }
        for name, laterality, view in (("a.dcm", "L", "CC"), ("series/b", "R", "MLO"))
    ]
    assert manifest.class_names == ("A", "B", "C", "D")
    assert manifest.group_by == "patient"
    assert manifest.left_out == []
    assert manifest.notes == ["1 files in exam folders are no DICOM files and are ignored"]


def test_each_bad_exam_and_file_has_its_reason_and_the_rest_goes_on(tmp_path, read):
    write_csv(
        tmp_path,
        "1,1,", "2,2,", "3,5,", "4,7,", "5,,", "6,3,", "7,4,", "7,4,", "8,1,", "8,2,", "9,2,", "10,3,", "10,5,", ",2,",
        "../1,2,", "11,,", "12,1,",
    )  # fmt: skip
    for exam in (1, 2, 3, 4, 5, 7, 8, 10):
        write_dicom(tmp_path / str(exam) / "a.dcm", PatientID=f"P{exam}")
    (tmp_path / "2" / "text.dcm").write_text("I am no image")
    (tmp_path / "9").mkdir()
    (tmp_path / "9" / "readme.txt").write_text("nothing here")
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "empty.dcm").touch()
    manifest = read()
    assert column(manifest, "label") == {"1/a.dcm": "A", "2/a.dcm": "B", "5/a.dcm": "", "7/a.dcm": "D"}
    assert left_out(manifest) == {
        "2/text.dcm": ("file", "the file is not DICOM"),
        "3": ("excluded", "class 5 (skip)"),
        "4": ("label", "label '7' is none of A, B, C, D (or 1-4)"),
        "6": ("file", "the exam folder is missing"),
        "8": ("label", "the exam is listed again with another label"),
        "9": ("file", "the exam folder holds no DICOM file"),
        "10": ("label", "the exam is listed again with another label"),
        "classificacao.csv row 15": ("label", "the row has no accession number"),
        "classificacao.csv row 16": ("file", "the accession number is no folder name"),
        "11": ("excluded", "no label"),
        "12/empty.dcm": ("file", "the file is not DICOM"),
    }


@pytest.mark.parametrize(
    ("rows", "header", "encoding"),
    [
        (["001,1", "002,4"], "AccessionNumber,Classification", "utf-8"),
        (["001;1", "002;4"], "AccessionNumber;Classification", "utf-8"),
        (["001\t 1 \tJos\xe9", "002\t4\t"], "AccessionNumber\tClassification\tReader", "latin-1"),
        (["001,1", "", "002,4"], "accessionnumber,CLASSIFICATION", "utf-8-sig"),
        (['"001","A"', '"002","d"'], '"AccessionNumber","Classification"', "utf-8"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, read, rows, header, encoding):
    write_csv(tmp_path, *rows, header=header, encoding=encoding)
    for exam in ("001", "002"):
        write_dicom(tmp_path / exam / "a.dcm", PatientID=exam)
    assert column(read(), "label") == {"001/a.dcm": "A", "002/a.dcm": "D"}


def test_ids_keep_their_zeros_and_get_those_that_the_table_lost(tmp_path, read):
    write_csv(tmp_path, "2004,1,", "002005,2,", "2005,2,", "002006,3,", "2006,1,")
    for exam in ("002004", "002005", "002006"):
        write_dicom(tmp_path / exam / "a.dcm", PatientID=f"00{exam}")
    manifest = read()
    assert column(manifest, "exam_id") == {"002004/a.dcm": "002004", "002005/a.dcm": "002005"}
    assert column(manifest, "patient_id") == {"002004/a.dcm": "00002004", "002005/a.dcm": "00002005"}
    assert left_out(manifest) == {"002006": ("label", "the exam is listed again with another label")}


PATIENT_CASES = [
    # exam -> PatientIDs of its files, exam -> expected patient, group_by, part of a note
    ({"1": ["P"], "2": ["P"], "3": ["Q"]}, {"1": "P", "2": "P", "3": "Q"}, "patient", None),
    ({"1": ["Q", "P"], "2": ["Q"], "3": ["R"]}, {"1": "P", "2": "P", "3": "R"}, "patient", "1 exams carry more than"),
    ({"1": ["C"], "2": ["A"], "3": ["A", "B"], "4": ["B", "C"]}, dict.fromkeys("1234", "A"), "patient", "2 exams"),
    ({"1": ["B"], "2": ["B", "C"], "3": ["C", "A"]}, dict.fromkeys("123", "A"), "patient", "2 exams"),
    ({"1": ["P"], "2": [None], "3": [""]}, {"1": "P", "2": "2", "3": "3"}, "patient", "2 images have no patient id"),
    ({"1": ["P", ""]}, {"1": "P"}, "patient", None),
    ({"1": ["P1"], "2": ["p1"], "3": ["P2"]}, {"1": "P1", "2": "P1", "3": "P2"}, "patient", "1 patients are written"),
    ({"1": ["7", "007"], "2": ["8"]}, {"1": "007", "2": "8"}, "patient", "taken for 1 patient"),
    ({"1": ["a", "b", "c", "d", "e"], "2": ["f"]}, {"1": "a", "2": "f"}, "patient", "1 exams carry more than"),
    ({"1": ["ANON"], "2": ["unknown"]}, {"1": "1", "2": "2"}, "exam", "no image has a patient id: the exam stands for"),
    ({"1": [""], "2": [None]}, {"1": "1", "2": "2"}, "exam", "no image has a patient id: the exam stands for"),
    ({"1": ["X"], "2": ["X"], "3": ["X"]}, dict.fromkeys("123", "X"), "patient", "all 3 exams carry the same"),
]


@pytest.mark.parametrize(("patients", "expected", "group_by", "note"), PATIENT_CASES)
def test_exams_of_one_woman_are_one_group(tmp_path, read, patients, expected, group_by, note):
    write_csv(tmp_path, *(f"{exam},1," for exam in patients))
    for exam, ids in patients.items():
        for index, patient in enumerate(ids):
            write_dicom(tmp_path / exam / f"{index}.dcm", PatientID=patient)
    manifest = read()
    assert {image.split("/")[0]: patient for image, patient in column(manifest, "patient_id").items()} == expected
    assert len(manifest.table) == sum(map(len, patients.values()))
    assert manifest.group_by == group_by
    assert manifest.notes == [] if note is None else note in " ".join(manifest.notes)


def test_patient_ids_that_may_be_one_are_asked_for_without_names(tmp_path, read):
    write_csv(tmp_path, "E1,1,", "E2,2,")
    write_dicom(tmp_path / "E1" / "Meier.dcm", PatientID="4711")
    write_dicom(tmp_path / "E2" / "Meier.dcm", PatientID="0004711")
    with pytest.raises(DataError, match=r"file 1 of 2 = file 2 of 2 \(leading zeros\)") as error:
        read()
    assert not any(word in str(error.value) for word in ("Meier", "4711", "E1"))
    assert len(set(read(same_patient="merge").table["patient_id"])) == 1


@pytest.mark.parametrize(("group_by", "patients"), [("exam", {"1", "2"}), ("image", {"1/a.dcm", "2/a.dcm"})])
def test_other_groups_must_be_asked_for_and_are_remarked(tmp_path, read, group_by, patients):
    write_csv(tmp_path, "1,1,", "2,2,")
    for exam in ("1", "2"):
        write_dicom(tmp_path / exam / "a.dcm", PatientID="P")
    manifest = read(group_by=group_by)
    assert set(manifest.table["patient_id"]) == patients
    assert manifest.group_by == group_by
    assert len(manifest.notes) == 1


def test_views_and_implants(tmp_path, read):
    write_csv(tmp_path, "1,1,")
    views = {"cc": "CC", "mlo": "MLO", "ml": "ML", "none": None}
    for name, view in views.items():
        write_dicom(tmp_path / "1" / name, ViewPosition=view)
    write_dicom(tmp_path / "1" / "implant", BreastImplantPresent="YES")
    assert left_out(read()) == {"1/ml": ("excluded", "view ML is not in data.views")}
    assert left_out(read(views=None)) == {}
    assert set(left_out(read(views=["ML"]))) == {"1/cc", "1/mlo", "1/implant"}
    assert left_out(read(views=None, implants="exclude")) == {
        "1/implant": ("excluded", "breast implant (data.implants=exclude)")
    }


def test_spot_views_are_left_out_and_displaced_implants_are_not(tmp_path, read):
    write_csv(tmp_path, "1,1,")
    for name, code, modifier in (("spot", "R-10242", "R-102D7"), ("displaced", "R-10226", "R-102D5")):
        view, detail = Dataset(), Dataset()
        detail.CodeValue, detail.CodingSchemeDesignator, detail.CodeMeaning = modifier, "SRT", name
        view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = code, "SRT", "view"
        view.ViewModifierCodeSequence = [detail]
        write_dicom(tmp_path / "1" / name, ViewPosition=None, ViewCodeSequence=[view])
    write_dicom(tmp_path / "1" / "text", ViewPosition="Silva 1950")
    manifest = read()
    assert column(manifest, "view") == {"1/displaced": "MLO"}
    assert left_out(manifest) == {
        "1/spot": ("excluded", "view CC-SPOT is not in data.views"),
        "1/text": ("excluded", "view OTHER is not in data.views"),
    }


def test_reports_beside_the_images_are_no_defects(tmp_path, read):
    write_csv(tmp_path, "1,1,")
    write_dicom(tmp_path / "1" / "a.dcm")
    write_dicom(tmp_path / "1" / "report.dcm", Modality="SR", Rows=None, Columns=None)
    write_dicom(tmp_path / "1" / "lost.dcm", Rows=None, Columns=None)
    assert left_out(read()) == {
        "1/report.dcm": ("excluded", "the object holds no image (modality SR)"),
        "1/lost.dcm": ("header", "the header of an image is missing or cut off"),
    }


def test_a_broken_header_is_left_out_without_patient_data(tmp_path, read):
    write_csv(tmp_path, "1,1,")
    good = write_dicom(tmp_path / "1" / "good.dcm", PatientID="SECRET")
    (tmp_path / "1" / "short.dcm").write_bytes(good.read_bytes()[:150])
    manifest = read()
    assert list(manifest.table["image_id"]) == ["1/good.dcm"]
    stage, reason = left_out(manifest)["1/short.dcm"]
    assert stage == "header"
    assert reason
    assert "SECRET" not in reason
    assert str(tmp_path) not in reason


def test_the_table_may_lie_elsewhere_and_exams_in_a_folder_archive(tmp_path, options_of):
    write_csv(tmp_path, "1,1,")
    write_dicom(tmp_path / "archive" / "1" / "a.dcm")
    own = read_manifest(options_of("archive"), tmp_path)
    named = read_manifest(options_of("archive", csv=str(tmp_path / "classificacao.csv")), tmp_path / "archive")
    assert list(own.table["image_id"]) == ["archive/1/a.dcm"]
    assert list(named.table["image_id"]) == ["1/a.dcm"]


def test_progress_counts_files_and_order_is_the_same_each_time(tmp_path, read):
    write_csv(tmp_path, *(f"{exam},1," for exam in range(10)))
    for exam in range(10):
        for index in range(3):
            write_dicom(tmp_path / str(exam) / f"{index}.dcm", PatientID=f"P{exam}")
    calls = []
    first, second = read(progress=lambda done, total: calls.append((done, total))), read()
    assert calls == [(done, 30) for done in range(1, 31)]
    assert first.table.equals(second.table)


@pytest.mark.parametrize(
    ("rows", "header", "message"),
    [
        (["1,1"], "AccessionNumber,Classificaton", "no column Classification; it has .*did you mean Classificaton"),
        (["1,1", "2,A"], "AccessionNumber,Classification", "mixes letters and digits.*row 2: '1'|row 3: 'A'"),
        ([], "AccessionNumber,Classification", "is empty"),
        (["1,1,x"], "AccessionNumber,Classification", "more cells than the header, the first at row 2"),
        (["1,5"], "AccessionNumber,Classification", r"no image .* can be used.*class 5 \(skip\)"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, read, rows, header, message):
    write_csv(tmp_path, *rows, header=header)
    with pytest.raises(DataError, match=f"(?s){message}"):
        read()


def test_no_table(read):
    with pytest.raises(DataError, match=r"(?s)no classificacao.csv.*data.csv=FILE"):
        read()


def test_the_table_may_begin_as_excel_wants_it_and_hold_floats(tmp_path, read):
    (tmp_path / "classificacao.csv").write_text("sep=;\nAccessionNumber;Classification\n1;2.0\n2;5.0\n3;\n", "utf-16")
    for number in (1, 2, 3):
        write_dicom(tmp_path / f"{number}" / "A.DCM", PatientID=f"P{number}")
    for name in ("._A.DCM", ".DS_Store", "Thumbs.db", "DICOMDIR"):
        (tmp_path / "1" / name).write_bytes(b"\0\5\x16\7")
    manifest = read()
    assert column(manifest, "label") == {"1/A.DCM": "B", "3/A.DCM": ""}
    assert left_out(manifest) == {"2": ("excluded", "class 5 (skip)")}
    assert "1 files in exam folders are no DICOM files and are ignored" in manifest.notes

"""The table format: every rule for rows, columns, paths and groups."""

from __future__ import annotations

import pytest
from small_datasets import column, left_out, write_dicom, write_png

from mammo.data.data_options import TableOptions
from mammo.data.formats import read_manifest
from mammo.data.formats.rows import ALLOW_OUTSIDE
from mammo.support.errors import DataError
from mammo.support.schema import build

LEAVES = f"the path leaves data.root{ALLOW_OUTSIDE}"
ABSOLUTE = f"the path is absolute; it must be relative to the table{ALLOW_OUTSIDE}"


@pytest.fixture
def read(tmp_path, options_of):
    """Write a table and the images `names`, then read."""

    def run(text, names=("a.png", "b.png", "c.png"), file="labels.csv", encoding="utf-8", **changes):
        for name in names:
            write_png(tmp_path / name)
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(text.encode(encoding))
        return read_manifest(options_of("table", **changes), tmp_path)

    return run


def test_all_columns(tmp_path, read):
    text = (
        "image,label,patient_id,exam_id,laterality,view,split,vendor,age\n"
        "b.png,2,007,0042,RIGHT,mlo,validation,Hologic, 61\n"
        "./x/../a.png,1,001,0001,l,CC,Training,,\n"
        "c.png,,c,,,,,,\n"
    )
    manifest = read(text)
    assert [tuple(row) for row in manifest.table.itertuples(index=False)] == [
        ("a.png", str(tmp_path / "a.png"), "001", "0001", "L", "CC", "A", "train", "", ""),
        ("b.png", str(tmp_path / "b.png"), "007", "0042", "R", "MLO", "B", "val", "Hologic", "61"),
        ("c.png", str(tmp_path / "c.png"), "c", "", "", "", "", "", "", ""),
    ]
    assert (manifest.group_by, manifest.left_out, manifest.notes) == ("patient", [], [])


def test_views_that_name_the_side_too(read):
    text = (
        "image,label,patient_id,laterality,view\n"
        "a.png,1,p,,LCC\nb.png,1,q,R,R-MLO\nc.png,1,r,L,RCC\nd.png,1,s,Right breast,Cranio-Caudal\n"
        "e.png,1,t,R,RML\nf.png,1,u,R,Jane CC\n"
    )
    names = [f"{letter}.png" for letter in "abcdef"]
    manifest = read(text, names)
    assert column(manifest, "view") == {"a.png": "CC", "b.png": "MLO", "c.png": "CC", "d.png": "CC"}
    assert column(manifest, "laterality") == {"a.png": "L", "b.png": "R", "c.png": "", "d.png": "R"}
    assert left_out(manifest) == {
        "e.png": ("excluded", "view ML is not in data.views"),
        "f.png": ("excluded", "view OTHER is not in data.views"),
    }
    assert manifest.notes == ["1 row: the view names another side than the laterality"]
    assert set(column(read(text, names, views=["RCC", "rml"]), "view")) == {"d.png", "e.png"}


ROW_CASES = [
    # rows below 'image,label,patient,view' -> labels of the kept images, what is left out
    (["a.png,A,p,", "a.png,a,p,"], {"a.png": "A"}, {}),
    (["a.png,A,p,", "a.png,,p,"], {"a.png": "A"}, {}),
    (["a.png,A,p,", "a.png,B,p,"], {}, {"a.png": ("label", "the image is listed again with another label")}),
    (["a.png,A,p,", "a.png,7,p,"], {}, {"a.png": ("label", "the image is listed again with another label")}),
    (["a.png,A,p,", "a.png,A,q,"], {}, {"a.png": ("label", "the image is listed again with another patient")}),
    (["a.png,E,p,"], {}, {"a.png": ("label", "label 'E' is none of A, B, C, D (or 1-4)")}),
    (["gone.png,A,p,"], {}, {"gone.png": ("file", "file is missing")}),
    (["gone.png,,p,"], {}, {"gone.png": ("excluded", "no label")}),
    ([",A,p,"], {}, {"labels.csv row 3": ("file", "the row names no image")}),
    (["../a.png,A,p,"], {}, {"labels.csv row 3": ("file", LEAVES)}),
    (
        ["/etc/hosts,A,p,"],
        {},
        {"labels.csv row 3": ("file", ABSOLUTE)},
    ),
    (
        ["C:\\x\\a.png,A,p,"],
        {},
        {"labels.csv row 3": ("file", ABSOLUTE)},
    ),
    (["sub\\d.png,A,p,"], {"sub/d.png": "A"}, {}),
    (["a.png,A,p,ML"], {}, {"a.png": ("excluded", "view ML is not in data.views")}),
    (["a.png,A,,"], {}, {"a.png": ("label", "the row has neither patient nor exam")}),
]


@pytest.mark.parametrize(("rows", "labels", "expected"), ROW_CASES)
def test_rows(read, rows, labels, expected):
    text = "\n".join(["image,label,patient,view", "c.png,C,pc,MLO", *rows])
    manifest = read(text, names=("a.png", "c.png", "sub/d.png"))
    assert column(manifest, "label") == {"c.png": "C", **labels}
    assert left_out(manifest) == expected


def test_links_out_of_the_root_are_refused(tmp_path, read):
    outside = write_png(tmp_path.parent / f"{tmp_path.name}-outside" / "x.png")
    (tmp_path / "file.png").symlink_to(outside)
    (tmp_path / "folder").symlink_to(outside.parent)
    write_png(tmp_path / "a.png")
    (tmp_path / "inside.png").symlink_to(tmp_path / "a.png")
    manifest = read("image,label,patient\nfile.png,A,p\nfolder/x.png,A,p\ninside.png,B,p\n")
    assert list(manifest.table["image_id"]) == ["inside.png"]
    assert left_out(manifest) == {f"labels.csv row {row}": ("file", LEAVES) for row in (2, 3)}


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1"])
def test_delimiters_and_encodings(read, delimiter, encoding):
    text = "image,label,patient_id,reader\na.png,1,Jos\xe9,x\nb.png,2,p,\n".replace(",", delimiter)
    assert column(read(text, encoding=encoding), "patient_id") == {"a.png": "Jos\xe9", "b.png": "p"}


def test_quotes_and_line_breaks_in_cells_and_blank_rows_keep_row_numbers(read):
    text = 'image,label,patient,note\r\na.png,1,p,"two\r\nlines, and a comma"\r\n\r\n,2,q,\r\n'
    manifest = read(text)
    assert list(manifest.table["image_id"]) == ["a.png"]
    assert set(left_out(manifest)) == {"labels.csv row 4"}


def test_columns_by_name_spelling_and_pattern(read):
    table = {
        "columns": {
            "path": "{Study}/{Image No}.png",
            "label": ["density", "BI-RADS"],
            "patient_id": None,
            "exam_id": "study",
        },
        "label_map": {"0": "A", "1": "B", "2": "C", "3": "D", "9": ""},
        "files": ["tables/*.tsv"],
    }
    text = "Study\tImage No\tbi-rads\tpatient_id\n01\t1\t0\tp\n01\t2\t3\tp\n02\t\t1\tp\n02\t3\t9\tp\n02\t4\t4\tp\n"
    names = [f"tables/{name}.png" for name in ("01/1", "01/2", "02/3", "02/4")]
    manifest = read(text, names=names, file="tables/x.tsv", table=table)
    assert column(manifest, "label") == {"tables/01/1.png": "A", "tables/01/2.png": "D", "tables/02/3.png": ""}
    assert column(manifest, "patient_id") == {f"tables/{name}.png": name[:2] for name in ("01/1", "01/2", "02/3")}
    assert manifest.group_by == "exam"
    assert manifest.notes == ["no image has a patient id: the exam stands for the patient"]
    assert left_out(manifest) == {
        "x.tsv row 4": ("file", "the row names no image"),
        "tables/02/4.png": ("label", "label '4' is none of 0, 1, 2, 3, 9"),
    }


def test_images_without_patient_or_exam_must_be_declared_independent(read):
    with pytest.raises(DataError, match=r"data.group_by=image"):
        read("image,label\na.png,A\nb.png,B\n")
    manifest = read("image,label\na.png,A\nb.png,B\n", group_by="image")
    assert column(manifest, "patient_id") == {"a.png": "a.png", "b.png": "b.png"}
    assert (manifest.group_by, manifest.notes) == ("image", [])


def test_grouping_by_exam_or_image_where_patients_are_known_is_remarked(read):
    text = "image,label,patient,exam\na.png,A,p,1\nb.png,B,p,2\nc.png,C,,2\n"
    assert column(read(text), "patient_id") == {"a.png": "p", "b.png": "p", "c.png": "p"}
    exam, image = read(text, group_by="exam"), read(text, group_by="image")
    assert column(exam, "patient_id") == {"a.png": "1", "b.png": "2", "c.png": "2"}
    assert exam.notes == ["grouped by exam although 1 patients have 2 exams"]
    assert image.notes == [
        "data.group_by=image although 1 patients are known: images of one woman can be in train and val"
    ]


def test_own_label_set_and_order(read):
    text = "image,label,patient\na.png,benign,p\nb.png,malignant,q\nc.png,normal,r\n"
    assert read(text).class_names == ("benign", "malignant", "normal")
    assert read(text, classes=["normal", "benign", "malignant"]).class_names == ("normal", "benign", "malignant")


def test_a_table_elsewhere_names_images_below_the_root(tmp_path, options_of):
    write_png(tmp_path / "root" / "a.png")
    (tmp_path / "labels.csv").write_text("image,label,patient\na.png,A,p\n")
    options = options_of("table", csv=str(tmp_path / "labels.csv"))
    assert list(read_manifest(options, tmp_path / "root").table["image_id"]) == ["a.png"]


ERRORS = [
    ("image,labell,patient\na.png,A,p\n", {}, "no column label .*; it has image, labell, .*did you mean labell"),
    ("image,label,patient\n", {}, "labels.csv is empty"),
    ("", {}, "labels.csv is empty"),
    ("image,label,label\na.png,A,B\n", {}, "several columns named label"),
    ("image,label,patient\na.png,A,p,q\n", {}, "more cells than the header, the first at row 2"),
    ("image,label,patient\na.png,1,p\nb.png,B,p\n", {}, "labels.csv row 2: '1'|labels.csv row 3: 'B'"),
    ("image,label,patient,split\na.png,A,p,fold1\n", {}, "1 rows have an unknown split name: labels.csv row 2"),
    ("image,label,patient\nx.png,A,p\n", {}, "no image of table can be used; 1 rows .*file is missing"),
    ("image,label,patient\na.png,A,p\n", {"columns": {"patient": "patient"}}, "patient is unknown.*patient_id"),
    ("image,label,patient\na.png,A,p\n", {"columns": {"view": "projection"}}, "no column projection"),
    ("image,label,patient\na.png,A,p\n", {"columns": {"path": "{study}/{image}"}}, "no column study"),
    ("image,label,patient\na.png,A,p\n", {"files": ["x.csv"]}, "x.csv is not in data.root; there: labels.csv"),
    ("image,label,patient\na.png,A,p\n", {"files": ["../labels.csv"]}, "not below data.root"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "table", "message"), ERRORS)
def test_tables_that_cannot_be_used(read, text, table, message):
    with pytest.raises(DataError, match=f"(?s){message}"):
        read(text, table=table)


def test_several_tables_or_none(tmp_path, read, options_of):
    with pytest.raises(DataError, match=r"holds no table.*(?s:.*)data.table.files"):
        read_manifest(options_of("table"), tmp_path)
    (tmp_path / "other.csv").write_text("x\n1\n")
    with pytest.raises(DataError, match=r"holds labels.csv, other.csv"):
        read("image,label,patient\na.png,A,p\n")


def test_roots_and_formats_that_do_not_exist(tmp_path, options_of):
    options = options_of("table")
    file = write_png(tmp_path / "a.png")
    for root, message in (
        (None, "data.root is not set"),
        (tmp_path / "x", "does not exist"),
        (file, "is not a folder"),
    ):
        with pytest.raises(DataError, match=f"(?s){message}.*to do"):
            read_manifest(options, root)
    with pytest.raises(DataError, match="did you mean table"):
        read_manifest(options_of("table", format="tabel"), tmp_path)


def test_a_relative_root_gives_absolute_paths(tmp_path, options_of, monkeypatch):
    write_png(tmp_path / "set" / "a.png")
    (tmp_path / "set" / "labels.csv").write_text("image,label,patient\na.png,A,p\n")
    monkeypatch.chdir(tmp_path)
    manifest = read_manifest(options_of("table"), (tmp_path / "set").relative_to(tmp_path))
    assert list(manifest.table["path"]) == [str(tmp_path / "set" / "a.png")]


SEPARATOR_LINES = [
    ("sep=;\r\n", ";"), ("SEP=;\n", ";"), ('"sep=;"\n', ";"), ('"sep=;";;;\r\n', ";"), ("sep=;;;;\n", ";"),
    ("sep=,\n", ","), ("sep=\t\n", "\t"), ("sep=\\t\n", "\t"), ("sep=|\r\n", "|"), ("sep=^\n", "^"), ("sep=:\n", ":"),
    ("sep=\n", ";"), ("\r\nsep=;\r\n", ";"), ("sep=;\r\n\ufeff", ";"),
    # Saved anew by a program that has left the line as it was.
    ("sep=;\n", ","), ('"sep=;"\n', "\t"), ("sep=,,,\n", ";"),
]  # fmt: skip


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize(("line", "delimiter"), SEPARATOR_LINES)
def test_a_first_line_for_excel_states_the_delimiter(read, encoding, line, delimiter):
    """It is not shown by a spreadsheet, so the header is row 1."""
    rows = ["image;label;patient;note", "a.png;A;p;x", ";B;p;", "b.png;C;q;y"]
    text = line + "\r\n".join(rows).replace(";", delimiter) + "\r\n"
    if encoding == "latin-1" and "\ufeff" in text:
        pytest.skip("it has no such mark")
    manifest = read(text, encoding=encoding)
    assert column(manifest, "label") == {"a.png": "A", "b.png": "C"}
    assert left_out(manifest) == {"labels.csv row 3": ("file", "the row names no image")}


def test_a_stated_delimiter_wins_over_what_the_header_looks_like(read):
    text = "sep=;\nimage;label;patient;kV, mAs, mGy, mm\na.png;A;p;1,2,3,4\nb.png;B;q;1,2\n"
    assert column(read(text), "label") == {"a.png": "A", "b.png": "B"}


def test_a_header_that_begins_like_such_a_line_is_a_header(read):
    manifest = read("sep=x,image,label,patient\n1,a.png,A,p\n2,b.png,B,q\n")
    assert column(manifest, "label") == {"a.png": "A", "b.png": "B"}


@pytest.mark.parametrize("files", [[], ["*.csv"], ["labels.csv"]])
def test_what_a_mac_puts_beside_a_table_is_no_table(tmp_path, read, files):
    for name in ("._labels.csv", "._a.png", ".DS_Store"):
        (tmp_path / name).write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    text = "image,label,patient\na.png,A,p\nb.png,B,q\n"
    assert column(read(text, table={"files": files}), "label") == {"a.png": "A", "b.png": "B"}


@pytest.mark.parametrize(("named", "there"), [("x.dcm", "x.DCM"), ("x.PNG", "x.png"), ("x.Jpeg", "x.jpeg")])
def test_an_ending_in_capitals_is_the_same_file(tmp_path, read, named, there):
    manifest = read(f"image,label,patient\nsub/{named},A,p\nb.png,B,q\n", names=[f"sub/{there}", "b.png"])
    assert column(manifest, "path") == {f"sub/{there}": str(tmp_path / "sub" / there), "b.png": str(tmp_path / "b.png")}


def test_the_header_says_the_view_where_the_table_does_not(tmp_path, read):
    """And only there: what a table states comes before it."""
    for name, view in (("a", "XCCL"), ("b", "CC"), ("c", "ML"), ("d", "CC")):
        write_dicom(tmp_path / f"{name}.dcm", ViewPosition=view)
    rows = "a.dcm,1,p,\nb.dcm,2,q,\nc.dcm,3,r,MLO\nd.dcm,4,s,XCCL\ne.png,1,t,\n"
    manifest = read("image,label,patient_id,view\n" + rows, ["e.png"])
    assert column(manifest, "label") == {"b.dcm": "B", "c.dcm": "C", "e.png": "A"}
    no_view = ("excluded", "view XCCL is not in data.views")
    assert left_out(manifest) == {"a.dcm": no_view, "d.dcm": no_view}
    assert (column(manifest, "view"), column(manifest, "laterality")) == (
        {"b.dcm": "", "c.dcm": "MLO", "e.png": ""}, dict.fromkeys(("b.dcm", "c.dcm", "e.png"), "")
    )  # fmt: skip


def test_a_side_that_only_the_header_knows(tmp_path, read):
    for name, side in (("a", "R"), ("b", "L")):
        write_dicom(tmp_path / f"{name}.dcm", ImageLaterality=side)
    manifest = read("image,label,patient_id,view\na.dcm,1,p,CC\nb.dcm,2,q,CC\n", [], views=["RCC"])
    assert list(manifest.table["image_id"]) == ["a.dcm"]


def test_lateralities_that_mean_nothing_are_counted_and_not_quoted(read):
    text = "image,label,patient_id,laterality\na.png,1,p,izquierda\nb.png,2,q,Jane\nc.png,3,r,D\nd.png,4,s,\n"
    manifest = read(text, ["a.png", "b.png", "c.png", "d.png"])
    assert column(manifest, "laterality") == {"a.png": "L", "b.png": "", "c.png": "", "d.png": ""}
    assert manifest.notes == ["2 rows: the laterality is no known word for left or right"]


FROM_PANDAS = "image,label,patient\na.png,1.0,p\nb.png,3.0,q\nc.png,,r\n"


def test_numbers_that_an_empty_cell_has_made_floats_are_densities(read):
    assert column(read(FROM_PANDAS), "label") == {"a.png": "A", "b.png": "C", "c.png": ""}
    own = read(FROM_PANDAS, task="labels", classes=["1", "3"])
    assert column(own, "label") == {"a.png": "1", "b.png": "3", "c.png": ""}
    as_written = read(FROM_PANDAS, task="labels", classes=["1.0", "3.0"])
    assert column(as_written, "label") == {"a.png": "1.0", "b.png": "3.0", "c.png": ""}


@pytest.mark.parametrize("label_map", [{"1": "C", "3": "A"}, {"1.0": "C", "03": "A"}, {1: "C", 3.0: "A"}])
def test_a_map_of_numbers_does_not_mind_how_they_are_written(read, label_map):
    problems = []
    table = build(TableOptions, {"label_map": label_map}, problems).label_map
    manifest = read(FROM_PANDAS, table={"label_map": table})
    assert (column(manifest, "label"), problems) == ({"a.png": "C", "b.png": "A", "c.png": ""}, [])


def test_a_column_may_be_called_by_a_number(read):
    text = "image,1,patient,3\na.png,x,p,A\nb.png,x,q,B\n"
    assert column(read(text, table={"columns": {"label": 3}}), "label") == {"a.png": "A", "b.png": "B"}


def test_excel_tables_from_the_field(shared_data, options_of):
    manifest = read_manifest(options_of("table"), shared_data / "field-cases" / "13-csv-excel-sep")
    labels = column(manifest, "label")
    assert (len(labels), manifest.left_out) == (12, [])
    assert {label: list(labels.values()).count(label) for label in "ABCD"} == dict.fromkeys("ABCD", 3)

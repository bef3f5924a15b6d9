"""Folders as they come from archives, disks and spreadsheets, through the command that says what is used of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.checks.conftest import status_of
from tests.data.formats.small_datasets import write_dicom, write_png


def used_and_left_out(capsys: pytest.CaptureFixture[str], cache: Path, *words: str) -> list[str]:
    """What the doctor says of the images of a dataset, decoded as for a run."""
    status_of("json=true", *words, "data.image_size=64", "data.num_workers=0", f"cache_dir={cache}")
    sections = json.loads(capsys.readouterr().out)["sections"]
    findings = [one for section in sections for one in section["findings"]]
    return [one["text"] for one in findings if one["subject"] in ("used", "left out", "data")]


@pytest.mark.parametrize(
    ("case", "words", "used"),
    [
        ("11-folders-without-extension", ["data=folders", "data.group_by=image"], "24 images"),
        ("12-cbis-appledouble", ["data=cbis_ddsm"], "32 images of 32 patients"),
        ("13-csv-excel-sep", ["data=table"], "12 images of 12 patients"),
        ("13-csv-excel-sep", ["data=auto"], "12 images of 12 patients"),
    ],
)
def test_cases_from_the_field(shared_data, session_cache, capsys, case, words, used):
    root = shared_data / "field-cases" / case
    assert used_and_left_out(capsys, session_cache, *words, f"data.root={root}") == [used, "nothing"]


def test_a_folder_of_everything(session_cache, capsys, class_folders, tmp_path):
    """Class folders with names of all kinds and with what systems and people leave in them."""
    for name in "ABCD":
        for number in range(4):
            target = tmp_path / name / f"{number}{('', '.png', '.PNG', '.1')[number]}"
            target.parent.mkdir(exist_ok=True)
            shutil.copy(class_folders / name / f"{name}{number}.png", target)
        (tmp_path / name / f"._{number}.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "A" / "README.md").write_text("who took them")
    found = used_and_left_out(capsys, session_cache, "data=folders", f"data.root={tmp_path}", "data.group_by=image")
    assert found == ["16 images", "1, on purpose: the file is no image"]


def test_an_exam_archive_with_a_table_of_excel(session_cache, capsys, class_folders, tmp_path):
    rows = ["sep=;", "AccessionNumber;Classification", *(f"{n};{n % 4 + 1}.0" for n in range(8))]
    (tmp_path / "classificacao.csv").write_text("\r\n".join(rows), encoding="utf-16")
    (tmp_path / "._classificacao.csv").write_bytes(b"\0\5\x16\7")
    for n in range(8):
        write_dicom(tmp_path / f"{n}" / "IM1.DCM", PatientID=f"P{n}", Manufacturer=f"{n}")
        (tmp_path / f"{n}" / "._IM1.DCM").write_bytes(b"\0\5\x16\7")
    words = ("data=archive", f"data.root={tmp_path}", "data.allow_duplicates=true")
    assert used_and_left_out(capsys, session_cache, *words) == ["8 images of 8 patients", "nothing"]


def test_numbers_as_labels_on_the_command_line(session_cache, capsys, tmp_path):
    rows = [f"{n}.png,{n % 4},p{n}" for n in range(8)]
    (tmp_path / "t.csv").write_text("\n".join(["image,label,patient", *rows]))
    for n in range(8):
        write_png(tmp_path / f"{n}.png")
    words = ("data=table", f"data.root={tmp_path}", "data.allow_duplicates=true")
    refused = used_and_left_out(capsys, session_cache, *words)
    assert "seem to count from 0" in refused[0]
    taken = used_and_left_out(capsys, session_cache, *words, "data.table.label_map={0: A, 1: B, 2: C, 3: D}")
    assert taken == ["8 images of 8 patients", "nothing"]

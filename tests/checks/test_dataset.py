"""What is said of a dataset, and how each thing that is wrong with one is named."""

from __future__ import annotations

import csv
import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from mammo.checks.dataset import check_dataset
from mammo.checks.leakage import check_leakage
from mammo.checks.report import Finding, Level, Section, text_lines
from mammo.data.data_options import DataOptions
from mammo.data.dataset import load_dataset
from mammo.runs.result_files import grouping_summary
from mammo.support.progress import counting
from tests.checks.conftest import status_of
from tests.data.formats.small_datasets import write_dicom

PATIENTS_OF_A_CLASS = 6


def breast(random: np.random.Generator, density: int) -> np.ndarray:
    y, x = np.mgrid[:96, :72]
    inside = ((y - 48) / 42) ** 2 + (x / 60) ** 2 < 1
    tissue = random.random((96, 72)) < 0.1 + 0.25 * density
    return (inside * (800 + 1500 * tissue + random.integers(0, 300, (96, 72)))).astype(np.uint16)


@pytest.fixture(scope="module")
def healthy_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 exams of a woman each, six of every class, four views."""
    root, random = tmp_path_factory.mktemp("archive"), np.random.default_rng(3)
    rows = []
    for number in range(4 * PATIENTS_OF_A_CLASS):
        rows.append([f"{number:06d}", str(number % 4 + 1)])
        for side in "LR":
            for view in ("CC", "MLO"):
                tags = {"PatientID": f"SECRET{number}", "ImageLaterality": side, "ViewPosition": view}
                maker = "HOLOGIC, Inc." if number % 2 else "Quesadilla^Ximenia"
                file = root / f"{number:06d}" / f"{side}{view}.dcm"
                write_dicom(file, breast(random, number % 4), Manufacturer=maker, **tags)
    write_labels(root, rows)
    return root


def write_labels(root: Path, rows: list[list[str]]) -> None:
    with (root / "classificacao.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["AccessionNumber", "Classification"], *rows])


def labels(root: Path) -> list[list[str]]:
    with (root / "classificacao.csv").open(newline="") as stream:
        return list(csv.reader(stream))[1:]


@pytest.fixture
def archive(healthy_archive: Path, tmp_path: Path) -> Path:
    """A copy of the archive."""
    return shutil.copytree(healthy_archive, tmp_path / "archive")


def options(root: Path, **changes: object) -> DataOptions:
    return dataclasses.replace(DataOptions(name="archive", format="archive", root=str(root), image_size=64), **changes)


def look(root: Path, cache: Path, **changes: object) -> list[Section]:
    return check_dataset(options(root, **changes), cache, counting)


def findings(sections: list[Section], level: Level) -> list[str]:
    """Subject and text of the findings of a level."""
    return [
        f"{finding.subject}: {finding.text}"
        for section in sections
        for finding in section.findings
        if finding.level is level
    ]


def change_header(file: Path, **tags: str) -> None:
    dataset = pydicom.dcmread(file)
    for name, value in tags.items():
        setattr(dataset, name, value)
    dataset.save_as(file)


def test_a_healthy_dataset_passes_with_its_counts(archive, session_cache):
    sections = look(archive, session_cache)
    assert findings(sections, Level.PROBLEM) == []
    (few,) = findings(sections, Level.NOTE)
    assert few.startswith("val: few images of A ")
    (classes,) = sections[0].tables
    assert list(classes.columns) == ["class", "all", "pat.", "train", "pat.", "val", "pat."]
    assert classes.rows[-1] == ["total", 96, 24, 76, 19, 20, 5]
    assert [row[:3] for row in classes.rows[:-1]] == [[name, 24, 6] for name in "ABCD"]
    views, vendors = sections[1].tables
    assert views.rows == [["CC", 24, 24, 0], ["MLO", 24, 24, 0]]
    assert vendors.rows == [["Hologic", 48], ["other", 48]]
    lines = text_lines(sections)
    assert max(map(len, lines)) <= 80
    assert "SECRET" not in "\n".join(lines)


def test_the_command_takes_the_options_of_training_and_finds_out_what_a_folder_holds(
    archive, session_cache, capsys, monkeypatch
):
    for arguments in (["data=archive", f"data.root={archive}"], [str(archive)]):
        monkeypatch.setattr("sys.argv", ["doctor"])
        status = status_of(
            *arguments, "data.image_size=64", "train.epochs=3", f"cache_dir={session_cache}", "json=true"
        )
        assert status == 0
        content = json.loads(capsys.readouterr().out)
        assert content["sections"][0]["tables"][0]["rows"][-1][1] == 96
    assert "data.format=auto: archive, because" in json.dumps(content)


def test_what_is_left_out_is_counted_with_its_reason(archive, session_cache):
    write_labels(archive, [*labels(archive), ["000098", "2"], ["000099", "5"]])
    broken = archive / "000000" / "LCC.dcm"
    broken.write_bytes(broken.read_bytes()[:-5000])
    notes = findings(look(archive, session_cache), Level.NOTE)
    assert "left out: 1, on purpose: class 5 (skip)" in notes
    assert "left out: 1, defective (file): the exam folder is missing: classificacao.csv row 26" in notes
    assert any(text.startswith("left out: 1, defective (pixels):") and "pseudonyms/" in text for text in notes)
    stopped, *others = look(archive, session_cache, max_bad_fraction=0.0)
    (text,) = findings([stopped], Level.PROBLEM)
    assert "a run would end: 2 of 97 images or label rows are defective" in text
    assert "data.max_bad_fraction=0.03" in stopped.findings[0].to_do
    assert "used: 95 images of 24 patients" in findings(others, Level.OK), "it is looked at all the same"


def test_every_problem_of_a_dataset_is_found_at_once(healthy_archive, session_cache, tmp_path):
    rows = [["patient_id", "image_path", "density", "split"]]
    for number, file in enumerate(sorted(healthy_archive.glob("*/*.dcm"))):
        shutil.copy(file, tmp_path / f"{number}.dcm")
        rows.append(
            [f"P{number // 4}", f"{number}.dcm", str(number // 4 % 4), "val" if number % 24 > 19 else "practice"]
        )
    rows[7][1] = "gone.dcm"  # and labels count from 0, and the word for a part is unknown
    for number in range(40, 96, 4):
        shutil.copy(tmp_path / "0.dcm", tmp_path / f"{number}.dcm")
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    sections = look(tmp_path, session_cache, format="table", name="table", max_bad_fraction=0.0)
    counted_from_0, part, missing, copied = findings(sections, Level.PROBLEM)[:4]
    assert "the labels seem to count from 0" in counted_from_0
    assert "rows have an unknown split name" in part
    assert "1 of 96 images or label rows are defective" in missing
    assert "in training and in validation or test, as images of different patients" in copied
    assert any("labels.csv row 8" in text for text in findings(sections, Level.NOTE))
    assert [row[0] for row in sections[1].tables[0].rows] == ["A", "B", "C", "D", "total"]


def test_remedies_fit_the_format(class_folders, session_cache):
    sections = look(class_folders, session_cache, format="folders", name="folders")
    (finding,) = sections[0].findings
    assert "neither patients nor exams" in finding.text
    assert "data.group_by=image" in finding.to_do
    assert "data.table.columns" not in finding.to_do
    assert "used: 32 images" in findings(sections, Level.OK)


def test_a_class_that_is_missing_is_a_problem(archive, session_cache):
    write_labels(archive, [row for row in labels(archive) if row[1] != "4"])
    sections = look(archive, session_cache)
    (text,) = findings(sections, Level.PROBLEM)
    assert "the training set has no image of class D" in text
    assert sections[1].tables[0].rows[3] == ["D", 0, 0, 0, 0], "the counts show it"


def test_annotations_and_several_labels_of_a_woman_are_notes(archive, session_cache):
    change_header(archive / "000000" / "LCC.dcm", BurnedInAnnotation="YES")
    for file in (archive / "000001").iterdir():
        change_header(file, PatientID="SECRET0")
    notes = findings(look(archive, session_cache), Level.NOTE)
    assert "annotation: 1 image with BurnedInAnnotation=YES: names may be written in the pixels" in notes
    assert "labels: 1 patient with images of several classes" in notes


def test_a_vendor_cannot_write_to_the_terminal(archive, session_cache):
    change_header(archive / "000000" / "LCC.dcm", Manufacturer="\x1b]0;title\x07")
    lines = "\n".join(text_lines(look(archive, session_cache)))
    assert "\x1b" not in lines
    assert "title" not in lines  # the vendor is one of a list


def leaks(root: Path, cache: Path, spoil: Callable) -> list[Finding]:
    """What is found in a dataset whose split has been changed."""
    dataset = load_dataset(options(root), cache, 0, counting)
    changed = dataclasses.replace(dataset, split=spoil(dataset.split))
    return [finding for finding in check_leakage(changed) if finding.level is Level.PROBLEM]


def test_a_patient_in_two_parts_is_found_whatever_the_split_says(archive, session_cache):
    # The four images of a woman follow one another.
    found = leaks(
        archive, session_cache,
        lambda split: dataclasses.replace(split, train=split.train[1:], val=np.append(split.val, split.train[0])),
    )  # fmt: skip
    assert [finding.text for finding in found] == [
        "1 patient in more than one part of the split", "1 exam in more than one part",
    ]  # fmt: skip


def as_table(archive: Path, patient: Callable[[int], str], exam: Callable[[int, str], str]) -> DataOptions:
    """The images of the archive in a table that says patient and exam of a woman and a view."""
    files = sorted(archive.glob("*/*.dcm"))
    lines = ["image,label,patient,exam"] + [
        f"{file.relative_to(archive)},{int(file.parent.name) % 4 + 1},{patient(int(file.parent.name))},"
        f"{exam(int(file.parent.name), file.name)}"
        for file in files
    ]
    (archive / "table.csv").write_text("\n".join(lines) + "\n")
    return options(archive, format="table", csv="table.csv")


def test_visits_of_all_women_are_exams_of_each(archive, session_cache):
    table = as_table(archive, lambda woman: f"W{woman}", lambda woman, view: "1" if view[0] == "L" else "2")
    dataset = load_dataset(table, session_cache, 0, counting)
    assert {finding.level for finding in check_leakage(dataset)} == {Level.OK}
    assert any("an exam is patient and exam" in note for note in dataset.manifest.notes)
    assert grouping_summary(dataset.manifest.grouping)["exam_ids"] == "per_patient"


def test_two_numbers_in_an_exam_are_one_woman_and_counted(archive, session_cache):
    table = as_table(archive, lambda woman: f"W{woman}", lambda woman, view: f"E{woman - woman % 8 // 7}")
    dataset = load_dataset(table, session_cache, 0, counting)
    assert {finding.level for finding in check_leakage(dataset)} == {Level.OK}
    assert dataset.table["patient_id"].nunique() == 21
    assert grouping_summary(dataset.manifest.grouping) == {
        "exam_ids": "global",
        "joined": {"patient_spellings": 0, "exam_spellings": 0, "merged": 0, "by_exam": 3},
    }


def test_an_image_in_two_parts_or_in_none_is_found(archive, session_cache):
    twice = leaks(
        archive, session_cache, lambda split: dataclasses.replace(split, val=np.append(split.val, split.train[:4]))
    )
    assert "1 patient in more than one part of the split" in twice[0].text
    lost = leaks(archive, session_cache, lambda split: dataclasses.replace(split, train=split.train[4:]))
    assert [finding.text for finding in lost] == ["4 images in no part of the split"]


def test_the_same_picture_in_two_parts_is_found_in_another_file(archive, session_cache):
    dataset = load_dataset(options(archive), session_cache, 0, counting)
    of_one, of_another = (
        Path(dataset.table["path"].iloc[rows[0]]) for rows in (dataset.split.train, dataset.split.val)
    )
    copy, target = pydicom.dcmread(of_one), pydicom.dcmread(of_another)
    # Other tags, so that the files differ: only their pixels are equal.
    target.PixelData, target.ImageLaterality = copy.PixelData, copy.ImageLaterality
    target.save_as(of_another)
    problems = findings(look(archive, session_cache), Level.PROBLEM)
    assert any("1 pictures are in training and in validation or test" in text for text in problems), problems
    assert status_of(str(archive), "data.image_size=64", f"cache_dir={session_cache}") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["data=mias"], "data.root is not set"),
        (["data=mias", "data.root=nowhere"], "does not exist"),
        (["nowhere"], "there is no such folder"),
        (["x" * 300], "a longer name than"),
        (["data=mias", f"data.root={'x' * 300}"], "a longer name than"),
        (["README.md"], "is a file"),
        (["data=archive", "data.rot=DIR"], "did you mean root"),
        (["data=phantom", "-m"], "leave out -m"),
        (["--verbose"], "KEY=VALUE"),
        (["mammo", "tests"], "do not belong together"),
    ],
)
def test_misuse_ends_with_status_2(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["doctor"])
    assert status_of(*arguments) == 2
    assert message in capsys.readouterr().err

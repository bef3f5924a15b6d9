"""Real and broken datasets through the whole command."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from mammo.data.data_options import DataOptions, TableOptions
from mammo.data.dataset import load_dataset
from mammo.support.errors import DataError
from mammo.support.progress import counting
from tests.data.formats.small_datasets import write_dicom
from tests.end_to_end.runs import only_run
from tests.processes import run_module

QUICK = (
    "model=efficientnet_lite0", "data.image_size=64", "data.batch_size=8", "train.epochs=1", "train.threads=1",
)  # fmt: skip


@pytest.mark.slow
def test_an_archive_of_mias_films_has_the_pixels_of_the_pngs(shared_data, tmp_path, session_cache):
    source = shared_data / "mini-mias"
    films = list(csv.DictReader((source / "labels.csv").open()))[:40]
    codes = {"F": "1", "G": "2", "D": "4"}
    with (tmp_path / "classificacao.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["AccessionNumber", "Classification"])
        for patient, tissue in sorted({(film["patient_id"], film["tissue"]) for film in films}):
            writer.writerow([patient, codes[tissue]])
    for film in films:
        with Image.open(source / "images" / film["image"]) as picture:
            pixels = np.asarray(picture)
        target = tmp_path / film["patient_id"] / f"{Path(film['image']).stem}.dcm"
        tags = {"PatientID": film["patient_id"], "ImageLaterality": film["laterality"], "ViewPosition": film["view"]}
        write_dicom(target, pixels, **tags)

    few = tmp_path / "pngs"
    (few / "images").mkdir(parents=True)
    with (few / "labels.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, films[0].keys())
        table.writeheader()
        table.writerows(films)
    for film in films:
        shutil.copy(source / "images" / film["image"], few / "images")
    columns = {"path": "images/{image}", "label": "tissue", "patient_id": "patient_id",
               "laterality": "laterality", "view": "view"}  # fmt: skip
    as_table = DataOptions(
        format="table", root=str(few), classes=["F", "G", "D"], task="labels", image_size=256,
        table=TableOptions(files=["labels.csv"], columns=columns),
    )  # fmt: skip
    as_archive = DataOptions(format="archive", root=str(tmp_path), task="density2", image_size=256)
    pngs = load_dataset(as_table, session_cache, 2, counting)
    dicoms = load_dataset(as_archive, session_cache, 2, counting)
    by_film = {Path(i).stem: row for row, i in enumerate(dicoms.table["image_id"])}
    assert len(by_film) == len(pngs.table) == 40
    for row, image_id in enumerate(pngs.table["image_id"]):
        film = by_film[Path(image_id).stem]
        assert np.array_equal(pngs.images.read([row]), dicoms.images.read([film])), image_id
    assert dicoms.table["patient_id"].nunique() == 20


@pytest.mark.slow
def test_the_density_samples_train_and_predict_four_classes(shared_data, train, tmp_path):
    done = train(
        "data=folders", f"data.root={shared_data / 'density-samples'}", "data.group_by=image", *QUICK,
        "data.val_fraction=0.25", "data.pseudonymize=false",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((only_run(tmp_path) / "val_predictions.csv").open()))
    assert sorted(row["y_true"] for row in rows) == list("ABCD")
    for row in rows:
        probabilities = {name: float(row[f"p_{name}"]) for name in "ABCD"}
        assert sum(probabilities.values()) == pytest.approx(1)
        assert row["y_pred"] == max(probabilities, key=probabilities.__getitem__)
    summary = json.loads((only_run(tmp_path) / "summary.json").read_text())
    assert summary["data"]["num_images"] == 16
    assert summary["data"]["group_by"] == "image"


def first_file(exam: Path) -> Path:
    return sorted(exam.glob("*.dcm"))[0]


@pytest.fixture
def broken_archive(generated_exams, tmp_path) -> Path:
    """Twelve good exams and ten kinds of bad input."""
    root = tmp_path / "archive"
    shutil.copytree(generated_exams, root)
    rows = list(csv.reader((root / "classificacao.csv").open()))[1:]
    exams = [row[0] for row in rows]
    label = {row[0]: row[1] for row in rows}

    def copy_of(number: int, name: str) -> Path:
        target = root / name
        shutil.copytree(root / exams[number], target)
        for file in target.glob("*.dcm"):
            dataset = pydicom.dcmread(file)
            dataset.PatientID = f"patient of {name}"
            dataset.save_as(file)
        return target

    extra = [["900001", "2"], ["900002", "5"], ["900003", "7"], ["900004", ""], ["900005", "1"], ["900005", "3"]]
    for name in ("900002", "900003", "900004", "900005"):
        copy_of(0, name)
    truncated = first_file(root / exams[1])
    truncated.write_bytes(truncated.read_bytes()[: truncated.stat().st_size // 2])
    (root / exams[2] / "notes.dcm").write_text("not an image at all")
    ct = pydicom.dcmread(first_file(root / exams[3]))
    ct.Modality = "CT"
    ct.SOPInstanceUID = generate_uid()
    ct.save_as(root / exams[3] / "ct.dcm")
    write_dicom(root / exams[4] / "constant.dcm", np.full((64, 48), 900, np.uint16), PatientID="x4")
    colour = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    write_dicom(
        root / exams[5] / "colour.dcm", colour, PatientID="x5", SamplesPerPixel=3, PhotometricInterpretation="RGB",
        PlanarConfiguration=0,
    )  # fmt: skip
    with (root / "classificacao.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([["AccessionNumber", "Classification"], *[[e, label[e]] for e in exams], *extra])
    return root


def test_ten_kinds_of_bad_input_at_once(broken_archive, train, tmp_path):
    command = ["data=archive", f"data.root={broken_archive}", "data.pseudonymize=false", *QUICK]
    done = train(*command, "data.max_bad_fraction=0.2")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader((only_run(tmp_path) / "quarantine.csv").open()))
    listed = {row["image_id"]: (row["stage"], row["reason"]) for row in rows}

    def found(part: str) -> list[tuple[str, str]]:
        return [value for name, value in listed.items() if part in name]

    expected = {
        "900001": ("file", "folder"),
        "900002": ("excluded", "class 5"),
        "900003": ("label", "7"),
        "900004": ("excluded", "no label"),
        "900005": ("label", "another label"),
        "notes.dcm": ("file", "not DICOM"),
        "ct.dcm": ("pixels", "CT"),
        "constant.dcm": ("pixels", "constant"),
        "colour.dcm": ("pixels", "colour"),
    }
    for part, (stage, words) in expected.items():
        assert found(part), (part, listed)
        for found_stage, reason in found(part):
            assert words.lower() in reason.lower(), (part, reason)
            assert found_stage in (stage, "header"), (part, found_stage)
    truncated = [value for name, value in listed.items() if not any(part in name for part in expected)]
    assert len(truncated) == 1
    assert truncated[0][0] == "pixels"
    summary = json.loads((only_run(tmp_path) / "summary.json").read_text())
    assert summary["data"]["num_images"] == 12 * 4 - 1
    assert summary["data"]["num_quarantined"] == len(rows)
    assert Counter(row["stage"] for row in rows)["excluded"] >= 2

    stopped = train(*command, "data.max_bad_fraction=0.01", "run.name=strict")
    assert stopped.returncode == 2
    assert "data.max_bad_fraction=0.01" in stopped.stderr
    for words in ("constant", "folder", "another label"):
        assert words in stopped.stderr
    assert not list(tmp_path.glob("outputs/strict*/*"))


def test_defects_are_a_fraction_of_all_that_was_checked_also_with_a_limit(broken_archive, session_cache):
    options = DataOptions(format="archive", root=str(broken_archive), limit=8, image_size=64, max_bad_fraction=0.2)
    dataset = load_dataset(options, session_cache, 1, counting)
    assert dataset.table["patient_id"].nunique() == 8


def test_a_placeholder_for_patients_and_equal_pictures_are_remarked(class_folders, tmp_path, session_cache):
    with (tmp_path / "labels.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["path", "label", "patient_id"])
        for name in "ABCD":
            for number in range(8):
                shutil.copy(class_folders / name / f"{name}{number}.png", tmp_path)
                table.writerow([f"{name}{number}.png", name, "P0" if number < 5 else f"{name}{number}"])
        shutil.copy(tmp_path / "A7.png", tmp_path / "again.png")
        table.writerow(["again.png", "A", "somebody else"])
    options = DataOptions(format="table", root=str(tmp_path), image_size=64, val_fraction=0.4, allow_duplicates=True)
    notes = " ".join(load_dataset(options, session_cache, 1, counting).manifest.notes)
    assert "one patient has 20 of 33 images" in notes
    assert "1 pictures occur under several patients" in notes


def test_a_damaged_key_of_the_pseudonyms_is_not_used(class_folders, tmp_path):
    for content in ("", "ab", "not hexadecimal"):
        (tmp_path / "cache").mkdir(exist_ok=True)
        (tmp_path / "cache" / "pseudonym.key").write_text(content)
        options = DataOptions(format="folders", root=str(class_folders), group_by="image", image_size=64)
        with pytest.raises(DataError, match=r"pseudonym\.key"):
            load_dataset(options, tmp_path / "cache", 1, counting)


def test_nothing_that_is_written_names_a_patient(generated_exams, train, tmp_path, session_cache):
    done = train("data=archive", f"data.root={generated_exams}", *QUICK, "seed=9")
    assert done.returncode == 0, done.stderr
    dataset = pydicom.dcmread(first_file(next(path for path in generated_exams.iterdir() if path.is_dir())))
    accessions = [row[0] for row in list(csv.reader((generated_exams / "classificacao.csv").open()))[1:]]
    names = [str(dataset.PatientID), *accessions]
    run = only_run(tmp_path)
    for file in run.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            assert not [name for name in names if name.encode() in content], file
    assert not [name for name in names if name in done.stdout + done.stderr]
    predicted = list(csv.DictReader((run / "val_predictions.csv").open()))
    lookups = list((session_cache / "pseudonyms").glob("*.csv"))
    known = {row["pseudonym"]: row["id"] for file in lookups for row in csv.DictReader(file.open())}
    assert known[predicted[0]["exam_id"]] in accessions
    assert {oct(file.stat().st_mode & 0o777) for file in (*lookups, session_cache / "pseudonym.key")} == {"0o600"}


def test_the_phantom_is_the_default_and_can_be_limited(cache_with_exams, tmp_path):
    done = run_module(
        "mammo.train", *QUICK, "data.phantom.num_patients=12", "data.limit=8", "model.weights=none",
        "strategy=full_finetune", f"cache_dir={cache_with_exams}", folder=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((only_run(tmp_path) / "summary.json").read_text())
    assert summary["data"]["num_patients"] == 8
    assert summary["data"]["num_images"] == 32
    assert set(summary["data"]["class_counts"].values()) == {8}
    weights = {"source": "random", "sha256": None, "reason": "model.weights=none", "file_sha256": None}
    assert summary["model"]["weights"] == weights
    assert "RANDOM" in done.stdout

"""New images: from a checkpoint alone, whatever the files are."""

from __future__ import annotations

import errno
import hmac
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from pydicom.uid import generate_uid
from scipy.optimize import minimize_scalar
from scipy.special import softmax

from mammo import evaluate
from mammo.inference.partial import PartialResults
from mammo.predict import TOOL
from mammo.support.errors import ConfigError, DataError, RunDirectoryError
from mammo.support.ownership import one_owner
from tests.data.dicom_files import RAMP, build, save
from tests.inference.conftest import run_of
from tests.processes import start_module

CLASSES = [f"p_{name}" for name in "ABCD"]


def predictions(file):
    return pd.read_csv(file, dtype={"image_id": str, "patient_id": str, "exam_id": str}, keep_default_na=False)


@pytest.mark.parametrize("strategy", ["frozen_last_block", "full_finetune"])
def test_a_checkpoint_alone_predicts_what_its_run_has_predicted(strategy, sweep, command, class_folders, tmp_path):
    run = run_of(sweep, strategy)
    shutil.copy(run / "checkpoints" / "best_model.pth", tmp_path)
    command(TOOL, "best_model.pth", f"input={class_folders}", "output=preds.csv", "pseudonymize=false")
    of_run = predictions(run / "val_predictions.csv").set_index("image_id")
    found = predictions(tmp_path / "preds.csv").set_index("image_id")
    assert len(found) == 32
    np.testing.assert_allclose(found.loc[of_run.index, CLASSES], of_run[CLASSES], atol=1e-6, rtol=0)
    assert found.loc[of_run.index, "y_pred"].tolist() == of_run["y_pred"].tolist()
    p = found[CLASSES].to_numpy()
    np.testing.assert_allclose(found["entropy"], -(p * np.log(p)).sum(axis=1))
    assert found.columns.tolist() == [
        "patient_id", "exam_id", "laterality", "view", "y_pred", *CLASSES, "entropy"
    ]  # fmt: skip


@pytest.fixture
def mixed_folder(tmp_path, class_folders):
    """Files of all kinds: two views of one exam, one of another, and five that cannot be used."""
    folder = tmp_path / "mixed"
    exam, other = generate_uid(), generate_uid()
    for name, changes in {
        "L-CC": {"StudyInstanceUID": exam, "ViewPosition": "CC"},
        "L-MLO": {"StudyInstanceUID": exam, "ViewPosition": "MLO"},
        "sub/other.dcm": {"StudyInstanceUID": other, "PatientID": "Erika-Mustermann"},
        "ct.dcm": {"Modality": "CT"},
        "spot.dcm": {"ViewPosition": "SPOT"},
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        save(build(RAMP, **changes), folder / name)
    whole = (class_folders / "A" / "A0.png").read_bytes()
    (folder / "cut.png").write_bytes(whole[: len(whole) // 2])
    (folder / "nothing").write_bytes(b"")
    (folder / "notes.txt").write_text("not an image")
    shutil.copy(class_folders / "A" / "A0.png", folder)
    return folder


REASONS = {
    "ct.dcm": "modality CT is no projection X-ray (expected MG, CR, DX, RG)",
    "cut.png": "the picture is cut off or damaged",
    "nothing": "neither a DICOM file nor a readable picture",
    "spot.dcm": "view SPOT is none of those that the network has seen (CC, MLO)",
}


def test_every_file_is_predicted_or_listed_with_the_reason(mixed_folder, sweep, command, tmp_path):
    out = command(TOOL, run_of(sweep), f"input={mixed_folder}", "output=out/preds.csv", "pseudonymize=false")
    found = predictions(tmp_path / "out" / "preds.csv")
    assert found["image_id"].tolist() == ["A0.png", "L-CC", "L-MLO", "sub/other.dcm"]
    left_out = pd.read_csv(tmp_path / "out" / "preds_quarantine.csv").set_index("image_id")["reason"]
    assert sorted(left_out.index) == sorted(REASONS)
    assert all(left_out[name].startswith(reason) for name, reason in REASONS.items())
    assert "8 files (1 file beside them is no image)" in out
    assert REASONS["ct.dcm"] in " ".join(out.split())
    assert left_out["nothing"] == REASONS["nothing"]  # and no name of a Python class
    assert [line for line in out.splitlines() if len(line) > 80 and ".csv" not in line] == []
    exams = predictions(tmp_path / "out" / "preds_exams.csv").set_index("exam_id")
    both = found[found["image_id"].str.startswith("L-")]
    assert exams.loc[both["exam_id"].iloc[0], "num_images"] == 2
    np.testing.assert_allclose(exams.loc[both["exam_id"].iloc[0], CLASSES].astype(float), both[CLASSES].mean())
    assert sorted(file.name for file in (tmp_path / "out").glob("[!.]*")) == [
        "preds.csv", "preds_exams.csv", "preds_quarantine.csv",
    ]  # fmt: skip


def test_without_exams_in_the_headers_the_images_of_a_patient_are_one(sweep, command, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    for name, patient in (("a", "1"), ("b", "1"), ("c", "2")):
        save(build(RAMP, PatientID=patient), folder / name)
    command(TOOL, run_of(sweep), f"input={folder}", "output=p.csv", "pseudonymize=false")
    exams = predictions(tmp_path / "p_exams.csv")
    assert exams[["exam_id", "patient_id"]].to_numpy().tolist() == [["1", "1"], ["2", "2"]]
    assert exams["num_images"].tolist() == [2, 1]


def test_one_patient_in_several_spellings_has_one_exam(sweep, command, tmp_path):
    folder = tmp_path / "new"
    folder.mkdir()
    study = {"StudyInstanceUID": "1.2.3"}
    headers = {
        "a": {"PatientID": "P1"}, "b": {"PatientID": "p1 "}, "c": {"PatientID": "unknown"},
        "d": {"PatientID": "Q7"} | study, "e": {"PatientID": "Q-7"} | study, "f": {"PatientID": "nan"} | study,
    }  # fmt: skip
    for name, tags in headers.items():
        save(build(RAMP, **tags), folder / name)
    command(TOOL, run_of(sweep), f"input={folder}", "output=p.csv", "pseudonymize=false")
    assert predictions(tmp_path / "p.csv")["patient_id"].fillna("").tolist() == ["P1", "p1", "", "Q7", "Q-7", ""]
    exams = predictions(tmp_path / "p_exams.csv").fillna("")
    found = {row.exam_id: (row.patient_id, int(row.num_images)) for row in exams.itertuples()}
    assert found == {"P1": ("P1", 2), "1.2.3": ("Q-7", 3), "c": ("", 1)}
    command(TOOL, run_of(sweep), f"input={folder}", "output=hashed.csv")
    assert sorted(predictions(tmp_path / "hashed_exams.csv")["num_images"]) == [1, 2, 3]


def test_forced_it_takes_what_is_an_image_at_all(mixed_folder, sweep, command, tmp_path):
    command(TOOL, run_of(sweep), f"input={mixed_folder}", "output=preds.csv", "pseudonymize=false", "force=true")
    assert {"ct.dcm", "spot.dcm"} <= set(predictions(tmp_path / "preds.csv")["image_id"])
    assert sorted(pd.read_csv(tmp_path / "preds_quarantine.csv")["image_id"]) == ["cut.png", "nothing"]


def test_identities_are_not_written_unless_asked_for(mixed_folder, sweep, command, tmp_path, session_cache):
    (mixed_folder / "Erika").mkdir()
    shutil.copy(mixed_folder / "A0.png", mixed_folder / "Erika" / "Mustermann.png")
    out = command(TOOL, run_of(sweep), f"input={mixed_folder}", "output=o/preds.jsonl")
    written = "".join(file.read_text() for file in (tmp_path / "o").iterdir()) + out
    for identity in ("Erika", "Mustermann", "000123", str(mixed_folder)):
        assert identity not in written
    lookup = next(line for line in out.splitlines() if "pseudonyms/" in line).split(";")[1].split()[0]
    table = pd.read_csv(session_cache / lookup).set_index("pseudonym")["id"]
    ids = [json.loads(line)["image_id"] for line in (tmp_path / "o" / "preds.jsonl").read_text().splitlines()]
    assert sorted(table[ids]) == sorted([*REASONS, "A0.png", "L-CC", "L-MLO", "sub/other.dcm", "Erika/Mustermann.png"])


def test_lines_of_json_say_the_same_as_the_table(mixed_folder, sweep, command, tmp_path):
    for name in ("preds.csv", "preds.jsonl"):
        command(TOOL, run_of(sweep), f"input={mixed_folder}", f"output={name}", "pseudonymize=false")
    lines = [json.loads(line) for line in (tmp_path / "preds.jsonl").read_text().splitlines()]
    assert [line["image_id"] for line in lines if "error" in line] == sorted(REASONS)
    table = predictions(tmp_path / "preds.csv").to_dict("records")
    assert [line for line in lines if "error" not in line] == table


def test_folders_are_exams_when_it_is_said(sweep, command, class_folders, tmp_path):
    command(
        TOOL, run_of(sweep), f"input={class_folders}", "output=p.csv", "folders_are_exams=true", "pseudonymize=false"
    )
    exams = predictions(tmp_path / "p_exams.csv")
    assert exams["exam_id"].tolist() == list("ABCD")
    assert exams["num_images"].tolist() == [8, 8, 8, 8]


def test_an_ensemble_is_the_mean_of_its_members(sweep, command, class_folders, tmp_path):
    runs = [run_of(sweep, "frozen_last_block"), run_of(sweep, "full_finetune")]
    for name, members in (("a", runs[:1]), ("b", runs[1:]), ("both", runs)):
        command(TOOL, *members, f"input={class_folders}", f"output={name}.csv", "pseudonymize=false")
    command(TOOL, *runs, f"input={class_folders}", "output=weighted.csv", "weights=validation", "pseudonymize=false")
    a, b, both, weighted = (predictions(tmp_path / f"{name}.csv")[CLASSES] for name in ("a", "b", "both", "weighted"))
    np.testing.assert_allclose(both, (a + b) / 2, atol=1e-12)
    scores = [json.loads((run / "summary.json").read_text())["metrics"]["bal_acc_adj"] for run in runs]
    positive = [max(score, 0) for score in scores]
    assert sum(positive) > 0
    np.testing.assert_allclose(weighted, (a * positive[0] + b * positive[1]) / sum(positive), atol=1e-12)


def test_calibrated_probabilities_have_the_temperature_of_the_run(sweep, command, class_folders, tmp_path):
    run = run_of(sweep)
    for name, calibrated in (("raw", "false"), ("calibrated", "true")):
        command(
            TOOL, run, f"input={class_folders}", f"output={name}.csv", f"calibrated={calibrated}", "pseudonymize=false"
        )
    raw, calibrated = (predictions(tmp_path / f"{name}.csv")[CLASSES].to_numpy() for name in ("raw", "calibrated"))
    temperature = json.loads((run / "metrics" / "calibration.json").read_text())["temperature"]
    expected = raw ** (1 / temperature)
    np.testing.assert_allclose(calibrated, expected / expected.sum(axis=1, keepdims=True), atol=1e-6)
    shutil.copy(run / "checkpoints" / "best_model.pth", tmp_path / "alone.pth")
    with pytest.raises(RunDirectoryError, match=r"alone has no metrics/calibration\.json"):
        command(TOOL, "run=alone.pth", f"input={class_folders}", "calibrated=true")


@pytest.mark.parametrize(
    ("members", "weights"),
    [
        ((("frozen_last_block", 0), ("full_finetune", 0)), "equal"),
        ((("frozen_last_block", 0), ("full_finetune", 0)), "validation"),
        ((("frozen_last_block", 0), ("frozen_last_block", 1)), "equal"),  # folds: each image set aside by one
        ((("full_finetune", 1),), "equal"),
    ],
)
def test_evaluate_and_predict_calibrate_an_ensemble_alike(members, weights, sweep, command, class_folders, tmp_path):
    runs = [run_of(sweep, *member) for member in members]
    command(evaluate.TOOL, *runs, "split=test", "output=evaluated", f"weights={weights}")
    options = (f"input={class_folders}", "output=new.csv", "calibrated=true", "pseudonymize=false")
    command(TOOL, *runs, *options, f"weights={weights}")
    found = json.loads((tmp_path / "evaluated" / "evaluation.json").read_text())
    said, new = (
        predictions(tmp_path / name).set_index("image_id") for name in ("evaluated/predictions.csv", "new.csv")
    )
    temperature = found["calibration"]["temperature"]
    expected = softmax(np.log(said[CLASSES].to_numpy()) / temperature, axis=1)
    np.testing.assert_allclose(new.loc[said.index, CLASSES], expected, atol=1e-6)
    of_target = expected[np.arange(len(said)), [CLASSES.index(f"p_{name}") for name in said["y_true"]]]
    assert found["calibration"]["after"]["loss"] == pytest.approx(-np.log(of_target).mean(), abs=1e-5)

    # One temperature for the mean over whoever has set an image aside, and no other fits better.
    written = [predictions(run / "val_predictions.csv").assign(weight=network["weight"])
               for run, network in zip(runs, found["networks"], strict=True)]  # fmt: skip
    together = pd.concat(written)
    together[CLASSES] = together[CLASSES].mul(together["weight"], axis=0)
    sums = together.groupby("image_id")[[*CLASSES, "weight"]].sum()
    mean = sums[CLASSES].div(sums["weight"], axis=0)
    truth = together.groupby("image_id")["y_true"].first()

    def loss(log_temperature):
        scaled = softmax(np.log(mean.to_numpy()) / np.exp(log_temperature), axis=1)
        return -np.log(scaled[np.arange(len(mean)), [CLASSES.index(f"p_{name}") for name in truth]]).mean()

    best = minimize_scalar(loss, bounds=np.log([0.05, 20]), method="bounded", options={"xatol": 1e-8})
    assert np.log(temperature) == pytest.approx(best.x, abs=1e-4)


def test_of_several_networks_one_without_a_validation_set_has_no_temperature(sweep, command, class_folders, tmp_path):
    shutil.copy(run_of(sweep) / "checkpoints" / "best_model.pth", tmp_path / "alone.pth")
    both = (run_of(sweep, "full_finetune"), "alone.pth", f"data.root={class_folders}")
    with pytest.raises(RunDirectoryError, match=r"alone has no val_predictions\.csv"):
        command(TOOL, *both[:2], f"input={class_folders}", "calibrated=true")
    command(evaluate.TOOL, *both, "output=evaluated")
    assert json.loads((tmp_path / "evaluated" / "evaluation.json").read_text())["calibration"]["temperature"] is None


def start(folder, *words):
    return start_module("mammo.predict", *words, folder=folder, stdout=subprocess.PIPE)


@pytest.mark.slow
def test_an_interrupted_command_goes_on_and_ends_with_the_same_table(sweep, class_folders, session_cache, tmp_path):
    folder = tmp_path / "many"
    for copy in range(12):
        shutil.copytree(class_folders, folder / f"{copy:02}")
    words = (f"run={run_of(sweep)}", f"input={folder}", "threads=1", f"cache_dir={session_cache}")
    assert start(tmp_path, *words, "output=whole.csv").wait() == 0
    partial = tmp_path / ".broken.csv.partial.jsonl"
    for number, status in ((signal.SIGKILL, -signal.SIGKILL), (signal.SIGTERM, 85)):
        process = start(tmp_path, *words, "output=broken.csv")
        size = partial.stat().st_size if partial.exists() else 0
        while not (partial.exists() and partial.stat().st_size > size) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(number)
        assert process.wait() == status
    process = start(tmp_path, *words, "output=broken.csv")
    out, _ = process.communicate()
    assert process.returncode == 0
    assert "of 384 files are done" in out
    assert (tmp_path / "broken.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not partial.exists()


def test_what_an_interrupted_command_leaves_names_files_by_keyed_hashes(
    sweep, command, class_folders, session_cache, tmp_path, monkeypatch
):
    image = tmp_path / "Erika.png"
    shutil.copy(class_folders / "A" / "A0.png", image)
    replace = os.replace

    def full_disk(source, target):
        if Path(target).name == "p.csv":
            raise OSError(errno.ENOSPC, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full_disk)
    with pytest.raises(OSError, match="No space"):
        command(TOOL, run_of(sweep), f"input={image}", "output=p.csv")
    _, line = (tmp_path / ".p.csv.partial.jsonl").read_text().splitlines()
    state = image.stat()
    name = f"Erika.png, {state.st_size} bytes, changed at {state.st_mtime_ns} ns"
    key = bytes.fromhex((session_cache / "pseudonym.key").read_text())
    assert json.loads(line)["key"] == hmac.new(key, name.encode(), "sha256").hexdigest()
    assert "Erika" not in line
    monkeypatch.setattr(os, "replace", replace)
    partial = tmp_path / ".p.csv.partial.jsonl"
    whole = partial.read_text()
    # One digit of a probability: valid JSON, and another prediction.
    digit = re.search(r"0\.\d(\d)", line)
    at = whole.index(line) + digit.start(1)
    partial.write_text(whole[:at] + str((int(whole[at]) + 1) % 10) + whole[at + 1 :])
    with pytest.raises(RunDirectoryError, match=r"partial\.jsonl is damaged"):
        command(TOOL, run_of(sweep), f"input={image}", "output=p.csv")
    # As a version without sums has left it.
    first, _ = whole.splitlines()
    partial.write_text("\n".join([first, json.dumps({k: json.loads(line)[k] for k in ("key", "result")}), ""]))
    command(TOOL, run_of(sweep), f"input={image}", "output=p.csv")
    assert (tmp_path / "p.csv").exists()


def test_an_output_that_another_process_writes_is_told_from_one_that_cannot_be_written(
    sweep, command, class_folders, tmp_path
):
    words = (run_of(sweep), f"input={class_folders / 'A'}")
    (tmp_path / "file").write_text("")
    unwritable = ["file/p.csv", *(["/proc/p.csv"] if os.path.isdir("/proc") else [])]
    for output in unwritable:
        with pytest.raises(
            RunDirectoryError, match=rf"output={output} cannot be written \((File exists|.*directory)\)"
        ):
            command(TOOL, *words, f"output={output}")
    message = f"another process is writing this output: process {os.getpid()} on"
    with one_owner(tmp_path / ".p.csv.lock", RuntimeError), pytest.raises(RunDirectoryError, match=message):
        command(TOOL, *words, "output=p.csv")


def test_a_line_that_a_kill_has_cut_off_is_done_again(tmp_path):
    results = PartialResults(tmp_path / "out.csv", {"by": 1})
    results.add([("a", {"p": [0.25]}), ("b", {"p": [0.5]})])
    results.file.write_bytes(results.file.read_bytes()[:-4])
    again = PartialResults(tmp_path / "out.csv", {"by": 1})
    assert again.results == {"a": {"p": [0.25]}}
    again.add([("b", {"p": [0.75]})])
    assert PartialResults(tmp_path / "out.csv", {"by": 1}).results["b"] == {"p": [0.75]}
    with pytest.raises(RunDirectoryError, match="differs in by"):
        PartialResults(tmp_path / "out.csv", {"by": 2})


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["input=images"], RunDirectoryError, "no run is named"),
        (["run=outputs/gone", "input=images"], RunDirectoryError, "there is no such run or checkpoint"),
        (["{run}", "input=image"], DataError, r"no such file or folder\n.*\n  to do:    did you mean images\?"),
        (["{run}", "input=empty"], DataError, "no image is below"),
        (["{run}"], ConfigError, "input is not set"),
        (["{run}", "input=images", "output=x.xlsx"], ConfigError, r"\.csv or \.jsonl"),
        (["{run}", "inputs=images"], ConfigError, r"inputs: there is no such key\n  did you mean input or output\?"),
        (["{run}", "input=images", "force=maybe"], ConfigError, "expected true or false"),
        (["{run}", "input=images", "--force"], ConfigError, "without dashes"),
        (["{sweep}/sweep.json", "input=images"], RunDirectoryError, "is no checkpoint"),
    ],
)  # fmt: skip
def test_mistakes_say_what_would_be_right(words, error, message, sweep, command, class_folders, tmp_path):
    shutil.copytree(class_folders, tmp_path / "images")
    (tmp_path / "empty").mkdir()
    named = [word.format(run=run_of(sweep), sweep=sweep) for word in words]
    with pytest.raises(error, match=message):
        command(TOOL, *named)


def test_a_checkpoint_of_another_shape_is_refused(sweep, command, class_folders, tmp_path):
    content = torch.load(run_of(sweep) / "checkpoints" / "best_model.pth", weights_only=True)
    content["config"]["model"]["name"] = "resnet18"
    content["config"]["model"]["family"] = "torchvision"
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(RunDirectoryError, match=r"the weights in other\.pth do not fit resnet18"):
        command(TOOL, "run=other.pth", f"input={class_folders}")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("preprocessing", {}, "preprocessing.mean is missing"),
        ("preprocessing", {"mean": [0.5] * 3, "std": [0.0] * 3}, "no mean and standard deviation"),
        ("preprocessing", {"mean": [0.5] * 3, "std": [float("nan")] * 3}, "is no finite number"),
        ("class_names", ["A", "B", "C", "A"], "expected a list of different names"),
        ("class_names", ["A", "B", "C"], "with 3 classes"),
        ("config", {}, "not one of this version"),
    ],
)
def test_a_checkpoint_that_no_run_has_saved_is_refused(key, value, message, sweep, command, class_folders, tmp_path):
    content = torch.load(run_of(sweep) / "checkpoints" / "best_model.pth", weights_only=True)
    torch.save(content | {key: value}, tmp_path / "strange.pth")
    with pytest.raises(RunDirectoryError, match=message):
        command(TOOL, "run=strange.pth", f"input={class_folders}")


def test_a_checkpoint_that_is_cut_off_is_to_be_copied_again(sweep, command, class_folders, tmp_path):
    whole = (run_of(sweep) / "checkpoints" / "best_model.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RunDirectoryError, match=r"cut\.pth cannot be read[^$]*copy it again"):
        command(TOOL, "run=cut.pth", f"input={class_folders}")

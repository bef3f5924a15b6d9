"""Evaluations of finished runs: on their validation and test images, on other data, together, and compared."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
from hydra.errors import MissingConfigException

from mammo import predict
from mammo.evaluate import TOOL
from mammo.evaluation.metrics import compute_metrics
from mammo.evaluation.predictions import read_predictions
from mammo.runs.evaluation import read_temperature
from mammo.support.errors import ComparisonError, ConfigError, DataError, RunDirectoryError
from tests.data.dicom_files import RAMP, build, save
from tests.inference.conftest import run_of

CLASSES = [f"p_{name}" for name in "ABCD"]


def content_of(folder):
    return json.loads((folder / "evaluation.json").read_text())


def test_on_its_validation_set_a_run_has_the_metrics_that_it_has_stated(sweep, command):
    run = run_of(sweep)
    out = command(TOOL, run)
    folder = run / "evaluation" / "val"
    found = content_of(folder)
    stated = json.loads((run / "metrics" / "val_metrics.json").read_text())
    assert found["metrics"].keys() == stated.keys()
    for name, value in stated.items():
        if name == "ci95":
            for score, interval in value.items():
                np.testing.assert_allclose(found["metrics"][name][score], interval, rtol=1e-6, err_msg=score)
        elif name in ("loss", "per_class_loss"):
            np.testing.assert_allclose(found["metrics"][name], value, rtol=1e-6)
        else:
            assert found["metrics"][name] == value, name
    assert found["max_difference_from_run"] <= 1e-6
    assert "the predictions are those that the run has written" in out
    assert found["data"]["num_trained_on"] == 0
    assert str(sweep) not in (folder / "evaluation.json").read_text()
    assert max(len(line) for line in out.splitlines() if not line.startswith("Results: ")) <= 80
    temperature = json.loads((run / "metrics" / "calibration.json").read_text())["temperature"]
    assert found["calibration"]["temperature"] == temperature
    assert found["calibration"]["after"]["loss"] <= found["calibration"]["before"]["loss"] + 1e-9
    written = read_predictions(run / "val_predictions.csv").table
    pd.testing.assert_frame_equal(read_predictions(folder / "predictions.csv").table[written.columns], written)
    figures = {"confusion_matrix", "reliability", "roc", "precision_recall"}
    assert {f"{name}.png" for name in figures} <= {file.name for file in folder.iterdir()}


def test_the_test_images_are_those_that_were_set_aside(sweep, command):
    run = run_of(sweep)
    command(TOOL, run, "split=test")
    found = pd.read_csv(run / "evaluation" / "test" / "predictions.csv", dtype=str)
    assert found["image_id"].tolist() == pd.read_csv(run / "splits" / "test.csv", dtype=str)["image_id"].tolist()
    assert content_of(run / "evaluation" / "test")["data"]["num_trained_on"] == 0


def test_all_images_of_its_own_data_include_those_it_has_learnt_from(sweep, command):
    run = run_of(sweep)
    out = command(TOOL, run, "split=all")
    num_trained_on = len(pd.read_csv(run / "splits" / "train.csv"))
    assert content_of(run / "evaluation" / "all")["data"]["num_trained_on"] == num_trained_on > 0
    assert f"WARNING: it was trained on {num_trained_on} of these images" in out


def test_folds_together_predict_each_image_by_the_run_that_has_not_seen_it(sweep, command, tmp_path):
    runs = [run_of(sweep, fold=fold) for fold in (0, 1)]
    command(TOOL, *runs, "output=folds")
    found = pd.read_csv(tmp_path / "folds" / "predictions.csv", dtype={"image_id": str}).set_index("image_id")
    expected = pd.concat([pd.read_csv(run / "val_predictions.csv", dtype={"image_id": str}) for run in runs])
    expected = expected.set_index("image_id")
    assert sorted(found.index) == sorted(expected.index)
    np.testing.assert_allclose(found.loc[expected.index, CLASSES], expected[CLASSES], atol=1e-6)


def test_runs_on_the_same_images_are_averaged(sweep, command, tmp_path):
    runs = [run_of(sweep, strategy) for strategy in ("frozen_last_block", "full_finetune")]
    command(TOOL, *runs, "output=mean")
    found = read_predictions(tmp_path / "mean" / "predictions.csv")
    members = [read_predictions(run / "val_predictions.csv") for run in runs]
    order = [members[0].table["image_id"].tolist().index(image_id) for image_id in found.table["image_id"]]
    mean = (members[0].probabilities + members[1].probabilities)[order] / 2
    np.testing.assert_allclose(found.probabilities, mean, atol=1e-6)
    metrics = compute_metrics(mean, found.targets, list("ABCD"), found.patient_ids)
    assert content_of(tmp_path / "mean")["metrics"]["kappa_quadratic"] == metrics.scores["kappa_quadratic"]


def test_another_dataset_is_an_option_away_and_brings_its_vendors_and_ages(sweep, command, tmp_path):
    data = tmp_path / "clinic"
    data.mkdir()
    rows = ["image,label,patient_id,exam_id,view"]
    for number in range(24):
        vendor, age = ("HOLOGIC, Inc.", "052Y") if number < 20 else ("SIEMENS", "071Y")
        image = (RAMP + 7 * number) % 4096
        save(build(image, Manufacturer=vendor, PatientAge=age, ViewPosition="CC"), data / f"{number}.dcm")
        rows.append(f"{number}.dcm,{'ABCD'[number // 2 % 4]},P{number // 2},E{number // 2},CC")
    (data / "labels.csv").write_text("\n".join(rows))
    run = run_of(sweep)
    out = command(TOOL, run, "data=table", f"data.root={data}", "data.name=clinic")
    found = content_of(run / "evaluation" / "data-clinic")
    assert (found["data"]["is_own"], found["data"]["num_trained_on"]) == (False, 0)
    groups = {(group["attribute"], group["value"]): group for group in found["subgroups"]}
    assert groups["manufacturer", "Hologic"]["num_images"] == 20
    assert groups["manufacturer", "Siemens"]["num_patients"] == 2
    assert groups["manufacturer", "Siemens"]["is_small"]
    assert not groups["manufacturer", "Hologic"]["is_small"]
    assert {("age_band", "50-59"), ("age_band", "70-79"), ("view", "CC")} <= groups.keys()
    assert found["exams"]["metrics"]["num_images"] == 12
    assert "(fewer than 10 patients)" in out
    written = (run / "evaluation" / "data-clinic" / "predictions.csv").read_text()
    assert "P11" not in written  # pseudonyms
    assert "052Y" not in written


def test_two_runs_are_compared_on_the_images_of_both(sweep, command, class_folders):
    run, other = run_of(sweep, "full_finetune"), run_of(sweep, "frozen_last_block")
    out = command(TOOL, run, f"compare={other}")
    found = json.loads((run / "evaluation" / "val" / "comparison.json").read_text())
    of_run, of_other = (json.loads((one / "metrics" / "val_metrics.json").read_text()) for one in (run, other))
    difference = found["differences"]["acc"]["difference"]
    assert difference == pytest.approx(of_run["acc"] - of_other["acc"])
    assert found["names"] == ["frozen_last_block", "full_finetune"]
    assert found["runs"] == {"frozen_last_block": other.name, "full_finetune": run.name}
    assert found["difference"] == "full_finetune minus frozen_last_block"
    values = {"frozen_last_block": of_other["acc"], "full_finetune": of_run["acc"]}
    assert found["differences"]["acc"]["values"] == values
    # Who is right alone, counted from the predictions that the runs have written.
    right = [written["y_true"] == written["y_pred"] for written in (pd.read_csv(one / "val_predictions.csv")
                                                                    for one in (run, other))]  # fmt: skip
    alone = {"full_finetune": int((right[0] & ~right[1]).sum()), "frozen_last_block": int((right[1] & ~right[0]).sum())}
    assert found["mcnemar"]["only_right"] == alone
    words = " ".join(out.split())
    shown = [f"{name} in {n} image{'' if n == 1 else 's'}" for name, n in alone.items()]
    assert f"right alone: {', '.join(shown)} sign test" in words
    better = found["patients"]["better"]  # each image is a patient here
    assert better == alone
    assert not any(word in words for word in ("first", "second"))
    assert f"{run.name}\nminus {other.name}," in out
    command(TOOL, run, f"compare={run}")
    same = json.loads((run / "evaluation" / "val" / "comparison.json").read_text())
    assert {entry["difference"] for entry in same["differences"].values()} <= {0.0, None}
    assert same["mcnemar"]["p_value"] == 1
    with pytest.raises(ComparisonError, match="no image is in both"):
        command(TOOL, run, f"compare={run_of(sweep, fold=1)}")


def test_a_checkpoint_alone_needs_to_know_where_the_images_are(sweep, command, class_folders, tmp_path):
    shutil.copy(run_of(sweep) / "checkpoints" / "best_model.pth", tmp_path)
    with pytest.raises(DataError, match=r"a checkpoint does not say\n.*\n  to do:    add data\.root=DIR"):
        command(TOOL, "best_model.pth")
    command(TOOL, "best_model.pth", f"data.root={class_folders}", "output=alone")
    of_run = json.loads((run_of(sweep) / "metrics" / "val_metrics.json").read_text())
    found = content_of(tmp_path / "alone")
    assert found["metrics"]["confusion_matrix"] == of_run["confusion_matrix"]
    assert (found["data"]["is_own"], found["data"]["num_trained_on"]) == (True, 0)


def test_a_checkpoint_alone_knows_its_own_images_by_any_name_and_says_what_it_does_not_know(
    sweep, command, class_folders, tmp_path
):
    run = run_of(sweep)
    shutil.copy(run / "checkpoints" / "best_model.pth", tmp_path)
    data = ("data=folders", f"data.root={class_folders}", "data.group_by=image", "data.pseudonymize=false")
    command(TOOL, "best_model.pth", *data, "data.name=other", "output=same")
    found = content_of(tmp_path / "same")["data"]
    assert (found["is_own"], found["split"], found["num_trained_on"]) == (True, "val", 0)
    out = command(TOOL, "best_model.pth", *data, "data.limit=16", "output=part")
    assert content_of(tmp_path / "part")["data"]["num_trained_on"] is None
    assert "whether the network was trained on some of these images is not known" in out
    out = command(TOOL, run, *data, "data.limit=16", "output=part_of_run")
    assert content_of(tmp_path / "part_of_run")["data"]["num_trained_on"] > 0
    assert "WARNING: it was trained on" in out


def test_another_epoch_than_the_best_has_results_of_its_own(sweep, command):
    run = run_of(sweep)
    command(TOOL, run)
    best = (run / "evaluation" / "val" / "evaluation.json").read_bytes()
    content = torch.load(run / "checkpoints" / "best_model.pth", weights_only=True)
    earlier = run / "checkpoints" / "checkpoint_epoch_1.pth"
    torch.save(content | {"epoch": content["epoch"] - 1}, earlier)
    out = command(TOOL, earlier)
    earlier.unlink()
    assert (run / "evaluation" / "val" / "evaluation.json").read_bytes() == best
    found = content_of(run / "evaluation" / "of-checkpoint_epoch_1" / "val")
    assert found["networks"][0]["epoch"] == content["epoch"] - 1
    assert found["calibration"]["temperature"] is None
    assert found["max_difference_from_run"] is None
    assert "not the best of its run" in out


def test_a_dataset_of_one_class_is_evaluated_as_far_as_that_goes(sweep, command, class_folders, tmp_path):
    (tmp_path / "labels.csv").write_text("image,label,patient_id\n" + "".join(f"A{n}.png,A,P{n}\n" for n in range(8)))
    for file in (class_folders / "A").iterdir():
        shutil.copy(file, tmp_path)
    command(TOOL, run_of(sweep), "data=table", f"data.root={tmp_path}", "data.pseudonymize=false", "output=one_class")
    found = content_of(tmp_path / "one_class")
    assert found["metrics"]["true_counts"] == [8, 0, 0, 0]
    assert found["metrics"]["auc_ovr"] is None
    assert not (tmp_path / "one_class" / "roc.png").exists()


def test_who_has_learnt_from_the_images_of_a_comparison_is_named(sweep, command):
    run, other = run_of(sweep, fold=0), run_of(sweep, "full_finetune", fold=0)
    out = command(TOOL, run, f"compare={other}", "split=all")
    found = json.loads((run / "evaluation" / "all" / "comparison.json").read_text())
    assert set(found["num_trained_on"].values()) == {len(pd.read_csv(run / "splits" / "train.csv"))}
    assert out.count("this is no fair comparison") == 2
    command(TOOL, run, "split=all")
    assert not (run / "evaluation" / "all" / "comparison.json").exists()  # of an earlier evaluation


@pytest.mark.parametrize("temperature", ["-1", "0", "NaN", "1e-320", "1e400", '"hot"', "null"])
def test_a_temperature_that_no_fit_can_have_given_is_none(temperature, sweep, command, class_folders, tmp_path):
    run = shutil.copytree(run_of(sweep), tmp_path / "run")
    (run / "metrics" / "calibration.json").write_text(f'{{"temperature": {temperature}}}')
    assert read_temperature(run) is None
    with pytest.raises(RunDirectoryError, match="has no metrics/calibration"):
        command(predict.TOOL, run, f"input={class_folders}", "calibrated=true")


def test_data_that_has_changed_is_not_taken_for_the_validation_set(sweep, command, class_folders, tmp_path):
    changed = shutil.copytree(class_folders, tmp_path / "changed")
    (changed / "A" / "A0.png").rename(changed / "B" / "A0.png")
    run = run_of(sweep)
    with pytest.raises(RunDirectoryError, match="has changed since it was trained"):
        command(TOOL, run, f"data.root={changed}")
    command(TOOL, run, f"data.root={changed}", "split=all", "output=changed_results")
    assert content_of(tmp_path / "changed_results")["metrics"]["num_images"] == 32


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        (["split=vall"], ConfigError, "one of val, test, all"),
        (["data=folder"], MissingConfigException, "data/folder"),
        (["data.image_size=128"], ConfigError, "belongs to the network"),
        (["data.rot=x"], ConfigError, r"data\.rot: there is no such key\n  did you mean root"),
        (["data.root=gone"], DataError, "does not exist"),
        (["data.limit=8", "split=val"], DataError, "split=all for another dataset"),
        (["compare=gone"], RunDirectoryError, "there is no such run"),
        (["draws=5"], ConfigError, "at least 100"),
        (["output={sweep}"], ConfigError, "holds something else than an evaluation"),
        (["output={sweep}/sweep.json"], ConfigError, "is no folder"),
    ],
)
def test_mistakes_say_what_would_be_right(words, error, message, sweep, command):
    with pytest.raises(error, match=message):
        command(TOOL, run_of(sweep), *(word.format(sweep=sweep) for word in words))

"""Pooled predictions: equal to scikit-learn on the concatenated tables, and never a number when they are not whole."""

from __future__ import annotations

import shutil

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import accuracy_score, cohen_kappa_score, log_loss

from mammo.runs.directory import RunDirectory
from mammo.support.files import read_csv
from mammo.sweeps.summary import close_sweep
from tests.sweeps.sweeps import FOLDS, SEEDS, change, load, rows_of, run_of, runs_of, write_rows

pytestmark = pytest.mark.slow


def cross_validation(sweep):
    close_sweep(sweep)
    return load(sweep / "cv_summary.json")


def test_pooled_metrics_are_those_of_the_concatenated_predictions(sweep):
    found = cross_validation(sweep)
    accuracies, drawn = [], []
    for seed in SEEDS:
        table = pd.concat(pd.read_csv(run_of(sweep, seed, fold) / "val_predictions.csv") for fold in FOLDS)
        assert len(table) == table["image_id"].nunique() == 32
        pooled = found["pooled_by_seed"][str(seed)]
        kappa = cohen_kappa_score(table["y_true"], table["y_pred"], labels=list("ABCD"), weights="quadratic")
        assert pooled["kappa_quadratic"] == pytest.approx(kappa, abs=1e-12)
        assert pooled["kappa"] == pytest.approx(cohen_kappa_score(table["y_true"], table["y_pred"]), abs=1e-12)
        assert pooled["acc"] == pytest.approx(accuracy_score(table["y_true"], table["y_pred"]))
        loss = log_loss(table["y_true"], table[["p_A", "p_B", "p_C", "p_D"]], labels=list("ABCD"))
        assert pooled["loss"] == pytest.approx(loss, rel=1e-6)
        low, high = pooled["ci95"]["acc"]
        assert low <= pooled["acc"] <= high
        accuracies.append(pooled["acc"])
        right = (table["y_true"] == table["y_pred"]).groupby(table["patient_id"]).agg(["sum", "count"]).to_numpy()
        # The same patients in the n-th draw of each seed, drawn 250 times at once.
        rng = np.random.default_rng(0)
        draws = np.concatenate([rng.integers(len(right), size=(250, len(right))) for _ in range(8)])
        drawn.append(right[draws, 0].sum(axis=1) / right[draws, 1].sum(axis=1))
    assert found["pooled"]["acc"] == pytest.approx(np.mean(accuracies))
    of_the_mean = np.percentile(np.mean(drawn, axis=0), [2.5, 97.5])
    assert found["pooled"]["ci95"]["acc"] == pytest.approx(of_the_mean)
    assert found["pooled"]["num_images"] == 32
    assert found["problems"] == []


def test_one_seed_has_all_metrics_pooled(sweep):
    for fold in FOLDS:
        shutil.rmtree(run_of(sweep, 43, fold))
    (sweep / "sweep.json").unlink()
    found = cross_validation(sweep)
    assert found["pooled"] == found["pooled_by_seed"]["42"]
    assert np.sum(found["pooled"]["confusion_matrix"]) == 32


def test_a_seed_that_says_one_class_only_leaves_the_mean_over_seeds_its_interval(sweep):
    for fold in FOLDS:
        table = run_of(sweep, 43, fold) / "val_predictions.csv"
        said = {"y_pred": "A", "p_A": "1.0", "p_B": "0.0", "p_C": "0.0", "p_D": "0.0"}
        write_rows(table, [row | said for row in rows_of(table)])
    found = cross_validation(sweep)
    assert found["pooled_by_seed"]["43"]["ci95"]["kappa"] is None, "it is 0 whoever is drawn"
    half = np.array(found["pooled_by_seed"]["42"]["ci95"]["kappa"]) / 2
    assert found["pooled"]["ci95"]["kappa"] == pytest.approx(half)


def drop_fold(run):
    shutil.rmtree(run)


def predict_twice(run):
    rows = rows_of(run / "val_predictions.csv")
    write_rows(run / "val_predictions.csv", [*rows, rows[0]])


def predict_image_of_the_other_fold(run):
    file = run / "val_predictions.csv"
    write_rows(
        file, [rows_of(file)[0] | {"image_id": rows_of(run / "splits" / "train.csv")[0]["image_id"]}, *rows_of(file)]
    )


def lose_image(run):
    write_rows(run / "val_predictions.csv", rows_of(run / "val_predictions.csv")[1:])


def predict_foreign_image(run):
    rows = rows_of(run / "val_predictions.csv")
    write_rows(run / "val_predictions.csv", [*rows, rows[0] | {"image_id": "another"}])


def rename_class(run):
    file = run / "val_predictions.csv"
    file.write_text(file.read_text().replace("p_D", "p_E").replace(",D,", ",E,").replace(",D,", ",E,"))


def use_other_folds(run):
    change(run / "splits" / "manifest.json", folds_fingerprint="0" * 64)


def lose_probability(run):
    rows = rows_of(run / "val_predictions.csv")
    write_rows(run / "val_predictions.csv", [rows[0] | {"p_A": "nan"}, *rows[1:]])


def lose_predictions(run):
    (run / "val_predictions.csv").unlink()


def tear_predictions(run):
    file = run / "val_predictions.csv"
    file.write_text(file.read_text()[:-30])


DAMAGE = {
    drop_fold: "fold 1 of 2 is not finished",
    predict_twice: "1 predictions are of images that another one is of",
    predict_image_of_the_other_fold: "1 predictions are of images that another one is of",
    lose_image: "1 of 32 images are not predicted",
    predict_foreign_image: "1 predicted images are in neither train nor val",
    rename_class: "have different classes",
    use_other_folds: "belong to different divisions into folds",
    lose_probability: "non-finite outputs for 1 of 32 images",
    lose_predictions: "val_predictions.csv of the predictions or splits of",
    tear_predictions: "cannot be read",
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_not_one_prediction_of_each_image_is_no_number(sweep, damage):
    damage(run_of(sweep, 42, 1))
    found = cross_validation(sweep)
    (problem,) = found["problems"]
    assert problem.startswith("seed 42 is not pooled: ")
    assert DAMAGE[damage] in problem
    assert list(found["pooled_by_seed"]) == ["43"]
    assert found["pooled"] == found["pooled_by_seed"]["43"], "the other seed is whole"


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@cmd", "\tx", "plain", "a,b"])
def test_a_table_is_read_as_it_was_written(tmp_path, cell):
    RunDirectory(tmp_path).write_csv("t.csv", ["id", "value"], [[cell, 1]])
    assert read_csv(tmp_path / "t.csv") == (["id", "value"], [[cell, "1"]])


def test_the_page_of_a_sweep_says_over_what_pooled_intervals_are(sweep):
    for unit in ("patient", "exam", "image"):
        for run in runs_of(sweep):
            change(run / "summary.json", data=load(run / "summary.json")["data"] | {"group_by": unit})
        close_sweep(sweep)
        assert f"Intervals over {unit}s, by resampling" in (sweep / "summary.md").read_text()

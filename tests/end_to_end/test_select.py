"""Which epoch is evaluated: with `train.select=last` it is the last one, everywhere, and nothing says otherwise."""

from __future__ import annotations

import json

import pytest
import torch

from mammo.evaluation.predictions import read_predictions
from mammo.evaluation.subgroups import metrics_with_intervals
from tests.conftest import run_command
from tests.end_to_end.runs import TINY, history, only_run

# The rates rise and fall: the last epoch is not the best one.
OPTIONS = (
    "train.epochs=4",
    "train.select=last",
    "strategy=full_finetune",
    "optimizer.lr=0.05",
    "train.early_stopping.patience=0",
)


@pytest.fixture(scope="module")
def run_of_last(once, class_folders, session_cache):
    options = [*TINY, *OPTIONS, f"data.root={class_folders}", f"cache_dir={session_cache}"]
    folder = once("select-last", lambda folder: run_command(folder, "mammo.train", *options))
    return only_run(folder)


@pytest.mark.slow
def test_the_last_epoch_is_what_is_kept_and_evaluated(run_of_last):
    records = history(run_of_last)
    summary = json.loads((run_of_last / "summary.json").read_text())
    assert [record["is_best"] for record in records] == [False, False, False, True]
    assert (summary["best_epoch"], summary["monitor"]["select"]) == (4, "last")
    weights = [
        torch.load(run_of_last / f"checkpoints/{name}_model.pth", weights_only=True) for name in ("best", "last")
    ]
    assert weights[0]["epoch"] == weights[1]["epoch"] == 4
    metrics = json.loads((run_of_last / "metrics/val_metrics.json").read_text())
    own = metrics_with_intervals(read_predictions(run_of_last / "val_predictions.csv"), 100, 0).scores
    for name in ("acc", "bal_acc_adj", "kappa_quadratic"):
        assert metrics[name] == pytest.approx(own[name])
        assert metrics[name] == pytest.approx(records[-1][f"val_{name}"])
    assert summary["objective"] == pytest.approx(metrics["bal_acc_adj"])


@pytest.mark.slow
def test_nothing_says_that_an_epoch_was_chosen(run_of_last, tmp_path):
    log = (run_of_last / "run.log").read_text()
    assert "| best" not in log
    assert "Last epoch 4 of 4" in run_command(tmp_path, "mammo.report", str(run_of_last), f"output={tmp_path / 'r'}")
    card = (run_of_last / "checkpoints/MODEL_CARD.md").read_text()
    assert "this is epoch 4, the last one: none was chosen" in card
    assert "was chosen on these images" not in card
    page = (tmp_path / "r" / "report.md").read_text()
    assert "Each run at its last epoch: none was chosen" in page
    assert "its best epoch" not in page
    printed = run_command(tmp_path, "mammo.evaluate", str(run_of_last), f"output={tmp_path / 'e'}")
    assert "was chosen" not in printed


@pytest.mark.slow
def test_the_doctor_knows_the_rule(run_of_last, tmp_path):
    assert "0 problems" in run_command(tmp_path, "mammo.doctor", str(run_of_last))


def test_early_stopping_would_choose_the_epoch_after_all(train):
    done = train(*TINY, "train.select=last", "train.early_stopping.patience=3")
    assert done.returncode == 2
    assert "train.select" in done.stderr
    assert "chooses the last epoch" in " ".join(done.stderr.split())

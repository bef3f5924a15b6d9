"""Nested choice: no epoch and no trial is chosen on the images that are scored."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from mammo.evaluation.predictions import read_predictions
from tests.conftest import TINY, run_command

OPTIONS = [option for option in TINY if not option.startswith(("data.val_fraction", "train.epochs"))]
FOLDS = ("data.num_folds=3", "data.inner_folds=2", "train.epochs=2", "strategy=head_only")


@pytest.fixture(scope="module")
def nested(once, class_folders, session_cache):
    """Three outer folds, the epoch of each chosen on the first of two inner ones."""
    options = ["-m", *OPTIONS, *FOLDS, "data.fold=all", "optimizer.lr=1e-3,1e-1", "sweep.name=nested"]
    options += [f"data.root={class_folders}", f"cache_dir={session_cache}"]
    folder = once("nested", lambda folder: run_command(folder, "mammo.train", *options))
    return folder / "multirun" / "nested"


def part(run, name):
    with (run / "splits" / f"{name}.csv").open(newline="") as stream:
        return {row["image_id"] for row in csv.DictReader(stream)}


def runs_of(sweep):
    return sorted(path for path in sweep.iterdir() if (path / "config.yaml").exists())


@pytest.mark.slow
def test_the_outer_fold_is_in_no_choice_and_every_image_is_in_one(nested):
    outer = {}
    for run in runs_of(nested):
        train, val, test = (part(run, name) for name in ("train", "val", "test"))
        assert not (train | val) & test
        assert not train & val
        outer.setdefault(json.loads((run / "summary.json").read_text())["fold"], set()).update(test)
        assert set(read_predictions(run / "val_predictions.csv").table["image_id"]) == val
        assert set(read_predictions(run / "evaluation/test/predictions.csv").table["image_id"]) == test
        everything = train | val | test
    assert sorted(image for images in outer.values() for image in images) == sorted(everything)


@pytest.mark.slow
def test_the_sweep_pools_and_compares_the_outer_folds(nested):
    summary = json.loads((nested / "sweep_summary.json").read_text())
    (found,) = summary["comparisons"]
    (pair,) = found["pairs"]
    assert (found["part"], pair["test"], pair["num_splits"], pair["num_images"]) == ("test", "splits", 3, 32)
    pooled = json.loads((nested / "cv_summary.json").read_text())["configurations"][0]["pooled"]
    assert pooled["num_images"] == 32
    for run in summary["runs"]:
        of_test = json.loads((nested / run["name"] / "evaluation/test/evaluation.json").read_text())["metrics"]
        assert run["metrics"]["acc"] == of_test["acc"]


@pytest.mark.slow
def test_a_report_is_about_the_outer_folds(nested, tmp_path):
    run_command(tmp_path, "mammo.report", str(nested), f"output={tmp_path / 'report'}")
    page = " ".join((tmp_path / "report" / "report.md").read_text().split())
    assert "All 32 images, each predicted by a network that had not seen it" in page
    assert "chosen on other images than these" in page
    assert "which flatters there" not in page


@pytest.mark.slow
def test_the_evaluation_is_the_one_that_the_command_makes(nested, tmp_path, session_cache):
    run = runs_of(nested)[0]
    arguments = ["split=test", f"output={tmp_path / 'again'}", f"cache_dir={session_cache}", "threads=1"]
    run_command(tmp_path, "mammo.evaluate", str(run), *arguments)
    own, again = (folder / "predictions.csv" for folder in (run / "evaluation/test", tmp_path / "again"))
    one, other = read_predictions(own), read_predictions(again)
    assert one.table["image_id"].tolist() == other.table["image_id"].tolist()
    assert abs(one.probabilities - other.probabilities).max() < 1e-6
    contents = [json.loads((file.parent / "evaluation.json").read_text()) for file in (own, again)]
    assert contents[0].keys() == contents[1].keys()
    assert contents[0]["networks"] == contents[1]["networks"]
    assert contents[0]["data"] == contents[1]["data"]
    assert contents[0]["metrics"]["confusion_matrix"] == contents[1]["metrics"]["confusion_matrix"]


@pytest.mark.slow
def test_the_doctor_finds_nothing_and_a_run_that_was_killed_at_its_end_ends_the_same(
    nested, tmp_path, class_folders, session_cache
):
    assert "0 problems" in run_command(tmp_path, "mammo.doctor", str(nested))
    run = runs_of(nested)[0]
    copy = tmp_path / "multirun" / "nested" / run.name
    shutil.copytree(run, copy)
    before = (copy / "evaluation/test/predictions.csv").read_bytes()
    # As if the process had ended between the evaluation and the summary.
    summary = json.loads((copy / "summary.json").read_text())
    (copy / "summary.json").write_text(json.dumps(summary | {"status": "running"}))
    lr = "1e-3" if "lr_1e-3" in run.name else "1e-1"
    options = [*OPTIONS, *FOLDS, f"data.fold={summary['fold']}", f"optimizer.lr={lr}", f"hydra.run.dir={copy}"]
    run_command(tmp_path, "mammo.train", *options, f"data.root={class_folders}", f"cache_dir={session_cache}")
    assert json.loads((copy / "summary.json").read_text())["status"] == "completed"
    assert (copy / "evaluation/test/predictions.csv").read_bytes() == before


@pytest.mark.slow
def test_a_search_inside_of_one_fold_never_sees_it(tmp_path, class_folders, session_cache):
    options = ["-m", *OPTIONS, *FOLDS, "data.fold=1", "hpo.folds=2", "hpo.trials=2", "hydra/sweeper/sampler=random"]
    options += ["optimizer.lr=tag(log,interval(1e-4,1e-1))", "sweep.name=inside"]
    out = run_command(tmp_path, "mammo.train", *options, f"data.root={class_folders}", f"cache_dir={session_cache}")
    sweep = tmp_path / "multirun" / "inside"
    outer = {frozenset(part(run, "test")) for run in runs_of(sweep)}
    assert len(runs_of(sweep)) == 4
    (test,) = outer
    assert all(not test & (part(run, "val") | part(run, "train")) for run in runs_of(sweep))
    assert "where=trial=" in " ".join(out.split())
    assert "split=test" in out
    best = (sweep / "best_config.yaml").read_text()
    assert "inner_folds: 2" in best
    assert "fold: 1" in best


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["data.inner_folds=2"], "inside of which fold"),
        (["data.num_folds=3", "data.fold=0", "data.inner_folds=2", "data.inner_fold=2"], "2 of 2"),
        (["data.num_folds=3", "data.fold=0", "data.inner_fold=1"], "of how many"),
        (["data.num_folds=3", "data.fold=0", "data.inner_folds=2", "data.test_fraction=0.2"], "data.test_fraction"),
        (["-m", "data.num_folds=3", "data.fold=0", "data.inner_fold=all"], "data.inner_fold=all: of how many"),
    ],
)
def test_mistakes_are_answered(train, options, said):
    done = train(*OPTIONS, "data.val_fraction=0.2", *options)
    assert done.returncode == 2, done.stdout
    assert said in " ".join(done.stderr.split())

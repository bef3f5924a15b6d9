"""Sweeps as a person starts them: what fails, what is repeated, what runs at once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.runs import TINY, history, only_run
from tests.processes import start_module

EXPERIMENTS = {
    "one": {"seed": 1},
    "two": {"seed": 2},
    "too_many_blocks": {"strategy": {"blocks": 99}},
    "collapses": {
        "defaults": [{"override /optimizer": "sgd"}, {"override /strategy": "full_finetune"}],
        "optimizer": {"backbone_lr": 100},
        "train": {"on_collapse": "stop"},
    },
}


@pytest.fixture
def experiments(tmp_path: Path) -> str:
    """A folder for --config-dir with four experiments, two of which fail: one at its start, one while it trains."""
    folder = tmp_path / "mine" / "experiment"
    folder.mkdir(parents=True)
    for name, content in EXPERIMENTS.items():
        (folder / f"{name}.yaml").write_text("# @package _global_\n" + yaml.safe_dump(content, sort_keys=False))
    return str(folder.parent)


def runs_by_experiment(folder: Path) -> dict[str, Path]:
    runs = {}
    for file in folder.glob("multirun/*/*/.hydra/overrides.yaml"):
        (experiment,) = [o for o in yaml.safe_load(file.read_text()) if o.startswith("experiment=")]
        runs[experiment.removeprefix("experiment=")] = file.parents[1]
    return runs


def status(run: Path) -> str:
    return json.loads((run / "summary.json").read_text())["status"]


@pytest.mark.slow
def test_two_jobs_of_four_fail_and_two_have_results(class_folders, train, tmp_path, experiments):
    command = [
        "--config-dir", experiments, "-m", "experiment=one,too_many_blocks,collapses,two", *TINY,
        f"data.root={class_folders}", "sweep.name=four",
    ]  # fmt: skip
    done = train(*command)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "2 of 4 jobs" in done.stderr
    runs = runs_by_experiment(tmp_path)
    assert {name: status(run) for name, run in runs.items()} == {
        "one": "completed", "two": "completed",
        "too_many_blocks": "failed", "collapses": "failed",
    }  # fmt: skip
    blocks = json.loads((runs["too_many_blocks"] / "error.json").read_text())
    assert (blocks["type"], blocks["traceback"]) == ("ConfigError", None)
    assert "strategy.blocks=99, but test_efficientnet has 7 blocks" in blocks["message"]
    assert "strategy.blocks=99" in (runs["too_many_blocks"] / "run.log").read_text()
    collapsed = json.loads((runs["collapses"] / "error.json").read_text())
    assert collapsed["type"] == "TrainingError"
    assert "train.on_collapse=stop" in collapsed["message"]
    assert "run.py" in collapsed["traceback"]
    log = (runs["collapses"] / "run.log").read_text()
    assert "training: " in log
    assert "Epoch 1/3" in log
    assert "Traceback" in log

    # The same command tries what failed again, and nothing else.
    before = {name: (run / "summary.json").read_bytes() for name, run in runs.items()}
    again = train(*command)
    assert again.returncode == 1
    assert again.stdout.count("this run is finished") == 2
    after = {name: (run / "summary.json").read_bytes() for name, run in runs.items()}
    assert {name for name in runs if before[name] != after[name]} == {"too_many_blocks", "collapses"}


@pytest.mark.slow
def test_a_sweep_can_stop_at_the_first_failure(class_folders, train, tmp_path, experiments):
    done = train(
        "--config-dir", experiments, "-m", "experiment=one,too_many_blocks,two", "sweep.on_error=stop", *TINY,
        f"data.root={class_folders}",
    )  # fmt: skip
    assert done.returncode == 1
    assert {name: status(run) for name, run in runs_by_experiment(tmp_path).items()} == {
        "one": "completed", "too_many_blocks": "failed",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("sweep", "complaint"),
    [
        (["strategy.blocks=1,0"], "strategy.blocks: found 0"),
        (["model=resnet50,resnet51"], "model=resnet51: there is no such option"),
        (["seed=1,1"], "are the same run"),
        (["data.fold=all"], "data.fold=all: of how many?"),
        (["hpo=density", "optimizer.lr=interval(-1, 1e-4)"], "optimizer.lr: found -1"),
        (["optimizer.lr=interval(1e-4, 1e-3)"], "a range without a search"),
        (["seed=1,2", "hpo.folds=3"], "hpo has no effect without a search"),
        (["hpo=density", "seed=1,2"], "a search over seed finds the luckiest one"),
        (["seed=1,2", "sweep.name=.."], "is no name for a folder"),
        (["hpo=density", "train.epochs=2", "scheduler.warmup_epochs=interval(0, 1)"], "expected a whole number"),
        (["hpo=density", "hpo.storage=nosuch://me:secret@host/db"], "the study cannot be opened"),
    ],
)
def test_a_sweep_with_an_impossible_job_is_refused_before_the_first(sweep, complaint, class_folders, train, tmp_path):
    done = train("-m", *TINY, *sweep, f"data.root={class_folders}")
    assert done.returncode == 2, done.stdout + done.stderr
    assert complaint in done.stderr
    assert "Traceback" not in done.stderr
    assert "secret" not in done.stderr + done.stdout
    assert not list(tmp_path.glob("multirun/*/*/summary.json"))


@pytest.mark.slow
def test_a_run_is_the_same_alone_last_in_a_sweep_and_beside_another(class_folders, train, tmp_path):
    command = [*TINY, f"data.root={class_folders}", "strategy=full_finetune", "train.epochs=2"]
    alone, sequential, parallel = (tmp_path / name for name in ("alone", "sequential", "parallel"))
    for folder in (alone, sequential, parallel):
        folder.mkdir()
    assert train(*command, "seed=3", folder=alone).returncode == 0
    assert train("-m", *command, "seed=2,3", folder=sequential).returncode == 0
    done = train("-m", "launcher=local_parallel", *command, "seed=2,3", folder=parallel)
    assert done.returncode == 0, done.stdout + done.stderr
    one = only_run(alone)
    for folder in (sequential, parallel):
        (run,) = folder.glob(f"multirun/*/{one.name}")
        assert history(run) == history(one)
        assert (run / "val_predictions.csv").read_bytes() == (one / "val_predictions.csv").read_bytes()
    threads = [json.loads(f.read_text())["environment"]["threads"] for f in parallel.glob("multirun/*/*/summary.json")]
    assert threads == [1, 1]


@pytest.mark.slow
def test_the_best_configuration_of_a_search_runs_as_it_is(class_folders, train, tmp_path):
    small = [option for option in TINY if not option.startswith(("optimizer.lr", "train.epochs"))]
    command = [*small, "train.epochs=5", f"data.root={class_folders}", "hpo=density", "hpo.trials=3"]
    done = train("-m", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    (sweep,) = (tmp_path / "multirun").iterdir()
    trials = {
        json.loads(file.read_text())["number"]: (json.loads(file.read_text()), file.parent)
        for file in sweep.glob("*/optuna_trial.json")
    }
    assert sorted(trials) == [0, 1, 2]
    for trial, run in trials.values():
        summary = json.loads((run / "summary.json").read_text())
        assert trial["value"] == trial["objective"] == summary["objective"] == summary["metrics"]["bal_acc_adj"]
        config = yaml.safe_load((run / "config.yaml").read_text())
        assert config["optimizer"]["lr"] == trial["params"]["optimizer.lr"]
        assert config["strategy"]["blocks"] == trial["params"]["strategy.blocks"]
    best = max(trials.values(), key=lambda pair: (pair[0]["value"], -pair[0]["number"]))[1]

    # More trials than before: only these are run.
    more = train("-m", *command, "hpo.trials=4")
    assert more.returncode == 0, more.stderr
    assert len(list(sweep.glob("*/optuna_trial.json"))) == 4
    assert more.stdout.count("Epoch 1/5") == 1

    summary = json.loads((best / "summary.json").read_text())
    assert yaml.safe_load((sweep / "best_config.yaml").read_text())["optimizer"]["lr"] in {
        trial["params"]["optimizer.lr"] for trial, _ in trials.values()
    } | {json.loads(f.read_text())["params"]["optimizer.lr"] for f in sweep.glob("*/optuna_trial.json")}
    for name in ("optimization_history", "parameter_importances", "parameter_slices"):
        assert (sweep / f"{name}.png").stat().st_size > 10_000
    alone = train("--config-dir", str(sweep), "experiment=best_config")
    assert alone.returncode == 0, alone.stderr
    again = only_run(tmp_path)
    stored = {file.parent.name: file.parent for file in sweep.glob("*/summary.json")}
    objectives = {name: json.loads((run / "summary.json").read_text())["objective"] for name, run in stored.items()}
    assert again.name in stored
    assert objectives[again.name] == max(objectives.values())
    assert history(again) == history(stored[again.name])
    assert summary["objective"] <= objectives[again.name]


RANGE = ("optimizer.lr=interval(1e-4,1e-3)", "hydra/sweeper/sampler=tpe", "sweep.name=mine")


@pytest.mark.slow
def test_an_outage_costs_neither_results_nor_trials(class_folders, train, tmp_path):
    command = [*TINY, "train.epochs=1", f"data.root={class_folders}", *RANGE]
    assert train("-m", *command, "hpo.trials=1").returncode == 0
    before = {run: (run / "summary.json").read_bytes() for run in (tmp_path / "multirun" / "mine").glob("*s42*")}
    gone = train("-m", *command, "hpo.trials=2", f"data.root={tmp_path / 'gone'}")
    assert gone.returncode == 1
    assert "the search has stopped; the same command goes on" in gone.stderr
    assert {run: (run / "summary.json").read_bytes() for run in before} == before
    done = train("-m", *command, "hpo.trials=2")
    assert done.returncode == 0, done.stdout + done.stderr
    plan = json.loads((tmp_path / "multirun" / "mine" / "sweep.json").read_text())
    assert [(trial["number"], trial["failed"]) for trial in plan["search"]["finished"]] == [(0, None), (1, None)]

    # What its trials are worth may not change under a search.
    for change in ("data.image_size=96", "hpo.folds=2", "optimizer.lr=interval(1e-5,1e-3)"):
        other = train("-m", *command, "hpo.trials=3", change)
        assert other.returncode == 2, other.stdout
        assert "was begun with another configuration" in other.stderr

    # A finished run of a grid stays finished when its data is away for a while.
    grid = [*TINY, "train.epochs=1", "seed=1,2", "sweep.name=grid"]
    assert train("-m", *grid, f"data.root={class_folders}").returncode == 0
    away = train("-m", *grid, f"data.root={tmp_path / 'gone'}")
    assert away.returncode == 1
    assert "2 of 2 jobs" in away.stderr
    runs = list((tmp_path / "multirun" / "grid").glob("*/summary.json"))
    assert [json.loads(file.read_text())["status"] for file in runs] == ["completed"] * 2


@pytest.mark.slow
def test_ranges_that_a_configuration_does_not_have_are_left_out(class_folders, train, tmp_path):
    small = [option for option in TINY if not option.startswith("optimizer.lr")]
    done = train(
        "-m", *small, "train.epochs=1", f"data.root={class_folders}", "hpo=density", "hpo.trials=1",
        "strategy=head_only", "sampler=uniform", "~loss.label_smoothing",
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "strategy.blocks is not searched: it has no effect" in done.stdout
    (trial,) = tmp_path.glob("multirun/*/*/optuna_trial.json")
    assert sorted(json.loads(trial.read_text())["params"]) == [
        "augment", "optimizer.lr", "optimizer.weight_decay", "scheduler.warmup_epochs",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_killed_process_of_a_parallel_sweep_leaves_the_sweep_to_be_repeated(class_folders, train, tmp_path):
    command = [
        "-m", "launcher=local_parallel", *TINY, "train.epochs=300", "seed=1,2", f"data.root={class_folders}",
        "hydra.launcher.n_jobs=2",
    ]  # fmt: skip
    sweep = start_module("mammo.train", *command, folder=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not list(tmp_path.glob("multirun/*/*/train_history.json")):
        assert sweep.poll() is None
        time.sleep(0.1)
    found = subprocess.run(["pgrep", "-f", "LokyProcess", "-P", str(sweep.pid)], capture_output=True, text=True)
    os.kill(int(found.stdout.split()[0]), signal.SIGKILL)
    output, errors = sweep.communicate(timeout=120)
    assert sweep.returncode == 1, output + errors
    assert "a process was killed" in output
    assert "Traceback" not in errors
    assert "2 of 2 jobs" in errors

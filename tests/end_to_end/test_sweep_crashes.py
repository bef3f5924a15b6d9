"""Sweeps that are killed at random moments and started again end as if nothing had happened."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import optuna
import pytest

from tests.conftest import SMALL_NETWORK
from tests.end_to_end.runs import history
from tests.processes import start_module

SMALL = (
    "data=folders", "data.group_by=image", "data.pseudonymize=false", *SMALL_NETWORK, "train.threads=1",
    "data.image_size=64", "data.batch_size=8", "train.epochs=2",
)  # fmt: skip
KINDS = {
    "seeds": ("seed=1,2,3", "data.val_fraction=0.4", "strategy.feature_bank=off"),
    "folds": ("data.num_folds=3", "data.fold=all"),
    "search": ("hpo=density", "hpo.trials=3", "hydra.sweeper.sampler.n_startup_trials=2", "data.val_fraction=0.4"),
}


def start(command: list[str], folder: Path) -> subprocess.Popen[str]:
    return start_module(
        "mammo.train", "-m", *command, folder=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        start_new_session=True,
    )  # fmt: skip


def kill_after(process: subprocess.Popen[str], num_lines: int, seconds: float) -> None:
    """Kill the process and all of its children some time after it has written so many lines."""
    assert process.stdout is not None
    for _ in zip(range(num_lines), process.stdout, strict=False):
        pass
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def run_directories(folder: Path) -> dict[str, Path]:
    return {file.parent.name: file.parent for file in folder.glob("multirun/*/*/summary.json")}


def finished_files(folder: Path) -> dict[Path, bytes]:
    """What must not change any more: everything of the runs that are finished."""
    content = {}
    for run in run_directories(folder).values():
        if json.loads((run / "summary.json").read_text())["status"] == "completed":
            kept = ("summary.json", "train_history.json", "val_predictions.csv", "checkpoints/best_model.pth")
            content |= {run / name: (run / name).read_bytes() for name in kept}
    return content


def trials(folder: Path) -> list[tuple]:
    (database,) = folder.glob("multirun/*/study.db")
    (summary,) = optuna.get_all_study_summaries(f"sqlite:///{database}")
    study = optuna.load_study(study_name=summary.study_name, storage=f"sqlite:///{database}")
    return [(t.number, t.state.name, t.value, t.params) for t in study.get_trials()]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "kills"), [("search", 2), *(pytest.param(kind, 6, marks=pytest.mark.long) for kind in KINDS)]
)
def test_a_sweep_that_is_killed_again_and_again_ends_as_one_that_was_not(
    kind, kills, class_folders, session_cache, tmp_path
):
    moments = random.Random(f"crashes of {kind}")
    command = [*SMALL, *KINDS[kind], f"data.root={class_folders}", f"cache_dir={session_cache}"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    output = start(command, whole).communicate()[0]
    num_lines = len(output.splitlines())

    finished: dict[Path, bytes] = {}
    for _ in range(kills):
        kill_after(start(command, broken), moments.randrange(1, num_lines), moments.uniform(0, 0.5))
        now = finished_files(broken)
        assert {path: now.get(path) for path in finished} == finished
        finished = now
    last = start(command, broken)
    output = last.communicate()[0]
    assert last.returncode == 0, output
    now = finished_files(broken)
    assert {path: now.get(path) for path in finished} == finished

    expected, found = run_directories(whole), run_directories(broken)
    assert found.keys() == expected.keys()
    for name, run in found.items():
        assert history(run) == history(expected[name]), name
        assert (run / "val_predictions.csv").read_bytes() == (expected[name] / "val_predictions.csv").read_bytes()
    if kind == "search":
        assert trials(broken) == trials(whole)
        assert [(number, state) for number, state, *_ in trials(broken)] == [(i, "COMPLETE") for i in range(3)]

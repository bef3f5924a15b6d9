"""Runs that were interrupted, and two processes that want the same run."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

import pytest
import timm
import torch

from tests.conftest import REPOSITORY
from tests.end_to_end.runs import TINY, history, only_run, start_and_kill


@pytest.mark.slow
@pytest.mark.parametrize("extra", [[], ["scheduler=plateau", "scheduler.patience=0", "strategy=full_finetune"]])
def test_a_killed_run_goes_on_where_it_stopped(class_folders, session_cache, train, tmp_path, extra):
    command = [*TINY, "train.epochs=4", f"data.root={class_folders}", *extra]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir()
    broken.mkdir()
    assert train(*command, folder=whole).returncode == 0
    start_and_kill([*command, f"cache_dir={session_cache}"], broken, "Epoch 2/4")
    assert json.loads((only_run(broken) / "summary.json").read_text())["status"] == "running"
    done = train(*command, folder=broken)
    assert done.returncode == 0, done.stderr
    assert "resuming after epoch" in done.stdout
    assert history(only_run(broken)) == history(only_run(whole))
    states = [
        torch.load(only_run(folder) / "checkpoints/last_model.pth", weights_only=True) for folder in (whole, broken)
    ]
    for name, tensor in states[0]["model_state_dict"].items():
        assert torch.equal(tensor, states[1]["model_state_dict"][name]), name


@pytest.mark.slow
def test_every_job_of_a_multirun_has_its_log_and_is_found_again(class_folders, train, tmp_path):
    command = ["-m", "seed=1,2", *TINY, "train.epochs=1", f"data.root={class_folders}"]
    done = train(*command)
    assert done.returncode == 0, done.stderr
    runs = [file.parent for file in tmp_path.glob("multirun/*/*/summary.json")]
    assert sorted(json.loads((run / "summary.json").read_text())["seed"] for run in runs) == [1, 2]
    assert all("Epoch 1/1" in (run / "run.log").read_text() for run in runs)
    alone = train(*command[2:], "seed=2")
    assert alone.returncode == 0, alone.stderr
    (second,) = [run for run in runs if "-s2-" in run.name]
    assert history(only_run(tmp_path)) == history(second), "a run gives the same result alone and in a sweep"
    again = train(*command)
    assert again.stdout.count("this run is finished; nothing is trained") == 2


@pytest.mark.slow
def test_a_resumed_run_keeps_where_it_came_from_and_says_what_is_different(
    class_folders, session_cache, train, tmp_path
):
    weights = tmp_path / "weights.pth"
    torch.save(timm.create_model("resnet18").state_dict(), weights)
    command = [
        *TINY, "train.epochs=4", f"data.root={class_folders}", "model=timm", "model.name=resnet18",
        "model.weights=weights.pth", f"cache_dir={session_cache}",
    ]  # fmt: skip
    start_and_kill(command, tmp_path, "Epoch 1/4")
    before = json.loads((only_run(tmp_path) / "summary.json").read_text())
    done = train(*command[:-1], "train.threads=2")
    assert done.returncode == 0, done.stderr
    assert "resumed with threads=2 instead of 1" in done.stdout
    after = json.loads((only_run(tmp_path) / "summary.json").read_text())
    for key in ("model", "git", "environment", "command", "started_at"):
        assert after[key] == before[key], key
    (resumed,) = after["resumed"]
    assert resumed["environment"]["threads"] == 2
    assert after["status"] == "completed"

    torch.save(timm.create_model("resnet18").state_dict(), weights)
    changed = train(*command[:-1])
    assert changed.returncode == 2
    assert "the content of model.weights has changed" in changed.stderr


def test_a_second_process_with_the_same_run_is_told_so(class_folders, session_cache, train, tmp_path):
    command = [*TINY, "train.epochs=200", f"data.root={class_folders}"]
    first = subprocess.Popen(
        [sys.executable, "-u", "-m", "mammo.train", *command, f"cache_dir={session_cache}"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert first.stdout is not None
        assert any(line.startswith("Epoch 1/200") for line in first.stdout)
        second = train(*command)
        assert second.returncode == 2
        assert "another process is training this run" in second.stderr
        assert not (only_run(tmp_path) / "error.json").exists()
    finally:
        first.send_signal(signal.SIGINT)
        first.stdout.close()
        first.wait(timeout=60)
    assert first.returncode == 85
    assert json.loads((only_run(tmp_path) / "summary.json").read_text())["status"] == "interrupted"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_run_that_is_asked_to_end_leaves_nothing_half_written(
    number, class_folders, session_cache, train, tmp_path
) -> None:
    command = [*TINY, "train.epochs=40", f"data.root={class_folders}"]
    run = subprocess.Popen(
        [sys.executable, "-u", "-m", "mammo.train", *command, f"cache_dir={session_cache}"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    assert any(line.startswith("Epoch 2/40") for line in run.stdout)
    run.send_signal(number)
    assert "the same command goes on" in run.communicate(timeout=60)[1]
    assert run.returncode == 85
    folder = only_run(tmp_path)
    assert json.loads((folder / "summary.json").read_text())["status"] == "interrupted"
    assert not (folder / "error.json").exists()
    before = len(history(folder))
    done = train(*command)
    assert done.returncode == 0, done.stderr
    assert f"resuming after epoch {before}" in done.stdout
    assert len(history(folder)) == 40


def test_a_run_goes_on_when_nobody_reads_its_output_any_more(class_folders, session_cache, tmp_path):
    run = subprocess.Popen(
        [sys.executable, "-m", "mammo.train", *TINY, f"data.root={class_folders}", f"cache_dir={session_cache}"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert run.stdout is not None
    run.stdout.readline()
    run.stdout.close()
    assert run.wait(timeout=300) == 0
    folder = only_run(tmp_path)
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
    assert "Epoch 3/3" in (folder / "run.log").read_text()


WITHOUT_PAUSES_BETWEEN_FIGURES = (
    "import runpy, mammo.runs.run as run; run.SECONDS_BETWEEN_FIGURES = 0; "
    "runpy.run_module('mammo.train', run_name='__main__')"
)


@pytest.mark.slow
def test_a_new_best_epoch_can_be_looked_at_while_the_run_goes_on(class_folders, session_cache, tmp_path):
    command = [*TINY, "train.epochs=4", f"data.root={class_folders}", f"cache_dir={session_cache}"]
    start_and_kill(command, tmp_path, "Epoch 2/4", program=("-c", WITHOUT_PAUSES_BETWEEN_FIGURES))
    run = only_run(tmp_path)
    assert json.loads((run / "summary.json").read_text())["status"] == "running"
    metrics = json.loads((run / "metrics/val_metrics.json").read_text())
    assert metrics["bal_acc_adj"] in [record["val_bal_acc_adj"] for record in history(run) if record["is_best"]]
    assert (run / "metrics/history.png").read_bytes()[:4] == b"\x89PNG"

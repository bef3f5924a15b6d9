"""Runs that were interrupted, and two processes that want the same run."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import timm
import torch

from mammo.training.checkpoint import load_checkpoint
from tests.conftest import Train
from tests.end_to_end.runs import TINY, TINY_PRETRAINED, history, only_run, start_and_kill
from tests.processes import start_module


def left_alone(train: Train, command: list[str], tmp_path: Path) -> tuple[Path, Path]:
    """A folder with a run that nothing happens to, and one for a run that has to end like it."""
    whole, other = tmp_path / "whole", tmp_path / "other"
    whole.mkdir()
    other.mkdir()
    assert train(*command, folder=whole).returncode == 0
    return whole, other


@pytest.mark.slow
@pytest.mark.parametrize(
    "extra",
    [
        pytest.param([], marks=pytest.mark.long),
        ["scheduler=plateau", "scheduler.patience=0", "strategy=full_finetune", "train.select=last"],
    ],
)
def test_a_killed_run_goes_on_where_it_stopped(class_folders, session_cache, train, tmp_path, extra):
    command = [*TINY, "train.epochs=4", f"data.root={class_folders}", *extra]
    whole, broken = left_alone(train, command, tmp_path)
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
    torch.save(timm.create_model("test_resnet").state_dict(), weights)
    command = [
        *TINY, "train.epochs=4", f"data.root={class_folders}", "model=timm", "model.name=test_resnet",
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

    torch.save(timm.create_model("test_resnet").state_dict(), weights)
    changed = train(*command[:-1])
    assert changed.returncode == 2
    assert "the content of model.weights has changed" in changed.stderr


def test_a_second_process_with_the_same_run_is_told_so(class_folders, session_cache, train, tmp_path):
    command = [*TINY, "train.epochs=200", f"data.root={class_folders}"]
    first = start([*command, f"cache_dir={session_cache}"], tmp_path, stderr=None)
    try:
        assert first.stdout is not None
        assert any(line.startswith("Epoch 1/200") for line in first.stdout)
        second = train(*command)
        assert second.returncode == 2
        assert re.search(
            rf"another process is training this run in .*: process {first.pid} on \S+, since 20", second.stderr
        )
        assert not (only_run(tmp_path) / "error.json").exists()
    finally:
        first.send_signal(signal.SIGINT)
        first.stdout.close()
        first.wait(timeout=60)
    assert first.returncode == 85
    assert json.loads((only_run(tmp_path) / "summary.json").read_text())["status"] == "interrupted"


def start(command: list[str], folder: Path, **more: Any) -> subprocess.Popen[str]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return start_module("mammo.train", *command, folder=folder, **(pipes | more))


def wait_for_line(run: subprocess.Popen[str], beginning: str) -> None:
    assert run.stdout is not None
    assert any(line.startswith(beginning) for line in run.stdout)


@pytest.mark.slow
def test_a_run_that_is_asked_to_end_finishes_the_batch_and_goes_on_there(class_folders, session_cache, train, tmp_path):
    command = [*TINY, f"data.root={class_folders}", "strategy=full_finetune", "data.batch_size=2", "train.epochs=4"]
    whole, stopped = left_alone(train, command, tmp_path)
    for epoch, number in enumerate([signal.SIGINT, signal.SIGTERM, signal.SIGUSR1], start=1):
        run = start([*command, f"cache_dir={session_cache}"], stopped)
        wait_for_line(run, f"Epoch {epoch}/4")
        run.send_signal(number)
        assert "the same command goes on" in run.communicate(timeout=60)[1]
        assert run.returncode == 85, number
        folder = only_run(stopped)
        assert json.loads((folder / "summary.json").read_text())["status"] == "interrupted"
        assert not (folder / "error.json").exists()
        unfinished = torch.load(folder / "checkpoints/last_model.pth", weights_only=True)["unfinished_epoch"]
        assert unfinished["batches_done"] > 0, "what was done of the epoch is not lost"
    done = train(*command, folder=stopped)
    assert done.returncode == 0, done.stderr
    assert f"resuming after epoch 3 and batch {unfinished['batches_done']} of 9 of the next" in done.stdout
    assert history(folder) == history(only_run(whole))
    assert (folder / "val_predictions.csv").read_bytes() == (only_run(whole) / "val_predictions.csv").read_bytes()


def test_a_second_ctrl_c_stops_at_once(class_folders, session_cache, tmp_path):
    """The whole epoch is one step, which the first Ctrl-C lets end and the second does not."""
    command = [*TINY_PRETRAINED, f"data.root={class_folders}", "strategy=full_finetune", "data.image_size=256"]
    run = start([*command, "train.accumulate=64", "data.batch_size=2", f"cache_dir={session_cache}"], tmp_path)
    wait_for_line(run, "Epoch 1/3")
    for pause_seconds in (0.3, 1.0):  # two signals during one backward pass are one to Python
        time.sleep(pause_seconds)
        run.send_signal(signal.SIGINT)
    run.communicate(timeout=60)
    assert run.returncode == 85
    assert json.loads((only_run(tmp_path) / "summary.json").read_text())["status"] == "interrupted"
    checkpoint = torch.load(only_run(tmp_path) / "checkpoints/last_model.pth", weights_only=True)
    assert (checkpoint["epoch"], checkpoint["unfinished_epoch"]) == (1, None)


@pytest.mark.slow
def test_a_full_disk_is_said_and_the_run_goes_on_when_there_is_room(class_folders, session_cache, train, tmp_path):
    """A limit for the size of files, set after the first epoch, stands for the disk: a checkpoint has megabytes."""
    command = [*TINY, "train.epochs=4", f"data.root={class_folders}"]
    whole, full = left_alone(train, command, tmp_path)
    run = start([*command, f"cache_dir={session_cache}"], full)
    wait_for_line(run, "Epoch 1/4")
    resource.prlimit(run.pid, resource.RLIMIT_FSIZE, (100, resource.RLIM_INFINITY))
    message = run.communicate(timeout=60)[1]
    assert run.returncode == 1
    assert "failed: File too large, while last_model.pth was written" in message
    assert "free some space" in message
    assert "Traceback" not in message
    folder = only_run(full)
    assert json.loads((folder / "summary.json").read_text())["status"] == "running", "there was no room for more"
    assert not list(folder.rglob("*.tmp")), "what could not be written whole takes no room"
    done = train(*command, folder=full)
    assert done.returncode == 0, done.stderr
    assert "resuming after epoch" in done.stdout
    assert history(folder) == history(only_run(whole))


@pytest.mark.slow
def test_a_damaged_checkpoint_is_said_and_the_one_before_is_taken(class_folders, session_cache, train, tmp_path):
    command = [*TINY, "train.epochs=4", f"data.root={class_folders}"]
    whole, damaged = left_alone(train, command, tmp_path)
    start_and_kill([*command, f"cache_dir={session_cache}"], damaged, "Epoch 3/4")
    last = only_run(damaged) / "checkpoints/last_model.pth"
    content = last.read_bytes()
    last.unlink()
    last.write_bytes(content[: len(content) // 2])
    done = train(*command, folder=damaged)
    assert done.returncode == 0, done.stderr
    assert "last_model.pth is damaged" in done.stdout + done.stderr
    assert "going on from " in done.stdout + done.stderr
    assert history(only_run(damaged)) == history(only_run(whole))
    for name in ("best_model.pth", "last_model.pth"):
        states = [torch.load(only_run(f) / "checkpoints" / name, weights_only=True) for f in (whole, damaged)]
        assert all(torch.equal(v, states[1]["model_state_dict"][k]) for k, v in states[0]["model_state_dict"].items())


@pytest.mark.slow
def test_a_run_that_was_told_to_stop_at_a_collapse_stays_stopped(class_folders, train):
    """In its last epoch: nothing is left to train, and it is not completed for that."""
    command = [*TINY, f"data.root={class_folders}", "train.epochs=1", "train.on_collapse=stop", "optimizer.lr=1e-6"]
    for _ in range(2):
        done = train(*command, "sampler=uniform", "scheduler=constant")
        assert done.returncode == 1, done.stdout
        assert "stopped because of train.on_collapse=stop" in done.stderr


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (TINY_PRETRAINED, r"the (loss|gradient) of \d+ images is not finite: [A-D]/[A-D]\d\.png"),
        (TINY, "the last step has led to weights that are none: 'head.weight' is not finite"),
    ],
    ids=["loss first", "weights first"],
)
def test_a_loss_that_explodes_leaves_the_last_checkpoint_whole(class_folders, train, tmp_path, options, expected):
    """Each step multiplies all weights by -9: a weight decay of 0.1 at a rate of 100."""
    command = [*options, f"data.root={class_folders}", "strategy=head_only", "train.epochs=40", "optimizer=sgd"]
    explosive = ["optimizer.lr=100", "optimizer.weight_decay=0.1", "scheduler=constant", "train.amp=off"]
    done = train(*command, *explosive, "train.checkpoint_every_seconds=1e-6")
    assert done.returncode == 1
    run = only_run(tmp_path)
    message = json.loads((run / "error.json").read_text())["message"]
    assert re.match(expected, message), message
    assert "a lower optimizer.lr" in message
    checkpoint = load_checkpoint(run / "checkpoints/last_model.pth")
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint["model_state_dict"].values())


def test_a_run_goes_on_when_nobody_reads_its_output_any_more(class_folders, session_cache, tmp_path):
    run = start([*TINY, f"data.root={class_folders}", f"cache_dir={session_cache}"], tmp_path, stderr=None)
    assert run.stdout is not None
    run.stdout.readline()
    run.stdout.close()
    assert run.wait(timeout=300) == 0
    folder = only_run(tmp_path)
    assert json.loads((folder / "summary.json").read_text())["status"] == "completed"
    assert "Epoch 3/3" in (folder / "run.log").read_text()


WITHOUT_PAUSES_BETWEEN_FIGURES = (
    "import runpy, mammo.runs.run as run; run.SECONDS_BETWEEN_FIGURES = 0; "
    "runpy.run_module('mammo.train', run_name='__main__', alter_sys=True)"
)


@pytest.mark.slow
def test_a_new_best_epoch_can_be_looked_at_while_the_run_goes_on(class_folders, session_cache, tmp_path):
    command = [*TINY, "train.epochs=4", f"data.root={class_folders}", f"cache_dir={session_cache}"]
    (tmp_path / "without_pauses.py").write_text(WITHOUT_PAUSES_BETWEEN_FIGURES)
    start_and_kill(command, tmp_path, "Epoch 2/4", program="without_pauses")
    run = only_run(tmp_path)
    assert json.loads((run / "summary.json").read_text())["status"] == "running"
    metrics = json.loads((run / "metrics/val_metrics.json").read_text())
    assert metrics["bal_acc_adj"] in [record["val_bal_acc_adj"] for record in history(run) if record["is_best"]]
    assert (run / "metrics/history.png").read_bytes()[:4] == b"\x89PNG"

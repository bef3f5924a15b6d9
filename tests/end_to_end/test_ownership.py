"""The directory of a run that trains: what happens to it from outside destroys nothing."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.end_to_end.runs import TINY, only_run
from tests.processes import start_module

# More epochs than it gets to train: the test ends it.
LONG = (*TINY, "train.epochs=100000", "scheduler=constant")


@contextlib.contextmanager
def training(folder: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A process that trains, after its second epoch."""
    process = start_module("mammo.train", *words, folder=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    try:
        until(process, "Epoch 2/")
        yield process
    finally:
        process.kill()
        process.wait()


def until(process: subprocess.Popen[str], beginning: str) -> None:
    """Read on until a line of the output begins so."""
    lines = []
    for line in process.stdout or ():
        lines.append(line)
        if line.startswith(beginning):
            return
    pytest.fail("".join(lines))


def test_a_deleted_lock_file_lets_no_second_process_in(class_folders, session_cache, train, tmp_path):
    words = (*LONG, f"data.root={class_folders}")
    with training(tmp_path, *words, f"cache_dir={session_cache}") as process:
        (only_run(tmp_path) / ".lock").unlink()
        second = train(*words)
        assert second.returncode == 2, second.stderr
        assert f"another process is training this run in {only_run(tmp_path)}" in second.stderr
        assert f"process {process.pid} on" in second.stderr
        until(process, "Epoch")


def test_a_run_whose_directory_is_replaced_ends_and_leaves_the_new_one_alone(class_folders, session_cache, tmp_path):
    with training(tmp_path, *LONG, f"data.root={class_folders}", f"cache_dir={session_cache}") as process:
        run = only_run(tmp_path)
        run.rename(tmp_path / "moved")
        (run / "checkpoints").mkdir(parents=True)
        (run / "checkpoints" / "last_model.pth").write_text("of another run")
        until(process, f"error: {run} was moved, removed or replaced")
        assert process.wait() == 2
    assert [path.relative_to(run).as_posix() for path in sorted(run.rglob("*"))] == [
        "checkpoints", "checkpoints/last_model.pth",
    ]  # fmt: skip
    assert (run / "checkpoints" / "last_model.pth").read_text() == "of another run"
    assert (tmp_path / "moved" / "checkpoints" / "best_model.pth").exists()

"""What the tests of whole runs share."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from tests.conftest import REPOSITORY

TINY = (
    "data=folders", "data.group_by=image", "data.pseudonymize=false", "model=efficientnet_lite0",
    "data.image_size=64", "data.batch_size=8", "train.epochs=3", "train.threads=1", "data.val_fraction=0.4",
    "optimizer.lr=1e-3",
)  # fmt: skip
TIMES = ("seconds", "images_per_second")


def only_run(folder: Path) -> Path:
    (run,) = (folder / "outputs").iterdir()
    return run


def history(run: Path) -> list[dict]:
    records = json.loads((run / "train_history.json").read_text())
    return [{key: value for key, value in record.items() if key not in TIMES} for record in records]


def finish_tiny_run(class_folders: Path, session_cache: Path, folder: Path) -> str:
    """Train in a folder, as `python -m mammo.train` does; returns what the command printed."""
    done = subprocess.run(
        [sys.executable, "-m", "mammo.train", *TINY, f"data.root={class_folders}", f"cache_dir={session_cache}"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def start_and_kill(
    command: list[str], folder: Path, after: str, program: tuple[str, ...] = ("-m", "mammo.train")
) -> None:
    """Start a run and kill it with SIGKILL when its output has a line that starts with `after`."""
    process = subprocess.Popen(
        [sys.executable, "-u", *program, *command],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(after):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()

"""What the tests of whole runs share."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

from tests.conftest import TINY, TINY_DATA, TINY_PRETRAINED
from tests.processes import start_module

__all__ = ["TINY", "TINY_DATA", "TINY_PRETRAINED", "history", "only_run", "start_and_kill"]

TIMES = ("seconds", "images_per_second")


def only_run(folder: Path) -> Path:
    (run,) = (folder / "outputs").iterdir()
    return run


def history(run: Path) -> list[dict]:
    records = json.loads((run / "train_history.json").read_text())
    return [{key: value for key, value in record.items() if key not in TIMES} for record in records]


def start_and_kill(command: list[str], folder: Path, after: str, program: str = "mammo.train") -> None:
    """Start a run and kill it with SIGKILL when its output has a line that starts with `after`."""
    process = start_module(program, *command, folder=folder, stdout=subprocess.PIPE)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(after):
            process.send_signal(signal.SIGKILL)
            break
    process.wait()

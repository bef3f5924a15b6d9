"""A compiled run computes what a plain one does; only its dropout draws other numbers."""

from __future__ import annotations

import shutil

import pytest

from tests.end_to_end.runs import TINY, history, only_run

NETWORK = (
    "model=timm",
    "model.name=resnet18",
    "model.weights=none",
    "model.dropout=0",
    "train.amp=off",
    "train.epochs=2",
)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler")
@pytest.mark.long
def test_a_compiled_run_learns_the_same(class_folders, train, tmp_path):
    losses = []
    for compiled in ("true", "false"):
        (tmp_path / compiled).mkdir()
        command = [*TINY, *NETWORK, f"data.root={class_folders}", f"train.compile={compiled}"]
        done = train(*command, folder=tmp_path / compiled, timeout_seconds=600)
        assert done.returncode == 0, done.stderr
        losses.append([record["train_loss"] for record in history(only_run(tmp_path / compiled))])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)

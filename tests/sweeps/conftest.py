"""One small real sweep, and copies of it to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.conftest import TINY_PRETRAINED, Once, run_command
from tests.sweeps.sweeps import SEEDS, plan_of, write_plan

FIXED = [option for option in TINY_PRETRAINED if not option.startswith(("data.val_fraction", "train.epochs"))]


@pytest.fixture(scope="session")
def real_sweep(once: Once, class_folders: Path, session_cache: Path) -> Path:
    """The folder of a finished sweep of 2 seeds and 2 folds, as `python -m mammo.train -m` leaves it."""
    swept = [f"seed={','.join(map(str, SEEDS))}", "data.num_folds=2", "data.fold=0,1"]
    options = [*FIXED, f"data.root={class_folders}", f"cache_dir={session_cache}", "train.epochs=2", *swept]
    folder = once("seeds-and-folds", lambda folder: run_command(folder, "mammo.train", "-m", *options))
    (sweep,) = {run.parent for run in (folder / "multirun").rglob("*-s42-f*") if run.is_dir()}
    return sweep


@pytest.fixture
def sweep(real_sweep: Path, tmp_path: Path) -> Path:
    """A copy of the runs of the real sweep with its plan, without anything that was computed from them."""
    copy = tmp_path / "multirun" / "trial-of-two"
    for run in sorted(path for path in real_sweep.iterdir() if (path / "config.yaml").exists()):
        shutil.copytree(run, copy / run.name)
    write_plan(copy, plan_of(copy))
    return copy

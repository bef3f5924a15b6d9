"""Reports of one small real sweep, and of what may be left of runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.processes import run_module
from tests.reporting.browser import chromium_or_skip
from tests.sweeps.conftest import real_sweep, sweep
from tests.sweeps.sweeps import plan_of, run_of, write_plan

__all__ = ["real_sweep", "sweep"]


def report(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m mammo.report`, as it is typed."""
    return run_module("mammo.report", *arguments, folder=folder)


@pytest.fixture(scope="session")
def reported(real_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep with two finished runs (a cross-validation of one seed) and its report."""
    folder = tmp_path_factory.mktemp("reported")
    copy = folder / "two-folds"
    for fold in (0, 1):
        run = run_of(real_sweep, 42, fold)
        shutil.copytree(run, copy / run.name)
    write_plan(copy, plan_of(copy))
    done = report(folder, "two-folds")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return copy


@pytest.fixture(scope="session")
def chromium() -> str:
    """The command of a Chromium; tests that need it are skipped where there is none and none is required."""
    return chromium_or_skip()

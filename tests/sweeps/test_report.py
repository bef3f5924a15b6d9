"""The command that reports on sweeps, as it is typed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.processes import run_module
from tests.sweeps.sweeps import change, run_of, runs_of

pytestmark = pytest.mark.slow


def report(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_module("mammo.report", *arguments, folder=folder, **environment)


def test_a_sweep_is_summarised_without_torch_and_again(sweep, tmp_path):
    done = report(tmp_path, "multirun/trial-of-two", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0, done.stderr
    assert "All 4 jobs of the sweep are finished" in done.stdout
    assert "Results: multirun/trial-of-two" in done.stdout
    for name in ("sweep_summary.json", "cv_summary.json", "summary.md", "comparison.png"):
        assert (sweep / name).stat().st_size > 0
    assert "mammo.sweeps" in done.stderr
    assert not any(line.split("|")[-1].strip().split(".")[0] == "torch" for line in done.stderr.splitlines())
    again = report(tmp_path, "multirun/trial-of-two")
    assert again.stdout == done.stdout
    assert again.stderr == ""


def test_a_half_finished_sweep_is_no_mistake(sweep, tmp_path):
    change(run_of(sweep, 42, 0) / "summary.json", status="running", metrics=None)
    done = report(tmp_path, "multirun/trial-of-two")
    assert done.returncode == 0
    assert done.stdout.strip().startswith("3 of 4 jobs are finished (1 unfinished)")


def test_a_run_shows_its_own_last_lines(sweep, tmp_path):
    run = runs_of(sweep)[0]
    before = {path.name for path in run.iterdir()}
    done = report(tmp_path, str(run))
    assert done.returncode == 0
    assert "Best epoch" in done.stdout
    assert {path.name for path in run.iterdir()} == before | {"report"}
    change(run / "summary.json", status="failed", metrics=None)
    done = report(tmp_path, str(run))
    assert done.returncode == 0
    assert "its status is failed" in done.stdout


def test_mistakes_are_answered(sweep, tmp_path):
    (tmp_path / "empty").mkdir()
    mistakes = {
        ("multirun/trail-of-two",): ["something that exists", "did you mean multirun/trial-of-two?"],
        ("run=nowhere/trial-of-two",): ["there is no such folder", "multirun/trial-of-two"],
        ("multirun",): ["holds sweeps, but is none itself", "multirun/trial-of-two"],
        ("empty",): ["empty holds no runs"],
        (): ["DIR"],
    }
    for arguments, expected in mistakes.items():
        done = report(tmp_path, *arguments)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        for words in expected:
            assert words in done.stderr
    assert not (sweep / "summary.md").exists()

"""Runs, sweeps, searches and checkpoints of commit 5a690a5 are read by every command, for ever."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mammo import doctor, embed, evaluate, explain, export, predict, report
from mammo.cli.tool import parse
from tests.conftest import Once, run_command
from tests.earlier.study import FINISHED, INTERRUPTED, SEARCH, SWEEP, load, unpack
from tests.sweeps.sweeps import runs_of

RUN, SWEEP_FOLDER, SEARCH_FOLDER = "outputs/finished-95175229", "multirun/seeds-and-folds", "multirun/search"


@pytest.fixture(scope="session")
def unpacked(once: Once) -> Path:
    """The study as it was left; not to be changed."""
    return once("earlier", unpack) / "study"


@pytest.fixture
def study(unpacked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, which is the working folder of the test."""
    folder = Path(shutil.copytree(unpacked, tmp_path / "study"))
    monkeypatch.chdir(folder)
    return folder


def state_of(folder: Path) -> dict[str, tuple[int, int]]:
    """Everything that a run has written, with the times when it was."""
    files = (file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".lock"))
    return {str(file.relative_to(folder)): (file.stat().st_size, file.stat().st_mtime_ns) for file in files}


def test_the_same_command_finds_the_run_finished(study):
    before = state_of(study / RUN)
    assert "this run is finished; nothing is trained" in run_command(study, "mammo.train", *FINISHED)
    assert state_of(study / RUN) == before


def test_an_interrupted_run_goes_on_to_the_end_that_it_would_have_had(study):
    run_command(study, "mammo.train", *INTERRUPTED)
    assert load(study / "interrupted/summary.json")["status"] == "completed"
    history, expected = load(study / "interrupted/train_history.json"), load(study / "expected/history.json")
    assert history[:3] == load_earlier_epochs(study)
    assert [record["epoch"] for record in history] == [1, 2, 3, 4, 5, 6]
    for record, wanted in zip(history, expected, strict=True):
        # To the bit on one machine; another rounds otherwise.
        assert record["train_loss"] == pytest.approx(wanted["train_loss"], rel=1e-4)
        assert record["val_loss"] == pytest.approx(wanted["val_loss"], rel=1e-4)


def load_earlier_epochs(study: Path) -> list[dict[str, Any]]:
    return load(unpack(study / "again") / "interrupted/train_history.json")


def test_a_sweep_is_repeated_without_training(study):
    before = {run.name: state_of(run) for run in runs_of(study / SWEEP_FOLDER)}
    printed = run_command(study, "mammo.train", *SWEEP)
    assert "All 4 jobs of the sweep are finished" in printed
    assert {run.name: state_of(run) for run in runs_of(study / SWEEP_FOLDER)} == before


@pytest.mark.slow
def test_a_killed_search_goes_on_with_the_trials_that_it_would_have_had(study):
    run_command(study, "mammo.train", *SEARCH)
    finished = load(study / SEARCH_FOLDER / "sweep.json")["search"]["finished"]
    expected = load(study / "expected/trials.json")
    assert [trial["number"] for trial in finished] == list(range(6))
    for trial, wanted in zip(finished, expected, strict=True):
        assert set(trial["params"]) == set(wanted)
        for name, value in wanted.items():
            near = value if isinstance(value, str) else pytest.approx(value, rel=1e-6)
            assert trial["params"][name] == near
    assert [len(trial["runs"]) for trial in finished] == [1] * 6


def evaluate_run(run: str) -> None:
    evaluate.work(parse(evaluate.TOOL, [f"run={run}", "cache_dir=cache", "threads=1"]))
    (file,) = Path().rglob("evaluation/*/predictions.csv")
    predictions = pd.read_csv(file)
    if run == SWEEP_FOLDER:
        assert len(predictions) == 32  # each woman is validated once
    else:
        stored = pd.read_csv(Path(run) / "val_predictions.csv")
        pd.testing.assert_frame_equal(predictions[stored.columns], stored, rtol=1e-4)


def predict_new(run: str) -> None:
    predict.work(parse(predict.TOOL, [run, "input=data", "output=new/p.csv", "cache_dir=cache", "threads=1"]))
    assert len(Path("new/p.csv").read_text().splitlines()) == 1 + 32


def report_on(run: str) -> None:
    report.work(parse(report.TOOL, [run]))
    assert (Path(run) / "report/report.html").is_file()


def look_at(run: str) -> None:
    with pytest.raises(SystemExit) as end:
        doctor.main([run])
    assert end.value.code == 0


def embed_run(run: str) -> None:
    embed.work(parse(embed.TOOL, [f"run={run}", "cache_dir=cache", "threads=1"]))
    (features,) = Path(run).glob("embeddings/*/features.npy")
    assert np.load(features).shape == (16, 256)


def export_run(run: str) -> None:
    export.work(parse(export.TOOL, [f"run={run}", "format=safetensors"]))
    assert list(Path(run).glob("exports/*.safetensors"))


def explain_run(run: str) -> None:
    explain.work(parse(explain.TOOL, [f"run={run}", "cache_dir=cache", "threads=1"]))
    assert list(Path(run).glob("explanations/**/*.png"))


CHECKPOINT = f"{RUN}/checkpoints/best_model.pth"
READ_BY: list[tuple[Callable[[str], None], str]] = [
    (evaluate_run, RUN), (evaluate_run, SWEEP_FOLDER),
    (predict_new, RUN), (predict_new, SWEEP_FOLDER), (predict_new, CHECKPOINT), (predict_new, "interrupted"),
    (report_on, RUN), (report_on, SWEEP_FOLDER), (report_on, SEARCH_FOLDER), (report_on, "interrupted"),
    (look_at, RUN), (look_at, SWEEP_FOLDER), (look_at, SEARCH_FOLDER), (look_at, "interrupted"),
    (embed_run, RUN), (export_run, RUN), (explain_run, RUN),
]  # fmt: skip


@pytest.mark.parametrize(("reads", "what"), READ_BY, ids=[f"{f.__name__}-{Path(what).name}" for f, what in READ_BY])
def test_read_by(reads, what, study):
    reads(what)

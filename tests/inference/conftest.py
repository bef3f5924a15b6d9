"""A small sweep of real runs: two strategies, two folds, test images set aside."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mammo import evaluate, predict
from mammo.cli.tool import Tool, parse
from tests.conftest import TINY, Once, run_command

OPTIONS = [option for option in TINY if not option.startswith(("data.val_fraction", "train.epochs"))]
Command = Callable[..., str]


@pytest.fixture(scope="session")
def trained_sweep(once: Once, class_folders: Path, session_cache: Path) -> Path:
    """The folder of the sweep as it was trained."""
    options = [
        *OPTIONS, "strategy=frozen_last_block,full_finetune", "data.num_folds=2", "data.fold=0,1",
        "data.test_fraction=0.25", "train.epochs=4", "sweep.name=sweep", f"data.root={class_folders}",
        f"cache_dir={session_cache}",
    ]  # fmt: skip
    folder = once("strategies-and-folds", lambda folder: run_command(folder, "mammo.train", "-m", *options))
    return folder / "multirun" / "sweep"


@pytest.fixture(scope="module")
def sweep(trained_sweep: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of it; names of the runs begin with `test_efficientnet-<strategy>-folders-s42-f<fold>`."""
    return Path(shutil.copytree(trained_sweep, tmp_path_factory.mktemp("sweep") / "sweep"))


def run_of(sweep: Path, strategy: str = "frozen_last_block", fold: int = 0) -> Path:
    """One run of the sweep."""
    (run,) = sweep.glob(f"*-{strategy}-*-f{fold}-*")
    return run


@pytest.fixture
def command(
    session_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """A function (tool, *words) that does what the command does, in this process and in a folder of the test."""
    monkeypatch.chdir(tmp_path)

    def run(tool: Tool, *words: str | Path) -> str:
        work = {"mammo.evaluate": evaluate.work, "mammo.predict": predict.work}[tool.program]
        work(parse(tool, [str(word) for word in words] + [f"cache_dir={session_cache}", "threads=1"]))
        return capsys.readouterr().out

    return run

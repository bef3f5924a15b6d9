"""One small real run, and copies of it to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mammo.doctor import main
from tests.end_to_end.runs import finish_tiny_run, only_run


@pytest.fixture(scope="session")
def real_run(class_folders: Path, session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run, as `python -m mammo.train` leaves it."""
    folder = tmp_path_factory.mktemp("run")
    finish_tiny_run(class_folders, session_cache, folder)
    return only_run(folder)


@pytest.fixture
def run(real_run: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return shutil.copytree(real_run, tmp_path / real_run.name)


def status_of(*arguments: str | Path) -> int:
    """Exit status of `python -m mammo.doctor`, in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code

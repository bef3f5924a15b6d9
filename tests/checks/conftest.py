"""One small real run, and copies of it to damage."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from mammo.doctor import main


@pytest.fixture
def run(tiny_run: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return shutil.copytree(tiny_run, tmp_path / tiny_run.name)


def status_of(*arguments: str | Path) -> int:
    """Exit status of `python -m mammo.doctor`, in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code

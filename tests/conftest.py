"""Fixtures that several tests share."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.pictures import write_class_folders

# Tests run in several processes, one for each core; threads of their own would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED_DATA = REPOSITORY.parent / "shared" / "data"

Train = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(autouse=True)
def _log_stays_as_it_was() -> Iterator[None]:
    """Commands that run in the process of the tests set up the project's log for themselves."""
    logger = logging.getLogger("mammo")
    level, propagate, handlers = logger.level, logger.propagate, list(logger.handlers)
    yield
    logger.setLevel(level)
    logger.propagate, logger.handlers[:] = propagate, handlers


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder with real data beside the checkout; tests that need it are skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("the real data (../shared/data) is not here")
    return SHARED_DATA


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache folder for all tests, so that images are decoded once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def train(tmp_path: Path, session_cache: Path) -> Train:
    """Run `python -m mammo.train` with arguments in a folder of the test; output is text."""

    def run(
        *arguments: str, folder: Path = tmp_path, timeout_seconds: int = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80", **environment}
        return subprocess.run(
            [sys.executable, "-m", "mammo.train", *arguments, f"cache_dir={session_cache}"],
            cwd=folder,
            env=variables,
            capture_output=True,
            text=True,
            timeout=timeout_seconds,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny dataset of four classes, 8 PNGs each: bright half-ellipses whose texture grows with the class."""
    return write_class_folders(tmp_path_factory.mktemp("classes"))

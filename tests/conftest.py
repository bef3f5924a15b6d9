"""Fixtures that several tests share."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from mammo.data.phantom import VERSION
from mammo.data.phantom_cache import phantom_folder
from tests.pictures import write_class_folders
from tests.processes import REPOSITORY, run_module

# Tests run in several processes, one for each core; threads of their own would only wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED_DATA = REPOSITORY.parent / "shared" / "data"

Once = Callable[[str, Callable[[Path], object]], Path]
Train = Callable[..., "subprocess.CompletedProcess[str]"]


# The options of a run that takes a second or two.
SMALL_NETWORK = ("model=timm", "model.name=test_efficientnet", "model.weights=none")
TINY_DATA = ("data=folders", "data.group_by=image", "data.pseudonymize=false", "data.image_size=64")
TINY_TRAINING = ("data.batch_size=8", "data.val_fraction=0.4", "train.epochs=3", "train.threads=1", "optimizer.lr=1e-3")
TINY = (*TINY_DATA, *TINY_TRAINING, *SMALL_NETWORK)
# The network whose ImageNet weights are installed: twice as long.
TINY_PRETRAINED = (*TINY_DATA, *TINY_TRAINING, "model=efficientnet_lite0")


def run_command(folder: Path, *arguments: str, timeout_seconds: int = 300) -> str:
    """`python -m` with some arguments in a folder; returns what it printed, and fails where it failed."""
    done = run_module(*arguments, folder=folder, timeout_seconds=timeout_seconds)
    assert done.returncode == 0, done.stderr + done.stdout
    return done.stdout


def train_tiny_run(folder: Path, options: Iterable[str], class_folders: Path, cache: Path) -> None:
    """Train in a folder, as `python -m mammo.train` does."""
    printed = run_command(folder, "mammo.train", *options, f"data.root={class_folders}", f"cache_dir={cache}")
    (folder / "printed.txt").write_text(printed)


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


@pytest.fixture(scope="session")
def cache_with_exams(generated_exams: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that has generated exams already: making them takes longer than all that follows."""
    folder = tmp_path_factory.mktemp("cache_with_exams")
    shutil.copytree(generated_exams.parent, folder, dirs_exist_ok=True)
    return folder


@pytest.fixture
def train(tmp_path: Path, session_cache: Path) -> Train:
    """Run `python -m mammo.train` with arguments in a folder of the test; output is text."""

    def run(
        *arguments: str, folder: Path = tmp_path, timeout_seconds: int = 300, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return run_module(
            "mammo.train", *arguments, f"cache_dir={session_cache}", folder=folder, timeout_seconds=timeout_seconds,
            **environment,
        )  # fmt: skip

    return run


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """A function (name, make) that makes a folder once for all processes of the tests: `make` fills it.

    What is in it is not to be changed.
    """
    own = tmp_path_factory.getbasetemp()
    root = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own

    def folder_of(name: str, make: Callable[[Path], object]) -> Path:
        folder, done = root / f"once-{name}", root / f"once-{name}.done"
        with FileLock(root / f"once-{name}.lock"):
            if not done.exists():
                folder.mkdir()
                make(folder)
                done.touch()
        return folder

    return folder_of


@pytest.fixture(scope="session")
def generated_exams(once: Once) -> Path:
    """The archive of the first twelve generated exams, in the folder and beside the sums that a cache folder has."""
    return once("generated", lambda folder: phantom_folder(folder, 12, seed=0)) / f"phantom-v{VERSION}-n12-s0"


@pytest.fixture(scope="session")
def class_folders(once: Once) -> Path:
    """A tiny dataset of four classes, 8 PNGs each: bright half-ellipses whose texture grows with the class."""
    return once("classes", lambda folder: write_class_folders(folder))


@pytest.fixture(scope="session")
def tiny_run(once: Once, class_folders: Path, session_cache: Path) -> Path:
    """The directory of a finished run on them; what its command printed is in `printed.txt` two folders above."""
    folder = once("run", lambda folder: train_tiny_run(folder, TINY, class_folders, session_cache))
    (run,) = (folder / "outputs").iterdir()
    return run


@pytest.fixture(scope="session")
def pretrained_run(once: Once, class_folders: Path, session_cache: Path) -> Path:
    """The same from ImageNet weights."""
    options = TINY_PRETRAINED
    folder = once("pretrained_run", lambda folder: train_tiny_run(folder, options, class_folders, session_cache))
    (run,) = (folder / "outputs").iterdir()
    return run

"""Which folders hold runs and sweeps, told by what lies in them."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mammo.support.errors import RunDirectoryError

PLAN_FILE = "sweep.json"


def is_run_folder(folder: Path) -> bool:
    """Whether a folder has been claimed by a run."""
    return (folder / "config.yaml").is_file() or (folder / "summary.json").is_file()


def is_sweep_folder(folder: Path) -> bool:
    """Whether a folder holds a sweep: its plan, or runs."""
    return (folder / PLAN_FILE).is_file() or any(is_run_folder(path) for path in subfolders(folder))


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, in the order of their names, but those that a dot hides."""
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def results_near(path: Path) -> list[str]:
    """The runs and sweeps where a path points to, else those of `multirun/`, for messages."""
    return results_in(path.parent) if path.parent.is_dir() else results_in(Path("multirun"))


def results_in(folder: Path) -> list[str]:
    """The runs and sweeps that lie in a folder, as paths, for messages; none where it cannot be read."""
    found = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            with suppress(OSError):
                if path.is_dir() and not path.name.startswith(".") and (is_run_folder(path) or is_sweep_folder(path)):
                    found.append(str(path))
    return found


def require_inside(folder: Path, kind: str) -> None:
    """Raises RunDirectoryError where results would be written through a link to somewhere else."""
    for path in (folder / kind, *(folder / kind).glob("*")):
        if path.is_symlink() and path.is_dir():
            raise RunDirectoryError(
                f"{path.relative_to(folder)} in {folder.name} is a link to another folder",
                "a folder of the run itself",
                "remove the link, or name another place: output=DIR",
            )

"""From what a person names to checkpoints: a run directory, a sweep, a file."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from mammo.runs.directory import RunDirectory
from mammo.runs.folders import is_run_folder, is_sweep_folder, results_in
from mammo.runs.selecting import chosen
from mammo.support.errors import RunDirectoryError, nearest

SUFFIXES = (".pth", ".safetensors")


def find_checkpoints(named: Sequence[str], where: Sequence[str] = ()) -> list[Path]:
    """The checkpoint of each run that is named, in order, none twice.

    A folder of a sweep stands for its finished runs, a pattern such as `outputs/*` for what fits it; `where` leaves
    those that fulfil its conditions. Raises RunDirectoryError for what has no checkpoint, ConfigError where no run
    fulfils them.
    """
    if not named:
        raise RunDirectoryError("no run is named", "a run directory, a sweep or a checkpoint", "run=outputs/NAME")
    paths = [path for name in named for path in _expanded(name)]
    found = [checkpoint for path in paths for checkpoint in _checkpoints_of(path)]
    found = list(dict.fromkeys(found))
    if not where:
        return found
    folders = {checkpoint.parent.parent: checkpoint for checkpoint in found if is_run_folder(checkpoint.parent.parent)}
    return [folders[folder] for folder in chosen(list(folders), where)]


def find_one_checkpoint(named: Sequence[str]) -> Path:
    """The checkpoint of the one run that is named; raises RunDirectoryError for several."""
    found = find_checkpoints(named)
    if len(found) > 1:
        raise RunDirectoryError(
            f"{len(found)} runs are named", "one run", f"choose one of them, for example run={_shown(found[0])}"
        )
    return found[0]


def _expanded(name: str) -> list[Path]:
    """What a name means; a shell does not expand the pattern in `run=outputs/*`."""
    path = Path(name).expanduser()
    return [path] if path.exists() else [Path(found) for found in sorted(glob.glob(str(path)))] or [path]


def _checkpoints_of(path: Path) -> list[Path]:
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise RunDirectoryError(
                f"{path} is no checkpoint", "a run directory, a sweep, a .pth file of a run, or a .safetensors file"
            )
        return [path]
    if is_run_folder(path):
        return [_best_of(path)]
    if path.is_dir() and is_sweep_folder(path):
        finished = [one for one in sorted(path.iterdir()) if is_run_folder(one) and RunDirectory(one).is_finished]
        if not finished:
            raise RunDirectoryError(f"no run of {path} is finished", to_do="repeat its command: it goes on")
        return [_best_of(folder) for folder in finished]
    raise _not_found(path)


def _best_of(run_folder: Path) -> Path:
    directory = RunDirectory(run_folder)
    if not directory.best_checkpoint.is_file():
        status = directory.status or "unknown"
        raise RunDirectoryError(
            f"{run_folder} has no checkpoints/best_model.pth; the status of the run is {status}",
            "a run that has finished an epoch",
            "repeat its command, or name another run",
        )
    return directory.best_checkpoint


def _not_found(path: Path) -> RunDirectoryError:
    if path.is_dir():
        found = f"{path} is no run directory, and no run is in it"
        return RunDirectoryError(found, to_do=nearest(str(path), results_in(path)))
    around = path.parent if path.parent.is_dir() else Path("outputs")
    near = results_in(around) + [str(found) for found in around.glob("*") if found.suffix in SUFFIXES]
    return RunDirectoryError(
        f"{path}: there is no such run or checkpoint", "a run directory, a sweep or a checkpoint",
        nearest(str(path), near),
    )  # fmt: skip


def _shown(checkpoint: Path) -> str:
    return str(checkpoint.parent.parent if checkpoint.parent.name == "checkpoints" else checkpoint)

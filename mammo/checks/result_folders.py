"""Folders with results: which kind a folder is, and the checks for it."""

from __future__ import annotations

from pathlib import Path

from mammo.checks.report import Section
from mammo.checks.run import check_run
from mammo.checks.sweep import check_sweep
from mammo.runs.folders import PLAN_FILE, is_sweep_folder, results_in
from mammo.runs.layout import LATER_FOLDERS, OWN_FILES, OWN_FOLDERS, SUMS_FILE
from mammo.support.errors import UserError, nearest
from mammo.support.progress import start_logging


def holds_results(folder: Path) -> bool:
    """Whether a folder is that of a run, of a sweep, or of several; raises UserError for what is no folder."""
    if not folder.is_dir():
        if folder.exists():
            raise UserError(f"{folder} is a file", "the folder of a run, of a sweep or of a dataset")
        near = nearest(str(folder), results_in(folder.parent))
        raise UserError(f"{folder}: there is no such folder", to_do=near)
    return _is_run(folder) or is_sweep_folder(folder) or bool(_sweeps_in(folder))


def check_results(folder: Path) -> list[Section]:
    """The sections for a folder for which `holds_results` is true."""
    start_logging("error")  # metrics that are undefined are null in the files
    if _is_run(folder):
        return [check_run(folder)]
    if is_sweep_folder(folder):
        return check_sweep(folder)
    return [section for sweep in _sweeps_in(folder) for section in check_sweep(sweep)]


def _is_run(folder: Path) -> bool:
    """Whether a folder has anything that a run leaves, also when the rest was lost."""
    if (folder / PLAN_FILE).is_file():
        return False
    return any((folder / name).is_file() for name in OWN_FILES if name != SUMS_FILE) or any(
        (folder / name).is_dir() for name in OWN_FOLDERS if name not in ("metrics", *LATER_FOLDERS)
    )


def _sweeps_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and (path / PLAN_FILE).is_file())

"""What the runs of a sweep say together, from what is on disk.

    python -m mammo.report multirun/NAME
    python -m mammo.report multirun/*

A sweep reports at its end; this does the same at any time, also while a sweep runs or after it was
interrupted. Given a single run it shows that run's last lines again.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from mammo.compose import end_with
from mammo.errors import SweepFolderError, nearest
from mammo.progress import start_logging
from mammo.runs.closing import closing_lines, show
from mammo.runs.directory import RunDirectory
from mammo.sweeps.results import COMPLETED, is_run_folder, is_sweep_folder
from mammo.sweeps.summary import close_sweep

MULTIRUN = Path("multirun")


def main(arguments: Sequence[str] | None = None) -> None:
    """Report on the folders of the command line; a mistake of the user ends with status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m mammo.report",
        description="Mean, spread and intervals over the runs of a sweep, finished or not. Writes "
        "sweep_summary.json, cv_summary.json (of folds), summary.md and comparison.png into its folder.",
    )
    parser.add_argument("folders", metavar="SWEEP_DIR", nargs="+", type=Path, help="folder of a sweep: multirun/NAME")
    folders = parser.parse_args(arguments).folders
    try:
        for folder in folders:
            _require_results(folder)
        start_logging("error")  # what is undefined in one of many sets of predictions is null in the files
        for folder in folders:
            show(_run_lines(folder) if is_run_folder(folder) else close_sweep(folder).lines)
    except Exception as error:
        end_with(error)


def _require_results(folder: Path) -> None:
    """Raises SweepFolderError for a folder that is neither a sweep nor a run."""
    if not folder.is_dir():
        around = folder.parent if folder.parent.is_dir() else MULTIRUN
        near = [str(path) for path in around.glob("*") if path.is_dir() and not path.name.startswith(".")]
        raise SweepFolderError(
            f"{folder}: there is no such folder", "the folder of a sweep", nearest(str(folder), near)
        )
    if is_run_folder(folder) or is_sweep_folder(folder):
        return
    sweeps = sorted(str(path) for path in folder.iterdir() if path.is_dir() and is_sweep_folder(path))
    raise SweepFolderError(
        f"{folder} holds {'sweeps, but is none itself' if sweeps else 'no runs'}",
        "the folder of a sweep, with its runs directly below it",
        nearest(str(folder), sweeps),
    )


def _run_lines(folder: Path) -> list[str]:
    """The last lines of a run, or what has become of it."""
    directory = RunDirectory(folder)
    summary = directory.summary()
    if summary is not None and summary.get("status") == COMPLETED:
        return closing_lines(folder, summary)
    status = "not known" if summary is None else summary.get("status")
    return [f"{folder} is a run without results so far: its status is {status}. error.json and run.log say more."]


if __name__ == "__main__":
    main()

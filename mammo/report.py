"""A report of a run, of several, or of a sweep, from what is on disk.

    python -m mammo.report outputs/NAME
    python -m mammo.report multirun/NAME
    python -m mammo.report multirun/NAME outputs/NAME --output DIR

It can be made at any time, also while a sweep runs or after it was interrupted. The summaries that a sweep
writes at its end are made anew; of a run its last lines are shown again.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from mammo.cli.entry import end_with
from mammo.runs.closing import result_lines, show
from mammo.runs.directory import RunDirectory, require_inside
from mammo.runs.folders import is_run_folder, is_sweep_folder, results_in
from mammo.support.errors import RunDirectoryError, SweepFolderError, UserError, nearest
from mammo.support.progress import start_logging
from mammo.sweeps.reading import COMPLETED

MULTIRUN = Path("multirun")
REPORT_FOLDER = "report"


def main(arguments: Sequence[str] | None = None) -> None:
    """Report on the folders of the command line; a mistake of the user ends with status 2."""
    parser = argparse.ArgumentParser(
        prog="python -m mammo.report",
        description="Writes a report of runs, finished or not: report.html (one file that needs no network), "
        "report.md, report_table.tex (for a paper) and figures as PNG and PDF. In the folder of a sweep it also makes "
        "sweep_summary.json, cv_summary.json (of folds), summary.md and comparison.png anew.",
    )
    parser.add_argument(
        "folders", metavar="DIR", nargs="+", type=Path,
        help="folder of a run (outputs/NAME) or of a sweep (multirun/NAME)",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="DIR", type=Path, help="where to write; without it DIR/report, for several DIR ./report"
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that no report has written, or that were changed since"
    )
    words = sys.argv[1:] if arguments is None else arguments
    # As all other commands write it.
    options = parser.parse_args(["--overwrite" if word == "overwrite=true" else word for word in words])
    folders: list[Path] = options.folders
    try:
        for folder in folders:
            _require_results(folder)
        output: Path = options.output or (folders[0] / REPORT_FOLDER if len(folders) == 1 else Path(REPORT_FOLDER))
        if output.exists() and not output.is_dir():
            raise UserError(f"{output} is a file", "a folder for the report", "--output DIR")
        # Not before mistakes are answered: these load matplotlib, pandas and scikit-learn.
        from mammo.reporting.report_files import outputs_for, write_report
        from mammo.sweeps.summary import close_sweep

        start_logging("error")  # what is undefined in one of many sets of predictions is null in the files
        outputs_for(folders, output, overwrite=options.overwrite)
        for folder in folders:
            show(_run_lines(folder) if is_run_folder(folder) else close_sweep(folder, options.overwrite).lines)
        if options.output is None and len(folders) == 1:
            require_inside(folders[0], REPORT_FOLDER)
        show(_report_lines(output, write_report(folders, output, overwrite=options.overwrite)))
    except Exception as error:  # a mistake or a failure, which ends with its message and status
        end_with(error)


def _require_results(folder: Path) -> None:
    """Raises SweepFolderError for a folder that is neither a sweep nor a run."""
    if not folder.is_dir():
        around = folder.parent if folder.parent.is_dir() else MULTIRUN
        near = nearest(str(folder), results_in(around))
        raise SweepFolderError(f"{folder}: there is no such folder", "the folder of a run or of a sweep", near)
    if is_run_folder(folder) or is_sweep_folder(folder):
        return
    sweeps = sorted(str(path) for path in folder.iterdir() if path.is_dir() and is_sweep_folder(path))
    raise SweepFolderError(
        f"{folder} holds {'sweeps, but is none itself' if sweeps else 'no runs'}",
        "the folder of a run, or of a sweep with its runs directly below it",
        nearest(str(folder), sweeps),
    )


def _run_lines(folder: Path) -> list[str]:
    """The last lines of a run, or what has become of it."""
    try:
        summary = RunDirectory(folder).summary()
    except RunDirectoryError as error:
        return [f"{folder}: {error.found}"]
    if summary is not None and summary.get("status") == COMPLETED:
        return result_lines(summary)
    status = "not known" if summary is None else summary.get("status")
    return [f"{folder} is a run without results so far: its status is {status}. error.json and run.log say more."]


def _report_lines(output: Path, names: Sequence[str]) -> list[str]:
    """Where the report is."""
    figures = sum(name.endswith(".png") for name in names)
    return [
        f"Report: {output}",
        "  report.html          the whole report in one file, for any browser",
        "  report.md            the same as text",
        "  report_table.tex     the metrics as a table for a paper",
        f"  density_*.png, .pdf  {figures} figures, under the names of their seeds",
    ]


if __name__ == "__main__":
    main()

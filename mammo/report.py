"""A report of a run, of several, or of a sweep, from what is on disk.

    python -m mammo.report outputs/NAME
    python -m mammo.report multirun/NAME
    python -m mammo.report multirun/NAME outputs/NAME output=DIR
    python -m mammo.report --help

It can be made at any time, also while a sweep runs or after it was interrupted. The summaries that a sweep
writes at its end are made anew; of a run its last lines are shown again.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

from mammo.cli.tool import CommandLine, Tool, run_tool
from mammo.runs.closing import result_lines, show
from mammo.runs.directory import RunDirectory
from mammo.runs.folders import is_run_folder, is_sweep_folder, require_inside, results_near, subfolders
from mammo.runs.selecting import chosen
from mammo.support.errors import RunDirectoryError, SweepFolderError, UserError, nearest
from mammo.support.files import safe_name
from mammo.support.option_registry import option
from mammo.support.progress import start_logging
from mammo.sweeps.reading import COMPLETED

REPORT_FOLDER = "report"


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """One call of `mammo.report`."""

    run: list[str] = option([], "run directories (outputs/NAME) and folders of sweeps (multirun/NAME)")
    where: list[str] = option([], "which of the runs, by an option that they were trained with: optimizer.lr=1e-3")
    output: str | None = option(None, "where to write; null: report/ in the folder, for several folders ./report")
    reference: str | None = option(
        None, "the configuration that others are compared with, such as head_only or 1e-4; null: as the sweep said"
    )
    overwrite: bool = option(False, "replace files that no report has written, or that were changed since")


TOOL = Tool(
    program="mammo.report",
    options=ReportOptions,
    about="Writes a report of runs, finished or not: report.html (one file that needs no network), report.md, "
    "report_table.tex (for a paper) and figures as PNG and PDF. In the folder of a sweep it also makes "
    "sweep_summary.json, cv_summary.json (of folds), summary.md and comparison.png anew.",
    examples=(
        "outputs/NAME",
        "multirun/NAME",
        "multirun/NAME where=strategy=head_only",
        "multirun/NAME outputs/NAME output=DIR",
    ),
    takes_data=False,
)


def work(line: CommandLine) -> None:
    """Report on the folders of the command line."""
    options: ReportOptions = line.options
    folders = [Path(name) for name in options.run]
    if not folders:
        raise SweepFolderError("no folder is named", "that of a run or of a sweep", "python -m mammo.report DIR")
    for folder in folders:
        _require_results(folder)
    runs = chosen_runs(folders, options.where) if options.where else folders
    is_inside = options.output is None and len(folders) == 1
    within = f"{REPORT_FOLDER}/{safe_name(' '.join(options.where))}" if options.where else REPORT_FOLDER
    output = folders[0] / within if is_inside else Path(options.output or within)
    if output.exists() and not output.is_dir():
        raise UserError(f"{output} is a file", "a folder for the report", "output=DIR")
    # Not before mistakes are answered: these load matplotlib, pandas and scikit-learn.
    from mammo.reporting.report_files import outputs_for, write_report
    from mammo.sweeps.summary import close_sweep

    start_logging("error")  # what is undefined in one of many sets of predictions is null in the files
    outputs_for(folders, output, overwrite=options.overwrite)
    for folder in [] if options.where else folders:
        show(_run_lines(folder) if is_run_folder(folder) else close_sweep(folder, options.overwrite))
    if is_inside:
        require_inside(folders[0], REPORT_FOLDER)
    show(_report_lines(output, write_report(runs, output, overwrite=options.overwrite, reference=options.reference)))


def chosen_runs(folders: Sequence[Path], where: Sequence[str]) -> list[Path]:
    """The run directories in some folders that fulfil conditions; raises ConfigError where none does."""
    runs = [run for one in folders for run in ([one] if is_run_folder(one) else subfolders(one)) if is_run_folder(run)]
    return chosen(runs, where)


def _require_results(folder: Path) -> None:
    """Raises SweepFolderError for a folder that is neither a sweep nor a run."""
    if not folder.is_dir():
        near = nearest(str(folder), results_near(folder))
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
    run_tool(TOOL, work, sys.argv[1:])

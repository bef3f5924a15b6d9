"""`runs.csv`: a row for each run of a sweep, for spreadsheets and scripts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mammo.evaluation.scores import SCORE_NAMES
from mammo.runs.json_access import look, mapping, number
from mammo.runs.reading import RunReader
from mammo.support.plain_text import as_typed, without_folders
from mammo.sweeps.findings import Finding
from mammo.sweeps.reading import RunResult, SweepResults

RUNS_FILE = "runs.csv"


def runs_table(results: SweepResults, findings: Sequence[Finding]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows: what a run is, what it has scored on validation and on patients set aside, what it cost.

    What is not known is empty; numbers have all their digits.
    """
    configuration = {run.name: one.configuration for one in findings for run in one.configuration.runs}
    keys = list(dict.fromkeys(key for one in findings for key in one.configuration.differs))
    rows = []
    for run in results.runs:
        known = configuration.get(run.name)
        differs = known.differs if known is not None else {}
        row: dict[str, Any] = {
            "run": run.name,
            "configuration": None if known is None else known.label,
            **{key: _value(differs.get(key)) for key in keys},
            "seed": run.seed,
            "split_seed": run.split_seed,
            "fold": run.fold,
            "status": run.status,
            "select": (run.identity or {}).get("train.select"),
            **_of_files(run),
            "minutes": run.cost.minutes,
            "images_per_second": run.cost.images_per_second,
            "parameters_total": run.cost.parameters,
            "parameters_trainable": run.cost.trainable_parameters,
        }
        rows.append(row)
    columns = list(rows[0]) if rows else ["run"]
    return columns, [[_cell(row[name]) for name in columns] for row in rows]


def _of_files(run: RunResult) -> dict[str, Any]:
    """The epoch, and the scores of both parts."""
    files = RunReader(run.folder)
    of_test = files.test[1] if run.is_completed and files.test is not None else {}
    return {
        "best_epoch": look(files.summary, "best_epoch"),
        "epochs_run": look(files.summary, "epochs_run"),
        **{f"val_{name}": number(files.summary, "metrics", name) for name in SCORE_NAMES},
        **{f"test_{name}": number(mapping(of_test, "metrics"), name) for name in SCORE_NAMES},
    }


def _value(value: Any) -> Any:
    """The value of an option: a number as it is, what is none as nothing."""
    return value if value is None or isinstance(value, int | float) else without_folders(as_typed(value))


def _cell(value: Any) -> Any:
    return "" if value is None else int(value) if isinstance(value, float) and value.is_integer() else value

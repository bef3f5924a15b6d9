"""The keys and types that the files of a run promise; what is not listed may be there too."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from mammo.checks.report import Finding, ok, problem, some
from mammo.runs.reading import CsvTable, RunFiles
from mammo.runs.stored import SplitManifest, ValMetrics, shape_of
from mammo.support.type_checks import faults
from mammo.training.epoch_records import Record

SCHEMA_VERSION = 1
# What the checks look up in each table.
COLUMNS = {
    "splits": ("image_id", "patient_id", "exam_id", "laterality", "view", "label"),
    "predictions": ("image_id", "patient_id", "exam_id", "laterality", "view", "y_true", "y_pred"),
    "quarantine": ("image_id", "stage", "reason"),
}


def check_schema(run: RunFiles) -> Iterator[Finding]:
    """Findings about keys and types; what is found wrong is taken out of `run`, so that nothing builds on it."""
    summary = run.summary
    if summary is not None:
        wrong = _wrong(summary, shape_of(summary))
        if summary.get("schema_version") not in (None, SCHEMA_VERSION):
            wrong.append(f"schema_version is another than {SCHEMA_VERSION}")
        yield _finding("summary.json", wrong)
        run.summary = None if wrong else summary
    if run.metrics is not None:
        wrong = _wrong(run.metrics, ValMetrics) or _wrong_lengths(run.metrics)
        yield _finding("val_metrics.json", wrong)
        run.metrics = None if wrong else run.metrics
    if run.history is not None:
        wrong = _wrong(run.history, list[Record])
        wrong += [
            f"record {number} is of another epoch"
            for number, record in enumerate(run.history, start=1)
            if record.get("epoch") != number
        ]
        yield _finding("train_history.json", wrong)
        run.history = None if wrong else run.history
    if run.manifest is not None and (wrong := _wrong(run.manifest, SplitManifest)):
        yield _finding("splits/manifest.json", wrong)
        run.manifest = None
    yield from _check_tables(run)


def _check_tables(run: RunFiles) -> Iterator[Finding]:
    tables: list[tuple[str, CsvTable | None, tuple[str, ...]]] = [
        ("val_predictions.csv", run.predictions, COLUMNS["predictions"]),
        ("quarantine.csv", run.quarantine, COLUMNS["quarantine"]),
        *((f"splits/{part}.csv", table, COLUMNS["splits"]) for part, table in run.parts.items()),
    ]
    for name, table, columns in tables:
        wrong = [] if table is None else [f"has no column {one}" for one in columns if one not in table.columns]
        if table is not None and name == "val_predictions.csv":
            wrong = wrong or _wrong_predictions(table)
        if wrong:
            yield _finding(name, wrong)
            if name == "val_predictions.csv":
                run.predictions = None
            elif name == "quarantine.csv":
                run.quarantine = None
            else:
                del run.parts[name.removeprefix("splits/").removesuffix(".csv")]


def _wrong_predictions(table: CsvTable) -> list[str]:
    """What makes numbers, or classes, of a table of predictions none."""
    names = [name.removeprefix("p_") for name in table.columns if name.startswith("p_")]
    if len(names) < 2 or not table.rows:
        return [f"has {len(names)} classes and {len(table.rows)} rows"]
    if not {*table.column("y_true"), *table.column("y_pred")} <= set(names):
        return ["has classes without a column of probabilities"]
    cells = [row[f"p_{name}"] for row in table.rows for name in names]
    wrong = sum(not is_probability(cell) for cell in cells)
    return [f"{wrong} of {len(cells)} probabilities are no numbers from 0 to 1"] if wrong else []


def is_probability(cell: str) -> bool:
    """Whether a cell is a number from 0 to 1."""
    try:
        return 0.0 <= float(cell) <= 1.0
    except ValueError:
        return False


def _wrong_lengths(metrics: dict[str, Any]) -> list[str]:
    """Where what is said of each class is not said of as many as there are."""
    num_classes, matrix = len(metrics["class_names"]), metrics["confusion_matrix"]
    of_classes = [key for key in metrics if key.startswith("per_class_")] + ["true_counts", "pred_counts"]
    lists = [key for key in of_classes if isinstance(metrics[key], list) and len(metrics[key]) != num_classes]
    if len(matrix) != num_classes or any(len(row) != num_classes for row in matrix):
        lists.append("confusion_matrix")
    return [f"{key} is not of {num_classes} classes" for key in lists]


def _finding(name: str, wrong: list[str]) -> Finding:
    return problem(name, some(wrong, 5)) if wrong else ok(name, "strict JSON with all keys")


def _wrong(tree: Any, shape: Any) -> list[str]:
    return list(faults(tree, shape, complete=True))

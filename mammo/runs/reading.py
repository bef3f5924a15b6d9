"""The files of a run directory, read strictly: what is missing is None, what is damaged is named."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import yaml

from mammo.runs.layout import LOCK_FILE
from mammo.support.files import parse_json, read_csv, read_json, read_text
from mammo.support.yaml_files import read_yaml

BEST, LAST = "checkpoints/best_model.pth", "checkpoints/last_model.pth"


@dataclasses.dataclass(frozen=True)
class CsvTable:
    """A CSV file: a dict for each row."""

    columns: list[str]
    rows: list[dict[str, str]]

    def column(self, name: str) -> list[str]:
        """The cells of a column; raises KeyError."""
        return [row[name] for row in self.rows]


@dataclasses.dataclass
class RunFiles:
    """The files of a run that could be read; None for what is missing or damaged.

    `damaged` says why a file could not be read, by its name.
    """

    folder: Path
    damaged: dict[str, str] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] | None = None
    summary: dict[str, Any] | None = None
    history: list[dict[str, Any]] | None = None
    metrics: dict[str, Any] | None = None
    manifest: dict[str, Any] | None = None
    predictions: CsvTable | None = None
    quarantine: CsvTable | None = None
    parts: dict[str, CsvTable] = dataclasses.field(default_factory=dict)

    @property
    def status(self) -> str:
        """The status in the summary; empty where that cannot be read."""
        return str((self.summary or {}).get("status", ""))

    @property
    def is_completed(self) -> bool:
        """Whether it says that the results are there."""
        return self.status == "completed"


def read_files(folder: Path) -> RunFiles:
    """Read the text files of a run directory."""
    run = RunFiles(folder)
    run.config = _read(run, "config.yaml", _mapping_of_yaml)
    run.summary = _read(run, "summary.json", read_json)
    run.manifest = _read(run, "splits/manifest.json", read_json)
    run.history = _read(run, "train_history.json", _json_records)
    run.metrics = _read(run, "metrics/val_metrics.json", read_json)
    run.predictions = _read(run, "val_predictions.csv", _csv_table)
    run.quarantine = _read(run, "quarantine.csv", _csv_table)
    for name in ("error.json", "optuna_trial.json"):
        _read(run, name, read_json)
    for part in ("train", "val", "test"):
        if (table := _read(run, f"splits/{part}.csv", _csv_table)) is not None:
            run.parts[part] = table
    return run


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock of a run directory; nothing is written to find out."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _read(run: RunFiles, name: str, reader: Any) -> Any:
    try:
        return reader(run.folder / name)
    except FileNotFoundError:
        return None  # whether it must be there is asked later
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0] if str(error) else ""
        run.damaged[name] = reason or type(error).__name__
        return None


def _mapping_of_yaml(file: Path) -> dict[str, Any]:
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise ValueError("not a configuration")
    return content


def _json_records(file: Path) -> list[dict[str, Any]]:
    content = parse_json(read_text(file))
    if not isinstance(content, list) or not all(isinstance(record, dict) for record in content):
        raise ValueError("not a list of JSON objects")
    return content


def _csv_table(file: Path) -> CsvTable:
    columns, rows = read_csv(file)
    if len(set(columns)) != len(columns):
        raise ValueError("a column is there twice")
    return CsvTable(columns, [dict(zip(columns, row, strict=True)) for row in rows])

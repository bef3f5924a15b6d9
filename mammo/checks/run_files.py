"""What is in a run directory: the files that a run of its status leaves, read strictly."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from mammo.checks.report import Finding, note, ok, problem, some
from mammo.files import parse_json, read_csv, read_json, read_text
from mammo.runs.directory import LOCK_FILE, RESTORE
from mammo.yaml_files import read_yaml

FIRST_FILES = ("config.yaml", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "summary.json")
DATA_FILES = ("run.log", "quarantine.csv", "splits/train.csv", "splits/val.csv", "splits/manifest.json")
BEST, LAST = "checkpoints/best_model.pth", "checkpoints/last_model.pth"
EPOCH_FILES = ("train_history.json", "train_history.csv", BEST, LAST)
RESULT_FILES = (
    "metrics/val_metrics.json", "metrics/history.png", "metrics/confusion_matrix.png", "val_predictions.csv",
    "embeddings_val.npy", "metrics/calibration.json", "checkpoints/MODEL_CARD.md",
)  # fmt: skip
STATUSES = ("running", "completed", "failed", "interrupted")


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
    """The files of a run that could be read; None for what is missing or damaged, which `findings` then say."""

    folder: Path
    findings: list[Finding] = dataclasses.field(default_factory=list)
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


def read_run(folder: Path) -> RunFiles:
    """Read the text files of a run directory; what is missing, damaged or not strict JSON is a finding."""
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


def check_files(run: RunFiles) -> Iterator[Finding]:
    """The promised files are there, the others could be read."""
    yield from run.findings
    missing = [name for name in _promised(run) if not (run.folder / name).is_file()]
    for name in missing:
        yield problem(name, "is missing", RESTORE)
    if run.is_completed and (run.folder / "error.json").exists():
        yield problem("error.json", "is there although the run says that it is completed")
    leftovers = sorted(path.name for path in run.folder.rglob("*.tmp"))
    if leftovers and not is_held(run.folder):
        yield note("temporary files", f"{some(leftovers)}: left by a crash, may be removed")
    if not missing and not run.findings:
        yield ok("files", f"all that a run with the status {run.status or 'unknown'} leaves are there")


def check_status(run: RunFiles) -> Iterator[Finding]:
    """What has become of the run."""
    if run.summary is None:
        return
    same_command = "the same command goes on"
    if run.status not in STATUSES:
        yield problem("status", f"{run.status!r} is none of {', '.join(STATUSES)}")
    elif run.status == "running" and is_held(run.folder):
        yield note("status", "running: a process is training it now")
    elif run.status == "running":
        yield note("status", "interrupted: it says running, and no process holds it", same_command)
    elif run.status == "interrupted":
        yield note("status", "interrupted", same_command)
    elif run.status == "failed":
        yield note("status", f"failed: {_reason(run.folder)}", f"mend the cause; {same_command}")
    else:
        yield ok("status", "completed")


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


def _promised(run: RunFiles) -> Iterator[str]:
    """The files that must be there, from what the summary says."""
    yield from FIRST_FILES
    summary = run.summary or {}
    # A run that failed before it had its data has no split.
    if "split" in summary or not summary:
        yield from DATA_FILES
        if _number(summary, "split", "test", "images"):
            yield "splits/test.csv"
    if _number(summary, "epochs_run") or run.is_completed or run.history:
        yield from EPOCH_FILES
    if run.is_completed:
        yield from RESULT_FILES
    if run.status == "failed":
        yield "error.json"


def _number(tree: Any, *path: str) -> int:
    for key in path:
        tree = tree.get(key) if isinstance(tree, dict) else None
    return tree if isinstance(tree, int) else 0


def _reason(folder: Path) -> str:
    try:
        error = read_json(folder / "error.json")
    except (OSError, ValueError):
        return "error.json does not say why"
    lines = str(error.get("message") or "").strip().splitlines() or ["without a message"]
    return f"{error.get('type')}: {lines[0][:200]}"


def _read(run: RunFiles, name: str, reader: Any) -> Any:
    try:
        return reader(run.folder / name)
    except FileNotFoundError:
        return None  # whether it must be there is asked later
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0] if str(error) else ""
        run.findings.append(problem(name, f"cannot be read: {reason or type(error).__name__}", RESTORE))
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

"""Whether a run directory has the files that a run of its status leaves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mammo.checks.report import Finding, note, ok, problem, some
from mammo.runs.directory import RESTORE
from mammo.runs.reading import BEST, LAST, RunFiles, is_held
from mammo.support.files import read_json

FIRST_FILES = ("config.yaml", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "summary.json")
DATA_FILES = ("run.log", "quarantine.csv", "splits/train.csv", "splits/val.csv", "splits/manifest.json")
EPOCH_FILES = ("train_history.json", "train_history.csv", BEST, LAST)
RESULT_FILES = (
    "metrics/val_metrics.json", "metrics/history.png", "metrics/confusion_matrix.png", "val_predictions.csv",
    "embeddings_val.npy", "metrics/calibration.json", "checkpoints/MODEL_CARD.md",
)  # fmt: skip
STATUSES = ("running", "completed", "failed", "interrupted")


def check_files(run: RunFiles) -> Iterator[Finding]:
    """The promised files are there, the others could be read."""
    for name, reason in run.damaged.items():
        yield problem(name, f"cannot be read: {reason}", RESTORE)
    missing = [name for name in _promised(run) if not (run.folder / name).is_file()]
    for name in missing:
        yield problem(name, "is missing", RESTORE)
    if run.is_completed and (run.folder / "error.json").exists():
        yield problem("error.json", "is there although the run says that it is completed")
    leftovers = sorted(path.name for path in run.folder.rglob("*.tmp"))
    if leftovers and not is_held(run.folder):
        yield note("temporary files", f"{some(leftovers)}: left by a crash, may be removed")
    if not missing and not run.damaged:
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

"""Is a run directory whole, as it was left, and do its numbers follow from its predictions?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mammo.checks.report import Finding, Section, note, ok, problem, some
from mammo.checks.run_checkpoints import check_checkpoints
from mammo.checks.run_identity import check_identity, check_provenance
from mammo.checks.run_metrics import check_best_epoch, check_metrics
from mammo.checks.run_splits import check_splits
from mammo.config.tree import Config
from mammo.runs.directory import RESTORE
from mammo.runs.layout import BEST, ERROR_FILE, LAST, SUMMARY_FILE, SUMS_FILE
from mammo.runs.reading import HISTORY_FILE, MANIFEST_FILE, METRICS_FILE, PREDICTIONS_FILE, RunReader, is_held
from mammo.runs.stored import SplitManifest, ValMetrics, shape_of
from mammo.support.errors import ConfigError, TrainingError
from mammo.support.files import file_sha256
from mammo.support.type_checks import faults
from mammo.training.epoch_records import Record

FIRST_FILES = ("config.yaml", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", SUMMARY_FILE)
DATA_FILES = ("run.log", "quarantine.csv", "splits/train.csv", "splits/val.csv", MANIFEST_FILE)
EPOCH_FILES = (HISTORY_FILE, "train_history.csv", BEST, LAST)
RESULT_FILES = (METRICS_FILE, "metrics/history.png", "metrics/confusion_matrix.png", PREDICTIONS_FILE,
                "embeddings_val.npy", "metrics/calibration.json", "checkpoints/MODEL_CARD.md")  # fmt: skip
SCHEMA_VERSION = 1
# What a damaged or foreign file can make of a check that takes its content for what it should be.
_UNEXPECTED = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, TrainingError)


def check_run(folder: Path) -> Section:
    """Everything that can be said of a run from its directory alone; nothing there is changed."""
    run = RunReader(folder)
    findings = [*_status(run), *_files(run), *_lacking(run)]
    config: Config | ConfigError | None
    try:
        config = run.checked_config()
    except ConfigError as error:
        config = error
    known = config if isinstance(config, Config) else None
    steps: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("run id", lambda: check_identity(run, config)),
        ("command, git", lambda: check_provenance(run)),
        ("splits", lambda: check_splits(run, known)),
    ]
    if not is_held(folder):  # between two files that a training process writes they need not agree
        steps += [
            ("metrics", lambda: check_metrics(run, known)),
            ("best epoch", lambda: check_best_epoch(run, known)),
            ("checkpoints", lambda: check_checkpoints(run, known)),
        ]
    for name, step in steps:
        try:
            findings += step()
        except _UNEXPECTED as error:
            text = f"a file holds something else than expected ({type(error).__name__}: {str(error)[:120]})"
            findings.append(problem(name, text))
    return Section(f"Run {folder}", findings)


def _status(run: RunReader) -> Iterator[Finding]:
    """What has become of the run."""
    same_command = "the same command goes on"
    if run.status == "running" and is_held(run.folder):
        yield note("status", "running: a process is training it now")
    elif run.status == "running":
        yield note("status", "interrupted: it says running, and no process holds it", same_command)
    elif run.status == "interrupted":
        yield note("status", "interrupted", same_command)
    elif run.status == "failed":
        yield note("status", f"failed: {_reason(run.error)}", f"mend the cause; {same_command}")
    elif run.status:
        yield ok("status", run.status)


def _reason(error: dict[str, Any] | None) -> str:
    if error is None:
        return f"{ERROR_FILE} does not say why"
    lines = str(error.get("message") or "").strip().splitlines() or ["without a message"]
    return f"{error.get('type')}: {lines[0][:200]}"


def _files(run: RunReader) -> Iterator[Finding]:
    """What a run of its status leaves is there, can be read, and is what was written."""
    run.read_all()
    for name, reason in run.damaged.items():
        yield problem(name, f"cannot be read: {reason}", RESTORE)
    sums = (run.sums or {}) if run.is_completed else {}
    promised = list(dict.fromkeys([*_promised(run), *sums]))
    missing = [name for name in promised if not (run.folder / name).is_file()]
    for name in missing:
        yield problem(name, "is missing", RESTORE)
    differing = [name for name in sums if name not in missing and file_sha256(run.folder / name) != sums[name]]
    for name in differing:
        yield problem(name, f"is not what the run has written: its SHA-256 is not the one in {SUMS_FILE}", RESTORE)
    if run.is_completed and (run.folder / ERROR_FILE).exists():
        yield problem(ERROR_FILE, "is there although the run says that it is completed")
    leftovers = sorted(path.name for path in run.folder.rglob("*.tmp"))
    if leftovers and not is_held(run.folder):
        yield note("temporary files", f"{some(leftovers)}: left by a crash, may be removed")
    if not missing and not run.damaged:
        yield ok("files", f"all that a run with the status {run.status or 'unknown'} leaves are there")
    if sums and not missing and not differing:
        yield ok(SUMS_FILE, f"{len(sums)} files are what the run has written")
    elif run.is_completed and not sums:
        yield note(SUMS_FILE, "no hashes of its files were recorded, so changes by hand are not all found")


def _promised(run: RunReader) -> Iterator[str]:
    """The files that must be there, from what the summary says."""
    yield from FIRST_FILES
    summary = run.summary or {}
    # A run that failed before it had its data has no split.
    if "split" in summary or not summary:
        yield from DATA_FILES
        if summary.get("split", {}).get("test", {}).get("images"):
            yield "splits/test.csv"
    if summary.get("epochs_run") or run.is_completed or run.history:
        yield from EPOCH_FILES
    if run.is_completed:
        yield from RESULT_FILES
    if run.status == "failed":
        yield ERROR_FILE


def _lacking(run: RunReader) -> Iterator[Finding]:
    """Keys that are missing; what lacks some is taken out of `run`, so that nothing builds on it."""
    summary = run.summary
    if summary is not None and summary.get("schema_version") not in (None, SCHEMA_VERSION):
        yield problem(SUMMARY_FILE, f"schema_version is another than {SCHEMA_VERSION}")
    contents: list[tuple[str, str, Any, Any]] = [
        ("summary", SUMMARY_FILE, summary, shape_of(summary or {})),
        ("metrics", METRICS_FILE, run.metrics, ValMetrics),
        ("history", HISTORY_FILE, run.history, list[Record]),
        ("manifest", MANIFEST_FILE, run.manifest, SplitManifest),
    ]
    for attribute, name, content, shape in contents:
        if content is not None and (wrong := list(faults(content, shape, complete=True))):
            setattr(run, attribute, None)
            yield problem(name, some(wrong, 5))

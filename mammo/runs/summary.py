"""`summary.json`: one page that says what a run was, on what, by which code, and what came out.

A run is started, perhaps resumed, and stopped or completed: each is a function that returns the next summary, which
`RunDirectory.write_summary` writes. Keys that a later version has written stay in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mammo.config.tree import Config, run_id
from mammo.data.dataset import Dataset
from mammo.data.manifest import exams_of
from mammo.evaluation.metrics import Metrics
from mammo.evaluation.selection import detect_collapse
from mammo.models.build import BuiltModel
from mammo.models.weights import is_file, require_file
from mammo.runs.provenance import environment, git_state, utc_now
from mammo.runs.recorder import Recorder
from mammo.runs.result_files import part_summary
from mammo.runs.stored import CompletedSummary, DataSummary, EarlySummary, Environment, Outcome, Summary
from mammo.support.files import file_sha256
from mammo.support.hardware import Hardware

SCHEMA_VERSION = 1
MATRICES = ("confusion_matrix", "class_names")


def started(
    config: Config,
    name: str,
    command: str,
    overrides: list[str],
    hardware: Hardware,
    dataset: Dataset,
    model: BuiltModel,
    class_weights: list[float] | None,
) -> Summary:
    """The summary of a run that starts now."""
    requested = config.model.weights
    total, trainable = model.network.count_parameters()
    return {
        "schema_version": SCHEMA_VERSION,
        "status": "running",
        "run_id": run_id(config),
        "name": name,
        "seed": config.seed,
        "fold": config.data.fold,
        "started_at": utc_now(),
        "finished_at": None,
        "seconds": None,
        "command": command,
        "overrides": overrides,
        "git": git_state(),
        "environment": environment(hardware),
        "data": data_summary(config, dataset),
        "split": {
            "fingerprint": dataset.split_fingerprint,
            "folds_fingerprint": dataset.folds_fingerprint,
            "train": part_summary(dataset, dataset.split.train),
            "val": part_summary(dataset, dataset.split.val),
            "test": part_summary(dataset, dataset.split.test),
            "notes": list(dataset.split.notes),
        },
        "model": {
            "name": config.model.name or "",
            "weights": {
                "source": model.weights.source,
                "sha256": model.weights.sha256,
                "reason": model.weights.reason or None,
                "file_sha256": file_sha256(require_file(requested)) if is_file(requested) else None,
            },
            "parameters_total": total,
            "parameters_trainable": trainable,
        },
        "strategy": config.strategy.name,
        "balance": {"sampler": config.sampler.name, "class_weights": class_weights},
        "epochs_planned": config.train.epochs,
        "resumed": [],
    }


def going_on(now: Summary, stored: Mapping[str, Any]) -> Summary:
    """The summary of an earlier start; what it lacks, as one of another version may, is that of `now`."""
    return {**_filled(now, stored), "status": "running"}  # type: ignore[typeddict-item]


def _filled(now: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        key: _filled(now[key], value) if isinstance(now.get(key), dict) and isinstance(value, dict) else value
        for key, value in stored.items()
    }
    return {**now, **known}


def resumed(summary: Summary, after_epoch: int, after_batch: int, machine: Environment) -> Summary:
    """With the place at which this process has taken up the training, and on what."""
    place = {"at": utc_now(), "after_epoch": after_epoch, "after_batch": after_batch}
    entry = {**place, "environment": machine, "git": git_state()}
    return {**summary, "resumed": [*summary.get("resumed", []), entry]}


def stopped(summary: Summary, status: Literal["interrupted", "failed"], recorder: Recorder, seconds: float) -> Summary:
    """Of a run that ends before it has results; where this start has done nothing, what is said of an earlier stays."""
    if not recorder.history and summary.get("epochs_run") is not None:
        return {**summary, "status": status}
    return {**summary, **_outcome(recorder, None, seconds), "status": status}


def completed(
    summary: Summary, recorder: Recorder, metrics: Metrics, seconds: float, throughput: Mapping[str, float | None]
) -> CompletedSummary:
    """Of a run with results."""
    outcome = {**_outcome(recorder, metrics, seconds), "throughput": dict(throughput), "status": "completed"}
    return {**summary, **outcome}  # type: ignore[typeddict-item]


def failed_early(
    stored: Mapping[str, Any] | None, config: Config, name: str, overrides: list[str], started_at: str
) -> EarlySummary:
    """Of a run that has failed before it had its data, unless an earlier start had got further."""
    summary: EarlySummary = {
        "schema_version": SCHEMA_VERSION,
        "status": "failed",
        "run_id": run_id(config),
        "name": name,
        "seed": config.seed,
        "fold": config.data.fold,
        "started_at": started_at,
        "overrides": overrides,
        "objective": None,
        "metrics": None,
    }
    return {**summary, **(stored or {}), "status": "failed", "finished_at": utc_now()}  # type: ignore[typeddict-item]


def data_summary(config: Config, dataset: Dataset) -> DataSummary:
    """The section `data` of the summary."""
    counts = dict(zip(dataset.manifest.class_names, dataset.class_counts(), strict=True))
    return {
        "name": config.data.name,
        "root_basename": Path(config.data.root).name if config.data.root else None,
        "num_images": len(dataset.table),
        "num_patients": int(dataset.table["patient_id"].nunique()),
        "num_exams": len(set(exams_of(dataset.manifest, dataset.table)) - {""}),
        "class_counts": counts,
        "num_quarantined": len(dataset.manifest.left_out),
        "fingerprint": dataset.fingerprint,
        "group_by": dataset.manifest.group_by,  # type: ignore[typeddict-item]
        "notes": dataset.manifest.notes,
    }


def _outcome(recorder: Recorder, metrics: Metrics | None, seconds: float) -> Outcome:
    """What is known of the results: at the end of a run, or when it stopped before."""
    seen = recorder.history
    # Of the best epoch when the run is finished, of the last one when it has stopped before.
    collapse = detect_collapse(metrics) if metrics is not None else recorder.collapse_reason
    scalar: Any = {key: value for key, value in metrics.to_dict().items() if key not in MATRICES} if metrics else None
    return {
        "finished_at": utc_now(),
        "seconds": round(seconds, 3),
        "epochs_run": len(seen),
        "best_epoch": recorder.best_epoch,
        "monitor": {
            "name": recorder.selection.name,
            "rule": recorder.selection.monitor,
            "select": recorder.selection.select,
            "value": _monitored(recorder, metrics),
        },
        "objective": _monitored(recorder, metrics),
        "metrics": scalar,
        "last_metrics": {key.removeprefix("val_"): value for key, value in seen[-1].items() if key.startswith("val_")}
        if seen
        else None,
        "collapse": {"detected": collapse is not None, "reason": collapse},
    }


def _monitored(recorder: Recorder, metrics: Metrics | None) -> float | None:
    return recorder.selection.objective(metrics.scores) if metrics is not None else None

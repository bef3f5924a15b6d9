"""`summary.json`: one page that says what a run was, on what, by which code, and what came out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mammo.config.tree import Config, run_id
from mammo.data.dataset import Dataset
from mammo.data.manifest import exams_of
from mammo.evaluation.metrics import Metrics
from mammo.evaluation.selection import detect_collapse
from mammo.models.build import BuiltModel
from mammo.models.weights import is_file, require_file
from mammo.runs.provenance import environment, git_state, utc_now
from mammo.runs.recorder import Recorder
from mammo.runs.results import part_summary
from mammo.support.files import file_sha256
from mammo.support.hardware import Hardware

SCHEMA_VERSION = 1
MATRICES = ("confusion_matrix", "class_names")


def first_summary(
    config: Config,
    name: str,
    command: str,
    overrides: list[str],
    hardware: Hardware,
    dataset: Dataset,
    model: BuiltModel,
    class_weights: list[float] | None,
) -> dict[str, Any]:
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
            "name": config.model.name,
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


def with_stored(first: dict[str, Any], stored: dict[str, Any]) -> dict[str, Any]:
    """The summary of an earlier start; what it lacks, as one of another version may, is that of this one."""
    known = {
        key: with_stored(first[key], value) if isinstance(first.get(key), dict) and isinstance(value, dict) else value
        for key, value in stored.items()
    }
    return {**first, **known}


def data_summary(config: Config, dataset: Dataset) -> dict[str, Any]:
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
        "group_by": dataset.manifest.group_by,
        "notes": dataset.manifest.notes,
    }


def outcome(recorder: Recorder, metrics: Metrics | None, seconds: float) -> dict[str, Any]:
    """What is known of the results: at the end of a run, or when it stopped before."""
    seen = recorder.history
    # Of the best epoch when the run is finished, of the last one when it has stopped before.
    collapse = detect_collapse(metrics) if metrics is not None else recorder.collapse_reason
    scalar = {key: value for key, value in metrics.to_dict().items() if key not in MATRICES} if metrics else None
    return {
        "finished_at": utc_now(),
        "seconds": round(seconds, 3),
        "epochs_run": len(seen),
        "best_epoch": recorder.best_epoch,
        "monitor": {
            "name": recorder.selection.name,
            "rule": recorder.selection.monitor,
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

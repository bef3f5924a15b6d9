"""The keys and types that the files of a run promise; what is not listed may be there too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mammo.checks.report import Finding, ok, problem, some
from mammo.checks.run_files import RunFiles
from mammo.runs.recorder import HISTORY_METRICS
from mammo.selection import SCORE_NAMES

SCHEMA_VERSION = 1

Types = tuple[type, ...]

_NUMBER, _TEXT, _WHOLE, _TRUTH = (int, float), (str,), (int,), (bool,)
_NUMBER_OR_NULL, _TEXT_OR_NULL = (int, float, type(None)), (str, type(None))
_LIST, _MAPPING = (list,), (dict,)

# Dotted key -> types. A boolean is no number here.
_ALWAYS: dict[str, Types] = {
    "schema_version": _WHOLE, "status": _TEXT, "run_id": _TEXT, "name": _TEXT, "seed": _WHOLE, "started_at": _TEXT,
    "overrides": _LIST,
}  # fmt: skip
_WITH_DATA: dict[str, Types] = {
    "command": _TEXT, "git.commit": _TEXT_OR_NULL, "git.branch": _TEXT_OR_NULL, "git.dirty": (bool, type(None)),
    "git.diff_sha256": _TEXT_OR_NULL,
    **{f"environment.{key}": _TEXT for key in (
        "python", "torch", "torchvision", "timm", "hydra", "platform", "device", "device_name", "amp_dtype",
    )},
    "environment.threads": _WHOLE, "environment.deterministic": _TRUTH,
    "data.name": _TEXT, "data.root_basename": _TEXT_OR_NULL, "data.fingerprint": _TEXT, "data.group_by": _TEXT,
    "data.class_counts": _MAPPING,
    **{f"data.{key}": _WHOLE for key in ("num_images", "num_patients", "num_exams", "num_quarantined")},
    "split.fingerprint": _TEXT,
    **{f"split.{part}.{key}": _WHOLE for part in ("train", "val") for key in ("images", "patients")},
    **{f"split.{part}.class_counts": _MAPPING for part in ("train", "val")},
    "model.name": _TEXT, "model.weights.source": _TEXT, "model.weights.sha256": _TEXT_OR_NULL,
    "model.parameters_total": _WHOLE, "model.parameters_trainable": _WHOLE,
    "strategy": _TEXT, "balance.sampler": _TEXT, "balance.class_weights": (list, type(None)),
    "epochs_planned": _WHOLE,
}  # fmt: skip
_WHEN_COMPLETED: dict[str, Types] = {
    "finished_at": _TEXT, "seconds": _NUMBER, "epochs_run": _WHOLE, "best_epoch": _WHOLE, "monitor.name": _TEXT,
    "monitor.value": _NUMBER, "objective": _NUMBER, "metrics": _MAPPING, "throughput": _MAPPING,
    "last_metrics": _MAPPING, "collapse.detected": _TRUTH, "collapse.reason": _TEXT_OR_NULL,
}  # fmt: skip
_METRICS: dict[str, Types] = {
    **dict.fromkeys(SCORE_NAMES, _NUMBER_OR_NULL),
    **dict.fromkeys(
        (
            "per_class_loss", "per_class_precision", "per_class_recall", "per_class_f1", "confusion_matrix",
            "true_counts", "pred_counts", "class_names",
        ),
        _LIST,
    ),
    **dict.fromkeys(("pred_unique", "num_images", "num_patients"), _WHOLE),
    "ci95": _MAPPING,
}  # fmt: skip
_RECORD: dict[str, Types] = {
    "epoch": _WHOLE, "train_loss": _NUMBER, "train_acc": _NUMBER,
    **{f"val_{name}": _NUMBER_OR_NULL for name in HISTORY_METRICS},
    "val_pred_counts": _LIST, "lr": _NUMBER, "lr_groups": _MAPPING, "seconds": _NUMBER, "images_per_second": _NUMBER,
    "skipped_steps": _WHOLE, "is_best": _TRUTH,
}  # fmt: skip


def check_schema(run: RunFiles) -> Iterator[Finding]:
    """Findings about keys and types; what is found wrong is taken out of `run`, so that nothing builds on it."""
    summary = run.summary
    if summary is not None:
        wanted = dict(_ALWAYS)
        if run.status != "failed" or "split" in summary:
            wanted |= _WITH_DATA
        if run.is_completed:
            wanted |= _WHEN_COMPLETED
        wrong = _wrong(summary, wanted)
        if summary.get("schema_version") not in (None, SCHEMA_VERSION):
            wrong.append(f"schema_version is {summary['schema_version']!r}, not {SCHEMA_VERSION}")
        yield _finding("summary.json", wrong)
        run.summary = None if wrong else summary
    if run.metrics is not None:
        wrong = _wrong(run.metrics, _METRICS)
        yield _finding("val_metrics.json", wrong)
        run.metrics = None if wrong else run.metrics
    if run.history is not None:
        wrong = []
        for number, record in enumerate(run.history, start=1):
            wrong += [f"epoch {number}: {text}" for text in _wrong(record, _RECORD)]
            if record.get("epoch") != number:
                wrong.append(f"record {number} is of epoch {record.get('epoch')}")
        yield _finding("train_history.json", wrong)
        run.history = None if wrong else run.history


def _finding(name: str, wrong: list[str]) -> Finding:
    return problem(name, some(wrong, 5)) if wrong else ok(name, "strict JSON with all keys")


def _wrong(tree: Mapping[str, Any], wanted: Mapping[str, Types]) -> list[str]:
    return [text for key, types in wanted.items() if (text := _fault(tree, key, types))]


def _fault(tree: Any, key: str, types: Types) -> str:
    for part in key.split("."):
        if not isinstance(tree, Mapping) or part not in tree:
            return f"{key} is missing"
        tree = tree[part]
    is_fitting = isinstance(tree, types) and (bool in types or not isinstance(tree, bool))
    return "" if is_fitting else f"{key} is {str(tree)[:40]!r}"

"""Metrics recomputed from the predictions, by our own code and by scikit-learn alone; the best epoch likewise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    confusion_matrix,
    roc_auc_score,
)

from mammo.checks.report import Finding, ok, problem, some
from mammo.config.tree import Config
from mammo.evaluation.metrics import compute_metrics
from mammo.evaluation.scores import SCORE_NAMES, names_in
from mammo.evaluation.selection import ModelSelection
from mammo.runs.reading import CsvTable, RunFiles
from mammo.runs.summary import MATRICES
from mammo.support.files import read_csv

TOLERANCE = 1e-6
# The final evaluation repeats that of the best epoch; on a GPU sums come out in another order.
REPEATED_TOLERANCE = 1e-3
PREDICTIONS = "val_predictions.csv"


def check_metrics(run: RunFiles, config: Config | None) -> Iterator[Finding]:
    """What is stated follows from the predictions."""
    if run.predictions is not None:
        yield from _check_predictions(run.predictions)
    if run.predictions is not None and run.metrics is not None:
        by_project, by_sklearn = _by_project(run.predictions), _by_sklearn(run.predictions)
        wrong = _differences(run.metrics, by_project) + _differences(run.metrics, by_sklearn)
        # Most of what is wrong is found by both.
        yield _compared(
            "val_metrics.json", list(dict.fromkeys(wrong)), f"{len(by_project)} values follow from {PREDICTIONS}"
        )
        yield _intervals_finding(run.metrics)
    if run.is_completed and run.summary is not None and run.metrics is not None:
        scalar = {key: value for key, value in run.metrics.items() if key not in MATRICES}
        wrong = _differences(run.summary["metrics"], scalar, "val_metrics.json has")
        if config is not None:
            objective = ModelSelection(config.train.monitor).objective(run.metrics)
            stated = {"objective": run.summary["objective"], "monitor.value": run.summary["monitor"]["value"]}
            wrong += _differences(stated, dict.fromkeys(stated, objective))
        if run.history:
            last = {key.removeprefix("val_"): value for key, value in run.history[-1].items() if key.startswith("val_")}
            differing = _differences(run.summary["last_metrics"], last, "the history has")
            wrong += [f"last_metrics: {text}" for text in differing]
        yield _compared("summary.json", wrong, "its metrics are those of val_metrics.json and of the last epoch")


def check_best_epoch(run: RunFiles, config: Config | None) -> Iterator[Finding]:
    """The best epoch by the history, by its values, and by the summary."""
    history = run.history
    if not history:
        return
    wrong = []
    flagged = [record["epoch"] for record in history if record["is_best"]]
    best_epoch = max(flagged, default=0)
    known = {f"val_{name}" for name in names_in("history")}
    if config is not None and f"val_{ModelSelection(config.train.monitor).name}" in known:
        follows = _best_epochs(history, ModelSelection(config.train.monitor))
        if follows != flagged:
            wrong.append(f"is_best marks epoch {_listed(flagged)}, from the values follows {_listed(follows)}")
    if run.is_completed and run.summary is not None:
        stated = {key: run.summary[key] for key in ("best_epoch", "epochs_run")}
        wrong += _differences(stated, {"best_epoch": best_epoch, "epochs_run": len(history)})
        wrong += _too_short(run.summary, config)
    if run.metrics is not None and run.is_completed and best_epoch:
        of_history, final = history[best_epoch - 1]["val_loss"], run.metrics["loss"]
        if not _equal(of_history, final, REPEATED_TOLERANCE):
            wrong.append(f"val_loss of epoch {best_epoch} is {of_history:.6g}, that of val_metrics.json {final:.6g}")
    wrong += _csv_differences(run)
    yield _compared("best epoch", wrong, f"epoch {best_epoch} of {len(history)}, by history, values and summary")


def _check_predictions(table: CsvTable) -> Iterator[Finding]:
    """The predicted class is that of the highest probability."""
    names, probabilities = _probabilities(table)
    highest = [names[best] for best in probabilities.argmax(axis=1)]
    other = sum(stated != name for stated, name in zip(table.column("y_pred"), highest, strict=True))
    if other:
        yield problem(PREDICTIONS, f"y_pred is not the class of the highest probability in {other} rows")
    else:
        yield ok(PREDICTIONS, f"{len(table.rows)} images, y_pred is the class of the highest probability")


def _probabilities(table: CsvTable) -> tuple[list[str], np.ndarray]:
    columns = [name for name in table.columns if name.startswith("p_")]
    values = [[float(row[name]) for name in columns] for row in table.rows]
    return [name.removeprefix("p_") for name in columns], np.array(values)


def _by_project(table: CsvTable) -> dict[str, Any]:
    names, probabilities = _probabilities(table)
    targets = np.array([names.index(label) for label in table.column("y_true")])
    values = compute_metrics(probabilities, targets, names, table.column("patient_id")).to_dict()
    # The patients are resampled in the order of their ids, which pseudonyms change.
    return {key: value for key, value in values.items() if key != "ci95"}


def _by_sklearn(table: CsvTable) -> dict[str, Any]:
    """The metrics for which scikit-learn has a function of its own, from the columns as they are."""
    names, probabilities = _probabilities(table)
    true, predicted = table.column("y_true"), table.column("y_pred")
    present = [name for name in names if name in set(true)]
    found: dict[str, Any] = {
        "acc": accuracy_score(true, predicted),
        "confusion_matrix": confusion_matrix(true, predicted, labels=names).tolist(),
    }
    if set(predicted) <= set(present):
        # With a class that is predicted only, it warns; the mean is over those in y_true anyway.
        found["bal_acc"] = balanced_accuracy_score(true, predicted)
    if len(set(true) | set(predicted)) > 1:
        found["kappa"] = cohen_kappa_score(true, predicted, labels=names)
        found["kappa_quadratic"] = cohen_kappa_score(true, predicted, labels=names, weights="quadratic")
    if present == names and len(names) > 2:
        # It wants the classes in the order of the alphabet, and rows whose sum is one to the last digits.
        order = sorted(range(len(names)), key=names.__getitem__)
        ordered = (probabilities / probabilities.sum(axis=1, keepdims=True))[:, order]
        for key in ("ovr", "ovo"):
            found[f"auc_{key}"] = roc_auc_score(true, ordered, multi_class=key, average="macro", labels=sorted(names))
    elif present == names:
        found["auc_ovr"] = found["auc_ovo"] = roc_auc_score(np.array(true) == names[1], probabilities[:, 1])
    return found


def _intervals_finding(metrics: Mapping[str, Any]) -> Finding:
    pairs = {name: pair for name, pair in metrics["ci95"].items() if pair is not None}
    reversed_ones = [name for name, (low, high) in pairs.items() if not low <= high]
    absent = sorted(set(SCORE_NAMES) - set(metrics["ci95"]))
    wrong = [f"the limits of {name} are reversed" for name in reversed_ones] + [f"{name} is missing" for name in absent]
    return _compared("ci95", wrong, f"{len(pairs)} intervals")


def _best_epochs(history: list[dict[str, Any]], selection: ModelSelection) -> list[int]:
    best, epochs = None, []
    for record in history:
        scores = {name: record[f"val_{name}"] for name in names_in("history")}
        if selection.is_better(scores, best):
            best = scores
            epochs.append(record["epoch"])
    return epochs


def _too_short(summary: Mapping[str, Any], config: Config | None) -> list[str]:
    planned, ran = summary["epochs_planned"], summary["epochs_run"]
    stops_early = config is None or config.train.early_stopping.patience > 0
    return [] if ran == planned or (ran < planned and stops_early) else [f"{ran} epochs were run, {planned} planned"]


def _csv_differences(run: RunFiles) -> list[str]:
    """Whether train_history.csv says the same; a file that is missing has been reported."""
    try:
        columns, rows = read_csv(run.folder / "train_history.csv")
    except FileNotFoundError:
        return []
    except (OSError, ValueError):
        return ["train_history.csv cannot be read"]
    shown = [{key: str(value) for key, value in record.items() if key != "lr_groups"} for record in run.history or []]
    # The csv module writes null as nothing.
    shown = [{key: "" if value == "None" else value for key, value in record.items()} for record in shown]
    if [dict(zip(columns, row, strict=True)) for row in rows] == shown:
        return []
    return ["train_history.csv and train_history.json differ"]


def _compared(subject: str, wrong: list[str], well: str) -> Finding:
    return problem(subject, some(wrong, 4)) if wrong else ok(subject, well)


def _differences(stated: Mapping[str, Any], wanted: Mapping[str, Any], source: str = "computed") -> list[str]:
    """What is stated otherwise than it should be, in words; `source` says where the right value is from."""
    return [
        f"{key} is stated as {_shown(stated.get(key))}, {source} {_shown(value)}"
        for key, value in wanted.items()
        if not _equal(stated.get(key), value)
    ]


def _equal(one: Any, other: Any, tolerance: float = TOLERANCE) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_equal(a, b, tolerance) for a, b in zip(one, other, strict=True))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[key], other[key], tolerance) for key in one)
    if isinstance(one, int | float) and isinstance(other, int | float | np.number):
        return math.isclose(one, float(other), rel_tol=tolerance, abs_tol=tolerance)
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _listed(epochs: list[int]) -> str:
    return ", ".join(map(str, epochs)) or "none"

"""Metrics recomputed from the predictions, by our own code and by scikit-learn alone; the best epoch likewise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
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
from mammo.evaluation.metrics import metrics_of
from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.scores import names_in
from mammo.evaluation.selection import ModelSelection
from mammo.evaluation.subgroups import cases_of
from mammo.runs.reading import PREDICTIONS_FILE, RunReader

TOLERANCE = 1e-6


def check_metrics(run: RunReader, config: Config | None) -> Iterator[Finding]:
    """What is stated follows from the predictions."""
    table = run.predictions
    if table is None:
        return
    wrong = int((~((table.probabilities >= 0) & (table.probabilities <= 1))).sum())
    if wrong or not len(table):
        yield problem(PREDICTIONS_FILE, f"{wrong} probabilities in {len(table)} rows are no numbers from 0 to 1")
        return
    decided = np.array(table.task.texts(table.decisions, table.class_names))
    if other := int((decided != table.table["y_pred"]).sum()):
        yield problem(PREDICTIONS_FILE, f"y_pred is not the class of the highest probability in {other} rows")
    else:
        yield ok(PREDICTIONS_FILE, f"{len(table)} images, y_pred is the class of the highest probability")
    own = metrics_of(cases_of(table))
    # The patients are resampled in the order of their ids, which pseudonyms change.
    values = {key: value for key, value in own.to_dict().items() if key != "ci95"}
    if run.metrics is not None:
        # Most of what is wrong is found by both.
        wrong_values = [*_differences(run.metrics, values), *_differences(run.metrics, _by_sklearn(table))]
        yield _compared("val_metrics.json", wrong_values, f"{len(values)} values follow from {PREDICTIONS_FILE}")
    if run.is_completed and run.summary is not None:
        wrong_values = _differences(run.summary["metrics"], values)
        if config is not None:
            objective = ModelSelection(config.train.monitor).objective(own.scores)
            wrong_values += _differences(run.summary, {"objective": objective})
        yield _compared("summary.json", wrong_values, f"its metrics follow from {PREDICTIONS_FILE}")


def check_best_epoch(run: RunReader, config: Config | None) -> Iterator[Finding]:
    """The best epoch by the history, by its values, and by the summary."""
    history = run.history
    if not history:
        return
    wrong = []
    flagged = [record["epoch"] for record in history if record["is_best"]]
    best_epoch = max(flagged, default=0)
    if config is not None and config.train.select == "last":
        if flagged != [len(history)]:
            wrong.append(f"is_best marks epoch {_listed(flagged)}, and train.select=last means {len(history)}")
    elif config is not None and ModelSelection(config.train.monitor).name in names_in("history"):
        follows = _best_epochs(history, ModelSelection(config.train.monitor))
        if follows != flagged:
            wrong.append(f"is_best marks epoch {_listed(flagged)}, from the values follows {_listed(follows)}")
    if run.is_completed and run.summary is not None:
        wrong += _differences(run.summary, {"best_epoch": best_epoch, "epochs_run": len(history)})
    yield _compared("best epoch", wrong, f"epoch {best_epoch} of {len(history)}, by history, values and summary")


def _by_sklearn(table: PredictionTable) -> dict[str, Any]:
    """The metrics for which scikit-learn has a function of its own, from the columns as they are."""
    names, probabilities = list(table.class_names), table.probabilities
    true, predicted = table.table["y_true"].tolist(), table.table["y_pred"].tolist()
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


def _best_epochs(history: Sequence[Mapping[str, Any]], selection: ModelSelection) -> list[int]:
    best, epochs = None, []
    for record in history:
        scores = {name: record.get(f"val_{name}") for name in names_in("history")}
        if selection.is_better(scores, best):
            best = scores
            epochs.append(record["epoch"])
    return epochs


def _compared(subject: str, wrong: list[str], well: str) -> Finding:
    return problem(subject, some(list(dict.fromkeys(wrong)), 4)) if wrong else ok(subject, well)


def _differences(stated: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """What is stated otherwise than it should be, in words; other versions may not state all."""
    return [
        f"{key} is stated as {_shown(stated[key])}, computed {_shown(value)}"
        for key, value in wanted.items()
        if key in stated and not _equal(stated[key], value)
    ]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(_equal(a, b) for a, b in zip(one, other, strict=True))
    if isinstance(one, int | float) and isinstance(other, int | float | np.number):
        return math.isclose(one, float(other), rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    return bool(one == other)


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _listed(epochs: list[int]) -> str:
    return ", ".join(map(str, epochs)) or "none"

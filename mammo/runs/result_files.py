"""The files that a finished run leaves: predictions, metrics, figures, splits, quarantine, summary."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mammo.data.data_options import DataOptions
from mammo.data.dataset import Dataset
from mammo.data.manifest import Grouping
from mammo.evaluation.calibration import fit_temperature
from mammo.evaluation.metrics import Metrics
from mammo.evaluation.predictions import make_predictions
from mammo.evaluation.selection import Select
from mammo.runs.directory import RunDirectory
from mammo.runs.figures import plot_confusion_matrix, plot_history
from mammo.runs.layout import CALIBRATION_FILE
from mammo.runs.stored import Part
from mammo.training.engine import Predictions


def write_data_files(directory: RunDirectory, dataset: Dataset, options: DataOptions) -> None:
    """`splits/` and `quarantine.csv`, before training starts."""
    parts = {"train": dataset.split.train, "val": dataset.split.val, "test": dataset.split.test}
    for name, rows in parts.items():
        if len(rows) or name != "test":
            described = dataset.described(rows)
            directory.write_csv(f"splits/{name}.csv", described.columns.tolist(), described.to_numpy().tolist())
    directory.write_json(
        "splits/manifest.json",
        {
            "schema_version": 1,
            "fingerprint": dataset.split_fingerprint,
            "data_fingerprint": dataset.fingerprint,
            "folds_fingerprint": dataset.folds_fingerprint,
            "split_seed": options.split_seed,
            "val_fraction": options.val_fraction if options.num_folds is None else None,
            "num_folds": options.num_folds,
            "fold": options.fold,
            "inner_folds": options.inner_folds,
            "inner_fold": None if options.inner_folds is None else options.inner_fold,
            "group_by": dataset.manifest.group_by,
            "pseudonymized_ids": dataset.is_pseudonymized,
            **grouping_summary(dataset.manifest.grouping),
            "notes": list(dataset.split.notes),
            **{name: part_summary(dataset, rows) for name, rows in parts.items()},
        },
    )
    left_out = sorted((dataset.rename(item.image_id), item.stage, item.reason) for item in dataset.manifest.left_out)
    directory.write_csv("quarantine.csv", ("image_id", "stage", "reason"), left_out)


def grouping_summary(grouping: Grouping) -> dict[str, Any]:
    """What an exam id means, and how many patients (exams in `exam_spellings`) were joined by which key."""
    counts = dataclasses.asdict(grouping)
    return {"exam_ids": counts.pop("exam_ids"), "joined": counts}


def part_summary(dataset: Dataset, rows: np.ndarray) -> Part:
    """Images, patients and images of each class of a part of the split."""
    return {
        "images": len(rows),
        "patients": int(dataset.table["patient_id"].iloc[rows].nunique()),
        "class_counts": dict(zip(dataset.manifest.class_names, dataset.class_counts(rows), strict=True)),
    }


def write_predictions(directory: RunDirectory, dataset: Dataset, rows: np.ndarray, predictions: Predictions) -> float:
    """`val_predictions.csv`, `embeddings_val.npy`, and `metrics/calibration.json` with the temperature that fits the
    validation set best, which is returned."""
    described = dataset.described(rows)
    targets, probabilities = described.pop("label").tolist(), predictions.probabilities
    task = dataset.manifest.task
    table = make_predictions(described, targets, probabilities, dataset.manifest.class_names, task, predictions.space)
    directory.write_csv("val_predictions.csv", *table.cells())
    if predictions.features is not None:
        directory.write_array("embeddings_val.npy", predictions.features)
    temperature = fit_temperature(probabilities, predictions.targets, task, predictions.space)
    calibration = {"schema_version": 1, "temperature": temperature, "fitted_on": "val", "num_images": len(targets)}
    directory.write_json(CALIBRATION_FILE, calibration)
    return temperature


def write_metrics(
    directory: RunDirectory, metrics: Metrics, history: list[dict[str, Any]], epoch: int, which: Select
) -> None:
    """`val_metrics.json` and the two figures, of the best epoch or the last."""
    directory.write_json("metrics/val_metrics.json", metrics.to_dict())
    plot_history(history, directory.file("metrics/history.png"), which)
    if metrics.confusion_matrix:
        plot_confusion_matrix(
            [list(row) for row in metrics.confusion_matrix],
            list(metrics.class_names),
            directory.file("metrics/confusion_matrix.png"),
            title=f"Validation, epoch {epoch} ({which})",
        )

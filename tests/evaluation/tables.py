"""Tables of made-up predictions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mammo.evaluation.predictions import PredictionTable, make_predictions

DENSITY = ("A", "B", "C", "D")


def table(probabilities, targets: str | Sequence[str] | None, class_names=None, **columns) -> PredictionTable:
    """Predictions from rows of probabilities; every image is of a patient and an exam of its own unless given."""
    probabilities = np.asarray(probabilities, dtype=np.float64)
    numbers = range(len(probabilities))
    described = {
        "image_id": [f"i{n:04d}" for n in numbers],
        "patient_id": [f"p{n:04d}" for n in numbers],
        "exam_id": [f"e{n:04d}" for n in numbers],
        "laterality": ["L"] * len(probabilities),
        "view": ["CC"] * len(probabilities),
    } | {name: list(values) for name, values in columns.items()}
    names = class_names or DENSITY[: probabilities.shape[1]]
    return make_predictions(pd.DataFrame(described), targets and list(targets), probabilities, names)


def random_table(
    seed=0, num_images=120, num_patients=30, classes=(0, 1, 2, 3), decimals=None, num_classes=4, **columns
):
    """A model that is right more often than not; `decimals` of the logits make ties."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(classes, num_images)
    logits = rng.normal(size=(num_images, num_classes))
    logits[np.arange(num_images), targets] += 1
    if decimals is not None:
        logits = logits.round(decimals)
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    of_patient = [f"p{i % num_patients:03d}" for i in range(num_images)]
    known = {"patient_id": of_patient, "exam_id": of_patient} | columns
    return table(probabilities, [DENSITY[t] for t in targets], **known)


def shuffled(predictions: PredictionTable, seed=0) -> PredictionTable:
    return predictions.rows(np.random.default_rng(seed).permutation(len(predictions)))


def redrawn(predictions: PredictionTable, draws: int, seed: int):
    """The bootstrap written as a loop: each draw as a table with the images of patients as often as they are drawn."""
    patients = sorted(set(predictions.patient_ids))
    of_patient = np.array(predictions.patient_ids)
    rng = np.random.default_rng(seed)
    for drawn in rng.integers(len(patients), size=(draws, len(patients))):
        yield predictions.rows(np.concatenate([np.flatnonzero(of_patient == patients[i]) for i in drawn]))

"""Out-of-fold predictions of one seed, pooled over all folds.

In a cross-validation every image is predicted once by a network that has not seen it. All of these
predictions together are scored as one set, after it has been checked that they are just that.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mammo.evaluation.intervals import bootstrap, interval_of_mean, score_intervals
from mammo.evaluation.metrics import Metrics, metrics_of
from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.score_formulas import Floats, checked_cases
from mammo.evaluation.trainings import DRAWS, SEED, mean_or_none
from mammo.runs.layout import EVALUATIONS
from mammo.runs.reading import MANIFEST_FILE, PREDICTIONS_FILE, RunReader
from mammo.runs.trainings import tested
from mammo.support.errors import TrainingError
from mammo.sweeps.reading import RunResult

# A number that somebody has written down is counted to.
MAX_FOLDS = 10_000


class CannotPool(Exception):
    """Why the predictions of some runs are not one prediction for each image."""


@dataclasses.dataclass(frozen=True)
class _Fold:
    """What a run has predicted, and which images its folds were made from."""

    name: str
    folds_fingerprint: str
    num_folds: int
    predictions: PredictionTable
    all_images: frozenset[str]


@dataclasses.dataclass(frozen=True)
class PooledFolds:
    """All out-of-fold predictions of one seed: their metrics with intervals, and what each was in every resampling."""

    metrics: Metrics
    image_ids: tuple[str, ...]
    drawn: dict[str, Floats]


def pool_folds(runs: Sequence[RunResult]) -> PooledFolds:
    """Metrics, with intervals from resampling patients, of all out-of-fold predictions of one seed.

    The loss is -log of the stored probabilities. Raises CannotPool unless `runs` are completed runs of all
    folds of the same division whose predictions hold each image exactly once.
    """
    folds = [_read_fold(run) for run in runs]
    if not folds:
        raise CannotPool("no fold is finished")
    first, class_names = folds[0], folds[0].predictions.class_names
    for fold in folds[1:]:
        if fold.folds_fingerprint != first.folds_fingerprint:
            raise CannotPool(f"{first.name} and {fold.name} belong to different divisions into folds")
        if fold.predictions.class_names != class_names:
            raise CannotPool(f"{first.name} and {fold.name} have different classes")
    numbers = [run.fold for run in runs]
    if missing := [str(number) for number in range(first.num_folds) if number not in numbers]:
        raise CannotPool(f"fold {', '.join(missing)} of {first.num_folds} is not finished")
    tables = [fold.predictions for fold in folds]
    image_ids = [image_id for table in tables for image_id in table.table["image_id"]]
    if repeated := len(image_ids) - len(set(image_ids)):
        raise CannotPool(f"{repeated} predictions are of images that another one is of")
    if absent := len(first.all_images - set(image_ids)):
        raise CannotPool(f"{absent} of {len(first.all_images)} images are not predicted")
    if foreign := len(set(image_ids) - first.all_images):
        raise CannotPool(f"{foreign} predicted images are in neither train nor val of {first.name}")
    probabilities = np.concatenate([table.probabilities for table in tables])
    targets = np.concatenate([table.targets for table in tables])
    patient_ids = [patient_id for table in tables for patient_id in table.patient_ids]
    try:
        cases = checked_cases(probabilities, targets, class_names, patient_ids, None, tables[0].task)
        metrics, drawn = metrics_of(cases), bootstrap(cases, DRAWS, SEED)
    except (ValueError, TrainingError) as error:
        raise CannotPool(str(error)) from error
    metrics = dataclasses.replace(metrics, ci95=score_intervals(drawn, cases))
    return PooledFolds(metrics, tuple(sorted(image_ids)), drawn)


def _read_fold(run: RunResult) -> _Fold:
    files = RunReader(run.folder)
    manifest, parts = files.manifest, files.parts
    # Where epochs were chosen inside, the fold that is out of everything is the test part.
    names, file = ["train", "val"], PREDICTIONS_FILE
    if run.has_outer_fold:
        names, file = ["train", "val", "test"], f"{EVALUATIONS}/test/predictions.csv"
    predictions = tested(files) if run.has_outer_fold else files.predictions
    needed: dict[str, object] = {MANIFEST_FILE: manifest, file: predictions}
    needed |= {f"splits/{name}.csv": parts.get(name) for name in names}
    for name, content in needed.items():
        if content is None:
            raise CannotPool(f"{Path(name).name} of the predictions or splits of {run.name} {files.why_none(name)}")
    assert manifest is not None
    assert predictions is not None
    fingerprint, num_folds = manifest.get("folds_fingerprint"), manifest.get("num_folds")
    if fingerprint is None or num_folds is None or num_folds > MAX_FOLDS:
        raise CannotPool(f"{run.name} is not one fold of a division")
    all_images = frozenset(image_id for name in names for image_id in parts[name].column("image_id"))
    return _Fold(run.name, fingerprint, num_folds, predictions, all_images)


def split_fingerprint(run: RunResult) -> str | None:
    """The fingerprint of who is in train and val; None where it cannot be read."""
    return (RunReader(run.folder).manifest or {}).get("fingerprint")


def mean_over_seeds(pooled: Sequence[PooledFolds]) -> dict[str, Any]:
    """The mean of each score over seeds, and the interval of that mean from resampling patients.

    The n-th resampling is of the same patients for all seeds; see `interval_of_mean`. Seeds that were trained on
    different images have no interval.
    """
    metrics = [one.metrics for one in pooled]
    scores = [one.scores for one in metrics]
    are_paired = len({one.image_ids for one in pooled}) == 1
    return {
        **{name: mean_or_none([values[name] for values in scores]) for name in scores[0]},
        "num_images": metrics[0].num_images,
        "num_patients": metrics[0].num_patients,
        "ci95": {
            name: interval_of_mean([one.drawn[name] for one in pooled], [(one.ci95 or {}).get(name) for one in metrics])
            if are_paired
            else None
            for name in scores[0]
        },
    }

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

from mammo.evaluation.cases import Floats, checked_cases
from mammo.evaluation.intervals import bootstrap, percentile_interval, score_intervals
from mammo.evaluation.metrics import Metrics, metrics_of
from mammo.runs.stored import SplitManifest, read_stored
from mammo.support.errors import TrainingError
from mammo.support.files import read_csv
from mammo.sweeps.reading import RunResult

DRAWS, SEED = 2000, 0
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
    class_names: tuple[str, ...]
    image_ids: list[str]
    patient_ids: list[str]
    targets: list[int]
    probabilities: list[list[float]]
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
    first = folds[0]
    for fold in folds[1:]:
        if fold.folds_fingerprint != first.folds_fingerprint:
            raise CannotPool(f"{first.name} and {fold.name} belong to different divisions into folds")
        if fold.class_names != first.class_names:
            raise CannotPool(f"{first.name} and {fold.name} have different classes")
    numbers = [run.fold for run in runs]
    if missing := [str(number) for number in range(first.num_folds) if number not in numbers]:
        raise CannotPool(f"fold {', '.join(missing)} of {first.num_folds} is not finished")
    image_ids = [image_id for fold in folds for image_id in fold.image_ids]
    if repeated := len(image_ids) - len(set(image_ids)):
        raise CannotPool(f"{repeated} predictions are of images that another one is of")
    if absent := len(first.all_images - set(image_ids)):
        raise CannotPool(f"{absent} of {len(first.all_images)} images are not predicted")
    if foreign := len(set(image_ids) - first.all_images):
        raise CannotPool(f"{foreign} predicted images are in neither train nor val of {first.name}")
    probabilities = np.array([row for fold in folds for row in fold.probabilities])
    targets = np.array([target for fold in folds for target in fold.targets])
    patient_ids = [patient_id for fold in folds for patient_id in fold.patient_ids]
    try:
        cases = checked_cases(probabilities, targets, first.class_names, patient_ids, None)
        metrics, drawn = metrics_of(cases), bootstrap(cases, DRAWS, SEED)
    except (ValueError, TrainingError) as error:
        raise CannotPool(str(error)) from error
    metrics = dataclasses.replace(metrics, ci95=score_intervals(drawn, cases))
    return PooledFolds(metrics, tuple(sorted(image_ids)), drawn)


def _read_fold(run: RunResult) -> _Fold:
    try:
        manifest = read_stored(run.folder / "splits" / "manifest.json", SplitManifest)
        fingerprint, num_folds = manifest.get("folds_fingerprint"), manifest.get("num_folds")
        if fingerprint is None or num_folds is None or num_folds > MAX_FOLDS:
            raise CannotPool(f"{run.name} is not one fold of a division")
        columns, rows = read_csv(run.folder / "val_predictions.csv")
        class_names = tuple(name.removeprefix("p_") for name in columns if name.startswith("p_"))
        image, patient, true = (columns.index(name) for name in ("image_id", "patient_id", "y_true"))
        first_class = len(columns) - len(class_names)
        return _Fold(
            name=run.name,
            folds_fingerprint=fingerprint,
            num_folds=num_folds,
            class_names=class_names,
            image_ids=[row[image] for row in rows],
            patient_ids=[row[patient] for row in rows],
            targets=[class_names.index(row[true]) for row in rows],
            probabilities=[[float(cell) for cell in row[first_class:]] for row in rows],
            all_images=_image_ids(run.folder / "splits" / "train.csv") | _image_ids(run.folder / "splits" / "val.csv"),
        )
    except (OSError, ValueError) as error:
        what = "is missing" if isinstance(error, FileNotFoundError) else "cannot be read"
        name = Path(error.filename).name if isinstance(error, OSError) and error.filename else "a file"
        raise CannotPool(f"{name} of the predictions or splits of {run.name} {what}") from error


def _image_ids(file: Path) -> frozenset[str]:
    columns, rows = read_csv(file)
    position = columns.index("image_id")
    return frozenset(row[position] for row in rows)


def split_fingerprint(run: RunResult) -> str | None:
    """The fingerprint of who is in train and val; None where it cannot be read."""
    try:
        return read_stored(run.folder / "splits" / "manifest.json", SplitManifest).get("fingerprint")
    except (OSError, ValueError):
        return None


def mean_over_seeds(pooled: Sequence[PooledFolds]) -> dict[str, Any]:
    """The mean of each score over seeds, and the interval of that mean from resampling patients.

    The n-th resampling is of the same patients for all seeds; see `interval_of_mean`. Seeds that were trained on
    different images have no interval.
    """
    metrics = [one.metrics for one in pooled]
    scores = [one.scores for one in metrics]
    are_paired = len({one.image_ids for one in pooled}) == 1
    return {
        **{name: _mean([values[name] for values in scores]) for name in scores[0]},
        "num_images": metrics[0].num_images,
        "num_patients": metrics[0].num_patients,
        "ci95": {
            name: interval_of_mean([one.drawn[name] for one in pooled], [(one.ci95 or {}).get(name) for one in metrics])
            if are_paired
            else None
            for name in scores[0]
        },
    }


def interval_of_mean(drawn: Sequence[Floats], alone: Sequence[list[float] | None]) -> list[float] | None:
    """The 95 % interval of the mean of a score over trainings, each [draws] in the same resamplings of patients.

    Where the mean is the same in all draws, the limits are the means of those that the trainings have `alone`.
    """
    return percentile_interval(np.mean(drawn, axis=0)) or mean_limits(alone)


def _mean(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if len(defined) == len(values) else None


def mean_limits(limits: Sequence[list[float] | None]) -> list[float] | None:
    """The means of both limits of some intervals; None where one is missing."""
    defined = [pair for pair in limits if pair is not None]
    return [float(limit) for limit in np.mean(defined, axis=0)] if len(defined) == len(limits) else None

"""On whom a model fails: its scores in parts of the images, and of each class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from mammo.evaluation.intervals import bootstrap, class_intervals, score_intervals, weighted_scores
from mammo.evaluation.metrics import Metrics, metrics_of
from mammo.evaluation.predictions import ATTRIBUTES, PredictionTable
from mammo.evaluation.score_formulas import Cases, Floats, checked_cases
from mammo.evaluation.scores import class_scores_of

SUBGROUP_ATTRIBUTES = ("view", "laterality", *ATTRIBUTES)
UNKNOWN = "unknown"
FEW_PATIENTS = 10  # fewer say next to nothing: such groups are shown in grey


@dataclasses.dataclass(frozen=True)
class Subgroup:
    """The images with one value of an attribute ("unknown": those without), and the metrics of them alone.

    `metrics` has `ci95`, from a bootstrap over the patients of the subgroup: the same numbers as of an evaluation of
    these images and no others. `is_small` says that they are of fewer than 10 patients.
    """

    attribute: str
    value: str
    metrics: Metrics

    @property
    def num_images(self) -> int:
        return self.metrics.num_images

    @property
    def num_patients(self) -> int:
        return self.metrics.num_patients

    @property
    def is_small(self) -> bool:
        return self.num_patients < FEW_PATIENTS


@dataclasses.dataclass(frozen=True)
class ClassScores:
    """Scores of one class against the rest, None where undefined.

    `scores` are precision, recall, f1, `auc`, the area under the ROC curve, and `average_precision`, that under the
    precision-recall curve as a sum of steps. `ci95` maps their names to [low, high] or None, from the bootstrap over
    all patients. The images and patients counted, also for `is_small`, are those whose true class it is.
    """

    class_name: str
    num_images: int
    num_patients: int
    scores: dict[str, float | None]
    ci95: dict[str, list[float] | None]

    @property
    def is_small(self) -> bool:
        return self.num_patients < FEW_PATIENTS

    def to_dict(self) -> dict[str, Any]:
        """Plain Python numbers, text, lists and None."""
        counts = {"class_name": self.class_name, "num_images": self.num_images, "num_patients": self.num_patients}
        return {**counts, **self.scores, "ci95": self.ci95, "is_small": self.is_small}


def cases_of(predictions: PredictionTable) -> Cases:
    """Predictions with true classes as what metrics are computed from; `ValueError` where there is no image."""
    arguments = predictions.probabilities, predictions.targets, predictions.class_names, predictions.patient_ids
    return checked_cases(*arguments, None, predictions.task)


def metrics_with_intervals(
    predictions: PredictionTable, draws: int, seed: int, drawn: Mapping[str, Floats] | None = None, warn: bool = True
) -> Metrics:
    """All metrics of images with true classes, with 95 % intervals from `draws` of the patient-level bootstrap.

    `drawn` is what `intervals.bootstrap` made of these predictions, where it is known already.
    """
    cases = cases_of(predictions)
    if drawn is None:
        drawn = bootstrap(cases, draws, seed)
    return dataclasses.replace(metrics_of(cases, warn), ci95=score_intervals(drawn, cases))


def subgroups(predictions: PredictionTable, draws: int = 2000, seed: int = 0) -> list[Subgroup]:
    """By view, laterality, manufacturer and age band, each where it is known of any image; values sorted, unknown last.

    Every image is in one subgroup of each attribute. Which score to read where a subgroup lacks a class is the
    reader's choice: chance-adjusted scores are then over the classes present.
    """
    found = []
    for attribute in SUBGROUP_ATTRIBUTES:
        if attribute not in predictions.table:
            continue
        values = predictions.table[attribute].fillna("").astype(str).replace("", UNKNOWN).to_numpy(dtype=object)
        known = sorted(set(values) - {UNKNOWN})
        if not known:
            continue
        for value in [*known, *([UNKNOWN] if UNKNOWN in values else [])]:
            members = predictions.rows(values == value)
            found.append(Subgroup(attribute, value, metrics_with_intervals(members, draws, seed, warn=False)))
    return found


def per_class(
    predictions: PredictionTable, draws: int = 2000, seed: int = 0, drawn: Mapping[str, Floats] | None = None
) -> list[ClassScores]:
    """Scores of each class against the rest, in the order of the classes, those without an image included.

    `drawn` is what `intervals.bootstrap` made of these predictions with the scores of each class, where it is known.
    """
    cases = cases_of(predictions)
    if drawn is None:
        drawn = bootstrap(cases, draws, seed, per_class=True)
    once = weighted_scores(cases, np.ones((1, cases.num_patients)), per_class=True)
    found = []
    for c, name in enumerate(predictions.class_names):
        is_class = cases.targets == c
        values = {score.name: once[score.key][0, c] for score in class_scores_of(cases.kind) if score.is_drawn}
        found.append(
            ClassScores(
                class_name=name,
                num_images=int(is_class.sum()),
                num_patients=len(np.unique(cases.patients[is_class])),
                scores={score: None if np.isnan(value) else float(value) for score, value in values.items()},
                ci95=class_intervals(drawn, cases, c),
            )
        )
    return found

"""On whom a model fails: its scores in parts of the images, and of each class."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from mammo.evaluation.intervals import bootstrap, class_intervals, score_intervals
from mammo.evaluation.metrics import Cases, Floats, Metrics, checked_cases, compute_metrics
from mammo.evaluation.predictions import ATTRIBUTES, PredictionTable

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

    `auc` is the area under the ROC curve, `average_precision` that under the precision-recall curve as a sum of
    steps. `ci95` maps the names of the scores to [low, high] or None, from the bootstrap over all patients. The
    images and patients counted, also for `is_small`, are those whose true class it is.
    """

    class_name: str
    num_images: int
    num_patients: int
    precision: float | None
    recall: float | None
    f1: float | None
    auc: float | None
    average_precision: float | None
    ci95: dict[str, list[float] | None]

    @property
    def is_small(self) -> bool:
        return self.num_patients < FEW_PATIENTS


def cases_of(predictions: PredictionTable) -> Cases:
    """Predictions with true classes as what metrics are computed from; `ValueError` where there is no image."""
    arguments = predictions.probabilities, predictions.targets, predictions.class_names, predictions.patient_ids
    return checked_cases(*arguments, None)


def metrics_with_intervals(
    predictions: PredictionTable, draws: int, seed: int, drawn: Mapping[str, Floats] | None = None, warn: bool = True
) -> Metrics:
    """All metrics of images with true classes, with 95 % intervals from `draws` of the patient-level bootstrap.

    `drawn` is what `intervals.bootstrap` made of these predictions, where it is known already.
    """
    arguments = predictions.probabilities, predictions.targets, predictions.class_names, predictions.patient_ids
    metrics, cases = compute_metrics(*arguments, warn=warn), cases_of(predictions)
    if drawn is None:
        drawn = bootstrap(cases, draws, seed)
    return dataclasses.replace(metrics, ci95=score_intervals(drawn, cases))


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

    `drawn` is what `intervals.bootstrap` made of these predictions with `average_precision`, where it is known.
    """
    cases = cases_of(predictions)
    if drawn is None:
        drawn = bootstrap(cases, draws, seed, average_precision=True)
    metrics = compute_metrics(cases.probabilities, cases.targets, predictions.class_names, predictions.patient_ids,
                              warn=False)  # fmt: skip
    found = []
    for c, name in enumerate(predictions.class_names):
        is_class, scores = cases.targets == c, cases.probabilities[:, c]
        some, all_of_them = bool(is_class.any()), bool(is_class.all())
        found.append(
            ClassScores(
                class_name=name,
                num_images=int(is_class.sum()),
                num_patients=len(np.unique(cases.patients[is_class])),
                precision=metrics.per_class_precision[c],
                recall=metrics.per_class_recall[c],
                f1=metrics.per_class_f1[c],
                auc=float(roc_auc_score(is_class, scores)) if some and not all_of_them else None,
                average_precision=float(average_precision_score(is_class, scores)) if some else None,
                ci95=class_intervals(drawn, cases, c),
            )
        )
    return found

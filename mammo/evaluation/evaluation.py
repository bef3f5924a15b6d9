"""Everything that a set of predictions with true classes says about a model, gathered."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from mammo.evaluation.calibration import Reliability, reliability
from mammo.evaluation.curves import Curve, precision_recall_curves, roc_curves
from mammo.evaluation.exams import ExamPredictions, exam_predictions
from mammo.evaluation.intervals import bootstrap
from mammo.evaluation.metrics import Metrics, as_lists
from mammo.evaluation.predictions import PredictionTable, make_predictions
from mammo.evaluation.score_formulas import ECE_BINS
from mammo.evaluation.subgroups import ClassScores, Subgroup, cases_of, metrics_with_intervals, per_class, subgroups


@dataclasses.dataclass(frozen=True)
class Calibration:
    """Reliability of the probabilities as they are, and with a temperature where one is known.

    `loss` is the mean cross-entropy (nats). A temperature that was fitted to these very images makes what comes
    after it a little too good.
    """

    before: Reliability
    loss_before: float
    temperature: float | None = None
    after: Reliability | None = None
    loss_after: float | None = None


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What `evaluate` has found.

    All metrics are of the probabilities as the network gave them. `exam_metrics` is None where every image is an
    exam by itself, or no exam is left; `num_exams_disagreeing` exams are not in it because their images have
    different true classes. `draws` and `seed` are those of the bootstrap over patients.
    """

    metrics: Metrics
    exam_metrics: Metrics | None
    num_exams_disagreeing: int
    classes: list[ClassScores]
    subgroups: list[Subgroup]
    calibration: Calibration
    roc: list[Curve]
    precision_recall: list[Curve]
    draws: int
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Plain Python numbers, text, lists and None: strict JSON, the keys of metrics as in `val_metrics.json`."""
        calibration = self.calibration
        after = calibration.after
        return {
            "bootstrap": {"draws": self.draws, "seed": self.seed, "unit": "patient"},
            "metrics": self.metrics.to_dict(),
            "exams": {
                "metrics": self.exam_metrics.to_dict() if self.exam_metrics else None,
                "num_disagreeing": self.num_exams_disagreeing,
            },
            "per_class": [each.to_dict() for each in self.classes],
            "subgroups": [
                {"attribute": each.attribute, "value": each.value, "num_images": each.num_images,
                 "num_patients": each.num_patients, "is_small": each.is_small, "metrics": each.metrics.to_dict()}
                for each in self.subgroups
            ],
            "calibration": {
                "bin_edges": (np.arange(ECE_BINS + 1) / ECE_BINS).tolist(),
                "temperature": calibration.temperature,
                "before": _reliability_dict(calibration.before, calibration.loss_before),
                "after": _reliability_dict(after, calibration.loss_after) if after else None,
            },
            "curves": {
                "roc": [_plain(curve) for curve in self.roc],
                "precision_recall": [_plain(curve) for curve in self.precision_recall],
            },
        }  # fmt: skip


def evaluate(
    predictions: PredictionTable, temperature: float | None = None, draws: int = 2000, seed: int = 0
) -> Evaluation:
    """Evaluate predictions with true classes; the order of the rows does not matter.

    `temperature` is one fitted elsewhere (`fit_temperature` on validation predictions); without it nothing is said
    of a calibration with one. Raises `ValueError` without an image and `TrainingError` for probabilities that are
    not finite.
    """
    order = np.argsort(predictions.table["image_id"].to_numpy(dtype=str), kind="stable")
    predictions = predictions.rows(order)
    drawn = bootstrap(cases_of(predictions), draws, seed, per_class=True)
    exams = exam_predictions(predictions)
    classes = per_class(predictions, draws, seed, drawn)
    return Evaluation(
        metrics=metrics_with_intervals(predictions, draws, seed, drawn),
        exam_metrics=_exam_metrics(predictions, exams, draws, seed),
        num_exams_disagreeing=exams.num_disagreeing,
        classes=classes,
        subgroups=subgroups(predictions, draws, seed),
        calibration=calibration(predictions, temperature),
        roc=roc_curves(predictions, classes),
        precision_recall=precision_recall_curves(predictions, classes),
        draws=draws,
        seed=seed,
    )


def calibration(predictions: PredictionTable, temperature: float | None = None) -> Calibration:
    """Reliability and loss of predictions with true classes, and of the same with a temperature."""
    before = Calibration(reliability(predictions), float(cases_of(predictions).losses.mean()))
    if temperature is None:
        return before
    probabilities = predictions.space.with_temperature(predictions.probabilities, temperature)
    described = predictions.table.drop(columns=["y_true", "y_pred", *(f"p_{name}" for name in predictions.class_names)])
    scaled = make_predictions(
        described,
        predictions.table["y_true"].tolist(),
        probabilities,
        predictions.class_names,
        predictions.task,
        predictions.space,
    )
    loss = float(cases_of(scaled).losses.mean())
    return dataclasses.replace(before, temperature=temperature, after=reliability(scaled), loss_after=loss)


def _exam_metrics(predictions: PredictionTable, exams: ExamPredictions, draws: int, seed: int) -> Metrics | None:
    each_image_is_an_exam = len(exams.predictions) == len(predictions)
    if each_image_is_an_exam or not len(exams.predictions):
        return None
    return metrics_with_intervals(exams.predictions, draws, seed, warn=False)


def _reliability_dict(found: Reliability, loss: float | None) -> dict[str, Any]:
    of_classes = {name: _plain(bins) for name, bins in zip(found.class_names, found.per_class, strict=True)}
    return {"loss": loss, "ece": found.top.ece, "classwise_ece": found.classwise_ece,
            "bins": _plain(found.top), "per_class": of_classes}  # fmt: skip


def _plain(found: Any) -> dict[str, Any]:
    return as_lists(dataclasses.asdict(found))

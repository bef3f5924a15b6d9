"""From images to exams: the probabilities of all views of an exam, averaged."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
from scipy.stats import entropy

from mammo.evaluation.predictions import PredictionTable, make_predictions


@dataclasses.dataclass(frozen=True)
class ExamPredictions:
    """Predictions of exams, one row each, and how many exams were left out because their images disagree in class.

    The table has exam_id, patient_id, num_images, `y_true` where the images have it, y_pred, `p_<class>` (mean over
    the images) and the entropy of these in nats (natural logarithm; 0 is certain, log K knows nothing).
    """

    predictions: PredictionTable
    num_disagreeing: int


def exam_predictions(predictions: PredictionTable) -> ExamPredictions:
    """Average the images of each exam, exams in the order of their ids.

    An exam is what shares exam_id and patient_id, because some datasets number the exams of each patient anew. An
    image without exam_id belongs to the exam of its patient, without both it is an exam by itself; the exam's id is
    then the patient's or the image's. Density is a finding of an exam: where its images have different true classes
    no rule can tell the right one, so such exams are left out and counted.
    """
    table = predictions.table
    if "image_id" in table:
        table = table.sort_values("image_id", kind="stable")  # sums that do not depend on the order of rows
    table = table.reset_index(drop=True)
    ids = _ids(table)
    key = ["exam_id", "patient_id"]
    columns = [f"p_{name}" for name in predictions.class_names]
    grouped = pd.concat([ids, table.drop(columns=key, errors="ignore")], axis=1).groupby(key, sort=True)
    means = grouped[columns].mean()
    exams = means.index.to_frame(index=False)
    exams["num_images"] = grouped.size().to_numpy()
    agreeing = np.full(len(exams), True)
    targets = None
    if "y_true" in table:
        agreeing = grouped["y_true"].nunique().to_numpy() == 1
        targets = grouped["y_true"].first().to_numpy()[agreeing].tolist()
    probabilities = means.to_numpy()[agreeing]
    made = make_predictions(
        exams[agreeing], targets, probabilities, predictions.class_names, predictions.task, predictions.space
    )
    made.table["entropy"] = entropy(probabilities, axis=1)
    return ExamPredictions(made, int((~agreeing).sum()))


def _ids(table: pd.DataFrame) -> pd.DataFrame:
    """Exam and patient of each image [N rows], never empty where anything is known."""
    unknown = pd.Series("", index=table.index, dtype=str)
    image, patient, exam = (table.get(name, unknown) for name in ("image_id", "patient_id", "exam_id"))
    exam = exam.where(exam != "", patient.where(patient != "", image))
    return pd.DataFrame({"exam_id": exam, "patient_id": patient})

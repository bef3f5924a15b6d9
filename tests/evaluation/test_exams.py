"""Exams from images: which images belong together, and what their exam is."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from mammo.evaluation.exams import exam_predictions
from mammo.evaluation.predictions import make_predictions
from tests.evaluation.tables import random_table, shuffled, table


def rows(exams):
    return exams.predictions.table.to_dict("records")


def test_an_exam_by_hand():
    exams = exam_predictions(
        table([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8]], "AAB", exam_id=["x", "x", "y"], patient_id=["p", "p", "q"])
    )
    first, second = rows(exams)
    assert list(first) == ["exam_id", "patient_id", "num_images", "y_true", "y_pred", "p_A", "p_B", "entropy"]
    assert (first["exam_id"], first["patient_id"], first["num_images"]) == ("x", "p", 2)
    assert (first["y_true"], first["y_pred"], first["p_A"]) == ("A", "A", pytest.approx(0.6))
    assert first["entropy"] == pytest.approx(-0.6 * math.log(0.6) - 0.4 * math.log(0.4))
    assert (second["num_images"], second["y_pred"], second["p_B"]) == (1, "B", 0.8)
    assert exams.num_disagreeing == 0


def test_entropy_is_in_nats_from_zero_to_log_k():
    entropies = [row["entropy"] for row in rows(exam_predictions(table([[0.25] * 4, [0, 1.0, 0, 0]], "AB")))]
    assert entropies == pytest.approx([math.log(4), 0.0])


def test_exams_whose_images_disagree_are_left_out_and_counted():
    exams = exam_predictions(table([[0.9, 0.1]] * 5, "ABABA", exam_id=list("xxyyz")))
    # Exam ids alone do not join patients: here every image has a patient of its own.
    assert (len(exams.predictions), exams.num_disagreeing) == (5, 0)
    exams = exam_predictions(table([[0.9, 0.1]] * 5, "ABABA", exam_id=list("xxyyz"), patient_id=list("ppqqr")))
    assert [row["exam_id"] for row in rows(exams)] == ["z"]
    assert exams.num_disagreeing == 2
    nothing = exam_predictions(table([[0.9, 0.1]] * 2, "AB", exam_id=list("xx"), patient_id=list("pp")))
    assert (len(nothing.predictions), nothing.num_disagreeing) == (0, 1)


def test_exam_numbers_may_repeat_between_patients():
    exams = exam_predictions(table([[0.9, 0.1], [0.2, 0.8]], "AB", exam_id=["1", "1"], patient_id=["p", "q"]))
    assert [(row["exam_id"], row["patient_id"], row["y_pred"]) for row in rows(exams)] == [
        ("1", "p", "A"),
        ("1", "q", "B"),
    ]


def test_images_without_an_exam_fall_back_to_the_patient_and_then_to_themselves():
    exams = exam_predictions(
        table([[0.5, 0.5]] * 6, None, exam_id=["", "", "x", "", "", ""], patient_id=["p", "p", "p", "q", "", ""])
    )
    assert [(row["exam_id"], row["num_images"]) for row in rows(exams)] == [
        ("i0004", 1),
        ("i0005", 1),
        ("p", 2),
        ("q", 1),
        ("x", 1),
    ]


def test_predictions_of_new_images_have_no_true_class():
    described = pd.DataFrame({"image_id": ["a", "b"], "exam_id": ["x", "x"]})  # not even a column of patients
    exams = exam_predictions(make_predictions(described, None, np.array([[0.8, 0.2], [0.6, 0.4]]), ("A", "B")))
    (exam,) = rows(exams)
    assert "y_true" not in exam
    assert (exam["num_images"], exam["p_A"], exam["y_pred"]) == (2, pytest.approx(0.7), "A")


def test_ties_go_to_the_first_class_and_rows_may_come_in_any_order():
    (exam,) = rows(exam_predictions(table([[0.8, 0.2], [0.2, 0.8]], "AA", exam_id="xx", patient_id="pp")))
    assert exam["y_pred"] == "A"
    predictions = random_table(5, classes=(1,))
    pd.testing.assert_frame_equal(
        exam_predictions(predictions).predictions.table, exam_predictions(shuffled(predictions)).predictions.table
    )

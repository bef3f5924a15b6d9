"""The whole of an evaluation: that its parts belong to the same predictions, and strict JSON."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import log_loss

from mammo.evaluation.calibration import fit_temperature
from mammo.evaluation.evaluation import evaluate
from mammo.evaluation.intervals import bootstrap_ci95
from mammo.evaluation.metrics import compute_metrics
from mammo.tasks.outputs import SOFTMAX
from tests.evaluation.tables import DENSITY, random_table, shuffled, table

SEED_MATRIX = [[2, 6, 0, 0], [4, 58, 11, 0], [0, 42, 98, 30], [0, 1, 9, 57]]


def strict(evaluation):
    return json.loads(json.dumps(evaluation.to_dict(), allow_nan=False))


def arguments(predictions):
    return predictions.probabilities, predictions.targets, predictions.class_names, predictions.patient_ids


def test_the_test_vector_of_documented_results():
    pairs = [(t, p) for t in range(4) for p in range(4) for _ in range(SEED_MATRIX[t][p])]
    found = strict(
        evaluate(table(0.1 + 0.6 * np.eye(4)[[p for _, p in pairs]], [DENSITY[t] for t, _ in pairs]), draws=100)
    )
    rounded = {"acc": 0.6761, "bal_acc_adj": 0.4906, "kappa": 0.5139, "kappa_quadratic": 0.7251, "macro_f1": 0.5877}
    for name, value in rounded.items():
        assert found["metrics"][name] == pytest.approx(value, abs=5e-5)
        low, high = found["metrics"]["ci95"][name]
        assert low < value < high
    assert [each["precision"] for each in found["per_class"]] == pytest.approx(
        [0.3333, 0.5421, 0.8305, 0.6552], abs=5e-5
    )
    assert [each["recall"] for each in found["per_class"]] == pytest.approx([0.25, 0.7945, 0.5765, 0.8507], abs=5e-5)
    assert [each["num_images"] for each in found["per_class"]] == [8, 73, 170, 67]
    assert [each["is_small"] for each in found["per_class"]] == [True, False, False, False]
    # All images say 0.7 in one bin.
    assert found["calibration"]["before"]["ece"] == pytest.approx(0.7 - 215 / 318)
    assert found["exams"] == {"metrics": None, "num_disagreeing": 0}


def test_metrics_are_those_of_a_run():
    predictions = random_table(1)
    found = evaluate(predictions, draws=100, seed=5)
    expected = compute_metrics(*arguments(predictions)).to_dict()
    expected["ci95"] = bootstrap_ci95(*arguments(predictions), draws=100, seed=5)
    actual = found.metrics.to_dict()
    assert list(actual) == list(expected)
    intervals = actual.pop("ci95")
    assert {name: pytest.approx(interval) for name, interval in expected.pop("ci95").items()} == intervals
    numbers = [name for name, value in expected.items() if isinstance(value, float)]
    assert [actual.pop(name) for name in numbers] == pytest.approx([expected.pop(name) for name in numbers])
    assert list(actual["confusion_matrix"]) == expected["confusion_matrix"]


def test_exams_are_evaluated_by_patients_too():
    right, half = [0.9, 0.1], [0.4, 0.6]
    # Exam x: right on average though one view is wrong. y and z disagree. w is wrong in both views.
    found = evaluate(
        table(
            [right, half, right, half, right, right, half, half],
            "AAABABAA",
            exam_id=list("xxyyzzww"),
            patient_id=list("xxyyzzww"),
        ),
        draws=50,
    )
    assert found.num_exams_disagreeing == 2
    assert (found.exam_metrics.num_images, found.exam_metrics.num_patients) == (2, 2)
    assert found.exam_metrics.scores["acc"] == 0.5
    assert found.exam_metrics.ci95["acc"] == [0, 1]


def test_a_temperature_changes_the_calibration_and_nothing_else():
    predictions = random_table(2)
    temperature = fit_temperature(predictions.probabilities, predictions.targets)
    found, plain = evaluate(predictions, temperature, draws=20), evaluate(predictions, draws=20)
    assert found.metrics == plain.metrics
    assert (plain.calibration.temperature, plain.calibration.after, plain.calibration.loss_after) == (None, None, None)
    scaled = SOFTMAX.with_temperature(predictions.probabilities, temperature)
    assert found.calibration.loss_before == pytest.approx(found.metrics.scores["loss"])
    assert found.calibration.loss_after == pytest.approx(log_loss(predictions.targets, scaled))
    assert found.calibration.loss_after < found.calibration.loss_before
    expected = compute_metrics(scaled, *arguments(predictions)[1:])
    assert found.calibration.after.top.ece == pytest.approx(expected.scores["ece"])
    assert strict(found)["calibration"]["after"]["ece"] == pytest.approx(expected.scores["ece"])


def test_the_order_of_rows_changes_not_a_bit():
    predictions = random_table(3, manufacturer=["GE", "HOLOGIC"] * 60)
    assert strict(evaluate(predictions, 1.5, draws=50)) == strict(evaluate(shuffled(predictions), 1.5, draws=50))


@pytest.mark.parametrize(
    "predictions",
    [
        random_table(4, classes=(1, 3)),
        random_table(4, num_patients=1),
        table([[0.9, 0.1]], "A"),
        table([[0.5, 0.5]] * 4, "ABAB"),
        table([[1.0, 0.0], [0.0, 1.0]], "BA", exam_id=["", ""]),
        random_table(4, num_images=6, num_patients=3, view=["", "CC"] * 3, manufacturer=["GE"] * 6),
    ],
)
def test_degenerate_predictions_make_strict_json(predictions):
    found = strict(evaluate(predictions, 2.0, draws=20))
    assert found["metrics"]["num_images"] == len(predictions)
    assert list(found) == ["bootstrap", "metrics", "exams", "per_class", "subgroups", "calibration", "curves"]


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="need an image"):
        evaluate(random_table(5).rows(np.array([], dtype=int)))


def test_labels_of_real_films(shared_data):
    with (shared_data / "mini-mias" / "labels.csv").open() as file:
        films = list(csv.DictReader(file))
    index = [("F", "G", "D").index(film["tissue"]) for film in films]
    logits = np.random.default_rng(0).normal(size=(len(films), 3)) + 2 * np.eye(3)[index]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    predictions = table(
        probabilities,
        [film["tissue"] for film in films],
        class_names=("F", "G", "D"),
        image_id=[film["image"] for film in films],
        patient_id=[film["patient_id"] for film in films],
        exam_id=[""] * len(films),
        laterality=[film["laterality"] for film in films],
        view=[film["view"] for film in films],
    )
    found = evaluate(predictions, draws=100)
    num_patients = len({film["patient_id"] for film in films})
    assert (found.metrics.num_images, found.metrics.num_patients) == (322, num_patients)
    assert found.exam_metrics.num_images + found.num_exams_disagreeing == num_patients
    assert found.exam_metrics.scores["acc"] > found.metrics.scores["acc"]  # two films say more than one
    assert [(each.attribute, each.value) for each in found.subgroups] == [
        ("view", "MLO"),
        ("laterality", "L"),
        ("laterality", "R"),
    ]
    assert sum(each.num_images for each in found.subgroups if each.attribute == "laterality") == 322

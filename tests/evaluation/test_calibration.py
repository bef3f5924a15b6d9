"""Reliability and temperature against hand-computed values, scikit-learn and a plain optimisation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from mammo.evaluation.calibration import TEMPERATURE_BOUNDS, fit_temperature, reliability
from mammo.evaluation.metrics import compute_metrics
from mammo.tasks.outputs import SOFTMAX
from tests.evaluation.tables import random_table, shuffled, table


def test_bins_by_hand():
    # Top probabilities .9 (right), .9 (wrong), .6 (right; an upper edge belongs to its bin), .62 (wrong).
    predictions = table([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.62, 0.38]], "ABBB")
    found = reliability(predictions)
    filled = {i: n for i, n in enumerate(found.top.num_images) if n}
    assert filled == {8: 1, 9: 1, 13: 2}
    assert (found.top.confidence[13], found.top.accuracy[13]) == (pytest.approx(0.9), 0.5)
    assert (found.top.confidence[8], found.top.accuracy[8]) == (0.6, 1.0)
    assert found.top.confidence[0] is found.top.accuracy[0] is None
    assert found.top.ece == pytest.approx((0.8 + 0.4 + 0.62) / 4)
    # Class A: .9, .9 -> 1 of 2 true; .4 and .62 -> none. Class B is its mirror image.
    assert found.per_class[0].ece == pytest.approx((0.8 + 0.4 + 0.62) / 4)
    assert found.classwise_ece == pytest.approx((found.per_class[0].ece + found.per_class[1].ece) / 2)


def test_it_is_the_calibration_error_of_the_metrics_and_the_curve_of_scikit_learn():
    predictions = random_table(1)
    found = reliability(predictions)
    metrics = compute_metrics(
        predictions.probabilities, predictions.targets, predictions.class_names, predictions.patient_ids
    )
    assert found.top.ece == pytest.approx(metrics.scores["ece"])
    for c, bins in enumerate(found.per_class):
        accuracy, confidence = calibration_curve(predictions.targets == c, predictions.probabilities[:, c], n_bins=15)
        assert [a for a in bins.accuracy if a is not None] == pytest.approx(accuracy)
        assert [a for a in bins.confidence if a is not None] == pytest.approx(confidence)
        assert sum(bins.num_images) == len(predictions)


def test_probabilities_of_zero_and_one_have_a_bin():
    found = reliability(table([[1.0, 0.0], [0.0, 1.0]], "AB"))
    assert found.top.num_images[14] == 2
    assert found.per_class[0].num_images[0] == found.per_class[0].num_images[14] == 1
    assert found.top.ece == found.classwise_ece == 0.0


def test_temperature_by_hand():
    # Said with odds of 4:1 and right with odds of 2:1, which is 4:1 to the power of 1/2.
    probabilities = np.array([[0.8, 0.2]] * 3)
    assert fit_temperature(probabilities, np.array([0, 0, 1])) == pytest.approx(2.0)
    np.testing.assert_allclose(SOFTMAX.with_temperature(probabilities, 2.0), [[2 / 3, 1 / 3]] * 3)


@pytest.mark.parametrize("power", [0.4, 1.0, 3.0])
def test_temperature_equals_a_plain_optimisation(power):
    predictions = random_table(2, num_images=300)
    sharpened = predictions.probabilities**power
    sharpened /= sharpened.sum(axis=1, keepdims=True)
    targets = predictions.targets

    def loss(log_temperature):
        scaled = sharpened ** (1 / math.exp(log_temperature))
        return log_loss(targets, scaled / scaled.sum(axis=1, keepdims=True), labels=range(4))

    expected = math.exp(minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-9}).x)
    temperature = fit_temperature(sharpened, targets)
    assert temperature == pytest.approx(expected, rel=1e-5)
    assert temperature == pytest.approx(power * fit_temperature(predictions.probabilities, targets), rel=1e-6)
    assert loss(math.log(temperature)) <= loss(0.0)


def test_temperature_where_there_is_no_minimum():
    low, high = TEMPERATURE_BOUNDS
    all_right = np.array([[0.6, 0.4], [0.3, 0.7]])
    assert fit_temperature(all_right, np.array([0, 1])) == low
    assert fit_temperature(np.eye(2), np.array([0, 1])) == low
    assert fit_temperature(all_right, np.array([1, 0])) == high
    assert fit_temperature(np.eye(2), np.array([1, 0])) == high
    assert fit_temperature(np.full((3, 4), 0.25), np.array([0, 1, 2])) == 1.0


def test_temperature_with_probabilities_of_zero_is_finite():
    # One of a hundred is wrong with probability zero: a great surprise, softened to the utmost.
    probabilities = np.tile([1.0, 0.0], (100, 1))
    temperature = fit_temperature(probabilities, np.array([1] + [0] * 99))
    assert TEMPERATURE_BOUNDS[0] < temperature <= TEMPERATURE_BOUNDS[1]
    scaled = SOFTMAX.with_temperature(probabilities, temperature)
    assert np.isfinite(scaled).all()
    np.testing.assert_allclose(scaled.sum(axis=1), 1)


def test_a_temperature_keeps_the_order_of_classes_and_one_changes_nothing():
    predictions = random_table(3)
    np.testing.assert_allclose(SOFTMAX.with_temperature(predictions.probabilities, 1.0), predictions.probabilities)
    for temperature in (0.3, 4.0):
        scaled = SOFTMAX.with_temperature(predictions.probabilities, temperature)
        np.testing.assert_array_equal(scaled.argsort(axis=1), predictions.probabilities.argsort(axis=1))
    order = shuffled(predictions)
    assert fit_temperature(order.probabilities, order.targets) == pytest.approx(
        fit_temperature(predictions.probabilities, predictions.targets)
    )


@pytest.mark.parametrize("temperature", [0.0, -1.0, math.nan])
def test_a_temperature_is_positive(temperature):
    with pytest.raises(ValueError, match="above 0"):
        SOFTMAX.with_temperature(np.eye(2), temperature)


def test_a_temperature_needs_an_image():
    with pytest.raises(ValueError, match="at least one image"):
        fit_temperature(np.empty((0, 4)), np.array([], dtype=int))

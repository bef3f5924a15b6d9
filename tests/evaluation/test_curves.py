"""Curves: the points of scikit-learn, thinned without changing the area."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, average_precision_score, roc_auc_score

from mammo.evaluation.curves import MAX_POINTS, precision_recall_curves, roc_curves, thinned
from mammo.evaluation.subgroups import per_class
from tests.evaluation.tables import random_table, table


def steps_area(curve):
    """Area under steps that hold the y of the point on the right."""
    return float(np.sum(np.diff(curve.x) * np.array(curve.y)[1:]))


def test_roc_by_hand():
    predictions = table([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], "ABAB")
    curves = roc_curves(predictions, per_class(predictions, draws=20))
    assert [curve.class_name for curve in curves] == ["A", "B"]
    assert (curves[0].x, curves[0].y) == ((0, 0, 0.5, 0.5, 1), (0, 0.5, 0.5, 1, 1))
    assert curves[0].area == 0.75
    assert (curves[0].num_positive, curves[0].num_images) == (2, 4)


def test_precision_recall_by_hand():
    predictions = table([[0.9, 0.1], [0.8, 0.2], [0.6, 0.4], [0.3, 0.7]], "ABAB")
    curve = precision_recall_curves(predictions, per_class(predictions, draws=20))[0]
    # A is found at ranks 1 and 3: precision 1 at recall 1/2, 2/3 at recall 1.
    assert curve.area == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)
    assert (curve.x[0], curve.y[0]) == (0, 1)
    assert curve.x[-1] == 1
    assert steps_area(curve) == pytest.approx(curve.area)


@pytest.mark.parametrize("decimals", [None, 0])
def test_thinned_curves_keep_their_area(decimals):
    predictions = random_table(1, num_images=6000, num_patients=1500, decimals=decimals)
    classes = per_class(predictions, draws=10)
    true, probabilities = predictions.targets, predictions.probabilities
    for c, (roc, precision_recall) in enumerate(
        zip(roc_curves(predictions, classes), precision_recall_curves(predictions, classes), strict=True)
    ):
        assert len(roc.x) <= MAX_POINTS
        assert len(precision_recall.x) <= MAX_POINTS
        assert roc.area == pytest.approx(roc_auc_score(true == c, probabilities[:, c]))
        assert auc(roc.x, roc.y) == pytest.approx(roc.area, abs=5e-4)
        area = average_precision_score(true == c, probabilities[:, c])
        assert precision_recall.area == pytest.approx(area)
        assert steps_area(precision_recall) == pytest.approx(area, abs=2e-3)
        assert (roc.x[0], roc.y[0], roc.x[-1], roc.y[-1]) == (0, 0, 1, 1)
        assert roc.ci95[0] < roc.area < roc.ci95[1]


def test_classes_that_are_absent_have_no_curve():
    predictions = random_table(2, classes=(0, 2))
    classes = per_class(predictions, draws=10)
    assert [curve.class_name for curve in roc_curves(predictions, classes)] == ["A", "C"]
    assert [curve.class_name for curve in precision_recall_curves(predictions, classes)] == ["A", "C"]
    alone = table([[0.9, 0.1]] * 3, "AAA")
    assert roc_curves(alone, per_class(alone, draws=10)) == []


def test_thinning_keeps_the_ends_and_spreads_the_rest():
    x = np.concatenate([np.linspace(0, 0.01, 5000), np.linspace(0.02, 1, 50)])
    kept = thinned(x, np.zeros_like(x), max_points=100)
    assert len(kept) <= 100
    assert (kept[0], kept[-1]) == (0, len(x) - 1)
    assert (kept >= 5000).sum() == 50  # where points are far apart all stay
    np.testing.assert_array_equal(thinned(x[:100], x[:100], max_points=100), np.arange(100))

"""Differences of two models against scipy, hand-computed values and a loop over patients."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from scipy.stats import binomtest, chi2

from mammo.evaluation.comparison import compare, mcnemar
from mammo.evaluation.metrics import compute_metrics
from mammo.evaluation.scores import SCORE_NAMES
from mammo.support.errors import ComparisonError, UserError
from tests.evaluation.tables import random_table, redrawn, shuffled, table


def of_counts(both, first, second, neither):
    """Masks of right and wrong with these 2x2 counts."""
    first_right = [True] * (both + first) + [False] * (second + neither)
    second_right = [True] * both + [False] * first + [True] * second + [False] * neither
    return np.array(first_right), np.array(second_right)


def other_model(predictions, seed=0):
    """The same images seen by a model that is somewhat like the first."""
    noise = np.random.default_rng(seed).random(predictions.probabilities.shape)
    probabilities = predictions.probabilities + noise / 2
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    described = predictions.table[["patient_id", "exam_id"]].to_dict("list")
    return table(probabilities, predictions.table["y_true"].tolist(), **described)


@pytest.mark.parametrize(("first", "second"), [(0, 1), (5, 0), (3, 9), (12, 12), (1, 23)])
def test_mcnemar_is_exact_with_few_discordant_pairs(first, second):
    found = mcnemar(*of_counts(40, first, second, 7))
    counts = found.both_right, found.only_first_right, found.only_second_right, found.both_wrong
    assert counts == (40, first, second, 7)
    assert (found.method, found.statistic) == ("exact binomial", None)
    assert found.p_value == pytest.approx(binomtest(first, first + second, 0.5).pvalue)


def test_mcnemar_is_a_chi_squared_test_with_many():
    found = mcnemar(*of_counts(30, 10, 15, 5))  # 25 discordant
    assert found.method == "chi-squared with continuity correction"
    assert found.statistic == pytest.approx((5 - 1) ** 2 / 25)
    assert found.p_value == pytest.approx(1 - chi2.cdf(0.64, 1))
    # By hand: (|59 - 16| - 1)^2 / 75 = 23.52.
    assert mcnemar(*of_counts(0, 59, 16, 0)).statistic == pytest.approx(23.52)
    equal = mcnemar(*of_counts(0, 20, 20, 0))
    assert (equal.statistic, equal.p_value) == (0, 1)


def test_mcnemar_without_a_discordant_pair():
    assert mcnemar(*of_counts(3, 0, 0, 2)).p_value == 1.0


def test_differences_and_intervals_equal_a_loop_over_patients():
    first = random_table(1)
    second = other_model(first)
    found = compare(first, second, draws=60, seed=4)
    one, other = scores(first), scores(second)
    drawn = [(scores(a), scores(b)) for a, b in zip(redrawn(first, 60, 4), redrawn(second, 60, 4), strict=True)]
    for name in SCORE_NAMES:
        difference = found.differences[name]
        assert (difference.first, difference.second) == (pytest.approx(one[name]), pytest.approx(other[name]))
        assert difference.difference == pytest.approx(other[name] - one[name])
        values = [b[name] - a[name] for a, b in drawn]
        assert difference.ci95 == pytest.approx(np.percentile(values, [2.5, 97.5]))
    assert (found.num_images, found.num_patients, found.only_in_first, found.only_in_second) == (120, 30, 0, 0)


def scores(predictions):
    metrics = compute_metrics(
        predictions.probabilities, predictions.targets, predictions.class_names, predictions.patient_ids
    )
    return metrics.scores


def accuracy(predictions):
    return (predictions.probabilities.argmax(axis=1) == predictions.targets).mean()


def test_the_same_model_twice_differs_by_nothing():
    predictions = random_table(2)
    found = compare(predictions, shuffled(predictions), draws=50)
    assert all(each.difference == pytest.approx(0, abs=1e-12) for each in found.differences.values())
    assert all(each.ci95 is None for each in found.differences.values())  # nothing is known of other patients
    assert found.mcnemar.p_value == found.patients.p_value == 1.0


def test_pairing_makes_the_interval_narrower_than_that_of_unpaired_patients():
    first = random_table(3, num_images=200, num_patients=100)
    # Some of the images that the first has wrong are right now.
    probabilities = first.probabilities.copy()
    mended = np.flatnonzero(probabilities.argmax(axis=1) != first.targets)[:20]
    probabilities[mended] = np.eye(4)[first.targets[mended]]
    second = table(probabilities, first.table["y_true"].tolist(), patient_id=first.patient_ids)
    low, high = compare(first, second, draws=1000).differences["acc"].ci95
    assert 0 < low < 0.1 < high
    unpaired = [accuracy(b) - accuracy(a) for a, b in zip(redrawn(first, 500, 1), redrawn(second, 500, 2), strict=True)]
    assert high - low < np.subtract(*np.percentile(unpaired, [97.5, 2.5]))


def test_patients_count_once_each():
    # Patient p: the second has two images more right; q: the first one more; r: equal.
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    patients = list("pppqqrr")
    first = table([wrong, wrong, right, right, right, right, wrong], "A" * 7, patient_id=patients)
    second = table([right, right, right, wrong, right, wrong, right], "A" * 7, patient_id=patients)
    found = compare(first, second, draws=20)
    assert (found.mcnemar.only_first_right, found.mcnemar.only_second_right) == (2, 3)
    assert (found.patients.first_better, found.patients.second_better, found.patients.equal) == (1, 1, 1)
    assert found.patients.p_value == 1.0
    # With one image a patient it is McNemar's exact test.
    alone = compare(random_table(5, num_patients=120), other_model(random_table(5, num_patients=120)), draws=20)
    by_image = alone.mcnemar.only_first_right, alone.mcnemar.only_second_right
    assert (alone.patients.first_better, alone.patients.second_better) == by_image
    assert alone.patients.p_value == pytest.approx(binomtest(by_image[0], sum(by_image)).pvalue)


def test_only_common_images_are_compared():
    whole = random_table(6)
    first, second = whole.rows(np.arange(0, 100)), whole.rows(np.arange(60, 120)[::-1])
    found = compare(first, second, draws=20)
    assert (found.num_images, found.only_in_first, found.only_in_second) == (40, 60, 20)
    assert found.differences["acc"].first == scores(whole.rows(np.arange(60, 100)))["acc"]


def test_draws_that_lack_a_class_say_nothing_of_means_over_classes():
    # Only the second finds the one woman with B: without her both have A alone, and would be equal.
    truth = "A" * 9 + "B"
    first, second = table([[0.9, 0.1]] * 10, truth), table([[0.9, 0.1]] * 9 + [[0.1, 0.9]], truth)
    found = compare(first, second, draws=400).differences
    assert found["bal_acc"].difference == 0.5
    assert found["bal_acc"].ci95 is None  # the same in every draw that has her
    assert found["acc"].ci95[0] == 0


def test_undefined_scores_have_no_difference():
    found = compare(table([[0.9, 0.1]] * 2, "AA"), table([[0.8, 0.2]] * 2, "AA"), draws=20)
    assert dataclasses.astuple(found.differences["auc_ovr"]) == (None, None, None, None)
    assert found.differences["acc"].ci95 is None
    as_dict = found.to_dict("old", "new")
    assert json.loads(json.dumps(as_dict, allow_nan=False)) == as_dict
    assert as_dict["differences"]["acc"] == {"values": {"old": 1, "new": 1}, "difference": 0, "ci95": None}
    assert "first" not in json.dumps(as_dict)


def test_a_single_patient_has_no_interval():
    predictions = random_table(7, num_patients=1)
    assert compare(predictions, other_model(predictions), draws=20).differences["acc"].ci95 is None


@pytest.mark.parametrize(
    ("second", "message"),
    [
        (table([[0.9, 0.1]] * 2, "AB", image_id=["x", "y"]), "no image is in both"),
        (table([[0.9, 0.1]] * 2, "AA"), "the true class differs for 1 of the 2"),
        (table([[0.9, 0.1]] * 2, "AB", patient_id=["p", "p"]), "the patient differs for 2 of the 2"),
        (table([[0.9, 0.1]] * 2, ["A", "C"], class_names=("A", "C")), "the classes differ: A, B and A, C"),
    ],
)
def test_what_cannot_be_compared_is_an_error_of_the_user(second, message):
    with pytest.raises(ComparisonError, match=message) as caught:
        compare(table([[0.9, 0.1]] * 2, "AB"), second)
    assert isinstance(caught.value, UserError)


def test_an_image_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        compare(table([[0.9, 0.1]] * 2, "AB", image_id=["x", "x"]), table([[0.9, 0.1]], "A", image_id=["x"]))

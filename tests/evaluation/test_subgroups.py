"""Subgroups and classes against evaluations of their images alone, scikit-learn and a loop over patients."""

from __future__ import annotations

import dataclasses
import logging
import warnings

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score, precision_recall_fscore_support, roc_auc_score

from mammo.evaluation.intervals import bootstrap_ci95
from mammo.evaluation.metrics import compute_metrics, reset_warnings
from mammo.evaluation.subgroups import UNKNOWN, per_class, subgroups
from tests.evaluation.tables import DENSITY, random_table, redrawn, shuffled, table

OF_CLASSES = ("precision", "recall", "f1", "auc", "average_precision")


def arguments(predictions):
    return predictions.probabilities, predictions.targets, predictions.class_names, predictions.patient_ids


def views(num_images):
    return ["CC" if i % 3 else "MLO" for i in range(num_images)]


def test_a_subgroup_is_evaluated_as_if_it_were_alone():
    predictions = random_table(1, view=views(120))
    found = {group.value: group for group in subgroups(predictions, draws=50, seed=3) if group.attribute == "view"}
    assert list(found) == ["CC", "MLO"]
    for value, group in found.items():
        alone = predictions.rows((predictions.table["view"] == value).to_numpy())
        expected = dataclasses.replace(
            compute_metrics(*arguments(alone)), ci95=bootstrap_ci95(*arguments(alone), draws=50, seed=3)
        )
        assert group.metrics == expected
        assert (group.num_images, group.num_patients) == (len(alone), len(set(alone.patient_ids)))


def test_which_attributes_have_subgroups():
    few = ["GE" if i % 30 < 9 else "HOLOGIC" if i % 30 < 20 else "" for i in range(120)]
    predictions = random_table(2, manufacturer=few, age_band=[""] * 120, laterality=["R", "L"] * 60)
    found = [(each.attribute, each.value) for each in subgroups(predictions, draws=10)]
    assert found == [
        ("view", "CC"),
        ("laterality", "L"),
        ("laterality", "R"),
        ("manufacturer", "GE"),
        ("manufacturer", "HOLOGIC"),
        ("manufacturer", UNKNOWN),
    ]
    small = {each.value: each.is_small for each in subgroups(predictions, draws=10) if each.attribute == "manufacturer"}
    assert small == {"GE": True, "HOLOGIC": False, UNKNOWN: False}  # 9, 11 and 10 patients


def test_a_subgroup_of_one_patient_and_one_class_is_undefined_without_a_word(caplog):
    reset_warnings()
    predictions = table([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]], "ABA", view=["CC", "CC", "MLO"])
    with caplog.at_level(logging.WARNING), warnings.catch_warnings():
        warnings.simplefilter("error")
        (lonely,) = [each for each in subgroups(predictions, draws=20) if each.value == "MLO"]
    assert not caplog.records
    assert (lonely.num_patients, lonely.is_small) == (1, True)
    assert lonely.metrics.scores["auc_ovr"] is None
    assert set(lonely.metrics.ci95.values()) == {None}


@pytest.mark.parametrize("options", [{}, {"decimals": 0}, {"classes": (0, 2)}, {"num_images": 12, "num_patients": 6}])
def test_classes_equal_scikit_learn_and_their_intervals_a_loop_over_patients(options):
    predictions = random_table(4, **options)
    found = per_class(predictions, draws=60, seed=9)
    draws = [sklearn_per_class(drawn) for drawn in redrawn(predictions, 60, 9)]
    point = sklearn_per_class(predictions)
    for c, scores in enumerate(found):
        assert scores.class_name == DENSITY[c]
        assert scores.num_images == (predictions.targets == c).sum()
        for name in OF_CLASSES:
            expected = point[name][c]
            assert scores.scores[name] == (None if np.isnan(expected) else pytest.approx(expected))
            values = np.array([draw[name][c] for draw in draws])
            defined = values[~np.isnan(values)]
            constant = len(defined) and np.ptp(defined) == 0
            if len(defined) < 30 or (constant and name not in ("recall", "precision")):
                assert scores.ci95[name] is None
            elif constant:
                of_whom = predictions.targets if name == "recall" else predictions.probabilities.argmax(axis=1)
                n = len({p for p, member in zip(predictions.patient_ids, of_whom == c, strict=True) if member})
                exact = binomtest(round(n * expected), n).proportion_ci(method="exact")
                assert scores.ci95[name] == pytest.approx(list(exact))
            else:
                assert scores.ci95[name] == pytest.approx(np.percentile(defined, [2.5, 97.5]))


def sklearn_per_class(predictions):
    true, probabilities = predictions.targets, predictions.probabilities
    precision, recall, f1, _ = precision_recall_fscore_support(
        true, probabilities.argmax(axis=1), labels=range(4), zero_division=np.nan
    )
    auc, area = np.full(4, np.nan), np.full(4, np.nan)
    for c in set(true):
        area[c] = average_precision_score(true == c, probabilities[:, c])
        if len(set(true)) > 1:
            auc[c] = roc_auc_score(true == c, probabilities[:, c])
    return {"precision": precision, "recall": recall, "f1": f1, "auc": auc, "average_precision": area}


def test_a_class_without_images_has_no_scores_and_few_patients_make_it_small():
    predictions = random_table(5, classes=(0, 1))
    absent = per_class(predictions, draws=20)[3]
    assert (absent.num_images, absent.num_patients, absent.is_small) == (0, 0, True)
    assert absent.scores["recall"] is absent.scores["auc"] is absent.scores["average_precision"] is None
    assert absent.ci95["auc"] is absent.ci95["recall"] is None
    assert not per_class(predictions, draws=20)[0].is_small


def test_one_patient_has_no_intervals():
    (first, *_) = per_class(random_table(6, num_patients=1), draws=20)
    assert first.scores["auc"] is not None
    assert first.ci95 == dict.fromkeys(OF_CLASSES)


def test_the_order_of_rows_does_not_matter():
    predictions = random_table(7, view=views(120))
    for one, other in zip(subgroups(predictions, draws=40), subgroups(shuffled(predictions), draws=40), strict=True):
        assert (one.attribute, one.value) == (other.attribute, other.value)
        assert one.metrics.ci95["auc_ovr"] == pytest.approx(other.metrics.ci95["auc_ovr"])
    for one, other in zip(per_class(predictions, 40), per_class(shuffled(predictions), 40), strict=True):
        assert one.ci95["average_precision"] == pytest.approx(other.ci95["average_precision"])

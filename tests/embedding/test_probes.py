"""Probes: patients never on both sides of a fold, and the numbers of scikit-learn."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, roc_auc_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mammo.embedding.probes import CANDIDATES_C, DEFAULT_C, logistic_regressions, patient_folds, run_probes, scores
from mammo.support.errors import DataError

CLASSES = ("A", "B", "C")


def images(patients_of_class=(7, 9, 6), images_of_patient=3, num_features=40, distance=1.0, seed=0):
    """Features around a centre for each class, a shift of each patient added, and the table of the images."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(len(CLASSES), num_features)) * distance
    features, rows = [], []
    for c, count in enumerate(patients_of_class):
        for number in range(count):
            shift = rng.normal(size=num_features)
            for image in range(images_of_patient):
                rows.append((f"{CLASSES[c]}{number}-{image}", f"{CLASSES[c]}{number}", CLASSES[c]))
                features.append(centres[c] + shift + 0.3 * rng.normal(size=num_features))
    order = rng.permutation(len(rows))
    table = pd.DataFrame(rows, columns=["image_id", "patient_id", "label"]).iloc[order].reset_index(drop=True)
    return np.array(features, dtype=np.float32)[order], table


def codes(table):
    return np.array([CLASSES.index(label) for label in table["label"]])


def test_no_patient_is_on_both_sides_of_a_fold_and_every_image_is_predicted_once():
    _, table = images()
    folds = patient_folds(table, CLASSES, 5, seed=3)
    assert len(folds) == 5
    patients = table["patient_id"].to_numpy()
    for fit, rest in folds:
        assert not set(patients[fit]) & set(patients[rest])
        assert set(table["label"].iloc[fit]) == set(CLASSES)
    assert sorted(np.concatenate([rest for _, rest in folds])) == list(range(len(table)))


@pytest.mark.parametrize(("patients_of_class", "num_folds"), [((2, 9, 6), 2), ((3, 3, 0), 3)])
def test_there_are_no_more_folds_than_patients_of_the_rarest_class(patients_of_class, num_folds):
    _, table = images(patients_of_class)
    assert len(patient_folds(table, CLASSES, 5, seed=0)) == num_folds


@pytest.mark.parametrize(("patients_of_class", "reason"), [((4, 1, 4), "class B has a single"), ((5, 0, 0), "class A")])
def test_what_cannot_be_divided_has_no_scores_but_a_reason(patients_of_class, reason):
    features, table = images(patients_of_class)
    with pytest.raises(DataError, match=reason):
        patient_folds(table, CLASSES, 5, seed=0)
    for probe in run_probes(features, table, CLASSES, seed=0):
        assert reason in probe.reason
        row = scores(probe.probabilities, codes(table), CLASSES, table["patient_id"].tolist())
        assert row["bal_acc_adj"] is row["auc_ovr"] is row["ci95"] is None


@pytest.mark.parametrize("num_features", [10, 200])  # fewer features than images, and more
def test_probes_are_those_of_scikit_learn_fitted_to_other_patients(num_features):
    features, table = images(num_features=num_features, distance=3 / num_features**0.5)
    targets = codes(table)
    knn, regression = run_probes(features, table, CLASSES, seed=1)
    expected = {"knn": np.zeros((len(table), 3)), "regression": np.zeros((len(table), 3))}
    for (fit, rest), c in zip(patient_folds(table, CLASSES, 5, seed=1), regression.chosen_c, strict=True):
        assert c in CANDIDATES_C
        neighbours = make_pipeline(StandardScaler(), KNeighborsClassifier(10)).fit(features[fit], targets[fit])
        expected["knn"][rest] = neighbours.predict_proba(features[rest])
        direct = make_pipeline(
            StandardScaler(), LogisticRegression(C=c, class_weight="balanced", max_iter=10_000, tol=1e-8)
        )
        expected["regression"][rest] = direct.fit(features[fit].astype(float), targets[fit]).predict_proba(
            features[rest]
        )
    np.testing.assert_allclose(knn.probabilities, expected["knn"])
    np.testing.assert_allclose(regression.probabilities, expected["regression"], atol=1e-4)
    row = scores(knn.probabilities, targets, CLASSES, table["patient_id"].tolist())
    predicted = knn.probabilities.argmax(axis=1)
    assert row["bal_acc_adj"] == pytest.approx(balanced_accuracy_score(targets, predicted, adjusted=True))
    assert row["kappa_quadratic"] == pytest.approx(cohen_kappa_score(targets, predicted, weights="quadratic"))
    assert row["auc_ovr"] == pytest.approx(roc_auc_score(targets, knn.probabilities, multi_class="ovr"))
    assert row["acc"] == (predicted == targets).mean()
    assert row["ci95"]["acc"][0] < row["acc"] < row["ci95"]["acc"][1]


def test_labels_that_features_know_nothing_of_are_guessed_though_patients_are_recognised():
    # Each patient's images lie close together: folds by image would find the patient again and score about 1.
    features, table = images(patients_of_class=(20, 20, 20), distance=0.0)
    for probe in run_probes(features, table, CLASSES, seed=0):
        row = scores(probe.probabilities, codes(table), CLASSES, table["patient_id"].tolist())
        assert abs(row["bal_acc_adj"]) < 0.25
    by_image = KNeighborsClassifier(1).fit(features[::2], codes(table)[::2])
    assert by_image.score(features[1::2], codes(table)[1::2]) > 0.8


def test_the_penalty_is_chosen_by_patients_of_the_training_part():
    features, table = images(distance=0.0)
    noise = run_probes(features, table, CLASSES, seed=0)[1].chosen_c
    assert max(noise) <= 1e-3  # nothing to learn: the strongest penalties lose least
    # Two patients of a class leave one to fit to: there are no inner folds.
    few, table = images(patients_of_class=(2, 3, 3))
    assert run_probes(few, table, CLASSES, seed=0)[1].chosen_c == [DEFAULT_C, DEFAULT_C]


def test_classes_that_were_not_fitted_have_probability_zero():
    features, table = images()
    targets = codes(table)
    of_two = targets != 1
    predicted = logistic_regressions(features[of_two], targets[of_two])(0.1)(features, 3)
    assert (predicted[:, 1] == 0).all()
    np.testing.assert_allclose(predicted.sum(axis=1), 1)

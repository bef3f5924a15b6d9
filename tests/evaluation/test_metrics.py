"""Metrics against hand-computed values and scikit-learn, with classes that are missing."""

from __future__ import annotations

import json
import logging
import math

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import (
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    roc_auc_score,
)

from mammo.evaluation import intervals as intervals_module
from mammo.evaluation.intervals import bootstrap_ci95
from mammo.evaluation.metrics import compute_metrics, reset_warnings
from mammo.evaluation.score_formulas import checked_cases
from mammo.evaluation.scores import CLASS_SCORES, MULTICLASS, SCORE_NAMES
from mammo.support.errors import TrainingError
from mammo.tasks.multiclass import Multiclass

DENSITY = ("A", "B", "C", "D")
SEED_MATRIX = [[2, 6, 0, 0], [4, 58, 11, 0], [0, 42, 98, 30], [0, 1, 9, 57]]


@pytest.fixture(autouse=True)
def fresh_warnings():
    reset_warnings()


def from_matrix(matrix, top=0.7):
    """Probabilities and targets whose confusion matrix is `matrix`."""
    k = len(matrix)
    pairs = [(t, p) for t in range(k) for p in range(k) for _ in range(matrix[t][p])]
    probabilities = np.full((len(pairs), k), (1 - top) / (k - 1))
    for row, (_, predicted) in enumerate(pairs):
        probabilities[row, predicted] = top
    return probabilities, np.array([t for t, _ in pairs])


def random_cases(seed, num_images=60, num_patients=20, num_classes=4, classes=None, decimals=None):
    rng = np.random.default_rng(seed)
    targets = rng.choice(range(num_classes) if classes is None else classes, num_images)
    logits = rng.normal(size=(num_images, num_classes))
    logits[np.arange(num_images), targets] += 1
    if decimals is not None:
        logits = logits.round(decimals)  # makes ties
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return probabilities, targets, [f"p{i % num_patients}" for i in range(num_images)]


def ids_of(targets):
    return [str(i) for i in range(len(targets))]


def test_the_test_vector_of_the_decisions():
    probabilities, targets = from_matrix(SEED_MATRIX)
    m = compute_metrics(probabilities, targets, DENSITY, ids_of(targets))
    expected = {
        "acc": 0.6761,
        "bal_acc": 0.6179,
        "bal_acc_adj": 0.4906,
        "kappa": 0.5139,
        "kappa_quadratic": 0.7251,
        "macro_f1": 0.5877,
        "mae": 0.3270,
    }
    assert {name: round(m.scores[name], 4) for name in expected} == expected
    assert m.per_class["precision"] == pytest.approx((0.3333, 0.5421, 0.8305, 0.6552), abs=5e-5)
    assert m.per_class["recall"] == pytest.approx((0.25, 0.7945, 0.5765, 0.8507), abs=5e-5)
    assert m.pred_counts == (6, 107, 118, 87)
    assert m.true_counts == (8, 73, 170, 67)
    assert m.pred_unique == 4
    assert m.confusion_matrix == tuple(map(tuple, SEED_MATRIX))
    assert (m.num_images, m.num_patients, m.class_names, m.ci95) == (318, 318, DENSITY, None)


def test_every_score_equals_scikit_learn_when_all_classes_are_there():
    probabilities, targets, patients = random_cases(0)
    m = compute_metrics(probabilities, targets, DENSITY, patients)
    predicted = probabilities.argmax(axis=1)
    assert m.scores["loss"] == pytest.approx(log_loss(targets, probabilities))
    assert m.scores["bal_acc"] == pytest.approx(balanced_accuracy_score(targets, predicted))
    assert m.scores["bal_acc_adj"] == pytest.approx(balanced_accuracy_score(targets, predicted, adjusted=True))
    assert m.scores["macro_f1"] == pytest.approx(f1_score(targets, predicted, average="macro"))
    assert m.scores["auc_ovr"] == pytest.approx(roc_auc_score(targets, probabilities, multi_class="ovr"))
    assert m.scores["auc_ovo"] == pytest.approx(roc_auc_score(targets, probabilities, multi_class="ovo"))
    assert m.num_patients == 20


def test_a_perfect_model_on_a_set_that_lacks_a_class(caplog):
    targets = np.array([0, 0, 1, 2, 2])
    probabilities = np.eye(4)[targets]
    with caplog.at_level(logging.WARNING):
        m = compute_metrics(probabilities, targets, DENSITY, ids_of(targets))
        compute_metrics(probabilities, targets, DENSITY, ids_of(targets))
    perfect = ("acc", "bal_acc", "bal_acc_adj", "kappa", "kappa_quadratic", "auc_ovr", "auc_ovo")
    assert {m.scores[name] for name in perfect} == {1.0}
    assert m.scores["macro_f1"] == 0.75  # over all four classes, 0 where undefined
    assert m.per_class["recall"] == m.per_class["precision"] == m.per_class["f1"] == (1.0, 1.0, 1.0, None)
    assert m.per_class["loss"] == (0.0, 0.0, 0.0, None)
    assert m.pred_unique == 3
    absent = [r for r in caplog.records if "no image of class D" in r.getMessage()]
    assert len(absent) == 1


def test_absent_middle_class_keeps_the_distances():
    # true A, A, C, C; one A is called C: distance 2 although B is absent.
    # Quadratic weights: observed 4/4 = 1; true (2, 0, 2), predicted (1, 0, 3): expected 4*(2*3 + 2*1)/16 = 2.
    probabilities = np.eye(3)[[0, 2, 2, 2]]
    m = compute_metrics(probabilities, np.array([0, 0, 2, 2]), ("A", "B", "C"), list("abcd"))
    assert m.scores["mae"] == 0.5
    assert m.scores["kappa_quadratic"] == pytest.approx(0.5)
    assert m.scores["bal_acc"] == 0.75
    assert m.scores["bal_acc_adj"] == pytest.approx((0.75 - 1 / 3) / (2 / 3))


def test_one_class_only(caplog):
    targets = np.zeros(3, dtype=int)
    with caplog.at_level(logging.WARNING):
        m = compute_metrics(np.eye(2)[targets], targets, ("low", "high"), list("abc"))
    assert (m.scores["kappa"], m.scores["kappa_quadratic"], m.scores["auc_ovr"], m.scores["auc_ovo"]) == (None,) * 4
    assert (m.scores["acc"], m.scores["bal_acc"], m.scores["bal_acc_adj"], m.scores["macro_f1"]) == (1.0, 1.0, 1.0, 0.5)
    assert any("auc_ovr" in r.getMessage() and "kappa" in r.getMessage() for r in caplog.records)
    ci95 = bootstrap_ci95(np.eye(2)[targets], targets, ("low", "high"), list("abc"), draws=50)
    assert ci95["kappa"] is ci95["auc_ovr"] is ci95["auc_ovo"] is ci95["macro_f1"] is None
    assert ci95["acc"] == pytest.approx([0.025 ** (1 / 3), 1.0])  # three of three, exactly


def test_ties_go_to_the_first_class_and_count_half_in_the_auc():
    probabilities = np.full((4, 2), 0.5)
    m = compute_metrics(probabilities, np.array([0, 0, 1, 1]), ("A", "B"), list("abcd"))
    assert m.pred_counts == (4, 0)
    assert (m.scores["auc_ovr"], m.scores["auc_ovo"]) == (0.5, 0.5)
    assert m.scores["kappa"] == 0.0
    assert m.per_class["precision"] == (0.5, None)
    assert m.per_class["f1"] == (pytest.approx(2 / 3), 0.0)


@pytest.mark.parametrize(
    ("top", "correct", "expected"),
    [
        ([0.9, 0.9], [1, 0], 0.4),  # one bin: accuracy 0.5, confidence 0.9
        ([0.9, 0.6], [1, 0], (0.1 + 0.6) / 2),  # two bins
        ([0.61, 0.66], [0, 1], abs(0.5 - 0.635)),  # both in (9/15, 10/15]: they cancel inside the bin
        ([0.59, 0.61], [0, 1], (0.59 + 0.39) / 2),  # 9/15 = 0.6 lies between them: they do not
        ([0.6, 0.61], [0, 1], (0.6 + 0.39) / 2),  # an upper edge belongs to its bin
        ([1.0, 1.0], [1, 1], 0.0),
    ],
)
def test_ece_by_hand(top, correct, expected):
    probabilities = np.array([[p, 1 - p] for p in top])
    targets = np.array([0 if c else 1 for c in correct])
    m = compute_metrics(probabilities, targets, ("A", "B"), ids_of(targets))
    assert m.scores["ece"] == pytest.approx(expected)


def test_losses_are_means_over_images_and_probability_zero_stays_finite():
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75], [1.0, 0.0]])
    targets = np.array([0, 0, 1])
    given = compute_metrics(probabilities, targets, ("A", "B"), list("abc"), np.array([1.0, 2.0, 6.0]))
    assert (given.scores["loss"], given.per_class["loss"]) == (3.0, (1.5, 6.0))
    computed = compute_metrics(probabilities, targets, ("A", "B"), list("abc"))
    assert computed.per_class["loss"][0] == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert math.isfinite(computed.scores["loss"])


def test_to_dict_is_strict_json_in_the_documented_order():
    probabilities, targets, patients = random_cases(1, classes=[0, 2])
    as_dict = compute_metrics(probabilities, targets, DENSITY, patients).to_dict()
    assert json.loads(json.dumps(as_dict, allow_nan=False)) == as_dict
    assert " ".join(as_dict) == (
        "loss per_class_loss acc bal_acc bal_acc_adj kappa kappa_quadratic macro_f1 auc_ovr auc_ovo mae "
        "per_class_precision per_class_recall per_class_f1 confusion_matrix true_counts pred_counts pred_unique "
        "ece num_images num_patients class_names ci95"
    )


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"probabilities": np.array([[2.0, -1.0], [0.5, 0.5]])}, ValueError, "sum to one"),
        ({"probabilities": np.array([[3.0, 1.0], [0.5, 0.5]])}, ValueError, "sum to one"),
        ({"probabilities": np.array([[np.nan, 1.0], [0.5, 0.5]])}, TrainingError, "1 of 2"),
        ({"losses": np.array([np.inf, 1.0])}, TrainingError, "1 of 2"),
        ({"losses": np.array([1.0])}, ValueError, "one loss per image"),
        ({"targets": np.array([0, 2])}, ValueError, r"outside of 0\.\.1"),
        ({"patient_ids": ["a"]}, ValueError, "patient ids"),
        ({"targets": np.array([], dtype=int)}, ValueError, "need an image"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change, error, match):
    arguments = {
        "probabilities": np.array([[0.6, 0.4], [0.5, 0.5]]),
        "targets": np.array([0, 1]),
        "class_names": ("A", "B"),
        "patient_ids": ["a", "b"],
        "losses": None,
    }
    with pytest.raises(error, match=match):
        compute_metrics(**(arguments | change))


def sklearn_scores(probabilities, targets, losses):
    """The scores of one resampled set, from scikit-learn alone, with absent classes taken out by hand."""
    k = probabilities.shape[1]
    predicted = probabilities.argmax(axis=1)
    labels = np.arange(k)
    present = np.unique(targets)
    bal_acc = np.mean([(predicted[targets == c] == c).mean() for c in present])
    two = len(present) > 1
    pairs = [
        roc_auc_score(targets[chosen] == a, probabilities[chosen, a])
        for a in present
        for b in present
        if a != b and (chosen := np.isin(targets, [a, b])).any()
    ]
    both = len(set(targets) | set(predicted)) > 1
    bins = np.ceil(probabilities.max(axis=1) * 15)
    gap = [
        abs((predicted == targets)[bins == b].mean() - probabilities.max(axis=1)[bins == b].mean()) for b in set(bins)
    ]
    size = [(bins == b).mean() for b in set(bins)]
    return {
        "loss": losses.mean(),
        "acc": (predicted == targets).mean(),
        "bal_acc": bal_acc,
        "bal_acc_adj": (bal_acc - 1 / k) / (1 - 1 / k),
        "kappa": cohen_kappa_score(targets, predicted, labels=labels) if both else np.nan,
        "kappa_quadratic": cohen_kappa_score(targets, predicted, labels=labels, weights="quadratic")
        if both
        else np.nan,
        "macro_f1": f1_score(targets, predicted, labels=labels, average="macro", zero_division=0),
        "auc_ovr": np.mean([roc_auc_score(targets == c, probabilities[:, c]) for c in present]) if two else np.nan,
        "auc_ovo": np.mean(pairs) if two else np.nan,
        "mae": np.abs(predicted - targets).mean(),
        "ece": np.dot(gap, size),
    }


@pytest.mark.parametrize(
    ("options", "lacks_a_class"),
    [
        ({"num_classes": 4}, False),
        ({"num_classes": 2, "decimals": 0}, False),
        ({"num_classes": 4, "num_images": 9, "num_patients": 5}, True),
        ({"num_classes": 3, "num_images": 6, "num_patients": 3, "decimals": 0}, True),
        ({"num_classes": 4, "classes": [1, 3], "decimals": 1}, True),
    ],
)
def test_bootstrap_equals_a_naive_loop_over_scikit_learn(options, lacks_a_class):
    probabilities, targets, patients = random_cases(3, **options)
    losses = np.random.default_rng(4).random(len(targets))
    names = DENSITY[: options["num_classes"]]
    cases = checked_cases(probabilities, targets, names, patients, losses)
    weights = intervals_module.patient_weights(np.random.default_rng(5), cases.num_patients, 30)
    assert (weights.sum(axis=1) == cases.num_patients).all()
    fast = intervals_module.weighted_scores(cases, weights)
    number_present = []
    for draw in range(30):
        rows = np.repeat(np.arange(len(targets)), weights[draw, cases.patients].astype(int))
        slow = sklearn_scores(probabilities[rows], targets[rows], losses[rows])
        number_present.append(len(np.unique(targets[rows])))
        if number_present[-1] < len(np.unique(targets)):
            slow |= dict.fromkeys(("bal_acc", "bal_acc_adj", "macro_f1", "auc_ovr", "auc_ovo"), np.nan)
        assert {name: fast[name][draw] for name in SCORE_NAMES} == pytest.approx(slow, nan_ok=True)
    assert (min(number_present) < len(names)) == lacks_a_class


def test_bootstrap_of_weights_one_is_the_point_estimate():
    probabilities, targets, patients = random_cases(6, decimals=1)
    cases = checked_cases(probabilities, targets, DENSITY, patients, None)
    fast = intervals_module.weighted_scores(cases, np.ones((1, cases.num_patients)))
    point = compute_metrics(probabilities, targets, DENSITY, patients)
    assert {name: fast[name][0] for name in SCORE_NAMES} == pytest.approx(point.scores)


def test_intervals_contain_the_point_repeat_and_do_not_depend_on_the_order():
    probabilities, targets, patients = random_cases(7, num_images=200, num_patients=100)
    ci95 = bootstrap_ci95(probabilities, targets, DENSITY, patients, draws=400)
    assert ci95 == bootstrap_ci95(probabilities, targets, DENSITY, patients, draws=400)
    assert ci95 != bootstrap_ci95(probabilities, targets, DENSITY, patients, draws=400, seed=1)
    order = np.random.default_rng(0).permutation(200)
    shuffled = bootstrap_ci95(probabilities[order], targets[order], DENSITY, [patients[i] for i in order], draws=400)
    point = compute_metrics(probabilities, targets, DENSITY, patients)
    for name in set(SCORE_NAMES) - {"ece"}:  # the resampled ece is biased upwards
        low, high = ci95[name]
        assert low < point.scores[name] < high
        assert shuffled[name] == pytest.approx(ci95[name])
    json.dumps(ci95, allow_nan=False)


def test_patients_are_resampled_not_images():
    # Twenty images of each of ten women, all right or all wrong: as uncertain as ten images.
    right = np.repeat(np.arange(10) % 2, 20)
    targets = np.zeros(200, dtype=int)
    probabilities = np.where(right[:, None] == 1, [0.8, 0.2], [0.2, 0.8])
    low, high = bootstrap_ci95(probabilities, targets, ("A", "B"), [str(i // 20) for i in range(200)])["acc"]
    assert (low, high) == (pytest.approx(0.2, abs=0.101), pytest.approx(0.8, abs=0.101))
    low, high = bootstrap_ci95(probabilities, targets, ("A", "B"), ids_of(targets))["acc"]
    assert high - low < 0.16


def test_an_interval_is_of_the_same_classes_as_its_value():
    # Two images of the only woman with D, all predicted A: where a third of the draws lack her, D is not perfect.
    targets = np.array([0] * 18 + [3] * 2)
    probabilities = np.tile([0.7, 0.1, 0.1, 0.1], (20, 1))
    patients = [str(min(i, 18)) for i in range(20)]
    assert compute_metrics(probabilities, targets, DENSITY, patients).scores["bal_acc_adj"] == pytest.approx(1 / 3)
    ci95 = bootstrap_ci95(probabilities, targets, DENSITY, patients)
    # The same in every draw: 18 of 18 women with A, and 0 of 1 with D, exactly, with an error of 0.025 each.
    low, high = 0.0125 ** (1 / 18) / 2, (1 + 1 - 0.0125) / 2
    assert ci95["bal_acc"] == pytest.approx([low, high])
    assert ci95["bal_acc_adj"] == pytest.approx([(low - 0.25) / 0.75, (high - 0.25) / 0.75])
    assert ci95["auc_ovr"] is ci95["auc_ovo"] is None
    assert ci95["acc"][1] == 1.0


def test_a_class_that_most_draws_lack_leaves_means_without_an_interval():
    # Two women alone with their classes among four: 15 % of the draws have all four.
    targets = np.array([0, 1, 2, 2])
    ci95 = bootstrap_ci95(np.eye(4)[targets] * 0.6 + 0.1, targets, DENSITY, ids_of(targets))
    undefined = {name for name, limits in ci95.items() if limits is None}
    assert undefined >= {"bal_acc", "bal_acc_adj", "macro_f1", "auc_ovr", "auc_ovo"}
    assert ci95["acc"] == pytest.approx(list(binomtest(4, 4).proportion_ci(method="exact")))


@pytest.mark.parametrize("images_each", [1, 5])
def test_where_resampling_has_no_spread_proportions_are_exact_and_nothing_else_is_known(images_each):
    # Seven women, four with A and three with B, all of whose images are right: as certain as seven images.
    targets = np.repeat([0, 0, 0, 0, 1, 1, 1], images_each)
    patients = [str(i // images_each) for i in range(len(targets))]
    ci95 = bootstrap_ci95(np.eye(2)[targets] * 0.6 + 0.2, targets, ("A", "B"), patients)
    assert ci95["acc"] == pytest.approx(list(binomtest(7, 7).proportion_ci(method="exact")))
    limits = [binomtest(n, n).proportion_ci(confidence_level=0.975, method="exact") for n in (4, 3)]
    assert ci95["bal_acc"] == pytest.approx([(limits[0].low + limits[1].low) / 2, 1.0])
    assert ci95["bal_acc_adj"] == pytest.approx([2 * low - 1 for low in ci95["bal_acc"]])
    assert {name for name, pair in ci95.items() if pair is None} == set(SCORE_NAMES) - {"acc", "bal_acc", "bal_acc_adj"}


@pytest.mark.parametrize(("successes", "n"), [(0, 4), (4, 4), (1, 4), (13, 20), (0, 1), (999, 1000)])
def test_clopper_pearson_is_that_of_scipy(successes, n):
    expected = binomtest(successes, n).proportion_ci(method="exact")
    assert intervals_module.clopper_pearson(successes / n, n) == pytest.approx(list(expected))


def test_half_of_the_images_of_every_patient_is_no_certainty_either():
    targets = np.array([0, 1] * 6)
    ci95 = bootstrap_ci95(np.tile([0.7, 0.3], (12, 1)), targets, ("A", "B"), [str(i // 2) for i in range(12)])
    assert ci95["acc"] == pytest.approx(list(binomtest(3, 6).proportion_ci(method="exact")))


def test_the_mean_of_exact_intervals_of_recalls_covers_balanced_accuracy_in_95_of_100_samples():
    rng, covered = np.random.default_rng(3), 0
    targets, recalls = np.repeat([0, 1], [6, 3]), (0.95, 0.6)
    for _ in range(2000):
        right = rng.random(9) < np.take(recalls, targets)
        cases = checked_cases(
            np.eye(2)[np.where(right, targets, 1 - targets)], targets, ("A", "B"), ids_of(targets), None
        )
        low, high = intervals_module.exact_balanced_accuracy(cases)
        covered += low <= np.mean(recalls) <= high
    assert covered >= 0.95 * 2000


def test_a_single_patient_has_no_interval():
    probabilities, targets, _ = random_cases(8)
    ci95 = bootstrap_ci95(probabilities, targets, DENSITY, ["one"] * len(targets))
    assert ci95 == dict.fromkeys(SCORE_NAMES)


def test_every_score_of_the_table_is_there_in_the_order_of_the_table():
    probabilities, targets, patients = random_cases(9)
    m = compute_metrics(probabilities, targets, DENSITY, patients)
    assert tuple(m.scores) == SCORE_NAMES
    assert Multiclass.kind == MULTICLASS  # spelled twice, because tasks import numpy
    cases = checked_cases(probabilities, targets, DENSITY, patients, None)
    drawn = intervals_module.bootstrap(cases, 3, 0, per_class=True)
    assert tuple(drawn) == (*SCORE_NAMES, *(score.key for score in CLASS_SCORES if score.is_drawn))
    assert {values.shape for name, values in drawn.items() if name in SCORE_NAMES} == {(3,)}


@pytest.mark.parametrize("num_classes", [2, 3, 4])
@pytest.mark.parametrize("num_images", [1, 2, 8, 33, 500])
@pytest.mark.parametrize("decimals", [None, 1, 0])
def test_every_score_is_that_of_scikit_learn(num_images, num_classes, decimals):
    for seed in range(6):
        # One class only, some classes, all of them; one class predicted when the others have no chance.
        options = {"num_classes": num_classes, "classes": range(1 + seed % num_classes), "decimals": decimals}
        probabilities, targets, patients = random_cases(seed, num_images, 1 + seed, **options)
        if seed == 5:
            probabilities = 0.2 * probabilities + 0.8 * np.eye(num_classes)[-1]
        losses = np.random.default_rng(seed).random(num_images)
        m = compute_metrics(probabilities, targets, DENSITY[:num_classes], patients, losses, warn=False)
        found = {name: np.nan if value is None else value for name, value in m.scores.items()}
        expected = sklearn_scores(probabilities, targets, losses)
        assert found == pytest.approx(expected, rel=1e-12, abs=1e-13, nan_ok=True)
        if decimals is None:  # to the last digit: histories of earlier versions go on
            exactly = set(SCORE_NAMES) - {"ece"}
            assert {name: found[name] for name in exactly} == pytest.approx(
                {name: expected[name] for name in exactly}, rel=0, abs=0, nan_ok=True
            )
        predicted, labels = probabilities.argmax(axis=1), np.arange(num_classes)
        of_classes = precision_recall_fscore_support(targets, predicted, labels=labels, zero_division=np.nan)
        for name, values in zip(("precision", "recall", "f1"), of_classes, strict=False):
            assert m.per_class[name] == tuple(None if np.isnan(value) else value for value in values)

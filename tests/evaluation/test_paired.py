"""Paired comparisons against hand-computed values, other libraries, plain loops, and true nulls."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, ttest_1samp
from scipy.stats import t as student_t
from sklearn.metrics import accuracy_score
from sklearn.neural_network import MLPClassifier

from mammo.evaluation.metrics import compute_metrics
from mammo.evaluation.paired import ScoreDifference, adjusted, compare_trainings
from mammo.evaluation.significance import Part, combined_t, corrected_resampled_t, holm
from mammo.evaluation.trainings import Resampling, Training, mean_scores
from mammo.support.errors import ComparisonError
from tests.evaluation.tables import DENSITY, table

NUM_PATIENTS, NUM_FOLDS, NUM_CLASSES = 60, 5, 3


def patients_of(n):
    return [f"p{i // 2:03d}" for i in range(n)]  # two images each


def labels_of(rng, n=2 * NUM_PATIENTS):
    return np.repeat(rng.integers(NUM_CLASSES, size=n // 2), 2)


def training(rng, targets, skill, rows, seed=0, fold=0, ratio=0.25):
    """Somebody who is right more often the more `skill` there is, on some of the images."""
    logits = rng.normal(size=(len(targets), NUM_CLASSES))
    logits[np.arange(len(targets)), targets] += skill
    probabilities = np.exp(logits)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    names = [f"i{i:04d}" for i in range(len(targets))]
    whole = table(probabilities, [DENSITY[t] for t in targets], image_id=names, patient_id=patients_of(len(targets)))
    return Training(seed, 42, fold, whole.rows(np.asarray(rows)), ratio)


def folds(n=2 * NUM_PATIENTS):
    return [np.flatnonzero(np.arange(n) // 2 % NUM_FOLDS == fold) for fold in range(NUM_FOLDS)]


def cross_validation(rng, targets, skills, seeds=(0,)):
    """A training for each seed and fold; `skills` [folds] are how good those of a fold are."""
    return [
        training(rng, targets, skills[fold], rows, seed, fold) for seed in seeds for fold, rows in enumerate(folds())
    ]


@pytest.fixture
def pair():
    rng = np.random.default_rng(3)
    targets = labels_of(rng)
    weak = cross_validation(rng, targets, [0.6] * NUM_FOLDS, seeds=(1, 2, 3))
    strong = cross_validation(rng, targets, [1.8] * NUM_FOLDS, seeds=(1, 2, 3))
    return weak, strong


def test_the_corrected_test_is_that_of_nadeau_and_bengio():
    # By hand: mean 0.03, variance 0.0005/... of (0.01, 0.03, 0.05, 0.02, 0.04) is 0.00025; (1/5 + 1/4) of it 0.0001125.
    found = corrected_resampled_t([0.01, 0.03, 0.05, 0.02, 0.04], 0.25)
    assert found.t == pytest.approx(0.03 / 0.0001125**0.5)
    assert found.degrees_of_freedom == 4
    assert found.p_value == pytest.approx(2 * student_t.sf(0.03 / 0.0001125**0.5, 4))
    # Without the correction it is the t test of scipy.
    values = np.random.default_rng(0).normal(0.1, 1, 7)
    assert corrected_resampled_t(values, 0).p_value == pytest.approx(ttest_1samp(values, 0).pvalue)


def test_differences_that_never_vary_are_no_test():
    assert corrected_resampled_t([0.1, 0.1, 0.1], 0.25) is None
    assert corrected_resampled_t([0.0, 0.0, 0.0], 0.25).p_value == 1


def test_holm_against_values_by_hand():
    # Sorted 0.01, 0.02, 0.03, 0.04: times 4, 3, 2, 1, never smaller than the one before.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])
    assert holm([0.5, None, 0.9]) == pytest.approx([1.0, None, 1.0], nan_ok=True)
    assert holm([]) == []


def test_the_difference_is_of_means_over_trainings_and_not_of_an_ensemble(pair):
    weak, strong = pair
    found = compare_trainings(weak, strong, Resampling(draws=100))
    by_seed = []
    for side in (weak, strong):
        of_seeds = []
        for seed in (1, 2, 3):
            joined = pd.concat([one.predictions.table for one in side if one.seed == seed])
            of_seeds.append(accuracy_score(joined["y_true"], joined["y_pred"]))
        by_seed.append(np.mean(of_seeds))
    one = found.scores["acc"]
    assert (one.first, one.second) == pytest.approx(tuple(by_seed))
    assert one.difference == pytest.approx(by_seed[1] - by_seed[0])
    assert found.num_trainings == (15, 15)
    assert (found.num_images, found.num_patients, found.num_splits) == (120, 60, 5)


def test_seeds_are_averaged_within_a_split_before_the_test(pair):
    weak, strong = pair
    found = compare_trainings(weak, strong, Resampling(draws=100)).scores["acc"]

    def accuracy(side, seed, fold):
        one = next(t for t in side if (t.seed, t.fold) == (seed, fold)).predictions.table
        return float((one["y_true"] == one["y_pred"]).mean())

    within = [
        np.mean([accuracy(strong, seed, fold) - accuracy(weak, seed, fold) for seed in (1, 2, 3)])
        for fold in range(NUM_FOLDS)
    ]
    expected = corrected_resampled_t(within, 0.25)
    assert found.mean_over_splits == pytest.approx(np.mean(within))
    assert found.effect_size == pytest.approx(np.mean(within) / np.std(within, ddof=1))
    assert (found.p_value, found.degrees_of_freedom) == pytest.approx((expected.p_value, 4))
    assert found.wins == (sum(d > 0 for d in within), sum(d < 0 for d in within), 0)


def test_the_interval_draws_the_same_patients_for_all_trainings(pair):
    weak, strong = pair
    draws = 50
    found = compare_trainings(weak, strong, Resampling(draws, seed=7)).scores["bal_acc_adj"]
    rng = np.random.default_rng(7)
    patients = sorted({p for one in weak for p in one.predictions.patient_ids})
    gains = []
    for chosen in rng.integers(len(patients), size=(draws, len(patients))):
        times = pd.Series(chosen).map(lambda i: patients[i]).value_counts()
        scores = []
        for side in (weak, strong):
            of_seeds = []
            for seed in (1, 2, 3):
                joined = pd.concat([one.predictions.table for one in side if one.seed == seed], ignore_index=True)
                drawn = joined.loc[joined.index.repeat(joined["patient_id"].map(times).fillna(0).astype(int))]
                recalls = (drawn["y_true"] == drawn["y_pred"]).groupby(drawn["y_true"]).mean()
                of_seeds.append((recalls.mean() - 1 / 3) / (1 - 1 / 3))
            scores.append(np.mean(of_seeds))
        gains.append(scores[1] - scores[0])
    assert found.ci95 == pytest.approx(list(np.percentile(gains, [2.5, 97.5])))


def test_swapping_the_sides_turns_the_sign_and_nothing_else(pair):
    weak, strong = pair
    resampling = Resampling(draws=100)
    one, other = compare_trainings(weak, strong, resampling), compare_trainings(strong, weak, resampling)
    for name, found in one.scores.items():
        turned = other.scores[name]
        assert turned.difference == pytest.approx(-found.difference)
        assert turned.p_value == pytest.approx(found.p_value)
        assert turned.ci95 == pytest.approx([-limit for limit in found.ci95[::-1]])
        assert turned.wins[:2] == found.wins[1::-1]


def test_it_does_not_depend_on_the_order_of_trainings_and_images(pair):
    weak, strong = pair
    rng = np.random.default_rng(0)

    def mixed(side):
        found = [
            dataclasses.replace(t, predictions=t.predictions.rows(rng.permutation(len(t.predictions)))) for t in side
        ]
        return [found[i] for i in rng.permutation(len(found))]

    one = compare_trainings(weak, strong, Resampling(draws=100)).to_dict("a", "b")
    other = compare_trainings(mixed(weak), mixed(strong), Resampling(draws=100)).to_dict("a", "b")
    for name, of_one in one["scores"].items():
        of_other = other["scores"][name]
        assert of_other["ci95"] == pytest.approx(of_one["ci95"])
        assert of_other["p_value"] == pytest.approx(of_one["p_value"])


def test_only_what_both_have_is_compared(pair):
    weak, strong = pair
    found = compare_trainings(weak, [t for t in strong if t.fold != 2 and t.seed != 3], Resampling(draws=100))
    assert found.num_trainings == (8, 8)
    assert (found.num_splits, found.num_images) == (4, 96)


def test_one_training_each_is_no_answer_about_configurations():
    rng = np.random.default_rng(0)
    targets = labels_of(rng)
    everything = np.arange(len(targets))
    one = [training(rng, targets, 0.2, everything)]
    other = [training(rng, targets, 3.0, everything)]
    (found,) = adjusted([compare_trainings(one, other, Resampling())])
    score = found.scores["bal_acc_adj"]
    assert score.ci95[0] > 0  # of other patients these two networks are different
    assert (found.test, score.p_value, score.better) == (None, None, None)
    assert "another seed may turn it round" in found.why_no_test


def test_seeds_on_one_split_tell_what_chance_does_to_trainings_and_patients():
    rng = np.random.default_rng(0)
    targets = labels_of(rng)
    everything = np.arange(len(targets))
    weak = [training(rng, targets, 0.3, everything, seed) for seed in range(4)]
    strong = [training(rng, targets, 1.5, everything, seed) for seed in range(4)]
    resampling = Resampling()
    (found,) = adjusted([compare_trainings(weak, strong, resampling)])
    score, gains = found.scores["acc"], [b.scores["acc"] - a.scores["acc"] for a, b in zip(weak, strong, strict=True)]
    pools = [resampling.pools(side) for side in (weak, strong)]
    population = pools[0][0].patient_ids
    drawn = [np.mean([resampling.drawn(pool, population)["acc"] for pool in side], axis=0) for side in pools]
    of_seeds, of_patients = np.var(gains, ddof=1) / 4, np.var(drawn[1] - drawn[0], ddof=1)
    assert (found.test, score.better) == ("trainings", "second")
    assert score.degrees_of_freedom == 3
    # At this level the weighted limit of both parts is where the difference is.
    limits = [student_t.isf(score.p_value / 2, freedom) for freedom in (3, NUM_PATIENTS - 1)]
    both = of_seeds + of_patients
    assert np.average(limits, weights=(of_seeds, of_patients)) == pytest.approx(np.mean(gains) / both**0.5)


def test_two_parts_of_a_variance_keep_the_level_where_one_is_known_from_few():
    rng = np.random.default_rng(1)
    n, count, naive = 2000, 0, 0
    for _ in range(n):
        # As much chance in three trainings as in sixty patients.
        parts = [Part(rng.chisquare(2) / 2, 2), Part(rng.chisquare(59) / 59, 59)]
        mean = rng.normal(0, 2**0.5)
        count += combined_t(mean, parts).p_value < 0.05
        naive += abs(mean) / sum(part.variance for part in parts) ** 0.5 > 1.96
    assert is_as_claimed(count, n)
    assert not is_as_claimed(naive, n)


def test_one_part_alone_is_students_t():
    assert combined_t(1.2, [Part(0.25, 4)]).p_value == pytest.approx(2 * student_t.sf(2.4, 4))
    assert combined_t(1.2, [Part(0.25, 4), Part(0.0, 1)]).p_value == pytest.approx(2 * student_t.sf(2.4, 4))
    assert combined_t(0.0, [Part(0.0, 4)]).p_value == 1
    assert combined_t(0.1, [Part(0.0, 4)]) is None
    assert combined_t(0.0, [Part(0.25, 4)]).p_value == pytest.approx(1)


def test_seeds_on_one_split_are_rarely_told_apart_where_they_are_of_one_configuration():
    rng = np.random.default_rng(2)
    n, pairs = 100, []
    for _ in range(n):
        targets = labels_of(rng)
        everything = np.arange(len(targets))
        pairs.append(
            [[training(rng, targets, 1 + rng.normal(0, 0.3), everything, seed) for seed in range(3)] for _ in (0, 1)]
        )
    assert is_as_claimed(rejected(pairs), n)


def test_a_test_set_that_all_folds_share_is_one_set_of_patients():
    rng = np.random.default_rng(0)
    targets = labels_of(rng)
    everything = np.arange(len(targets))
    sides = [[training(rng, targets, skill, everything, 0, fold) for fold in range(5)] for skill in (0.5, 0.6)]
    found = compare_trainings(*sides, Resampling(draws=200))
    assert (found.test, found.num_images, found.num_splits) == ("trainings", 120, 5)
    assert found.scores["acc"].first == pytest.approx(np.mean([one.scores["acc"] for one in sides[0]]))


def test_what_cannot_be_paired_is_said(pair):
    weak, strong = pair
    elsewhere = [dataclasses.replace(one, split_seed=7) for one in strong]
    with pytest.raises(ComparisonError, match="same split"):
        compare_trainings(weak, elsewhere, Resampling())
    fewer = [dataclasses.replace(one, predictions=one.predictions.rows(np.arange(3))) for one in strong]
    with pytest.raises(ComparisonError, match="different images"):
        compare_trainings(weak, fewer, Resampling())
    labels = strong[0].predictions.table["y_true"].to_numpy()[::-1]
    changed = dataclasses.replace(strong[0].predictions, table=strong[0].predictions.table.assign(y_true=labels))
    with pytest.raises(ComparisonError, match="labels or patients"):
        compare_trainings(weak, [dataclasses.replace(strong[0], predictions=changed), *strong[1:]], Resampling())


def test_seeds_that_are_not_shared_are_averaged_on_each_side():
    rng = np.random.default_rng(0)
    targets = labels_of(rng)
    one = cross_validation(rng, targets, [1] * 5, seeds=(1, 2))
    other = cross_validation(rng, targets, [1] * 5, seeds=(3, 4, 5))
    found = compare_trainings(one, other, Resampling(draws=100))
    assert found.num_trainings == (10, 15)


def test_no_conclusion_against_the_interval_or_p():
    def of(difference, ci95, p, name="acc"):
        return ScoreDifference(name, 0.5, 0.5 + difference, difference, ci95, p_value=p, p_adjusted=p).better

    assert of(0.1, [0.01, 0.2], 0.04) == "second"
    assert of(-0.1, [-0.2, -0.01], 0.04) == "first"
    assert of(-0.1, [-0.2, -0.01], 0.04, "loss") == "second"
    assert of(0.1, [-0.01, 0.2], 0.04) is None
    assert of(0.1, [0.01, 0.2], 0.06) is None
    assert of(0.1, None, 0.04) is None
    assert of(0.1, [0.01, 0.2], None) is None


def test_mean_scores_are_those_of_each_training(pair):
    weak, _ = pair
    resampling = Resampling(draws=100)
    found = mean_scores(resampling.pools(weak), resampling)
    values = []
    for seed in (1, 2, 3):
        joined = pd.concat([one.predictions.table for one in weak if one.seed == seed]).sort_values("image_id")
        probabilities = joined[["p_A", "p_B", "p_C"]].to_numpy()
        targets = np.array([DENSITY.index(label) for label in joined["y_true"]])
        arguments = probabilities, targets, DENSITY[:3], joined["patient_id"].tolist()
        values.append(compute_metrics(*arguments, warn=False).scores["kappa_quadratic"])
    assert found["kappa_quadratic"].value == pytest.approx(np.mean(values))
    low, high = found["kappa_quadratic"].ci95
    assert low < np.mean(values) < high


def rejected(pairs, draws=60):
    """In how many of some comparisons one is called better, by any of the scores that are looked at first."""
    count = 0
    for first, second in pairs:
        (found,) = adjusted([compare_trainings(first, second, Resampling(draws))])
        count += found.scores["bal_acc_adj"].better is not None
    return count


def is_as_claimed(count, n):
    """Whether no more than 5 % are rejected, within what chance does to n of them (99.9 %)."""
    return count <= binom.ppf(0.999, n, 0.05)


def test_equal_configurations_whose_differences_vary_by_fold_are_rarely_told_apart():
    rng = np.random.default_rng(11)
    n, pairs = 60, []
    for _ in range(n):
        targets = labels_of(rng)
        # Which is better depends on the fold, and is nothing on average.
        effects = rng.normal(0, 0.5, size=(2, NUM_FOLDS))
        pairs.append([cross_validation(rng, targets, 1 + effects[side], seeds=(1, 2, 3)) for side in (0, 1)])
    assert is_as_claimed(rejected(pairs), n)


def fitted(features, targets, seed):
    """Trainings of a real network with its own initial weights and order, on real folds."""
    found = []
    for fold, rows in enumerate(folds(len(targets))):
        rest = np.setdiff1d(np.arange(len(targets)), rows)
        network = MLPClassifier((4,), max_iter=8, solver="sgd", learning_rate_init=0.1, random_state=seed)
        network.fit(features[rest], targets[rest])
        probabilities = np.full((len(rows), NUM_CLASSES), 1e-9)
        probabilities[:, network.classes_] = network.predict_proba(features[rows])
        probabilities /= probabilities.sum(axis=1, keepdims=True)
        names = {"image_id": [f"i{i:04d}" for i in rows], "patient_id": [f"p{i // 2:03d}" for i in rows]}
        found.append(Training(seed, 42, fold, table(probabilities, [DENSITY[t] for t in targets[rows]], **names), 0.25))
    return found


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_two_seeds_of_one_configuration_are_rarely_told_apart():
    rng = np.random.default_rng(5)
    n, pairs = 40, []
    for _ in range(n):
        targets = labels_of(rng)
        features = rng.normal(size=(len(targets), 6)) + np.eye(6)[targets]
        pairs.append([fitted(features, targets, seed) for seed in rng.integers(1000, size=2)])
    assert is_as_claimed(rejected(pairs), n)


def test_the_corrected_test_keeps_its_level_where_folds_share_training_data():
    """Differences over folds with the correlation that overlapping training sets give, n_test / (n_test + n_train)."""
    rng = np.random.default_rng(0)
    n, correlation = 2000, 1 / NUM_FOLDS
    shared, of_folds = rng.normal(size=(n, 1)), rng.normal(size=(n, NUM_FOLDS))
    of_seeds = rng.normal(0, 0.5, size=(n, NUM_FOLDS, 3))
    within = correlation**0.5 * shared + (1 - correlation) ** 0.5 * of_folds + of_seeds.mean(axis=2)
    count = sum(corrected_resampled_t(values, 1 / (NUM_FOLDS - 1)).p_value < 0.05 for values in within)
    assert is_as_claimed(count, n)
    # Splits taken for independent reject more often than they claim.
    assert not is_as_claimed(sum(corrected_resampled_t(values, 0).p_value < 0.05 for values in within), n)

"""Against arithmetic done by hand."""

from __future__ import annotations

import math

import pytest

from mammo.sweeps.statistics import spread, variance_components

T_975_OF_3 = 3.1824463  # a table of Student's t: 95 % two-sided, 3 degrees of freedom


def test_mean_std_and_interval():
    values = spread([0.40, 0.46, 0.52, 0.50])
    std = math.sqrt((0.07**2 + 0.01**2 + 0.05**2 + 0.03**2) / 3)  # deviations from 0.47; ddof=1
    assert (values.n, values.ddof, values.min, values.max) == (4, 1, 0.40, 0.52)
    assert values.mean == pytest.approx(0.47)
    assert values.std == pytest.approx(std)
    half = T_975_OF_3 * std / 2
    assert values.ci95 == pytest.approx((0.47 - half, 0.47 + half))


def test_one_run_has_no_spread_and_none_no_mean():
    one = spread([0.5])
    assert (one.n, one.mean, one.min, one.max, one.std, one.ci95) == (1, 0.5, 0.5, 0.5, None, None)
    none = spread([None, None])
    assert (none.n, none.mean, none.std, none.min, none.ci95) == (0, None, None, None, None)


def test_equal_runs_are_no_certainty():
    equal = spread([0.25, 0.25, 0.25])
    assert (equal.mean, equal.std, equal.ci95) == (0.25, 0.0, None)


def test_undefined_values_do_not_count():
    assert spread([0.1, None, 0.3, math.nan]) == spread([0.1, 0.3])


def grid(table):
    return {(seed, fold): value for seed, row in enumerate(table) for fold, value in enumerate(row)}


def test_components_of_seed_and_fold():
    # Means of seeds 3, 5, 5.5 and of folds 2, 7; grand mean 4.5.
    # MS_seed = 2 (1.5^2 + 0.5^2 + 1^2) / 2 = 3.5; MS_fold = 3 (2.5^2 + 2.5^2) / 1 = 37.5
    # Residuals +-0.5, +-0.5, +-1: MS_rest = (4 * 0.25 + 2 * 1) / 2 = 1.5
    parts = variance_components(grid([[1, 5], [3, 7], [2, 9]]))
    assert parts.components == pytest.approx({"seed": (3.5 - 1.5) / 2, "fold": (37.5 - 1.5) / 3, "rest": 1.5})
    assert parts.share == pytest.approx({"seed": 1 / 14.5, "fold": 12 / 14.5, "rest": 1.5 / 14.5})
    assert parts.reason is None


def test_a_negative_component_is_zero():
    # No difference between seeds or folds on average, so both mean squares are below that of the rest, 1.
    parts = variance_components(grid([[0, 1], [1, 0]]))
    assert parts.components == pytest.approx({"seed": 0, "fold": 0, "rest": 1})
    assert parts.share == pytest.approx({"seed": 0, "fold": 0, "rest": 1})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (grid([[1, 2, 3]]), "there are 1 and 3"),
        (grid([[1], [2]]), "there are 2 and 1"),
        ({}, "there are 0 and 0"),
        (grid([[1, 2], [3, None]]), "no value for seed 1, fold 1"),
        ({(0, 0): 1.0, (0, 1): 2.0, (1, 0): 3.0}, "no value for seed 1, fold 1"),
        (grid([[2, 2], [2, 2]]), "all values are equal"),
    ],
)
def test_what_cannot_be_divided_says_why(values, reason):
    parts = variance_components(values)
    assert parts.share is None
    assert reason in parts.reason

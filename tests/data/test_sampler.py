"""Order of images: balanced where asked for, and a pure function of seed and epoch."""

from __future__ import annotations

import numpy as np
import pytest

from mammo.data.sampler import Uniform, Weighted, times_drawn_before

LABELS = np.repeat([0, 1, 2, 3], [10, 90, 200, 80])


@pytest.mark.parametrize(("alpha", "expected"), [(1.0, [0.25] * 4), (0.0, [10 / 380, 90 / 380, 200 / 380, 80 / 380])])
def test_weighted_draws_each_class_with_its_probability(alpha, expected):
    draws = np.concatenate([LABELS[Weighted(alpha=alpha).order(LABELS, 42, epoch)] for epoch in range(200)])
    shares = np.bincount(draws, minlength=4) / len(draws)
    # 76,000 draws: a share has a standard deviation below 0.002.
    assert shares == pytest.approx(expected, abs=0.008)


def test_half_alpha_is_in_between():
    draws = np.concatenate([LABELS[Weighted(alpha=0.5).order(LABELS, 1, epoch)] for epoch in range(200)])
    by_hand = np.sqrt([10, 90, 200, 80])
    assert np.bincount(draws) / len(draws) == pytest.approx(by_hand / by_hand.sum(), abs=0.008)


@pytest.mark.parametrize("sampler", [Weighted(), Uniform()])
def test_order_is_a_function_of_seed_and_epoch(sampler):
    first = sampler.order(LABELS, 42, 3)
    np.random.seed(7)  # noqa: NPY002 - the global generator must not matter
    assert np.array_equal(first, sampler.order(LABELS, 42, 3))
    assert not np.array_equal(first, sampler.order(LABELS, 42, 4))
    assert not np.array_equal(first, sampler.order(LABELS, 43, 3))
    assert not np.array_equal(sampler.order(LABELS, 0, 1), sampler.order(LABELS, 1, 0))


def test_uniform_shows_every_image_once():
    assert sorted(Uniform().order(LABELS, 0, 0)) == list(range(len(LABELS)))


def test_repeats_are_counted_in_order():
    assert times_drawn_before(np.array([3, 1, 3, 3, 1, 0])).tolist() == [0, 0, 1, 2, 1, 0]

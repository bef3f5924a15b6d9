"""Losses and class weights against hand-computed values and torch's own reduction."""

from __future__ import annotations

import math

import pytest
import torch

from mammo.training.losses import CrossEntropy, balanced_class_weights, effective_class_weights


def test_class_weights_have_the_worked_values():
    weights = balanced_class_weights([40, 363, 849, 335])
    assert weights == pytest.approx([9.919, 1.093, 0.467, 1.184], abs=5e-4)
    assert balanced_class_weights([40, 363, 849, 335], alpha=0.5) == pytest.approx([w**0.5 for w in weights])


@pytest.mark.parametrize(
    ("requested", "sampler", "expected"),
    [
        ("auto", "weighted", None),
        ("auto", "uniform", [2.0, 2 / 3]),
        ("none", "uniform", None),
        ([3.0, 1.0], "uniform", [3.0, 1.0]),
    ],
)
def test_the_sampler_and_the_weights_do_not_both_balance(requested, sampler, expected):
    weights, note = effective_class_weights(requested, 1.0, sampler, [1, 3])
    assert weights == (pytest.approx(expected) if expected is not None else None)
    assert "class weights" in note


def test_one_value_an_image_by_hand():
    logits = torch.tensor([[math.log(3.0), 0.0], [0.0, 0.0]])
    targets = torch.tensor([0, 1])
    plain = CrossEntropy().per_sample(logits, targets, None)
    assert plain.tolist() == pytest.approx([-math.log(0.75), math.log(2)])
    weighted = CrossEntropy().per_sample(logits, targets, torch.tensor([2.0, 0.5]))
    assert weighted.tolist() == pytest.approx([-2 * math.log(0.75), 0.5 * math.log(2)])
    smooth = CrossEntropy(label_smoothing=0.2).per_sample(logits, targets, None)
    assert smooth[0].item() == pytest.approx(-(0.9 * math.log(0.75) + 0.1 * math.log(0.25)))


def test_the_mean_over_images_does_not_depend_on_how_they_are_batched():
    random = torch.Generator().manual_seed(0)
    logits, targets = torch.randn(7, 3, generator=random), torch.tensor([0, 1, 2, 0, 0, 1, 2])
    whole = CrossEntropy().per_sample(logits, targets, None).mean()
    parts = sum(CrossEntropy().per_sample(logits[a:b], targets[a:b], None).sum() for a, b in [(0, 4), (4, 6), (6, 7)])
    assert whole.item() == pytest.approx(parts.item() / 7)
    assert whole.item() == pytest.approx(torch.nn.functional.cross_entropy(logits, targets).item())

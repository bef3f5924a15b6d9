"""Learning-rate schedules against the worked values of their formulas and against torch."""

from __future__ import annotations

import math

import pytest
import torch

from mammo.training.schedulers import Constant, Cosine, Plateau, Step, starts_with_warmup


def rates(schedule, base_lr: float, epochs: int, losses=()) -> list[float]:
    return [schedule.rate(base_lr, epoch, epochs, 1.0, list(losses)[:epoch]) for epoch in range(epochs)]


def test_cosine_with_warmup_has_the_worked_values():
    expected = [50.0, 100, 100, 96.232, 85.502, 69.443, 50.5, 31.557, 15.498, 4.768]
    assert rates(Cosine(), 1e-4, 10) == pytest.approx([value * 1e-6 for value in expected], abs=5e-10)


def test_cosine_to_zero_and_without_warmup_follows_torch():
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=0.1)
    reference = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=8, eta_min=0.001)
    expected = []
    for _ in range(8):
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()
    assert rates(Cosine(warmup_epochs=0, min_lr=0.001), 0.1, 8) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("schedule", "warms_up"),
    [
        (Cosine(warmup_epochs=2), True),
        (Cosine(warmup_epochs=1, per_step=True), True),
        (Cosine(warmup_epochs=1), False),  # the first epoch is at the full rate
        (Cosine(warmup_epochs=0), False),
        (Cosine(warmup_epochs=0, per_step=True), False),
        (Plateau(warmup_epochs=3), True),
        (Plateau(warmup_epochs=0), False),
        (Constant(warmup_epochs=0), False),
    ],
)
def test_a_warmup_is_a_rate_that_rises(schedule, warms_up):
    assert starts_with_warmup(schedule, 10) is warms_up
    assert not starts_with_warmup(schedule, 1)


@pytest.mark.parametrize(("epochs", "expected"), [(1, [0.5]), (2, [0.5, 1.0]), (3, [0.5, 1.0, 1.0])])
def test_warmup_may_be_as_long_as_the_run(epochs, expected):
    assert rates(Cosine(warmup_epochs=2), 1.0, epochs) == pytest.approx(expected)


def test_cosine_by_step_rises_to_the_base_rate_and_ends_at_the_minimum():
    schedule = Cosine(warmup_epochs=2, min_lr=0.0, per_step=True)
    steps = [schedule.rate(1.0, epoch, 6, (i + 1) / 4, []) for epoch in range(6) for i in range(4)]
    assert steps[0] == pytest.approx(1 / 8)
    assert max(steps) == steps[7] == pytest.approx(1.0)
    assert steps[-1] == pytest.approx(0.0)
    assert steps[8:] == sorted(steps[8:], reverse=True)
    assert Cosine(warmup_epochs=1, per_step=True).rate(1.0, 0, 1, 1.0, []) == pytest.approx(1.0)


LOSSES = [
    [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.01],
    [1.0] * 12,
    [1.0, 0.5, 0.6, 0.6, 0.6, 0.6, 0.4, 0.5, 0.5, 0.5, 0.39999, 0.3],
]


@pytest.mark.parametrize("losses", LOSSES)
@pytest.mark.parametrize("patience", [0, 2])
def test_plateau_replays_what_torch_does(losses, patience):
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1e-4)
    reference = torch.optim.lr_scheduler.ReduceLROnPlateau(
        optimizer, factor=0.5, patience=patience, min_lr=1e-5, threshold=1e-4
    )
    expected = []
    for loss in losses:
        expected.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step(loss)
    schedule = Plateau(warmup_epochs=0, patience=patience, min_lr=1e-5)
    assert rates(schedule, 1e-4, len(losses), losses) == pytest.approx(expected)


def test_plateau_does_not_reduce_during_warmup():
    assert rates(Plateau(warmup_epochs=4, patience=0), 1.0, 6, [1, 2, 3, 4, 5, 6]) == pytest.approx(
        [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    )


def test_plateau_leaves_a_rate_below_its_floor_alone():
    assert rates(Plateau(warmup_epochs=0, patience=0, min_lr=1e-6), 1e-7, 5, [1.0] * 5) == [1e-7] * 5


def test_step_halves_every_five_epochs():
    assert rates(Step(), 1.0, 11) == pytest.approx([1.0] * 5 + [0.5] * 5 + [0.25])
    assert rates(Step(warmup_epochs=2, step_size=1), 1.0, 5) == pytest.approx([0.5, 1.0, 1.0, 0.5, 0.25])


def test_constant_is_constant():
    assert rates(Constant(), 0.3, 4) == [0.3] * 4
    assert math.isclose(Constant(warmup_epochs=4).rate(1.0, 0, 9, 1.0, []), 0.25)

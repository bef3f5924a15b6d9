"""Parameter groups: what decays, what learns at which rate, and that frozen tensors stay out."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mammo.training.optimizers import SGD, Adam, AdamW, parameter_groups


def parts() -> dict[str, list[nn.Parameter]]:
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 5, 1))
    backbone[0].requires_grad_(False)
    return {"head": list(nn.Linear(5, 2).parameters()), "backbone": list(backbone.parameters())}


def test_groups_by_part_and_decay_without_frozen_tensors():
    groups = parameter_groups(parts(), {"head": 1e-3, "backbone": 1e-4})
    found = {(g["name"], g["decays"]): ([tuple(p.shape) for p in g["params"]], g["lr"]) for g in groups}
    assert found == {
        ("head", True): ([(2, 5)], 1e-3),
        ("head", False): ([(2,)], 1e-3),
        ("backbone", True): ([(5, 4, 1, 1)], 1e-4),
        ("backbone", False): ([(4,), (4,), (5,)], 1e-4),
    }


@pytest.mark.parametrize(
    ("options", "kind", "decay"),
    [(AdamW(), torch.optim.AdamW, 0.01), (Adam(), torch.optim.Adam, 0.0), (SGD(), torch.optim.SGD, 0.0)],
)
def test_weight_decay_is_only_on_matrices_and_kernels(options, kind, decay):
    optimizer = options.build(parameter_groups(parts(), {"head": 1e-3, "backbone": 1e-4}))
    assert type(optimizer) is kind
    assert [g["weight_decay"] for g in optimizer.param_groups] == [decay, 0.0, decay, 0.0]
    assert [g["base_lr"] for g in optimizer.param_groups] == [1e-3, 1e-3, 1e-4, 1e-4]


def test_a_part_that_is_frozen_needs_no_rate():
    frozen = parts()
    for parameter in frozen["backbone"]:
        parameter.requires_grad_(False)
    assert {g["name"] for g in parameter_groups(frozen, {"head": 0.1})} == {"head"}


def test_nesterov_momentum_is_on():
    optimizer = SGD().build(parameter_groups(parts(), {"head": 0.1, "backbone": 0.01}))
    assert all(g["nesterov"] and g["momentum"] == 0.9 for g in optimizer.param_groups)

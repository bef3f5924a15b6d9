"""Optimizers over named parameter groups: the head and the backbone learn at rates of their own.

Options need no torch; it is imported when an optimizer is built.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from mammo.support.option_registry import option, register

if TYPE_CHECKING:
    import torch

LR_DOC = "learning rate of the head; null: the preset of model, strategy and optimizer"
BACKBONE_LR_DOC = "learning rate of the unfrozen backbone; null: a tenth of lr"


@dataclasses.dataclass(frozen=True)
class OptimizerOptions:
    """What every optimizer has: the learning rates of the head and of the backbone."""

    name: ClassVar[str]
    default_lr: ClassVar[float]
    lr: float | None = option(None, LR_DOC, above=0, at_most=10)
    backbone_lr: float | None = option(None, BACKBONE_LR_DOC, above=0, at_most=10)

    def groups(self, layers: Sequence[tuple[str, list[torch.nn.Parameter]]]) -> list[dict[str, Any]]:
        """Parameter groups of the layers of a network, the head last; see `parameter_groups`."""
        *backbone, (_, head) = layers
        parts = {"head": head, "backbone": itertools.chain.from_iterable(parameters for _, parameters in backbone)}
        return parameter_groups(parts, {"head": self.lr, "backbone": self.backbone_lr})

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimizer over parameter groups, each with `name`, `params`, `lr`, `decays`."""
        raise NotImplementedError


@register("optimizer", "adamw")
@dataclasses.dataclass(frozen=True)
class AdamW(OptimizerOptions):
    """AdamW: decoupled weight decay on matrices and kernels, none on biases and norms."""

    default_lr: ClassVar[float] = 1e-4
    weight_decay: float = option(0.01, "decay of tensors with two or more dimensions", at_least=0, at_most=1)
    betas: list[float] = option([0.9, 0.999], "decay rates of the two moments", at_least=0, below=1)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """See `OptimizerOptions.build`."""
        import torch

        with_decay = _set_decay(groups, self.weight_decay)
        return torch.optim.AdamW(with_decay, betas=(self.betas[0], self.betas[1]), fused=True)


@register("optimizer", "adam")
@dataclasses.dataclass(frozen=True)
class Adam(OptimizerOptions):
    """Adam without weight decay."""

    default_lr: ClassVar[float] = 1e-4
    betas: list[float] = option([0.9, 0.999], "decay rates of the two moments", at_least=0, below=1)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """See `OptimizerOptions.build`."""
        import torch

        return torch.optim.Adam(_set_decay(groups, 0.0), betas=(self.betas[0], self.betas[1]), fused=True)


@register("optimizer", "sgd")
@dataclasses.dataclass(frozen=True)
class SGD(OptimizerOptions):
    """SGD with Nesterov momentum, the usual choice for a linear probe."""

    default_lr: ClassVar[float] = 0.1
    lr: float | None = option(None, LR_DOC, above=0, at_most=100)
    backbone_lr: float | None = option(None, BACKBONE_LR_DOC, above=0, at_most=100)
    momentum: float = option(0.9, "momentum; Nesterov's form needs it above 0", above=0, below=1)
    weight_decay: float = option(0.0, "decay of tensors with two or more dimensions", at_least=0, at_most=1)

    def build(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """See `OptimizerOptions.build`."""
        import torch

        with_decay = _set_decay(groups, self.weight_decay)
        return torch.optim.SGD(with_decay, momentum=self.momentum, nesterov=True, fused=True)


def _set_decay(groups: list[dict[str, Any]], weight_decay: float) -> list[dict[str, Any]]:
    return [{**group, "weight_decay": weight_decay if group["decays"] else 0.0} for group in groups]


def parameter_groups(
    parts: Mapping[str, Iterable[torch.nn.Parameter]], rates: Mapping[str, float | None]
) -> list[dict[str, Any]]:
    """Split the trainable parameters of each part into one group that decays and one that does not.

    `parts` and `rates` are keyed by the name of the part (`head`, `backbone`). Parameters that do
    not require a gradient and empty groups are left out. Each group keeps its base rate as
    `base_lr`, from which the schedule computes `lr`.
    """
    groups: list[dict[str, Any]] = []
    for part, parameters in parts.items():
        trainable = [p for p in parameters if p.requires_grad]
        for decays in (True, False):
            chosen = [p for p in trainable if (p.ndim >= 2) == decays]
            if chosen:
                rate = rates[part]
                groups.append({"name": part, "params": chosen, "lr": rate, "base_lr": rate, "decays": decays})
    return groups


def load_optimizer(optimizer: torch.optim.Optimizer, stored: Mapping[str, Any]) -> None:
    """Put back the state of an optimizer; raises ValueError for one that cannot be its own.

    torch takes whatever is there, and a step later stumbles over it.
    """
    import torch

    before = [_settings(group) for group in optimizer.param_groups]
    optimizer.load_state_dict(dict(stored))
    if [_settings(group).keys() for group in optimizer.param_groups] != [group.keys() for group in before]:
        raise ValueError("other settings")
    for group, own in zip(optimizer.param_groups, before, strict=True):
        # What is not a function of the epoch comes from the configuration.
        if any(_settings(group)[key] != value for key, value in own.items() if key != "lr"):
            raise ValueError("other values of settings")
    if not {frozenset(state) for state in optimizer.state.values()} <= {frozenset(), _names_of_state(optimizer)}:
        raise ValueError("other names in the state")
    for parameter, state in optimizer.state.items():
        for value in state.values():
            is_fitting = isinstance(value, torch.Tensor) and value.is_floating_point()
            if not is_fitting or value.shape not in (parameter.shape, torch.Size([])):
                raise ValueError("other shapes in the state")


def _settings(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key != "params"}


def _names_of_state(optimizer: torch.optim.Optimizer) -> frozenset[str]:
    """What an optimizer of this kind keeps of a parameter: a step on a single number tells."""
    import torch

    number = torch.nn.Parameter(torch.zeros(1))
    number.grad = torch.ones(1)
    one = type(optimizer)([{**_settings(optimizer.param_groups[0]), "params": [number]}])  # type: ignore[call-arg]
    one.step()
    return frozenset(one.state[number])

"""Learning-rate schedules as pure functions of the epoch, so that nothing has to be restored on resume.

To add one: write a dataclass with a `rate` method and register it; `scheduler=<name>` then selects it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

from mammo.support.option_registry import option, register


class Schedule(Protocol):
    """What the engine needs of a schedule."""

    name: str

    def rate(self, base_lr: float, epoch: int, epochs: int, step_fraction: float, val_losses: Sequence[float]) -> float:
        """The learning rate in epoch `epoch` (0-based) of `epochs`.

        `step_fraction` in (0, 1] is the part of the epoch that is done when this step has been taken;
        schedules by epoch ignore it;
        `val_losses` are the validation losses of the epochs before this one.
        """
        ...


def starts_with_warmup(schedule: Schedule, epochs: int) -> bool:
    """Whether the rate rises from the first of `epochs` to the second."""
    first, second = (schedule.rate(1.0, epoch, epochs, 0.5, [1.0] * epoch) for epoch in (0, 1))
    return epochs > 1 and second > first


def warmup_rate(base_lr: float, epoch: int, warmup_epochs: int) -> float:
    """Linear warmup: base_lr * (epoch + 1) / warmup_epochs."""
    return base_lr * (epoch + 1) / warmup_epochs


@register("scheduler", "cosine")
@dataclasses.dataclass(frozen=True)
class Cosine:
    """Linear warmup, then a cosine from the base rate down to min_lr."""

    name = "cosine"
    warmup_epochs: int = option(2, "epochs of linear warmup before the decay", at_least=0)
    min_lr: float = option(1e-6, "the rate that the cosine ends at", at_least=0)
    per_step: bool = option(False, "move the rate with every step instead of every epoch")

    def rate(self, base_lr: float, epoch: int, epochs: int, step_fraction: float, val_losses: Sequence[float]) -> float:
        """See `Schedule.rate`; by step, the position within the epoch is added to the epoch."""
        position = epoch + (step_fraction if self.per_step else 0.0)
        if position < self.warmup_epochs:
            if self.per_step:
                return base_lr * position / self.warmup_epochs
            return warmup_rate(base_lr, epoch, self.warmup_epochs)
        # With warmup_epochs = epochs only the last step of all comes here, at the full rate.
        done = (position - self.warmup_epochs) / max(epochs - self.warmup_epochs, 1)
        return self.min_lr + (base_lr - self.min_lr) * (1 + math.cos(math.pi * done)) / 2


@register("scheduler", "plateau")
@dataclasses.dataclass(frozen=True)
class Plateau:
    """Halve the rate when the validation loss has not improved for some epochs."""

    name = "plateau"
    warmup_epochs: int = option(2, "epochs of linear warmup before the first reduction can happen", at_least=0)
    factor: float = option(0.5, "what the rate is multiplied with", above=0, below=1)
    patience: int = option(2, "epochs without improvement that are tolerated", at_least=0)
    threshold: float = option(1e-4, "relative improvement that counts", at_least=0, below=1)
    min_lr: float = option(1e-6, "the rate is not reduced below this", at_least=0)

    def rate(self, base_lr: float, epoch: int, epochs: int, step_fraction: float, val_losses: Sequence[float]) -> float:
        """See `Schedule.rate`; replays the losses by the rule of torch's ReduceLROnPlateau."""
        if epoch < self.warmup_epochs:
            return warmup_rate(base_lr, epoch, self.warmup_epochs)
        rate, best, bad_epochs = base_lr, math.inf, 0
        for loss in val_losses[self.warmup_epochs : epoch]:
            if loss < best * (1 - self.threshold):
                best, bad_epochs = loss, 0
            else:
                bad_epochs += 1
            if bad_epochs > self.patience:
                # A base rate that is already below the floor is left alone, never raised.
                rate, bad_epochs = max(rate * self.factor, min(self.min_lr, rate)), 0
        return rate


@register("scheduler", "step")
@dataclasses.dataclass(frozen=True)
class Step:
    """Multiply the rate with gamma every step_size epochs."""

    name = "step"
    warmup_epochs: int = option(0, "epochs of linear warmup before the first step is counted", at_least=0)
    step_size: int = option(5, "epochs between two reductions", at_least=1)
    gamma: float = option(0.5, "what the rate is multiplied with", above=0, at_most=1)

    def rate(self, base_lr: float, epoch: int, epochs: int, step_fraction: float, val_losses: Sequence[float]) -> float:
        """See `Schedule.rate`."""
        if epoch < self.warmup_epochs:
            return warmup_rate(base_lr, epoch, self.warmup_epochs)
        return base_lr * self.gamma ** ((epoch - self.warmup_epochs) // self.step_size)


@register("scheduler", "constant")
@dataclasses.dataclass(frozen=True)
class Constant:
    """The base rate throughout, after an optional warmup."""

    name = "constant"
    warmup_epochs: int = option(0, "epochs of linear warmup", at_least=0)

    def rate(self, base_lr: float, epoch: int, epochs: int, step_fraction: float, val_losses: Sequence[float]) -> float:
        """See `Schedule.rate`."""
        if epoch < self.warmup_epochs:
            return warmup_rate(base_lr, epoch, self.warmup_epochs)
        return base_lr

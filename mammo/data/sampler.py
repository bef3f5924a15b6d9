"""Which images an epoch shows, in which order: a pure function of labels, seed and epoch."""

from __future__ import annotations

import dataclasses
from typing import Protocol

import numpy as np

from mammo.support.option_registry import option, register

# Separates this stream of random numbers from others that are made from the same seed.
_STREAM = 0x5A3B


class Sampler(Protocol):
    """What the loader needs of a sampler."""

    name: str

    def order(self, labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """Indices [N] into `labels` (class index of each training image) for one epoch."""
        ...


@register("sampler", "weighted")
@dataclasses.dataclass(frozen=True)
class Weighted:
    """Draw N images with replacement, each with probability proportional to (1 / n_c) ** alpha."""

    name = "weighted"
    alpha: float = option(1.0, "1 balances the classes fully, 0 not at all", at_least=0, at_most=2)
    allow_double_balancing: bool = option(False, "allow an explicit loss.class_weights list as well")

    def order(self, labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """See `Sampler.order`."""
        counts = np.bincount(labels)
        weights = (1.0 / counts[labels]) ** self.alpha
        return _generator(seed, epoch).choice(len(labels), size=len(labels), p=weights / weights.sum())


@register("sampler", "uniform")
@dataclasses.dataclass(frozen=True)
class Uniform:
    """Every image once, shuffled anew in each epoch."""

    name = "uniform"

    def order(self, labels: np.ndarray, seed: int, epoch: int) -> np.ndarray:
        """See `Sampler.order`."""
        return _generator(seed, epoch).permutation(len(labels))


def _generator(seed: int, epoch: int) -> np.random.Generator:
    return np.random.default_rng([_STREAM, seed, epoch])


def times_drawn_before(order: np.ndarray) -> np.ndarray:
    """For each position of `order`, how often the same image came earlier in it: 0 for the first time."""
    seen: dict[int, int] = {}
    times = np.empty(len(order), dtype=np.int64)
    for position, index in enumerate(order.tolist()):
        times[position] = seen.get(index, 0)
        seen[index] = times[position] + 1
    return times

"""The axis of a parameter in a parallel-coordinate plot: where a value lies on it, and what is written beside it."""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntLogUniformDistribution,
    IntUniformDistribution,
    LogUniformDistribution,
)
from optuna.trial import FrozenTrial

from mammo.support.plain_text import as_typed

NUM_TICKS, MAX_INTEGER_TICKS = 5, 7
# A decade that is nearer to an end of the axis, as a fraction of it, has no label.
END_TICK_DISTANCE = 0.09


@dataclasses.dataclass(frozen=True)
class ParameterAxis:
    """A parameter over the range that was searched; `choices` is not empty for a categorical one."""

    name: str
    low: float
    high: float
    is_log: bool = False
    is_integer: bool = False
    choices: tuple[Any, ...] = ()

    def height(self, trial: FrozenTrial) -> float:
        """Where the trial's value lies, 0 at the lower end and 1 at the upper; NaN where it has none."""
        if self.name not in trial.params:
            return math.nan
        value = trial.params[self.name]
        return self._height(self.choices.index(value) if self.choices else value)

    def _height(self, value: float) -> float:
        low, high, value = (math.log(one) if self.is_log else one for one in (self.low, self.high, value))
        return 0.5 if high == low else (value - low) / (high - low)

    def ticks(self) -> dict[float, str]:
        """Height to label, from the lower to the upper end; both ends are among them."""
        if self.choices:
            return {self._height(place): as_typed(choice) for place, choice in enumerate(self.choices)}
        if self.is_log:
            powers = (10.0**power for power in range(math.ceil(math.log10(self.low)), math.ceil(math.log10(self.high))))
            inner = [value for value in powers if END_TICK_DISTANCE < self._height(value) < 1 - END_TICK_DISTANCE]
            values = [self.low, *inner, self.high]
        elif self.is_integer and self.high - self.low < MAX_INTEGER_TICKS:
            values = list(range(int(self.low), int(self.high) + 1))
        else:
            values = [
                round(value) if self.is_integer else value for value in np.linspace(self.low, self.high, NUM_TICKS)
            ]
        return {self._height(value): short_number(value) for value in values}

    def draw(self, host: Axes, place: int, max_characters: int) -> None:
        """A vertical axis at `place` of the host, whose own heights go from 0 to 1; labels to the right of it."""
        axes = host.twinx()
        axes.spines[:].set_visible(False)
        axes.spines["right"].set(visible=True, position=("data", place), bounds=(0, 1), color="#333333")
        axes.set_ylim(host.get_ylim())
        ticks = self.ticks()
        axes.set_yticks(list(ticks), [wrapped(label, max_characters) for label in ticks.values()], fontsize=7)
        axes.tick_params(axis="y", pad=2)
        for label in axes.get_yticklabels():
            # Lines run behind the labels.
            label.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6})


def parameter_axes(trials: Sequence[FrozenTrial]) -> list[ParameterAxis]:
    """The axes of all parameters of the trials, by name; a range that has changed meanwhile is drawn whole."""
    found: dict[str, list[BaseDistribution]] = {}
    for trial in trials:
        for name, distribution in trial.distributions.items():
            found.setdefault(name, []).append(distribution)
    return [_axis(name, distributions) for name, distributions in sorted(found.items())]


def _axis(name: str, distributions: Sequence[BaseDistribution]) -> ParameterAxis:
    first = distributions[0]
    if isinstance(first, CategoricalDistribution):
        return ParameterAxis(name, 0, len(first.choices) - 1, choices=tuple(first.choices))
    return ParameterAxis(
        name,
        low=min(one.low for one in distributions),  # type: ignore[attr-defined]
        high=max(one.high for one in distributions),  # type: ignore[attr-defined]
        is_log=all(isinstance(one, LogUniformDistribution | IntLogUniformDistribution) for one in distributions),
        is_integer=isinstance(first, IntUniformDistribution | IntLogUniformDistribution),
    )


def short_number(value: float) -> str:
    """Four digits, as they may be typed: 0.05, 1e-5, 3."""
    return re.sub(r"e\+?(-?)0*", r"e\1", f"{value:.4g}")


def wrapped(name: str, max_characters: int) -> str:
    """The name in lines of at most so many characters, broken after dots and underscores where there are any."""
    apart = re.sub(r"(?<=[._])", " ", name)
    return re.sub(r"(?<=[._]) ", "", textwrap.fill(apart, max(max_characters, 1), break_long_words=False))

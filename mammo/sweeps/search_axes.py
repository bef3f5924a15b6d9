"""The axis of a parameter in a parallel-coordinate plot: where a value lies on it, and what is written beside it."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullLocator
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    IntLogUniformDistribution,
    IntUniformDistribution,
    LogUniformDistribution,
)
from optuna.trial import FrozenTrial

# Ends of the range are written too, unless a tick is nearer than this fraction of the axis.
END_TICK_DISTANCE = 0.09
NUM_TICKS = 4
MAX_INTEGER_TICKS = 7


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
        low, high = (math.log(self.low), math.log(self.high)) if self.is_log else (self.low, self.high)
        return 0.5 if high == low else ((math.log(value) if self.is_log else value) - low) / (high - low)

    def ticks(self) -> dict[float, str]:
        """Value to label, from the lower to the upper end."""
        if self.choices:
            return {place: _choice_label(choice) for place, choice in enumerate(self.choices)}
        if self.low == self.high:
            return {self.low: short_number(self.low)}
        inner = _decades(self.low, self.high) if self.is_log else self._round_values()
        kept = [value for value in inner if END_TICK_DISTANCE < self._height(value) < 1 - END_TICK_DISTANCE]
        scientific = self.is_log and not (self.low >= 0.01 and self.high < 1e4)
        return {value: short_number(value, scientific) for value in (self.low, *kept, self.high)}

    def _round_values(self) -> list[float]:
        if self.is_integer and self.high - self.low <= MAX_INTEGER_TICKS - 1:
            return [float(value) for value in range(int(self.low), int(self.high) + 1)]
        locator = MaxNLocator(nbins=NUM_TICKS, integer=self.is_integer, steps=[1, 2, 2.5, 5, 10])
        return [float(value) for value in locator.tick_values(self.low, self.high)]

    def draw(self, host: Axes, place: int, max_characters: int) -> Axes:
        """A vertical axis at `place` of the host, whose own heights go from 0 to 1; labels to the right of it."""
        axes = host.twinx()
        axes.spines[:].set_visible(False)
        axes.spines["right"].set(visible=True, position=("data", place), bounds=(0, 1), color="#333333")
        axes.set_ylim(host.get_ylim())
        ticks = self.ticks()
        labels = [wrapped(label, max_characters) for label in ticks.values()]
        axes.set_yticks([self._height(value) for value in ticks], labels, fontsize=7)
        axes.yaxis.set_minor_locator(NullLocator())
        axes.tick_params(axis="y", pad=2)
        for label in axes.get_yticklabels():
            # Lines run behind the labels.
            label.set_bbox({"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 0.6})
        return axes


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


def _decades(low: float, high: float) -> list[float]:
    return [10.0**power for power in range(math.ceil(math.log10(low)), math.floor(math.log10(high)) + 1)]


def _choice_label(choice: Any) -> str:
    """As YAML writes it."""
    return str(choice).lower() if isinstance(choice, bool) else "null" if choice is None else str(choice)


def short_number(value: float, scientific: bool = False) -> str:
    """As it may be typed in an override: 0.05, 1e-4, 3."""
    text = f"{value:.2e}" if scientific else f"{value:.4g}"
    return re.sub(r"e([+-])0*(\d)", lambda found: f"e{found[1].strip('+')}{found[2]}", re.sub(r"\.?0*e", "e", text))


def wrapped(name: str, max_characters: int) -> str:
    """The name in lines of at most so many characters, broken after dots and underscores where there are any."""
    lines = [""]
    for part in re.findall(r"[^._]*[._]|[^._]+", name):
        if lines[-1] and len(lines[-1] + part) > max_characters:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)

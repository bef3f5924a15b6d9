"""The three figures of a hyperparameter search: its history, which parameters mattered, and where the good trials lie.

Drawn here rather than by Optuna: version 2.10's parallel-coordinate plot and its default importance evaluator fail
with current matplotlib and numpy. A failed trial is counted with the worst value so that the sampler learns from it;
on an axis that value would squash all others together, so here it is a mark without a height.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
import warnings
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import optuna
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from optuna.exceptions import ExperimentalWarning
from optuna.importance import MeanDecreaseImpurityImportanceEvaluator
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mammo.support.figures import (
    DOUBLE_COLUMN_INCHES,
    GREY,
    TRAIN_COLOUR,
    VAL_COLOUR,
    figure_bytes,
    house_style,
    new_figure,
)
from mammo.support.outputs import Outputs
from mammo.sweeps.findings import BestTrial
from mammo.sweeps.search_axes import ParameterAxis, parameter_axes, short_number, wrapped

FAILED = "failed"  # user attribute of a trial: why it failed
MIN_DIFFERENT_VALUES = 4  # fewer cannot be split by several parameters
FEW_TRIALS = 30  # below, another seed of the sampler can turn the order of the importances around
FOREST_SEED = 0
COLOURED_RANGE = 4.0
BAR_INCHES = 0.24
AXIS_INCHES, CHARACTER_INCHES = 0.72, 0.064  # least distance of two parameters; width of a character of their names


@dataclasses.dataclass(frozen=True)
class _Trials:
    """The trials of a study by how they ended, each list in the order of their numbers."""

    finished: list[FrozenTrial]
    failed: list[FrozenTrial]
    num_open: int
    is_maximized: bool
    known_best: BestTrial | None

    @property
    def failed_runs(self) -> list[FrozenTrial]:
        """The failed ones that were run: what was refused may have any parameters."""
        return [trial for trial in self.failed if trial.state == TrialState.COMPLETE]

    @property
    def worst_to_best(self) -> list[FrozenTrial]:
        """The finished ones, the best last; of equal trials it is the first, unless another one is known to be."""
        sign = 1.0 if self.is_maximized else -1.0
        best = None if self.known_best is None else self.known_best.trial.number
        return sorted(self.finished, key=lambda trial: (trial.number == best, sign * _value(trial), -trial.number))

    @property
    def doubts(self) -> str:
        """What has to be said beside the number of the best trial, in brackets; mostly empty."""
        remark = "" if self.known_best is None else self.known_best.short_remark
        return f" ({remark})" if remark else ""

    @property
    def direction(self) -> str:
        """For the label of an axis."""
        return "higher is better" if self.is_maximized else "lower is better"

    @property
    def counts(self) -> str:
        """Such as `12 trials, 2 of them failed, 1 not finished`."""
        total = len(self.finished) + len(self.failed) + self.num_open
        parts = [f"{total} trial{'' if total == 1 else 's'}"]
        if self.failed:
            parts.append(f"{len(self.failed)} of them failed")
        if self.num_open:
            parts.append(f"{self.num_open} not finished")
        return ", ".join(parts)


FIGURES = ("optimization_history.png", "parameter_importances.png", "parallel_coordinates.png")


def plot_search(
    study: Study, folder: Path, objective_name: str = "objective", best: BestTrial | None = None
) -> list[Path]:
    """Write the three figures of a study with one objective into an existing folder; returns their paths.

    `optimization_history.png`, `parameter_importances.png`, `parallel_coordinates.png`. A study in which nothing has
    finished gets figures that say so. `best` is what is known of the best trial beside its value.
    """
    outputs = Outputs(folder, "sweep")
    figures = (
        optimization_history_figure(study, objective_name, best),
        parameter_importances_figure(study),
        parallel_coordinates_figure(study, objective_name, best),
    )
    for name, figure in zip(FIGURES, figures, strict=True):
        outputs.write_bytes(name, figure_bytes(figure, name))
    return [folder / name for name in FIGURES]


def optimization_history_figure(
    study: Study, objective_name: str = "objective", best: BestTrial | None = None
) -> Figure:
    """The value of each trial over its number, the best so far as a step line, failed trials as crosses at the edge."""
    trials = _trials(study, best)
    with house_style():
        figure = new_figure(DOUBLE_COLUMN_INCHES, 2.9)
        axes = figure.subplots()
        axes.set_title(f"Search history: {trials.counts}")
        axes.set(xlabel="trial", ylabel=f"{objective_name} ({trials.direction})")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
        axes.margins(x=0.03, y=0.12)
        if trials.finished:
            _draw_values(axes, trials)
        else:
            axes.set_yticks([])
            axes.text(0.5, 0.5, "no trial has finished", transform=axes.transAxes, ha="center", color=GREY)
        if trials.failed:
            # At the edge that is worse, outside the scale: their value stands for "worst possible".
            edge = 0.03 if trials.is_maximized else 0.97
            numbers = [trial.number for trial in trials.failed]
            cross = {"marker": "x", "markersize": 4.5, "markeredgewidth": 1.2, "linestyle": "none", "color": "black"}
            axes.plot(
                numbers,
                [edge] * len(numbers),
                transform=axes.get_xaxis_transform(),
                label="failed (not on the scale)",
                **cross,  # type: ignore[arg-type]
            )
        if trials.finished or trials.failed:
            figure.legend(loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_values(axes: Axes, trials: _Trials) -> None:
    """Dots for the finished trials, the best so far up to the last trial, and the best one named beside it."""
    numbers, values = [trial.number for trial in trials.finished], [_value(trial) for trial in trials.finished]
    best_so_far = list(itertools.accumulate(values, max if trials.is_maximized else min))
    last = max(numbers + [trial.number for trial in trials.failed])
    axes.plot(numbers, values, "o", color=TRAIN_COLOUR, markersize=3.2, alpha=0.75, label="trial")
    axes.step([*numbers, last], [*best_so_far, best_so_far[-1]], where="post", color=VAL_COLOUR, label="best so far")
    best = trials.worst_to_best[-1]
    ring = {"marker": "o", "markersize": 6, "markerfacecolor": "white", "markeredgewidth": 1.3, "linestyle": "none"}
    axes.plot([best.number], [_value(best)], color=VAL_COLOUR, zorder=3, **ring)  # type: ignore[arg-type]
    label = "\n".join(filter(None, [f"{_value(best):.3f}", f"trial {best.number}", trials.doubts.strip()]))
    place = (1.01, _value(best))
    axes.annotate(label, place, xycoords=axes.get_yaxis_transform(), va="center", color=VAL_COLOUR)


def parameter_importances_figure(study: Study) -> Figure:
    """How much of the differences between finished trials a random forest puts down to each parameter.

    Mean decrease in impurity with a fixed seed. Where there is too little to judge from, the figure says why.
    """
    trials = _trials(study)
    reason = _why_no_importances(trials)
    importances = {} if reason else _importances(study, trials)
    if not reason and not any(importances.values()):
        reason = "no parameter took different values\nin the finished trials"
    height = 1.9 if reason else 1.15 + BAR_INCHES * len(importances)
    with house_style():
        figure = new_figure(DOUBLE_COLUMN_INCHES / 2 if reason else 5.0, height)
        axes = figure.subplots()
        axes.set_title(f"Importance of the parameters\n{trials.counts}")
        if reason:
            axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=GREY)
            axes.set_axis_off()
            return figure
        names = list(importances)
        axes.barh(range(len(names)), list(importances.values()), height=0.62, color=TRAIN_COLOUR)
        for place, value in enumerate(importances.values()):
            axes.annotate(f"{value:.2f}", (value, place), (3, 0), textcoords="offset points", va="center", fontsize=7.5)
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(axis="y", length=0)
        axes.set_ylim(len(names) - 0.4, -0.6)  # the first on top
        axes.set_xlim(0, 1.12 * max(importances.values()))
        hint = f"\nfrom {len(trials.finished)} finished trials: a rough hint"
        label = "share of the explained differences (mean decrease in impurity)"
        axes.set_xlabel(label + (hint if len(trials.finished) < FEW_TRIALS else ""))
    return figure


def _why_no_importances(trials: _Trials) -> str:
    """Why importances cannot be computed, or an empty string."""
    num_finished = len(trials.finished)
    num_different = len({_value(trial) for trial in trials.finished})
    if num_finished < MIN_DIFFERENT_VALUES:
        return f"nothing to judge from:\n{num_finished} finished, at least {MIN_DIFFERENT_VALUES} are needed"
    if num_different == 1:
        return f"nothing to judge from:\nall {num_finished} finished trials\nhave the same value"
    if num_different < MIN_DIFFERENT_VALUES:
        return f"nothing to judge from:\nonly {num_different} different values\nin {num_finished} finished trials"
    return ""


def _importances(study: Study, trials: _Trials) -> dict[str, float]:
    """Importances by parameter, the largest first; those of the parameters that all finished trials have."""
    # A copy without failed trials, whose worst value would outweigh every difference between the others.
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)  # the copy is not worth a line in the log
    try:
        finished = optuna.create_study(direction=study.direction)
    finally:
        optuna.logging.set_verbosity(verbosity)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `add_trial`, of a version that is pinned
        finished.add_trials(trials.finished)
    found = MeanDecreaseImpurityImportanceEvaluator(seed=FOREST_SEED).evaluate(finished)
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def parallel_coordinates_figure(
    study: Study, objective_name: str = "objective", best: BestTrial | None = None
) -> Figure:
    """A vertical axis for each parameter over the range that was searched, a line for each trial.

    Lines are coloured by objective, darker for better; the best is thick and on top, failed ones are dashed.
    """
    trials = _trials(study, best)
    parameters = parameter_axes(trials.finished + trials.failed_runs)
    spread_inches = max(DOUBLE_COLUMN_INCHES - 1.4, AXIS_INCHES * (len(parameters) - 1))
    with house_style():
        figure = new_figure(spread_inches + 1.4, 3.4)
        axes = figure.subplots()
        axes.set_title(f"Parameters of the trials: {trials.counts}", pad=8)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set(yticks=[], ylim=(-0.03, 1.03))
        if not parameters:
            axes.set_xticks([])
            axes.text(0.5, 0.5, "no trial has finished", transform=axes.transAxes, ha="center", color=GREY)
            return figure
        gap_inches = spread_inches / max(len(parameters) - 1, 1)
        axes.set_xlim(-0.03 * len(parameters), len(parameters) - 1 + 0.03 * len(parameters))
        axes.xaxis.tick_top()
        names = [wrapped(axis.name, int(gap_inches / CHARACTER_INCHES)) for axis in parameters]
        axes.set_xticks(range(len(parameters)), names)
        for place, parameter in enumerate(parameters):
            parameter.draw(axes, place, int(gap_inches / CHARACTER_INCHES))
        _draw_trials(axes, trials, parameters, objective_name)
    return figure


def _draw_trials(axes: Axes, trials: _Trials, parameters: Sequence[ParameterAxis], objective_name: str) -> None:
    """Failed trials below, the others from the worst to the best, and what the lines mean."""
    places = range(len(parameters))
    notes = []
    for trial in trials.failed_runs:
        heights = [parameter.height(trial) for parameter in parameters]
        axes.plot(places, heights, color="#999999", linewidth=0.7, linestyle=(0, (3, 2)), marker="x", markersize=3)
    if trials.finished:
        colours = _draw_colour_bar(axes, trials, objective_name)
        *others, best = trials.worst_to_best
        for trial in (*others, best):
            width, alpha, size = (3.0, 1.0, 5.0) if trial is best else (1.0, 0.75, 2.2)
            heights = [parameter.height(trial) for parameter in parameters]
            (line,) = axes.plot(places, heights, color=colours.to_rgba(_value(trial)), label=f"trial {trial.number}")  # type: ignore[arg-type]
            line.set(linewidth=width, alpha=alpha, marker="o", markersize=size)
        notes.append(f"thick: the best, trial {best.number} with {_value(best):.3f}{trials.doubts}")
    if trials.failed_runs:
        notes.append("dashed: failed")
    axes.set_xlabel("; ".join(notes), color=GREY, fontsize=7.5)


def _draw_colour_bar(axes: Axes, trials: _Trials, objective_name: str) -> ScalarMappable:
    """The colours of the finished trials, with their bar; the light end is the worse one, whatever the direction.

    One trial far below all others would take most colours for itself: what is further from the best than
    `COLOURED_RANGE` times the distance of the median has the colour of the light end, and the bar an arrow there.
    """
    values = [_value(trial) for trial in trials.worst_to_best]
    best, median = values[-1], statistics.median(values)
    worst = best + COLOURED_RANGE * (median - best) if median != best else values[0]
    worst = max(worst, values[0]) if trials.is_maximized else min(worst, values[0])
    margin = 0.0 if worst != best else 0.5
    norm = matplotlib.colors.Normalize(min(worst, best) - margin, max(worst, best) + margin)
    colours = ScalarMappable(norm, "viridis_r" if trials.is_maximized else "viridis")
    extend = "neither" if worst == values[0] else "min" if trials.is_maximized else "max"
    bar = axes.figure.colorbar(colours, ax=axes, pad=0.03, aspect=28, extend=extend)
    bar.outline.set_visible(False)
    bar.set_label(f"{objective_name} ({trials.direction})")
    if margin:
        bar.set_ticks([best], labels=[short_number(best)])
    return colours


def _trials(study: Study, best: BestTrial | None = None) -> _Trials:
    """What ended without a usable value counts as failed, whoever noticed it."""
    finished, failed, num_open = [], [], 0
    for trial in sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number):
        if not trial.state.is_finished():
            num_open += 1
        elif trial.state == TrialState.COMPLETE and FAILED not in trial.user_attrs and math.isfinite(_value(trial)):
            finished.append(trial)
        else:
            failed.append(trial)
    return _Trials(finished, failed, num_open, study.direction == StudyDirection.MAXIMIZE, best)


def _value(trial: FrozenTrial) -> float:
    return math.nan if trial.value is None else float(trial.value)

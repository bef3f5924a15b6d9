"""The three figures of a hyperparameter search: its history, which parameters mattered, and the value over each.

Drawn here rather than by Optuna: in version 2.10 its figure of importances fails with current matplotlib, and all of
its figures need a copy of the study without failed trials, in which the trials have other numbers. A failed trial is
counted with the worst value so that the sampler learns from it; on an axis that value would squash all others
together, so here it is a mark without a height.
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import optuna
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.importance import MeanDecreaseImpurityImportanceEvaluator, get_param_importances
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
    subtitle,
)
from mammo.support.outputs import Outputs
from mammo.support.plain_text import as_typed
from mammo.sweeps.findings import BestTrial
from mammo.sweeps.study import FAILED

FIGURES = ("optimization_history.png", "parameter_importances.png", "parameter_slices.png")
MIN_DIFFERENT_VALUES = 4  # fewer cannot be split by several parameters
FEW_TRIALS = 30  # below, another seed of the sampler can turn the order of the importances around
FOREST_SEED = 0
BAR_INCHES = 0.24
PANELS_IN_A_ROW, PANEL_INCHES = 3, 1.9


def plot_search(study: Study, folder: Path, objective_name: str, best: BestTrial) -> None:
    """Write the three figures of a study with one objective, in which `best` has finished, into an existing folder."""
    outputs = Outputs(folder, "sweep")
    figures = (
        optimization_history_figure(study, objective_name, best),
        parameter_importances_figure(study),
        parameter_slices_figure(study, objective_name, best),
    )
    for name, figure in zip(FIGURES, figures, strict=True):
        outputs.write_bytes(name, figure_bytes(figure, name))


def optimization_history_figure(study: Study, objective_name: str, best: BestTrial) -> Figure:
    """The value of each trial over its number, with the best so far as a step line that reaches the last trial."""
    finished, failed = _ended(study)
    numbers = [trial.number for trial in finished]
    better = max if study.direction == StudyDirection.MAXIMIZE else min
    best_so_far = list(itertools.accumulate((_value(trial) for trial in finished), better))
    last = max(trial.number for trial in finished + failed)
    with house_style():
        figure = new_figure(DOUBLE_COLUMN_INCHES, 2.9)
        axes = figure.subplots()
        axes.set_title(f"Search history: {_counts(study)}")
        axes.set(xlabel="trial", ylabel=_label(study, objective_name))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=10, integer=True, min_n_ticks=1))
        axes.step(
            [*numbers, last], [*best_so_far, best_so_far[-1]], where="post", color=VAL_COLOUR, label="best so far"
        )
        _draw_trials(axes, study, best, lambda trial: trial.number)
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
    return figure


def parameter_importances_figure(study: Study) -> Figure:
    """How much of the differences between finished trials a random forest puts down to each parameter.

    Mean decrease in impurity with a fixed seed. Where there is too little to judge from, the figure says why.
    """
    finished, _ = _ended(study)
    num_different = len({_value(trial) for trial in finished})
    importances, reason = {}, "no parameter took different values\nin the finished trials"
    if num_different < MIN_DIFFERENT_VALUES:
        found = f"{num_different} in {len(finished)} finished trials"
        reason = f"too few different values to judge from:\n{found}, at least {MIN_DIFFERENT_VALUES} are needed"
    else:
        importances = _importances(study, finished)
    with house_style():
        figure = new_figure(5.0, 1.15 + BAR_INCHES * max(len(importances), 3))
        axes = figure.subplots()
        axes.set_title(f"Importance of the parameters\n{_counts(study)}")
        if not any(importances.values()):
            axes.text(0.5, 0.5, reason, transform=axes.transAxes, ha="center", va="center", color=GREY)
            axes.set_axis_off()
            return figure
        bars = axes.barh(list(importances), list(importances.values()), height=0.62, color=TRAIN_COLOUR)
        axes.bar_label(bars, fmt="%.2f", padding=3, fontsize=7.5)
        axes.tick_params(axis="y", length=0)
        axes.invert_yaxis()  # the first on top
        axes.margins(x=0.12)
        hint = f"\nfrom {len(finished)} finished trials: a rough hint" if len(finished) < FEW_TRIALS else ""
        axes.set_xlabel(f"share of the explained differences (mean decrease in impurity){hint}")
    return figure


def _importances(study: Study, finished: list[FrozenTrial]) -> dict[str, float]:
    """Importances by parameter, the largest first; those of the parameters that all finished trials have."""
    # A copy without failed trials, whose worst value would outweigh every difference between the others.
    copy = optuna.create_study(direction=study.direction)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)  # `add_trials` and importances are, in version 2
        copy.add_trials(finished)
        found = get_param_importances(copy, evaluator=MeanDecreaseImpurityImportanceEvaluator(seed=FOREST_SEED))
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def parameter_slices_figure(study: Study, objective_name: str, best: BestTrial) -> Figure:
    """A panel for each parameter over the range that was searched, with the value of each trial."""
    finished, _ = _ended(study)
    distributions = {name: found for trial in finished for name, found in trial.distributions.items()}
    num_columns = min(len(distributions), PANELS_IN_A_ROW)
    num_rows = math.ceil(len(distributions) / num_columns)
    with house_style():
        figure = new_figure(DOUBLE_COLUMN_INCHES, 0.7 + PANEL_INCHES * num_rows)
        subtitle(figure, f"Value over each parameter: {_counts(study)}")
        figure.supylabel(_label(study, objective_name), fontsize=8)
        panels = figure.subplots(num_rows, num_columns, sharey=True, squeeze=False).flat
        for axes in panels[len(distributions) :]:
            axes.remove()
        for axes, (name, distribution) in zip(panels, sorted(distributions.items()), strict=False):
            _prepare_axis(axes, name, distribution)
            _draw_trials(axes, study, best, partial(_place, name, distribution))
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False)
    return figure


def _prepare_axis(axes: Axes, name: str, distribution: BaseDistribution) -> None:
    """Name and scale of a parameter's axis, over the whole range: whether the best trial lies at its end matters."""
    axes.set_xlabel(name.replace(".", ".\n"))  # two long names beside each other would touch
    if isinstance(distribution, CategoricalDistribution):
        ends = (0, len(distribution.choices) - 1)
        labels = [as_typed(choice) for choice in distribution.choices]
        axes.set_xticks(range(len(labels)), labels, rotation=25, ha="right", rotation_mode="anchor")
    else:
        ends = (distribution.low, distribution.high)  # type: ignore[attr-defined]
        # Up to version 2 of Optuna it is the class that says so.
        if getattr(distribution, "log", False) or "Log" in type(distribution).__name__:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
            if ends[1] < 100 * ends[0]:  # with hardly a power of ten between them
                axes.set_xticks(ends, [f"{end:.4g}" for end in ends])
        elif all(isinstance(end, int) for end in ends):
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.update_datalim([(end, 0) for end in ends], updatey=False)


def _place(name: str, distribution: BaseDistribution, trial: FrozenTrial) -> float:
    """Where a trial lies on a parameter's axis; NaN where it lacks it, or was refused and may have any."""
    is_there = name in trial.params and trial.state == TrialState.COMPLETE
    return distribution.to_internal_repr(trial.params[name]) if is_there else math.nan


def _draw_trials(axes: Axes, study: Study, best: BestTrial, place: Callable[[FrozenTrial], float]) -> None:
    """Dots for finished trials, a ring for the best, and crosses at the worse edge, off the scale, for failed ones."""
    finished, failed = _ended(study)
    places, values = [place(trial) for trial in finished], [_value(trial) for trial in finished]
    axes.plot(places, values, "o", color=TRAIN_COLOUR, markersize=3.2, alpha=0.75, label="trial")
    number = best.trial.number
    row = [trial.number for trial in finished].index(number)
    doubts = f" ({best.short_remark})" if best.short_remark else ""
    label = f"best: trial {number} with {values[row]:.3f}{doubts}"
    axes.plot(places[row], values[row], "o", color=VAL_COLOUR, markersize=6, fillstyle="none", label=label)
    if failed:
        heights = [0.03 if study.direction == StudyDirection.MAXIMIZE else 0.97] * len(failed)
        transform = axes.get_xaxis_transform()
        label = "failed (not on the scale)"
        axes.plot([place(trial) for trial in failed], heights, "kx", markersize=4.5, transform=transform, label=label)
    axes.margins(x=0.05, y=0.12)


def _ended(study: Study) -> tuple[list[FrozenTrial], list[FrozenTrial]]:
    """The trials with a usable value, and those that have failed, whoever noticed it; both by number."""
    ended: tuple[list[FrozenTrial], list[FrozenTrial]] = ([], [])
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished():
            is_complete = trial.state == TrialState.COMPLETE and FAILED not in trial.user_attrs
            ended[not (is_complete and math.isfinite(_value(trial)))].append(trial)
    return ended


def _counts(study: Study) -> str:
    """Such as `12 trials, 2 of them failed, 1 not finished`."""
    (finished, failed), total = _ended(study), len(study.get_trials(deepcopy=False))
    num_open = total - len(finished) - len(failed)
    parts = [f"{total} trial{'' if total == 1 else 's'}"]
    parts += [f"{len(failed)} of them failed"] if failed else []
    return ", ".join([*parts, f"{num_open} not finished"] if num_open else parts)


def _label(study: Study, objective_name: str) -> str:
    """Of the axis of values."""
    return f"{objective_name} ({'higher' if study.direction == StudyDirection.MAXIMIZE else 'lower'} is better)"


def _value(trial: FrozenTrial) -> float:
    return math.nan if trial.value is None else float(trial.value)

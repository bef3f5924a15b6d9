"""What the runs of a sweep say together: numbers for each configuration, pooled folds, trials in order."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from mammo.evaluation.metrics import Metrics
from mammo.evaluation.scores import SCORE_NAMES
from mammo.evaluation.selection import ModelSelection
from mammo.runs.json_access import number_or_none
from mammo.sweeps.configurations import Configuration, configurations
from mammo.sweeps.pooling import CannotPool, PooledFolds, mean_over_seeds, pool_folds
from mammo.sweeps.reading import RunResult, SweepResults, Trial
from mammo.sweeps.statistics import Components, Spread, spread, variance_components

# Scores that differ by less are the same: they are quotients of counts.
EQUAL = 1e-9
# Of trials with the same value no more are named.
MAX_LISTED = 10


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Metrics of all out-of-fold predictions: for each seed, and their mean over seeds; None with problems.

    Where the division was drawn more than once, the entries are of each seed and division. `runs` has the names of the
    runs of each.
    """

    by_seed: dict[str, Metrics]
    mean: dict[str, Any] | None
    problems: list[str]
    runs: dict[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)

    @property
    def repetitions(self) -> str:
        """What the mean is over, in words; empty for a single one."""
        n = len(self.by_seed)
        return "" if n < 2 else f"{n} repetitions" if any("," in key for key in self.by_seed) else f"{n} seeds"


@dataclasses.dataclass(frozen=True)
class Finding:
    """A configuration and what its finished runs say; `variance` is None unless seeds and folds were swept."""

    configuration: Configuration
    aggregate: dict[str, Spread]
    variance: dict[str, Components] | None
    pooled: Pooled | None


def find(results: SweepResults) -> list[Finding]:
    """A finding for each configuration. In a search folds belong to a trial's objective and are not pooled."""
    with_folds = folds_were_swept(results)
    return [_finding(one, with_folds) for one in configurations(results)]


def folds_were_swept(results: SweepResults) -> bool:
    """Whether the sweep is a cross-validation."""
    return not results.is_search and len({run.fold for run in results.runs if run.fold is not None}) > 1


def _finding(configuration: Configuration, with_folds: bool) -> Finding:
    aggregate = {name: spread([score(run, name) for run in configuration.completed]) for name in SCORE_NAMES}
    variance = None
    if len(configuration.seeds) > 1 and len(configuration.splits) > 1:
        grid = [run for run in configuration.runs if run.seed is not None]
        variance = {
            name: variance_components({(str(run.seed), str(run.split)): score(run, name) for run in grid})
            for name in SCORE_NAMES
        }
    return Finding(configuration, aggregate, variance, _pool(configuration) if with_folds else None)


def score(run: RunResult, name: str) -> float | None:
    """A metric of the best epoch of a finished run; None where it is undefined or the run not finished."""
    return number_or_none(run.metrics.get(name)) if run.is_completed and run.metrics else None


def _pool(configuration: Configuration) -> Pooled:
    found: dict[str, PooledFolds] = {}
    problems = [] if configuration.problem is None else [configuration.problem]
    runs = configuration.runs
    has_divisions, has_inner = (len({of(run) for run in runs}) > 1 for of in (_division, _inner_fold))
    groups: dict[str, list[RunResult]] = {}
    for run in sorted(runs, key=lambda run: (run.seed or 0, _division(run), _inner_fold(run))):
        words = [str(run.seed)]
        words += [f"split seed {run.split_seed}"] if has_divisions else []
        words += [f"inner fold {run.inner_fold}"] if has_inner else []
        groups.setdefault(", ".join(words), []).append(run)
    for key, members in groups.items():
        try:
            found[key] = pool_folds([run for run in members if run.is_completed])
        except CannotPool as reason:
            problems.append(f"seed {key} is not pooled: {reason}")
    pooled = list(found.values())
    mean = (pooled[0].metrics.to_dict() if len(pooled) == 1 else mean_over_seeds(pooled)) if pooled else None
    names = {key: tuple(run.name for run in groups[key]) for key in found}
    return Pooled({key: one.metrics for key, one in found.items()}, mean, problems, names)


def how_selected(runs: Sequence[RunResult], *, on_others: bool = False) -> str:
    """By which rule the epochs were chosen that runs are scored at; `on_others` where that was on other images.

    That is so too where all have a fold that is out of every choice.
    """
    on_others = on_others or all(run.has_outer_fold for run in runs)
    rules = {run.select for run in runs}
    if rules == {"last"}:
        return "Each run at its last epoch: none was chosen on these images."
    flatters = "on other images than these" if on_others else "on its validation images, which flatters there"
    best = f"its best epoch, chosen {flatters}"
    return f"Each run at {best}." if rules == {"best"} else f"Each run at its last epoch, or at {best} (train.select)."


def _division(run: RunResult) -> int:
    return -1 if run.split_seed is None else run.split_seed


def _inner_fold(run: RunResult) -> int:
    return -1 if run.inner_fold is None else run.inner_fold


def ranked_trials(results: SweepResults) -> list[Trial]:
    """The trials of a search, the best value first, those without one last; of equal ones the first, if it worked."""
    sign = 1.0 if is_minimised(results) else -1.0

    def rank(one: Trial) -> tuple[bool, float, bool, int]:
        return one.value is None, sign * (one.value or 0.0), one.failed is not None, one.number

    return sorted(results.trials, key=rank)


@dataclasses.dataclass(frozen=True)
class BestTrial:
    """The best trial of a search that worked, and what has to be said of it.

    `equals` are the numbers of those with the same value, which nothing tells from it (of these it is the first that
    has not collapsed, or else the first); `collapsed` are the numbers of all trials of which a run has collapsed,
    `collapsed_runs` how many of its own; `next_best` is the best one that has not, where it has itself.
    """

    trial: Trial
    equals: tuple[int, ...]
    collapsed: frozenset[int]
    collapsed_runs: int
    next_best: Trial | None

    @property
    def has_collapsed(self) -> bool:
        return self.trial.number in self.collapsed

    @property
    def short_remark(self) -> str:
        """What has to be said beside its number where there is no room for `remarks`; mostly empty."""
        told = ["collapsed"] if self.has_collapsed else []
        told += [f"one of {len(self.equals) + 1} equal"] if self.equals else []
        return ", ".join(told)

    def remarks(self, score_name: str) -> list[str]:
        """Sentences for whoever would take it for the answer; none where there is nothing to say."""
        found, number = [], self.trial.number
        if self.equals:
            all_of_them = sorted([number, *self.equals])
            shown = ", ".join(map(str, all_of_them[:MAX_LISTED])) + (", ..." if len(all_of_them) > MAX_LISTED else "")
            found.append(
                f"{len(all_of_them)} trials ({shown}) have the same {score_name}, {self.trial.value:.3f}: nothing says "
                f"that trial {number} is the best of them; it is the first"
                f"{'' if number == all_of_them[0] else ' that has not collapsed'}."
            )
        if self.has_collapsed:
            other = "" if len(self.collapsed) == 1 else " So have all others that worked."
            if self.next_best is not None:
                other = f" The best that has not is trial {self.next_best.number} with {self.next_best.value:.3f}."
            of_runs = f" in {self.collapsed_runs} of its {n} runs" if (n := len(self.trial.runs)) > 1 else ""
            found.append(
                f"Trial {number} has collapsed{of_runs}: it misses a class, or does no better than guessing.{other}"
            )
        return found


def best_trial(results: SweepResults) -> BestTrial | None:
    """The best trial; None where none has worked."""
    worked = [trial for trial in ranked_trials(results) if trial.value is not None and trial.failed is None]
    if not worked:
        return None
    runs = {run.name for run in results.runs if run.has_collapsed}
    collapsed = frozenset(trial.number for trial in results.trials if runs & set(trial.runs))
    level = [one for one in worked if math.isclose(one.value or 0, worked[0].value or 0, abs_tol=EQUAL)]
    best, *equals = sorted(level, key=lambda one: (one.number in collapsed, one.number))
    usable = [one for one in worked if one.number not in collapsed]
    return BestTrial(
        trial=best,
        equals=tuple(sorted(other.number for other in equals)),
        collapsed=collapsed,
        collapsed_runs=len(runs & set(best.runs)),
        next_best=usable[0] if best.number in collapsed and usable else None,
    )


def is_minimised(results: SweepResults) -> bool:
    """Whether the search looks for the lowest objective."""
    direction = (results.search or {}).get("direction")
    return direction == "minimize" if direction else model_selection(results).minimised


def model_selection(results: SweepResults) -> ModelSelection:
    """What the runs were compared by; `auto` where the plan names no known metric."""
    try:
        return ModelSelection(results.monitor)
    except ValueError:
        return ModelSelection()


def metrics_of_figure(results: SweepResults) -> tuple[str, str]:
    """The two metrics that stand for all: chance-adjusted balanced accuracy, and what was monitored beside it."""
    monitored = model_selection(results).name
    return "bal_acc_adj", "kappa_quadratic" if monitored == "bal_acc_adj" else monitored


def metrics_of_tables(results: SweepResults) -> list[str]:
    """The metrics of tables that have a row for each configuration or run."""
    return list(dict.fromkeys([*metrics_of_figure(results), "acc"]))

"""What the runs of a sweep say together: numbers for each configuration, pooled folds, trials in order."""

from __future__ import annotations

import dataclasses
from typing import Any

from mammo.metrics import Metrics
from mammo.selection import SCORE_NAMES, Criterion
from mammo.sweeps.configurations import Configuration, configurations
from mammo.sweeps.pooling import CannotPool, mean_over_seeds, pool_folds
from mammo.sweeps.results import RunResult, SweepResults, Trial, number_or_none
from mammo.sweeps.statistics import Components, Spread, spread, variance_components


@dataclasses.dataclass(frozen=True)
class Pooled:
    """Metrics of all out-of-fold predictions: for each seed, and their mean over seeds; None with problems."""

    by_seed: dict[int, Metrics]
    mean: dict[str, Any] | None
    problems: list[str]


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
    if len(configuration.seeds) > 1 and len(configuration.folds) > 1:
        grid = [run for run in configuration.runs if run.seed is not None and run.fold is not None]
        variance = {
            name: variance_components({(run.seed, run.fold): score(run, name) for run in grid})  # type: ignore[misc]
            for name in SCORE_NAMES
        }
    return Finding(configuration, aggregate, variance, _pool(configuration) if with_folds else None)


def score(run: RunResult, name: str) -> float | None:
    """A metric of the best epoch of a finished run; None where it is undefined or the run not finished."""
    return number_or_none(run.metrics.get(name)) if run.is_completed and run.metrics else None


def _pool(configuration: Configuration) -> Pooled:
    by_seed: dict[int, Metrics] = {}
    problems = [] if configuration.problem is None else [configuration.problem]
    for seed in configuration.seeds:
        try:
            by_seed[seed] = pool_folds([run for run in configuration.completed if run.seed == seed])
        except CannotPool as reason:
            problems.append(f"seed {seed} is not pooled: {reason}")
    pooled = list(by_seed.values())
    mean = (pooled[0].to_dict() if len(pooled) == 1 else mean_over_seeds(pooled)) if pooled else None
    return Pooled(by_seed, mean, problems)


def ranked_trials(results: SweepResults) -> list[Trial]:
    """The trials of a search, the best value first, those without one last."""
    sign = 1.0 if is_minimised(results) else -1.0
    return sorted(
        results.trials, key=lambda one: (one.value is None, 0.0 if one.value is None else sign * one.value, one.number)
    )


def is_minimised(results: SweepResults) -> bool:
    """Whether the search looks for the lowest objective."""
    direction = (results.search or {}).get("direction")
    return direction == "minimize" if direction else criterion(results).minimised


def criterion(results: SweepResults) -> Criterion:
    """What the runs were compared by; `auto` where the plan names no known metric."""
    try:
        return Criterion(results.monitor)
    except ValueError:
        return Criterion()


def metrics_of_figure(results: SweepResults) -> tuple[str, str]:
    """The two metrics that stand for all: chance-adjusted balanced accuracy, and what was monitored beside it."""
    monitored = criterion(results).name
    return "bal_acc_adj", "kappa_quadratic" if monitored == "bal_acc_adj" else monitored


def metrics_of_tables(results: SweepResults) -> list[str]:
    """The metrics of tables that have a row for each configuration or run."""
    return list(dict.fromkeys([*metrics_of_figure(results), "acc"]))

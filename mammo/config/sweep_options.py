"""Options of sweeps. No heavy imports: these are read by `--help` and by the config check."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from mammo.support.option_registry import option


@dataclasses.dataclass(frozen=True)
class SweepOptions:
    """How several runs (`-m`) are made by one command; nothing here changes a run."""

    name: str | None = option(None, "folder below multirun/; null: made from what is swept")
    on_error: Literal["continue", "stop"] = option("continue", "what happens to the other runs when one fails")
    jobs_at_once: int | None = option(
        None, "runs at once; null: two with launcher=local_parallel (-1: one a core), what the cluster takes with slurm"
    )
    partition: str | None = option(None, "partition of the cluster (launcher=slurm, as all that follow)")
    time_minutes: int | None = option(None, "the longest that a run may take; null: a day", at_least=1)
    memory_gb: int | None = option(None, "memory for a run; null: what the cluster gives", at_least=1)
    gpus_per_job: int | None = option(None, "GPUs for a run", at_least=0, at_most=1)
    cores_per_job: int | None = option(None, "cores for a run", at_least=1)
    reference: str | float | None = option(
        None,
        "the configuration that the others are compared with, by what tells it apart: head_only, or 'head_only 1e-4'; "
        "null: all pairs are compared",
    )
    published: list[dict[str, Any]] = option(
        [], "results from elsewhere to show beside: [{where: {strategy.name: head_only}, metrics: {acc: [0.6, 0.02]}}]"
    )


@dataclasses.dataclass(frozen=True)
class SearchOptions:
    """A search for hyperparameters (`-m hpo=density`); nothing here changes a run."""

    space: dict[str, Any] | None = option(
        {},
        "what is searched: {optimizer.lr: 'tag(log, interval(1e-4, 1e-2))', augment: [none, strong]}; null: nothing",
    )
    trials: int = option(20, "trials in all, those of earlier starts included", at_least=1, at_most=100000)
    seed: int = option(42, "seed of the sampler", at_least=0, at_most=2**31 - 1)
    folds: int | None = option(None, "each trial trains N folds and counts with their mean", at_least=2)
    trials_at_once: int | None = option(
        None, "trials that are proposed together; null: as many as the launcher runs on this machine", at_least=1
    )
    storage: str | None = option(
        None, "Optuna storage URL; null: study.db (SQLite) in the folder of the sweep", guarded=True
    )

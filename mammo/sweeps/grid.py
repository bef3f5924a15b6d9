"""Sweeps over given values: seeds, folds, strategies and all their combinations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mammo.config.sweep_options import SearchOptions
from mammo.config.tree import identity_tree
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError
from mammo.sweeps.configurations import configurations
from mammo.sweeps.plan import Job, combinations, make_job, of_an_earlier_sweep, require_distinct, sweep_name
from mammo.sweeps.reading import NOT_STARTED, RunResult, SweepResults
from mammo.sweeps.reference import position_of
from mammo.sweeps.session import Session


def run_grid(session: Session, arguments: Sequence[str]) -> None:
    """Run every combination; raises SweepError when a run failed, after all of them.

    Raises ConfigError before the first run when any of them is impossible.
    """
    parsed = session.parse(arguments)
    jobs = [make_job(session.compose, parsed.fixed, swept) for swept in combinations(parsed)]
    require_distinct(jobs)
    if any(job.config.hpo.space is not None and job.config.hpo != SearchOptions() for job in jobs):
        raise ConfigError(
            "hpo has no effect without a search",
            to_do="hpo=density, one study with hpo.space, or hpo.space=null to search nothing",
        )
    name, first = sweep_name(parsed, jobs[0].config), jobs[0]
    folder = session.folder(name)
    is_known = first.config.sweep.name is not None or folder.exists()
    earlier = None if is_known else of_an_earlier_sweep(parsed, first, folder.parent)
    if earlier is not None:
        parsed, name = earlier
        jobs = [make_job(session.compose, parsed.fixed, swept) for swept in combinations(parsed)]
    _require_reference(first.config.sweep.reference, jobs, folder)
    with session.opened(name, first.config, total=len(jobs)) as sweep:
        sweep.plan(jobs)
        sweep.jobs.run(jobs)


def _require_reference(named: str | None, jobs: Sequence[Job], folder: Path) -> None:
    """Raises ConfigError where the configuration that others are to be compared with is none of the jobs."""
    if named is None:
        return
    runs = [
        RunResult(job.name, folder, NOT_STARTED, overrides=job.swept, identity=flatten(identity_tree(job.config)))
        for job in jobs
    ]
    planned = SweepResults(folder, folder.name, tuple(runs), "auto", None, (), (), (), has_plan=True)
    position_of(named, [one.label for one in configurations(planned)])

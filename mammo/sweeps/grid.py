"""Sweeps over given values: seeds, folds, strategies and all their combinations."""

from __future__ import annotations

from collections.abc import Sequence

from mammo.config.sweep_options import SearchOptions
from mammo.support.errors import ConfigError
from mammo.sweeps.plan import combinations, make_job, of_an_earlier_sweep, require_distinct, sweep_name
from mammo.sweeps.planned import labels_of, require_reference, with_labels
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
    labels = labels_of(jobs, folder)
    require_reference(first.config.sweep.reference, list(labels.values()))
    jobs = with_labels(jobs, labels, session.folder(name))
    with session.opened(name, first.config, total=len(jobs)) as sweep:
        sweep.plan(jobs)
        sweep.jobs.run(jobs)

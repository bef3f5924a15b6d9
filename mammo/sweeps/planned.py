"""The configurations that a sweep is going to run: the one to compare with, and the names of the folders."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mammo.config.tree import identity_tree
from mammo.support.dotted_keys import flatten
from mammo.support.files import safe_name
from mammo.sweeps.configurations import configurations
from mammo.sweeps.plan import Job
from mammo.sweeps.reading import NOT_STARTED, RunResult, SweepResults
from mammo.sweeps.reference import position_of


def labels_of(jobs: Sequence[Job], folder: Path) -> dict[str, str]:
    """Name of each job to the label of its configuration."""
    runs = [
        RunResult(job.name, folder, NOT_STARTED, overrides=job.swept, identity=flatten(identity_tree(job.config)))
        for job in jobs
    ]
    planned = SweepResults(folder, folder.name, tuple(runs), "auto", None, (), (), (), has_plan=True)
    return {run.name: one.label for one in configurations(planned) for run in one.runs}


def require_reference(named: str | float | None, labels: Sequence[str]) -> None:
    """Raises ConfigError where the configuration that others are to be compared with is none of the jobs."""
    if named is not None:
        position_of(str(named), list(dict.fromkeys(labels)))


def with_labels(jobs: Sequence[Job], labels: dict[str, str], folder: Path) -> list[Job]:
    """The jobs, each named as the folder that it has already, or after what tells its configuration apart.

    `efficientnet_lite0-head_only-mias-lr_1e-3-s42-f0-1a2b3c4d`; model, strategy and data stand there anyway.
    """
    data = [job.config.data for job in jobs]
    varying = {
        name: len({getattr(one, key) for one in data}) > 1
        for name, key in (("split", "split_seed"), ("inner", "inner_fold"))
    }
    return [
        dataclasses.replace(job, name=_existing(job, folder) or _labelled(job, labels[job.name], varying))
        for job in jobs
    ]


def _existing(job: Job, folder: Path) -> str | None:
    """The folder in which the run lies: earlier versions named it otherwise, and so do other values beside."""
    found = sorted(path.name for path in folder.glob(f"*-{job.run_id}") if path.is_dir())
    return found[0] if found else None


def _labelled(job: Job, label: str, varying: Mapping[str, bool]) -> str:
    fold = "" if job.config.data.fold is None else f"-f{job.config.data.fold}"
    end = f"-s{job.config.seed}{fold}-{job.run_id}"
    if not job.name.endswith(end) or job.config.run.name is not None:
        return job.name
    words = [re.sub(r"[^\w.-]+", "_", part.strip()).strip("_") for part in label.split(", ") if " " in part.strip()]
    words += [f"split{job.config.data.split_seed}"] if varying["split"] else []
    words += [f"inner{job.config.data.inner_fold}"] if varying["inner"] else []
    return safe_name("-".join([job.name.removesuffix(end), *words])) + end

"""One start of a sweep: its folder is locked, its plan is written, and whatever happens its results are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mammo.config.tree import Config
from mammo.runs.closing import show
from mammo.runs.folders import PLAN_FILE
from mammo.runs.layout import LOCK_FILE
from mammo.support.errors import RunDirectoryError, TrainingError
from mammo.support.files import this_command
from mammo.support.outputs import Outputs
from mammo.support.ownership import Owner, one_owner
from mammo.sweeps.launching import Jobs, say
from mammo.sweeps.machine import jobs_at_once
from mammo.sweeps.plan import Arguments, Job, parse_arguments, sweep_folder
from mammo.sweeps.stored import read_plan
from mammo.sweeps.summary import COMMAND, SUMMARIES, close_sweep


class SweepError(TrainingError):
    """Some runs of a sweep have failed; each has its own record."""


@dataclasses.dataclass
class OpenSweep:
    """A sweep that is being run: its folder, and what runs its jobs."""

    folder: Path
    jobs: Jobs
    _plan: dict[str, Any]
    _owner: Owner
    _outputs: Outputs

    def plan(self, jobs: Sequence[Job]) -> None:
        """Add jobs to `sweep.json`, so that what has not been started is known."""
        known = {entry["run"] for entry in self._plan["jobs"]}
        self._plan["jobs"] += [{"run": job.name, "overrides": list(job.swept)} for job in jobs if job.name not in known]
        self._write()

    def note_trials(self, finished: Sequence[Mapping[str, Any]]) -> None:
        """State in `sweep.json` how the finished trials of a search have ended."""
        self._plan["search"] = {**(self._plan["search"] or {}), "finished": list(finished)}
        self._write()

    def _write(self) -> None:
        self._owner.require()
        self._outputs.write_json(PLAN_FILE, self._plan)


class Session:
    """What Hydra hands to a sweeper, and what both kinds of sweep do with it."""

    def __init__(self, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        self._context, self._config = hydra_context, config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def parse(self, arguments: Sequence[str]) -> Arguments:
        """The overrides of the command, see `parse_arguments`."""
        folds, inner_folds = self.option("data.num_folds"), self.option("data.inner_folds")
        return parse_arguments(arguments, folds, self._context.config_loader, inner_folds)

    def folder(self, name: str) -> Path:
        """The folder of a sweep with this name."""
        return sweep_folder(self._config, name)

    def option(self, key: str) -> Any:
        """The value of an option that the command, or a file that it chooses, sets for all jobs."""
        value = OmegaConf.select(self._config, key)
        return OmegaConf.to_container(value) if OmegaConf.is_config(value) else value

    def choice(self, group: str) -> str | None:
        """What the command chooses of a group of conf/."""
        return self._config.hydra.runtime.choices.get(group)

    def choices(self, overrides: Sequence[str]) -> dict[str, str]:
        """The groups and choices that a job is composed from, Hydra's own left out."""
        found = self.compose(list(overrides)).hydra.runtime.choices
        return {str(group): str(choice) for group, choice in found.items() if choice and "/" not in str(group)}

    @property
    def jobs_at_once(self) -> int | None:
        """How many jobs the launcher runs at once on this machine."""
        return jobs_at_once(self._config.hydra.launcher)

    def compose(self, overrides: list[str]) -> DictConfig:
        """What a job is composed of, as its launcher will compose it."""
        return self._context.config_loader.load_sweep_config(self._config, overrides)

    @contextmanager
    def opened(
        self, name: str, config: Config, total: int, search: dict[str, Any] | None = None
    ) -> Iterator[OpenSweep]:
        """The sweep in its folder; at the end, in whatever way it comes, the results are written and shown.

        Raises RunDirectoryError when another process has the folder, and SweepError when runs have failed.
        """
        folder = self.folder(name)
        outputs = Outputs(folder, COMMAND)
        outputs.require_free([PLAN_FILE, *SUMMARIES])
        folder.mkdir(parents=True, exist_ok=True)
        stop_on_error = config.sweep.on_error == "stop"
        at_once = self.jobs_at_once if stop_on_error else None
        jobs = Jobs(self.launcher, folder, total, stop_on_error=stop_on_error, at_once=at_once)
        with one_owner(folder / LOCK_FILE, partial(_in_use, folder), whole_folder=True) as owner:
            say(f"Sweep of {total} jobs in {folder}")
            plan = {
                "schema_version": 1,
                "name": folder.name,
                "command": this_command(),
                "monitor": config.train.monitor,
                "on_error": config.sweep.on_error,
                "published": config.sweep.published,
                "reference": None if config.sweep.reference is None else str(config.sweep.reference),
                "search": search,
                # The trials of earlier starts are part of a search, values that are not wanted any more of no grid.
                "jobs": _earlier_jobs(folder) if search is not None else [],
            }
            sweep = OpenSweep(folder, jobs, plan, owner, outputs)
            try:
                yield sweep
            finally:
                owner.require()
                show(close_sweep(folder))
        if jobs.failed and search is None:
            raise SweepError(
                f"{jobs.failed} of {total} jobs; the lines above, and error.json in their folders, say why"
            )


def _in_use(folder: Path, holder: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"another process is running this sweep in {folder}: {holder}",
        to_do="wait for it, or choose another sweep.name=NAME",
    )


def _earlier_jobs(folder: Path) -> list[dict[str, Any]]:
    """The jobs of earlier starts, which stay part of the sweep."""
    try:
        return read_plan(folder)["jobs"]
    except (OSError, ValueError):
        return []

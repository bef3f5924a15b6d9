"""A search for hyperparameters with Optuna that can be interrupted and repeated at any time.

The study is on disk, and everything that is random in a proposal is a function of the seed, the number of
the trial and the name of the parameter. So a search that was killed proposes what an uninterrupted one
does, a trial that was half done is taken up again, and no trial is lost or repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from hydra.utils import instantiate
from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from mammo.config import Config
from mammo.errors import ConfigError, UserError
from mammo.files import without_credentials
from mammo.runs.directory import RunDirectory
from mammo.selection import Criterion, worst_objective
from mammo.sweeps.best import write_findings
from mammo.sweeps.launching import Outcome, say
from mammo.sweeps.plan import Arguments, Job, make_job, parse_arguments, sweep_name
from mammo.sweeps.session import OpenSweep, Session, SweepError

# When nothing has worked so often, it is the command that is wrong and not a parameter.
TRIALS_THAT_MAY_ALL_FAIL = 5
# Attributes of a trial in the study.
FAILED, RUNS = "failed", "runs"


def run_search(session: Session, sampler: DictConfig, arguments: Sequence[str]) -> None:
    """Run the trials that remain; raises SweepError when some have failed, ConfigError before the first."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parsed = parse_arguments(arguments, num_folds=None)
    space = {o.get_key_element(): create_optuna_distribution_from_override(o) for o in parsed.varied}
    if not space:
        raise ConfigError("a search without a range", to_do="hpo=density, or optimizer.lr='interval(1e-4, 1e-2)'")
    base = make_job(session.compose, parsed.fixed, ()).config
    _require_possible(session, parsed, space)
    if "seed" not in sampler:
        raise ConfigError(
            f"{sampler._target_} has no seed",
            to_do="a grid needs no search: leave hpo out and give the values with commas",
        )
    if base.hpo.folds is not None and base.data.num_folds is not None:
        raise ConfigError("data.num_folds has no effect in a search", to_do="hpo.folds sets the number of folds")
    storage = session.option("hpo.storage")
    criterion = Criterion(base.train.monitor)
    description = {
        "trials": base.hpo.trials,
        "folds": base.hpo.folds,
        "seed": base.hpo.seed,
        "direction": "minimize" if criterion.minimised else "maximize",
        "storage": without_credentials(storage) if storage else "study.db",
    }
    total = base.hpo.trials * (base.hpo.folds or 1)
    with session.opened(sweep_name(parsed, base, session.choice("hpo") or "search"), base, total, description) as sweep:
        study = _open_study(storage or f"sqlite:///{sweep.folder / 'study.db'}", sweep.folder.name, description)
        search = Search(session, sweep, study, sampler, space, parsed, base)
        try:
            search.note_trials()
            search.run()
        finally:
            best = search.best_job()
            if best is not None:
                write_findings(sweep.folder, study, best, session.choices(best.overrides), criterion.name)
    if best is not None:
        say(f"Train the best: python -m mammo.train --config-dir {sweep.folder} experiment=best_config")
    failed = [trial for trial in study.get_trials(deepcopy=False) if FAILED in trial.user_attrs]
    if failed:
        raise SweepError(f"{len(failed)} of {base.hpo.trials} trials; they count with the worst value")


def _require_possible(session: Session, arguments: Arguments, space: Mapping[str, BaseDistribution]) -> None:
    """Raises ConfigError for a range with an end that no run can have: it would be found hours later."""
    ends = {name: _ends(distribution) for name, distribution in space.items()}
    first = {name: f"{name}={values[0]}" for name, values in ends.items()}
    make_job(session.compose, arguments.fixed, list(first.values()))
    for name, values in ends.items():
        for value in values[1:]:
            make_job(session.compose, arguments.fixed, list({**first, name: f"{name}={value}"}.values()))


def _ends(distribution: BaseDistribution) -> Sequence[Any]:
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices
    return (distribution.low, distribution.high)  # type: ignore[attr-defined]


def _open_study(storage: str, name: str, description: Mapping[str, Any]) -> optuna.Study:
    try:
        study = optuna.create_study(
            study_name=name, storage=storage, direction=description["direction"], load_if_exists=True
        )
    except Exception as error:  # whatever the driver of a database raises
        raise ConfigError(
            f"hpo.storage={without_credentials(storage)}: the study cannot be opened: "
            f"{without_credentials(str(error).splitlines()[0])}",
            "a URL that SQLAlchemy takes, such as sqlite:///study.db or postgresql://HOST/DATABASE",
            "is the server running and its driver installed (for example pip install pg8000)?",
        ) from error
    return study


class Search:
    """Asks for trials, runs their jobs, tells their values."""

    def __init__(
        self,
        session: Session,
        sweep: OpenSweep,
        study: optuna.Study,
        sampler: DictConfig,
        space: Mapping[str, BaseDistribution],
        arguments: Arguments,
        base: Config,
    ) -> None:
        self.session, self.sweep, self.study, self.sampler = session, sweep, study, sampler
        self.space, self.fixed, self.base = dict(space), arguments.fixed, base
        self.at_once = base.hpo.trials_at_once or session.jobs_at_once or 1

    def run(self) -> None:
        """Run trials until there are as many as wanted; those that an earlier start left come first."""
        while not self.sweep.jobs.is_stopped:
            trials = self.study.get_trials(deepcopy=False)
            over = [trial for trial in trials if trial.state.is_finished()]
            self._require_success(over)
            wanted = min(self.base.hpo.trials - len(over), self.at_once)
            if wanted <= 0:
                return
            begun = [trial._trial_id for trial in trials if not trial.state.is_finished()][:wanted]
            batch = [self._proposed(trial_id) for trial_id in begun]
            while len(batch) < wanted:
                batch.append(self._proposed(self.study.ask()._trial_id))
            self._run_together(batch)

    def _require_success(self, over: Sequence[FrozenTrial]) -> None:
        if len(over) == TRIALS_THAT_MAY_ALL_FAIL and all(FAILED in trial.user_attrs for trial in over):
            raise SweepError(f"the first {len(over)} trials have all failed: {over[-1].user_attrs[FAILED]}")

    def _proposed(self, trial_id: int) -> Trial:
        """A trial with all of its parameters: those that are stored, and those that were still to be drawn."""
        number = self.study._storage.get_trial(trial_id).number
        self.study.sampler = self._sampler(number)
        trial = Trial(self.study, trial_id)
        for name, distribution in self.space.items():
            self.study.sampler = self._sampler(number, name)
            trial._suggest(name, distribution)
        return trial

    def _sampler(self, number: int, name: str = "") -> optuna.samplers.BaseSampler:
        digest = hashlib.sha256(f"{self.base.hpo.seed}/{number}/{name}".encode()).digest()
        return instantiate(self.sampler, seed=int.from_bytes(digest[:4], "big"))

    def _run_together(self, trials: Sequence[Trial]) -> None:
        jobs_of: dict[int, list[Job]] = {}
        impossible: dict[int, str] = {}
        for trial in trials:
            try:
                jobs_of[trial.number] = self._jobs(trial.params)
            except UserError as error:
                impossible[trial.number] = str(error)
        # Two trials may propose the same run.
        distinct = {job.name: job for jobs in jobs_of.values() for job in jobs}
        self.sweep.plan(list(distinct.values()))
        outcomes = dict(zip(distinct, self.sweep.jobs.run(list(distinct.values())), strict=False))
        for trial in trials:
            if trial.number in impossible:
                say(f"Trial {trial.number}: {impossible[trial.number]}")
                self._tell(trial, [], [Outcome("failed", None, impossible[trial.number])])
                continue
            jobs = jobs_of[trial.number]
            found = [outcomes[job.name] for job in jobs if job.name in outcomes]
            if len(found) == len(jobs):  # fewer when a failure has ended the sweep: it is taken up again
                self._tell(trial, jobs, found)

    def _jobs(self, parameters: Mapping[str, Any]) -> list[Job]:
        proposed = [f"{name}={value}" for name, value in parameters.items()]
        folds = self.base.hpo.folds
        parts = [[]] if folds is None else [[f"data.num_folds={folds}", f"data.fold={i}"] for i in range(folds)]
        return [make_job(self.session.compose, self.fixed, [*proposed, *part]) for part in parts]

    def _tell(self, trial: Trial, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Record the mean of the objectives; one that failed makes the trial the worst there can be."""
        reasons = [outcome.reason for outcome in outcomes if outcome.objective is None]
        objectives = [outcome.objective for outcome in outcomes if outcome.objective is not None]
        if reasons:
            value = worst_objective(self.base.train.monitor, self.base.num_classes or 2)
            trial.set_user_attr(FAILED, " ".join(reasons[0].split()))
        else:
            value = sum(objectives) / len(objectives)
        for job, outcome in zip(jobs, outcomes, strict=bool(jobs)):
            record = {
                "schema_version": 1,
                "number": trial.number,
                "params": trial.params,
                "value": value,
                "objective": outcome.objective,
                "failed": reasons[0] if reasons else None,
                "study": self.study.study_name,
            }
            directory = RunDirectory(self.sweep.folder / job.name)
            if directory.path.is_dir() and not (directory.path / "optuna_trial.json").exists():
                directory.write_json("optuna_trial.json", record)
        trial.set_user_attr(RUNS, [job.name for job in jobs])
        # Last: what is told is never run again.
        self.study.tell(trial, value)
        self.note_trials()

    def note_trials(self) -> None:
        """Put the finished trials into the plan of the sweep, where reports read them."""
        over = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state.is_finished()]
        self.sweep.note_trials(
            [
                {
                    "number": trial.number,
                    "params": trial.params,
                    "value": trial.value,
                    "failed": trial.user_attrs.get(FAILED),
                    "runs": trial.user_attrs.get(RUNS, []),
                }
                for trial in over
            ]
        )

    def best_job(self) -> Job | None:
        """The configuration of the best trial, as one run without folds; None where there is none."""
        finished = [trial for trial in self.study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]
        if all(FAILED in trial.user_attrs for trial in finished):
            return None
        proposed = [f"{name}={value}" for name, value in self.study.best_trial.params.items()]
        return make_job(self.session.compose, self.fixed, proposed)

"""A search for hyperparameters with Optuna that can be interrupted and repeated at any time.

The study is on disk, and everything that is random in a proposal is a function of the seed, the number of
the trial and the name of the parameter. So a search that was killed proposes what an uninterrupted one
does, a trial that was half done is taken up again, and no trial is lost or repeated.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Container, Mapping, Sequence

import optuna
from hydra.utils import instantiate
from omegaconf import DictConfig
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, Trial, TrialState

from mammo.config.tree import Config
from mammo.evaluation.selection import ModelSelection, worst_objective
from mammo.runs.directory import RunDirectory
from mammo.support.errors import ConfigError, UserError
from mammo.support.files import without_credentials
from mammo.support.plain_text import without_folders
from mammo.support.schema import guarded_keys
from mammo.sweeps.best import require_free, write_findings
from mammo.sweeps.findings import best_trial
from mammo.sweeps.launching import Outcome, say
from mammo.sweeps.plan import Arguments, Job, key_of, make_job, sweep_name
from mammo.sweeps.reading import read_sweep
from mammo.sweeps.session import OpenSweep, Session, SweepError
from mammo.sweeps.space import searched
from mammo.sweeps.study import (
    FAILED,
    RUNS,
    STUDY_FILE,
    UNUSABLE,
    finished_trials,
    open_study,
    parameters_of,
    reading_study,
    require_own_results,
    study_file_url,
    trials_of,
)

# When nothing has worked so often, it is the command that is wrong and not a parameter.
TRIALS_THAT_MAY_ALL_FAIL = 5
# An attribute of the study: the fingerprint of the data of its trials.
DATA = "data_fingerprint"
# Samplers whose state in a study is plain numbers. CmaEsSampler keeps a pickle there, which would run whatever the
# writer of somebody else's study put into it.
SAMPLERS = tuple(f"optuna.samplers.{name}" for name in ("TPESampler", "RandomSampler", "NSGAIISampler"))


def run_search(session: Session, sampler: DictConfig, arguments: Sequence[str], optional: Container[str]) -> None:
    """Run the trials that remain; raises SweepError when some have failed, ConfigError before the first.

    `optional` are those of the arguments that come from a file: ranges among them that have no effect with the
    strategy, sampler, ... of the command are left out.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    parsed = session.parse(arguments)
    base = make_job(session.compose, parsed.fixed, ()).config
    _require_usable(sampler)
    parsed, space = searched(session, parsed, base, optional)
    storage = session.option("hpo.storage")
    selection = ModelSelection(base.train.monitor)
    description = {
        "trials": base.hpo.trials,
        "folds": base.hpo.folds,
        "seed": base.hpo.seed,
        "direction": selection.direction,
        "storage": without_credentials(without_folders(storage)) if storage else STUDY_FILE,
    }
    name = sweep_name(parsed, base, session.choice("hpo") or "search")
    folder = session.folder(name)
    # A server is asked before anything is written; the file of the folder needs the folder.
    study = open_study(storage, folder.name, space, base) if storage else None
    total = base.hpo.trials * (base.hpo.folds or 1)
    require_free(folder)
    with session.opened(name, base, total, description) as sweep:
        study = study or open_study(study_file_url(folder), folder.name, space, base)
        search = Search(session, sweep, study, sampler, space, parsed, base)
        try:
            search.note_trials()
            search.run()
        finally:
            best = best_trial(read_sweep(sweep.folder))
            if best is not None:
                job = search.job_of(best.trial.number)
                write_findings(sweep.folder, study, best, job, session.choices(job.overrides), selection.name)
    if best is not None:
        words = ["python", "-m", "mammo.train", "--config-dir", str(sweep.folder), "experiment=best_config"]
        # What a file may not say, the command did.
        words += [str(o.input_line) for o in parsed.fixed if key_of(o) in guarded_keys(Config)]
        warned = ", although it has collapsed" if best.has_collapsed else ""
        say(f"Train the best{warned}: {shlex.join(words)}")
    failed = [trial for trial in finished_trials(study) if FAILED in trial.user_attrs]
    if failed:
        raise SweepError(f"{len(failed)} of {base.hpo.trials} trials; they count with the worst value")
    if sweep.jobs.failed:
        raise SweepError("a job has failed, and the search has stopped; the same command goes on")


def _require_usable(sampler: DictConfig) -> None:
    """Raises ConfigError for a sampler that cannot be repeated, or would bring a stranger's objects to life."""
    if "seed" not in sampler:
        raise ConfigError(
            f"{sampler._target_} has no seed",
            to_do="a grid needs no search: leave hpo out and give the values with commas",
        )
    if sampler._target_ not in SAMPLERS:
        raise ConfigError(
            f"hydra.sweeper.sampler: {sampler._target_} is not used here",
            f"one of {', '.join(SAMPLERS)}, which keep no objects in the study that reading it would bring to life",
            "hydra/sweeper/sampler=tpe, random or nsgaii",
        )


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
        self.failed_here = 0
        self.at_once = base.hpo.trials_at_once or session.jobs_at_once or 1

    def run(self) -> None:
        """Run trials until there are as many as wanted; those that an earlier start left come first.

        Raises ConfigError for results in the study that are not of this search.
        """
        while not self.sweep.jobs.is_stopped:
            trials = trials_of(self.study)
            require_own_results(trials, self.space)
            over = [trial for trial in trials if trial.state.is_finished()]
            self._require_success(over)
            wanted = min(self.base.hpo.trials - len(over), self.at_once)
            if wanted <= 0:
                return
            begun = [trial._trial_id for trial in trials if not trial.state.is_finished()][:wanted]
            batch = []
            for i in range(wanted):
                trial_id = begun[i] if i < len(begun) else self._new_trial()
                try:
                    batch.append(self._proposed(trial_id))
                except ConfigError as error:
                    self._refuse(trial_id, error.found)
            self._run_together(batch)

    def _require_success(self, over: Sequence[FrozenTrial]) -> None:
        """Raises SweepError when nothing has ever worked, and this start has tried often enough."""
        if self.failed_here >= TRIALS_THAT_MAY_ALL_FAIL and all(FAILED in trial.user_attrs for trial in over):
            raise SweepError(f"all of {len(over)} trials have failed: {over[-1].user_attrs[FAILED]}")

    def _proposed(self, trial_id: int) -> Trial:
        """A trial with all of its parameters: those that are stored, and those that were still to be drawn.

        Raises ConfigError when this search cannot have begun the trial, or nothing can be drawn for it.
        """
        with reading_study():
            stored = self.study._storage.get_trial(trial_id)
        parameters_of(stored, self.space)
        try:
            self.study.sampler = self._sampler(stored.number)
            trial = Trial(self.study, trial_id)
            for name, distribution in self.space.items():
                self.study.sampler = self._sampler(stored.number, name)
                trial._suggest(name, distribution)
        except UNUSABLE as error:
            reason = f"trial {stored.number} of the study has attributes that no sampler leaves"
            raise ConfigError(f"{reason} ({type(error).__name__})") from error
        return trial

    def _new_trial(self) -> int:
        with reading_study():
            return self.study.ask()._trial_id

    def _refuse(self, trial_id: int, reason: str) -> None:
        """End a trial as failed that is not run, and that no sampler learns from."""
        say(f"{reason}: it is not run, and counts as failed")
        self.study._storage.set_trial_user_attr(trial_id, FAILED, reason)
        self.study._storage.set_trial_state(trial_id, TrialState.FAIL)
        self.failed_here += 1
        self.note_trials()

    def _sampler(self, number: int, name: str = "") -> optuna.samplers.BaseSampler:
        digest = hashlib.sha256(f"{self.base.hpo.seed}/{number}/{name}".encode()).digest()
        return instantiate(self.sampler, seed=int.from_bytes(digest[:4], "big"))

    def _run_together(self, trials: Sequence[Trial]) -> None:
        planned: list[tuple[Trial, list[Job], str]] = []
        for trial in trials:
            jobs, impossible = [], ""
            try:
                jobs = self._jobs(self.study._storage.get_trial(trial._trial_id))
            except UserError as error:
                impossible = str(error)
            planned.append((trial, jobs, impossible))
        # Two trials may propose the same run.
        distinct = {job.name: job for _, jobs, _ in planned for job in jobs}
        self.sweep.plan(list(distinct.values()))
        outcomes = dict(zip(distinct, self.sweep.jobs.run(list(distinct.values())), strict=False))
        for trial, jobs, impossible in planned:
            found = [outcomes[job.name] for job in jobs if job.name in outcomes]
            if impossible:
                say(f"Trial {trial.number}: {impossible}")
                found = [Outcome("failed", None, impossible)]
            if len(found) >= len(jobs):  # fewer when a failure has ended the sweep: it is taken up again
                self._require_comparable(found)
                self._tell(trial, jobs, found)

    def _require_comparable(self, outcomes: Sequence[Outcome]) -> None:
        """Raises SweepError for outcomes that say nothing about the parameters; their trial is taken up again."""
        outage = next((outcome.reason for outcome in outcomes if outcome.is_outage), None)
        if outage is not None:
            raise SweepError(f"{without_folders(outage)}\n  the search has stopped; the same command goes on")
        for outcome in outcomes:
            known = self.study.user_attrs.get(DATA)
            if outcome.data_fingerprint is None or known == outcome.data_fingerprint:
                continue
            if known is not None:
                raise SweepError(
                    "the data has changed since the first trial, so trials cannot be compared\n"
                    "  start another search with sweep.name=NAME"
                )
            self.study.set_user_attr(DATA, outcome.data_fingerprint)

    def _jobs(self, trial: FrozenTrial) -> list[Job]:
        folds = self.base.hpo.folds
        if folds is None:
            return [self._job(trial)]
        if self.base.data.inner_folds is not None:
            return [self._job(trial, f"data.inner_fold={i}") for i in range(folds)]
        return [self._job(trial, f"data.num_folds={folds}", f"data.fold={i}") for i in range(folds)]

    def _job(self, trial: FrozenTrial, *part: str) -> Job:
        # Keys are those of the command, and so are choices, as it has written and quoted them; the rest are numbers.
        proposed = [f"{name}={value}" for name, value in parameters_of(trial, self.space).items()]
        return make_job(self.session.compose, self.fixed, [*proposed, *part])

    def _tell(self, trial: Trial, jobs: Sequence[Job], outcomes: Sequence[Outcome]) -> None:
        """Record the mean of the objectives; one that failed makes the trial the worst there can be."""
        reasons = [outcome.reason for outcome in outcomes if outcome.objective is None]
        objectives = [outcome.objective for outcome in outcomes if outcome.objective is not None]
        if reasons:
            value = worst_objective(self.base.train.monitor, self.base.num_classes or 2)
            trial.set_user_attr(FAILED, " ".join(without_folders(reasons[0]).split()))
            self.failed_here += 1
        else:
            value = sum(objectives) / len(objectives)
        for job, outcome in zip(jobs, outcomes, strict=bool(jobs)):
            record = {
                "schema_version": 1,
                "number": trial.number,
                "params": trial.params,
                "value": value,
                "objective": outcome.objective,
                "failed": without_folders(reasons[0]) if reasons else None,
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
        self.sweep.note_trials(
            [
                {
                    "number": trial.number,
                    # Those of a trial that was refused are not of this search.
                    "params": trial.params if trial.state == TrialState.COMPLETE else {},
                    "value": trial.value,
                    "failed": str(trial.user_attrs[FAILED]) if FAILED in trial.user_attrs else None,
                    "runs": list(map(str, runs)) if isinstance(runs := trial.user_attrs.get(RUNS), list) else [],
                }
                for trial in finished_trials(self.study)
            ]
        )

    def job_of(self, number: int) -> Job:
        """The configuration of a finished trial, as one run without folds."""
        return self._job(next(trial for trial in finished_trials(self.study) if trial.number == number))

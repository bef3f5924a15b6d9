"""What is on disk of a sweep: its runs, whatever state they are in.

A sweep can be read at any time, also while it runs and after it was killed. What cannot be understood is
said in `SweepResults.problems` and left out; nothing here raises because of what a folder holds.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mammo.config.renamed import current_key, current_override
from mammo.config.tree import identity_tree
from mammo.runs.folders import PLAN_FILE, is_run_folder, subfolders
from mammo.runs.json_access import mapping, number, number_or_none
from mammo.runs.layout import LATER_FOLDERS
from mammo.runs.reading import RunReader
from mammo.runs.stored import Malformed
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError
from mammo.support.plain_text import without_folders
from mammo.sweeps.stored import read_plan

# Below it lies the best configuration of a search, where `--config-dir` finds it.
BEST_FOLDER = "experiment"
# What other things than runs lie in the folder of a sweep.
OTHER_FOLDERS = (BEST_FOLDER, *LATER_FOLDERS)
COMPLETED, FAILED, INTERRUPTED = "completed", "failed", "interrupted"
# A status of our own for what says "running", or nothing: the process may have been killed.
UNFINISHED, NOT_STARTED = "unfinished", "not started"
STATUSES = (COMPLETED, FAILED, INTERRUPTED, UNFINISHED, NOT_STARTED)


@dataclasses.dataclass(frozen=True)
class RunError:
    """Why a run failed, in a line or a few."""

    type: str
    message: str


@dataclasses.dataclass(frozen=True)
class Trial:
    """A finished trial of a search: its value (a mean where each trial trains folds), why it failed, its runs."""

    number: int
    params: dict[str, Any]
    value: float | None
    failed: str | None
    runs: tuple[str, ...]


# Which patients a run has left out of training: the seed of the division, and the fold.
Split = tuple[int | None, int | None]


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a run has taken: minutes in all, images a second while training, parameters; None where it is not known."""

    minutes: float | None = None
    images_per_second: float | None = None
    parameters: float | None = None
    trainable_parameters: float | None = None


@dataclasses.dataclass(frozen=True)
class RunResult:
    """One run of a sweep.

    `identity` is what can change its result, with dotted keys, or None where its configuration is not known
    (it was not started, or is one of another version). `metrics` are of the best epoch and not None for a
    completed run. `group_by` is what never spans two parts of the split: patient, exam or image. `is_planned` is
    whether the sweep's last command has this job.
    """

    name: str
    folder: Path
    status: str
    seed: int | None = None
    fold: int | None = None
    overrides: tuple[str, ...] = ()
    objective: float | None = None
    metrics: dict[str, Any] | None = None
    last_metrics: dict[str, Any] | None = None
    error: RunError | None = None
    identity: dict[str, Any] | None = None
    data_fingerprint: str | None = None
    group_by: str = "patient"
    has_random_weights: bool = False
    has_collapsed: bool = False
    is_planned: bool = True
    cost: Cost = dataclasses.field(default_factory=Cost)
    split_seed: int | None = None

    @property
    def select(self) -> str:
        """Which of its epochs is evaluated: best or last."""
        return str((self.identity or {}).get("train.select", "best"))

    @property
    def inner_fold(self) -> int | None:
        """The inner fold that its epoch was chosen on; None where there is none."""
        return (self.identity or {}).get("data.inner_fold") if self.has_outer_fold else None

    @property
    def has_outer_fold(self) -> bool:
        """Whether its epoch was chosen inside the patients that the fold has left, which is then its test part."""
        return (self.identity or {}).get("data.inner_folds") is not None

    @property
    def split(self) -> Split:
        """The split that it was trained on."""
        return self.split_seed, self.fold

    @property
    def is_completed(self) -> bool:
        """Whether there are results."""
        return self.status == COMPLETED

    @property
    def typed(self) -> dict[str, str]:
        """Key to value of its overrides."""
        pairs = (current_override(override).lstrip("+~").partition("=") for override in self.overrides)
        return {key: value for key, _, value in pairs}


@dataclasses.dataclass(frozen=True)
class Published:
    """Results reported elsewhere for configurations like `where`: metric to (mean, standard deviation or None)."""

    where: dict[str, Any]
    metrics: dict[str, tuple[float, float | None]]


@dataclasses.dataclass(frozen=True)
class SweepResults:
    """A sweep as it is on disk: runs in the order of its plan, then of their names.

    `search` is what the plan says about a hyperparameter search, or None; `trials` are its finished ones; `reference`
    names the configuration that the others are compared with. Without
    a plan it is not known whether all runs of the sweep are here.
    """

    folder: Path
    name: str
    runs: tuple[RunResult, ...]
    monitor: str
    search: dict[str, Any] | None
    trials: tuple[Trial, ...]
    published: tuple[Published, ...]
    problems: tuple[str, ...]
    has_plan: bool
    reference: str | None = None

    @property
    def jobs(self) -> list[RunResult]:
        """The runs that belong to the last command."""
        return [run for run in self.runs if run.is_planned]

    @property
    def counts(self) -> dict[str, int]:
        """How many jobs have each status."""
        found = Counter(run.status for run in self.jobs)
        return {status: found[status] for status in STATUSES}

    @property
    def is_complete(self) -> bool:
        """Whether every job is finished; without a plan, every run that is here."""
        return bool(self.jobs) and all(run.is_completed for run in self.jobs) and not self.trials_to_come

    @property
    def trials_to_come(self) -> int:
        """How many trials of a search are not finished."""
        return max(0, (self.search or {}).get("trials", 0) - len(self.trials))

    @property
    def is_search(self) -> bool:
        """Whether the runs are trials of a search."""
        return self.search is not None


def read_sweep(folder: Path) -> SweepResults:
    """Everything that is known of a sweep."""
    problems: list[str] = []
    plan = _plan_or_report(folder, problems)
    jobs = {job["run"]: tuple(job.get("overrides", ())) for job in plan.get("jobs", ())}
    on_disk = {path.name: path for path in subfolders(folder)}
    names = [*jobs, *(name for name in on_disk if name not in jobs)]
    runs = []
    for name in names:
        path = folder / name
        if name in on_disk and is_run_folder(path):
            run = read_run(path, problems)
            overrides = run.overrides or jobs.get(name, ())
            runs.append(dataclasses.replace(run, overrides=overrides, is_planned=not plan or name in jobs))
        elif name in jobs:
            typed = RunResult(name, path, NOT_STARTED, overrides=jobs[name])
            runs.append(dataclasses.replace(typed, seed=_typed_int(typed, "seed"), fold=_typed_int(typed, "data.fold")))
        elif name not in OTHER_FOLDERS:
            problems.append(f"{name}/ is not a run: neither config.yaml nor summary.json is in it")
    runs = without_repeated(runs, problems)
    configured = (run.identity["train.monitor"] for run in runs if run.identity)
    search = plan.get("search")
    return SweepResults(
        folder=folder,
        name=str(plan.get("name") or folder.resolve().name),
        runs=tuple(runs),
        monitor=str(plan.get("monitor") or next(configured, "auto")),
        search=search,
        trials=tuple(_trials(search)),
        published=tuple(_published(plan.get("published"), problems)),
        problems=tuple(problems),
        has_plan=bool(plan),
        reference=plan.get("reference"),
    )


def _plan_or_report(folder: Path, problems: list[str]) -> dict[str, Any]:
    """The plan; empty where there is none, with a problem noted where it cannot be read."""
    try:
        return read_plan(folder)
    except FileNotFoundError:
        return {}
    except Malformed as error:
        problems.append(f"{PLAN_FILE} is not as a sweep leaves it, and not used: {error}")
    except (OSError, ValueError):
        problems.append(f"{PLAN_FILE} cannot be read")
    return {}


def _typed_int(run: RunResult, key: str) -> int | None:
    text = run.typed.get(key, "")
    return int(text) if text.isdecimal() else None


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def read_run(folder: Path, problems: list[str]) -> RunResult:
    """One run, whatever is there of it; what cannot be read is noted in `problems`."""
    files = RunReader(folder)
    summary = files.summary or {}
    identity = _identity(files, problems)
    problems += [f"{folder.name}/{name} cannot be read: {reason}" for name, reason in files.damaged.items()]
    known, data, weights = identity or {}, summary.get("data", {}), summary.get("model", {}).get("weights", {})
    return RunResult(
        name=folder.name,
        folder=folder,
        status=files.status if files.status in (COMPLETED, FAILED, INTERRUPTED) else UNFINISHED,
        seed=known.get("seed", summary.get("seed")),
        fold=known.get("data.fold", summary.get("fold")),
        overrides=tuple(summary.get("overrides", ())),
        objective=number_or_none(summary.get("objective")),
        metrics=_metrics(files, known),
        last_metrics=summary.get("last_metrics"),
        error=_error(files.error or {}) if files.status == FAILED else None,
        identity=identity,
        data_fingerprint=data.get("fingerprint"),
        group_by=data.get("group_by", "patient"),
        has_random_weights=weights.get("source") == "random",
        has_collapsed=(summary.get("collapse") or {}).get("detected") is True,
        cost=_cost(summary),
        split_seed=known.get("data.split_seed"),
    )


def _metrics(files: RunReader, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a run is judged by: its validation; its outer fold where the epoch was chosen inside."""
    if identity.get("data.inner_folds") is None:
        return (files.summary or {}).get("metrics")
    return None if files.test is None else mapping(files.test[1], "metrics")


def _cost(summary: Mapping[str, Any]) -> Cost:
    seconds = number(summary, "seconds")
    return Cost(
        minutes=None if seconds is None else seconds / 60,
        images_per_second=number(summary, "throughput", "train_images_per_second"),
        parameters=number(summary, "model", "parameters_total"),
        trainable_parameters=number(summary, "model", "parameters_trainable"),
    )


def _identity(files: RunReader, problems: list[str]) -> dict[str, Any] | None:
    try:
        config = files.checked_config()
    except ConfigError as error:
        problems.append(f"{files.folder.name}/config.yaml does not fit this version: {str(error).splitlines()[0]}")
        return None
    if config is None and not files.damaged.get("config.yaml"):
        problems.append(f"{files.folder.name}/config.yaml is missing: it is not known which configuration this is")
    return None if config is None else flatten(identity_tree(config))


def _error(content: Mapping[str, Any]) -> RunError:
    message = without_folders(content.get("message", "")).strip()
    return RunError(content.get("type") or "Error", message or "the reason was not recorded")


def without_repeated(runs: list[RunResult], problems: list[str]) -> list[RunResult]:
    """Runs whose configurations differ: a copy of a folder must not count twice."""
    kept: dict[str, RunResult] = {}
    for run in sorted(runs, key=lambda run: not run.is_completed):
        key = run.name if run.identity is None else json.dumps(run.identity, sort_keys=True)
        if key in kept:
            problems.append(f"{run.name} is not counted: it has the same configuration as {kept[key].name}")
        else:
            kept[key] = run
    names = {run.name for run in kept.values()}
    return [run for run in runs if run.name in names]


def _trials(search: Mapping[str, Any] | None) -> Iterator[Trial]:
    for entry in (search or {}).get("finished", ()):
        yield Trial(
            number=entry["number"],
            params={current_key(key): value for key, value in entry.get("params", {}).items()},
            value=number_or_none(entry.get("value")),
            failed=entry.get("failed"),
            runs=tuple(entry.get("runs", ())),
        )


def _published(entries: list[dict[str, Any]] | None, problems: list[str]) -> list[Published]:
    found = []
    for entry in entries or ():
        metrics = {name: _mean_and_std(value) for name, value in _mapping(entry.get("metrics")).items()}
        where = _mapping(entry.get("where"))
        known = {name: value for name, value in metrics.items() if value is not None}
        if not where or not known or len(known) < len(metrics):
            problems.append(f"{PLAN_FILE} has published values that are not understood")
        if where and known:
            found.append(Published({current_key(key): value for key, value in where.items()}, known))
    return found


def _mean_and_std(value: Any) -> tuple[float, float | None] | None:
    mean, std = value if isinstance(value, list) and len(value) == 2 else (value, None)
    number, spread = number_or_none(mean), number_or_none(std)
    return None if number is None else (number, spread)

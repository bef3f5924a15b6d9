"""What a sweep is going to run, all of it known and checked before the first job.

A sweep is a base configuration and keys that vary. Its folder is named after both, without the values of
these keys: a command with further seeds goes on in the same folder. Each job is a run, named as a single
run is, so what is finished is recognised.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig

from mammo.config.composition import checked_config
from mammo.config.renamed import current_override, original_key, original_override
from mammo.config.tree import Config, config_tree, identity_tree, run_name
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError
from mammo.support.files import safe_name

ALL_FOLDS = "all"
# Groups and sections that say how and where to run, not what.
_NOT_WHAT = ("hydra", "launcher", "sweep", "hpo", "run", "tracker")
MAX_KEYS_IN_NAME = 3


@dataclasses.dataclass(frozen=True)
class Job:
    """One run of a sweep: what is swept in it, everything that Hydra composes it from, and its checked form."""

    name: str
    swept: tuple[str, ...]
    overrides: tuple[str, ...]
    config: Config

    @property
    def run_id(self) -> str:
        """The id of the run, with which the name ends."""
        return self.name.rpartition("-")[2]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """The overrides of a command, those that vary apart."""

    fixed: tuple[Override, ...]
    varied: tuple[Override, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys that vary, in the order of the command."""
        return tuple(key_of(override) for override in self.varied)


def key_of(override: Override) -> str:
    """The key of an override, whether it is added, changed or deleted."""
    return override.get_key_element().lstrip("+~")


def parse_arguments(
    arguments: Iterable[str],
    num_folds: int | None,
    config_loader: ConfigLoader | None = None,
    inner_folds: int | None = None,
) -> Arguments:
    """The overrides of a command; `data.fold=all` becomes a sweep over all folds, a later override wins.

    `config_loader` knows the choices of groups, for glob(*). Raises ConfigError for `data.fold=all` without a
    number of folds.
    """
    by_key: dict[str, Override] = {}
    parser = OverridesParser.create(config_loader)
    for override in parser.parse_overrides(list(arguments)):
        key = key_of(override)
        if override.is_delete():
            if key in by_key and by_key[key].is_sweep_override():
                del by_key[key]  # a range that is not wanted
                continue
            key = f"~{key}"
        known = {"data.fold": ("data.num_folds", num_folds), "data.inner_fold": ("data.inner_folds", inner_folds)}
        if key in known and override.value() == ALL_FOLDS:
            of_how_many, number = known[key]
            if not isinstance(number, int):
                raise ConfigError(f"{key}=all: of how many?", to_do=f"set one number: {of_how_many}=3")
            override = parser.parse_override(f"{key}={','.join(map(str, range(number)))}")
        by_key.pop(key, None)
        by_key[key] = override
    # The URL of a database may hold a password, and what a job is made from is written into its folder.
    by_key.pop("hpo.storage", None)
    found = by_key.values()
    return Arguments(
        fixed=tuple(override for override in found if not override.is_sweep_override()),
        varied=tuple(override for override in found if override.is_sweep_override()),
    )


def combinations(arguments: Arguments) -> list[tuple[str, ...]]:
    """Every combination of the values that vary, as overrides; the last key varies fastest.

    Raises ConfigError for a range, which only a search can take values from.
    """
    for override in arguments.varied:
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise ConfigError(
                f"{override.input_line}: a range without a search",
                "values with commas, or a search",
                "a search is started with hpo=density, or with hydra/sweeper/sampler=tpe for ranges of your own",
            )
    (batch,) = BasicSweeper.split_arguments(list(arguments.varied), None)
    return [tuple(combination) for combination in batch]


def make_job(compose: Callable[[list[str]], DictConfig], fixed: Sequence[Override], swept: Sequence[str]) -> Job:
    """A job, composed and checked; raises ConfigError. What is swept may go by names of an earlier version."""
    swept = [current_override(override) for override in swept]
    overrides = (*(str(override.input_line) for override in fixed), *swept)
    config = checked_config(compose(list(overrides)))
    return Job(run_name(config), tuple(swept), overrides, config)


def require_distinct(jobs: Sequence[Job]) -> None:
    """Raises ConfigError when two jobs are the same run."""
    first: dict[str, Job] = {}
    for job in jobs:
        other = first.setdefault(job.name, job)
        if other is not job:
            raise ConfigError(
                f"two jobs of the sweep are the same run: {_shown(other)} and {_shown(job)}",
                to_do="sweep over what changes a result, each value once; threads, device and paths do not",
            )


def _shown(job: Job) -> str:
    return " ".join(job.swept) or "the command without a sweep"


def sweep_name(arguments: Arguments, config: Config, what: str | None = None) -> str:
    """Name of the folder of a sweep: sweep.name, or what is fixed in words, what varies, and a hash of both.

    `config` is that of any job; `what` stands for the keys that vary where there are many (a search).
    """
    if config.sweep.name is not None:
        if not config.sweep.name.strip(". "):
            raise ConfigError(f"sweep.name={config.sweep.name!r} is no name for a folder")
        return safe_name(config.sweep.name)
    tree = config_tree(config)
    digest = _digest(arguments, config, in_search=what is not None)
    groups = [group for group in ("model", "strategy", "data") if group not in arguments.keys]
    words = [tree.get(group, {}).get("name") for group in groups]
    keys = [key.split(".")[-1] for key in arguments.keys]
    varied = what or "-".join(keys[:MAX_KEYS_IN_NAME] + (["more"] if len(keys) > MAX_KEYS_IN_NAME else []))
    return safe_name("-".join(map(str, filter(None, [*words, varied, digest]))))


def _digest(arguments: Arguments, config: Config, *, in_search: bool) -> str:
    fixed = sorted(_original_line(o) for o in _of_a_result(arguments, config))
    # In a search the ranges belong to the study, in a grid the values are those that were wanted so far.
    keys = sorted(map(original_key, arguments.keys))
    varied = [_original_line(o) for o in arguments.varied] if in_search else keys
    return hashlib.sha256("\n".join([*fixed, "varied:", *varied]).encode()).hexdigest()[:8]


def _of_a_result(arguments: Arguments, config: Config) -> list[Override]:
    """What is fixed and changes a result."""
    keys = list(flatten(identity_tree(config)))
    return [override for override in arguments.fixed if _changes_a_result(override, keys)]


def of_an_earlier_sweep(arguments: Arguments, job: Job, folder: Path) -> tuple[Arguments, str] | None:
    """The arguments as those of a sweep in `folder` that holds the job, and its name; None where there is none.

    One value of a key that varied there, `seed=1` after `seed=1,2,3`, is one of the values of that sweep.
    """
    candidates = [override for override in _of_a_result(arguments, job.config) if not override.is_delete()]
    for number in range(1, MAX_KEYS_IN_NAME + 1):
        for single in itertools.combinations(candidates, number):
            fixed = tuple(override for override in arguments.fixed if override not in single)
            there = Arguments(fixed, (*arguments.varied, *single))
            for sweep in folder.glob(f"*-{_digest(there, job.config, in_search=False)}"):
                if any(sweep.glob(f"*-{job.run_id}")):
                    return there, sweep.name
    return None


def _original_line(override: Override) -> str:
    """An override as it was typed, under the first name of its option: a rename gives no sweep another folder."""
    return original_override(str(override.input_line))


def _changes_a_result(override: Override, keys: Sequence[str]) -> bool:
    key = key_of(override)
    if key.split("/")[0].split(".")[0] in _NOT_WHAT:
        return key == "hpo.folds"
    if override.is_delete():
        return True
    return any(other == key or other.startswith(f"{key}.") for other in keys) or key in ("experiment", "debug")


def sweep_folder(config: DictConfig, name: str) -> Path:
    """The folder of a sweep: multirun/<name>, or an explicit hydra.sweep.dir."""
    explicit = any(str(line).startswith("hydra.sweep.dir=") for line in config.hydra.overrides.hydra)
    folder = Path(config.hydra.sweep.dir)
    return folder if explicit else folder / name

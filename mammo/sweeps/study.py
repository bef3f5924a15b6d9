"""The study of a search: where it is kept, and that it goes on under the configuration that it was begun with.

Whoever can write a study wrote what is in it. It is data: parameters become options of a run, so they are taken by
the names and from the ranges of the search that asks, and what it cannot have proposed is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import OptunaError
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from mammo.config.renamed import original_key
from mammo.config.tree import Config, original_identity_tree
from mammo.evaluation.selection import ModelSelection
from mammo.runs.json_access import number_or_none
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError
from mammo.support.files import without_credentials

STUDY_FILE = "study.db"
# Attributes of a trial: why it failed, its run directories.
FAILED, RUNS = "failed", "runs"
# What Optuna, its samplers and its storage raise when a study holds other things than they have put there.
UNUSABLE = (SQLAlchemyError, OptunaError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError)
_SETUP = "setup"
OTHER_NAME = "give this search a name of its own: sweep.name=NAME"
# Names of parameters that somebody else has made up are quoted no longer than this.
_QUOTED_CHARACTERS = 60


def study_file_url(folder: Path) -> str:
    """The URL of the study in the folder of a sweep.

    Raises ConfigError for a folder that a URL cannot name, and for a link: SQLite would make or change another file.
    """
    if "?" in str(folder):
        raise ConfigError(f"{folder}: SQLite cannot open files below a folder with '?' in its name")
    if (folder / STUDY_FILE).is_symlink():
        raise ConfigError(
            f"{STUDY_FILE} in {folder.name} is a link to another file",
            "the study itself",
            "remove the link, or name the study on the command line: hpo.storage=sqlite:///FILE",
        )
    return f"sqlite:///{folder / STUDY_FILE}"


def open_study(storage: str, name: str, space: Mapping[str, BaseDistribution], base: Config) -> optuna.Study:
    """The study with this name, a new one where there is none.

    `base` is the configuration that the parameters of `space` are put into. Raises ConfigError when the storage
    cannot be opened, when the study was begun with another base, other ranges, folds or monitor, and for results in
    it that this search cannot have.
    """
    direction = ModelSelection(base.train.monitor).direction
    if storage.startswith("redis"):
        raise ConfigError(
            "hpo.storage: Optuna keeps studies in Redis as pickles, and reading a pickle runs what its writer wants",
            "an SQL database, such as sqlite:///study.db or postgresql://HOST/DATABASE",
        )
    try:
        known = {summary.study_name for summary in optuna.get_all_study_summaries(storage)}
        study = (
            optuna.load_study(study_name=name, storage=storage)
            if name in known
            else optuna.create_study(study_name=name, storage=storage, direction=direction)
        )
        directions = [found.name.lower() for found in study.directions]
        begun_with = study.user_attrs.get(_SETUP)
        study.get_trials(deepcopy=False)
    except Exception as error:  # whatever the driver of a database raises
        raise ConfigError(
            f"hpo.storage={without_credentials(storage)}: the study cannot be opened: "
            f"{without_credentials(str(error).splitlines()[0])}",
            "a URL that SQLAlchemy takes, such as sqlite:///study.db or postgresql://HOST/DATABASE",
            "is the server running, and its driver installed? For PostgreSQL: pip install -e '.[postgresql]'",
        ) from error
    setup = _setup_of(space, base)
    if begun_with is None:
        study.set_user_attr(_SETUP, setup)
    if begun_with not in (None, setup) or directions != [direction]:
        raise ConfigError(
            f"the search {name} was begun with another configuration, other ranges, other folds or another monitor",
            "the options that it was begun with; only hpo.trials and what cannot change a result may differ",
            OTHER_NAME,
        )
    require_own_results(trials_of(study), space)
    return study


@contextmanager
def reading_study() -> Iterator[None]:
    """Raises ConfigError where a study holds other things than Optuna has put there, whatever that made it raise.

    A storage that is gone while the search runs looks the same from here.
    """
    try:
        yield
    except UNUSABLE as error:
        raise ConfigError(
            f"the study cannot be read ({type(error).__name__}): it is damaged, or its storage is gone",
            "what Optuna has written, in a storage that answers",
            OTHER_NAME,
        ) from error


def trials_of(study: optuna.Study) -> list[FrozenTrial]:
    """All trials, by number; raises ConfigError for a study that cannot be read."""
    with reading_study():
        trials = study.get_trials(deepcopy=False)
        if [trial.number for trial in trials] != list(range(len(trials))):
            raise ValueError("trials are numbered from 0")
        return trials


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have been told, by number; raises ConfigError as `trials_of` does."""
    return [trial for trial in trials_of(study) if trial.state.is_finished()]


def require_own_results(trials: list[FrozenTrial], space: Mapping[str, BaseDistribution]) -> None:
    """Raises ConfigError when the next proposals would be drawn from results that this search cannot have."""
    for trial in trials:
        if trial.state == TrialState.COMPLETE:
            lacking = sorted(set(space) - set(parameters_of(trial, space)))
            if len(trial.values or []) != 1 or number_or_none(trial.values[0]) is None:
                lacking.append("value")
            if lacking:
                raise ConfigError(
                    f"trial {trial.number} of the study is finished, and has no {', '.join(lacking)}", to_do=OTHER_NAME
                )


def parameters_of(trial: FrozenTrial, space: Mapping[str, BaseDistribution]) -> dict[str, Any]:
    """The parameters of a stored trial, as `space` names and describes them.

    Raises ConfigError for one that a search of this space cannot have proposed.
    """
    parameters = {}
    for name, value in trial.params.items():
        if name not in space:
            raise ConfigError(
                f"trial {trial.number} of the study has {name[:_QUOTED_CHARACTERS]!r}, which is not searched",
                ", ".join(space),
                OTHER_NAME,
            )
        own = space[name]
        try:
            stored = own.to_internal_repr(value)
            is_own = trial.distributions[name] == own and own._contains(stored)
        except (TypeError, ValueError):
            is_own = False
        if not is_own:
            raise ConfigError(
                f"trial {trial.number} of the study has a {name} that this search cannot have proposed",
                repr(own),
                OTHER_NAME,
            )
        # A choice is that of the command, which only compares equal to the stored one.
        parameters[name] = own.to_external_repr(stored)
    return parameters


def _setup_of(space: Mapping[str, BaseDistribution], base: Config) -> str:
    """A hash of everything but the parameters that decides what a trial is worth."""
    ranges = {original_key(key): repr(distribution) for key, distribution in space.items()}
    groups = {key for key in ranges if "." not in key}
    fixed = {
        key: value
        for key, value in flatten(original_identity_tree(base)).items()
        if key not in ranges and key.split(".")[0] not in groups
    }
    content = [fixed, ranges, base.hpo.folds, base.hpo.seed]
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

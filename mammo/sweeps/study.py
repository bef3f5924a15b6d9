"""The study of a search: where it is kept, and that it goes on under the configuration that it was begun with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial

from mammo.config import Config, original_identity_tree
from mammo.errors import ConfigError
from mammo.files import without_credentials
from mammo.renamed import original_key
from mammo.selection import Criterion
from mammo.trees import flatten

STUDY_FILE = "study.db"
_SETUP = "setup"


def study_file_url(folder: Path) -> str:
    """The URL of the study in the folder of a sweep; raises ConfigError for a folder that a URL cannot name."""
    if "?" in str(folder):
        raise ConfigError(f"{folder}: SQLite cannot open files below a folder with '?' in its name")
    return f"sqlite:///{folder / STUDY_FILE}"


def open_study(storage: str, name: str, space: Mapping[str, BaseDistribution], base: Config) -> optuna.Study:
    """The study with this name, a new one where there is none.

    `base` is the configuration that the parameters of `space` are put into. Raises ConfigError when the storage
    cannot be opened, or when the study was begun with another base, other ranges, folds or monitor.
    """
    direction = Criterion(base.train.monitor).direction
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
    except Exception as error:  # whatever the driver of a database raises
        raise ConfigError(
            f"hpo.storage={without_credentials(storage)}: the study cannot be opened: "
            f"{without_credentials(str(error).splitlines()[0])}",
            "a URL that SQLAlchemy takes, such as sqlite:///study.db or postgresql://HOST/DATABASE",
            "is the server running, and its driver installed? For PostgreSQL: pip install -e '.[postgresql]'",
        ) from error
    setup = _setup_of(space, base)
    begun_with = study.user_attrs.get(_SETUP)
    if begun_with is None:
        study.set_user_attr(_SETUP, setup)
    elif begun_with != setup:
        raise ConfigError(
            f"the search {name} was begun with another configuration, other ranges, other folds or another monitor",
            "the options that it was begun with; only hpo.trials and what cannot change a result may differ",
            "give this search a name of its own: sweep.name=NAME",
        )
    return study


def finished_trials(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that have been told, by number."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state.is_finished()]


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

"""What a search leaves: three figures, and the best configuration as an experiment that runs as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import optuna
import yaml
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mammo.config import Config, config_tree
from mammo.outputs import Outputs
from mammo.schema import guarded_keys
from mammo.sweeps.findings import BestTrial, best_trial
from mammo.sweeps.plan import Job
from mammo.sweeps.results import BEST_FOLDER, read_sweep
from mammo.sweeps.search_figures import FAILED, FIGURES, plot_search
from mammo.sweeps.study import finished_trials

# What describes the place and the way of running, not the configuration that was found.
FILE = "best_config.yaml"
_NOT_FOUND = ("run", "sweep", "hpo", "tracker", "device", "cache_dir")


def write_findings(
    folder: Path, study: optuna.Study, best: Job, choices: Mapping[str, str], objective_name: str
) -> BestTrial | None:
    """Write the figures, and `best_config.yaml`, which is also below `experiment/` for `--config-dir`.

    `choices` are the groups and choices that the best configuration is composed from. Returns what has to be said of
    the best trial, as the plan of the sweep and its runs tell.
    """
    require_free(folder)
    plot_search(study, folder, objective_name)
    known = best_trial(read_sweep(folder))
    title = folder.name
    if known is not None:
        what = f"trial {known.trial.number} of {folder.name}: {known.trial.value:.4f}."
        title = " ".join([what, *known.remarks(objective_name)])
    text = best_config(best, choices, title.removesuffix("."))
    for place in _places(folder):
        place.write_text(FILE, text)
    return known


def best_of(study: optuna.Study) -> FrozenTrial | None:
    """The best trial that has worked, of equal ones the first; None where none has."""
    worked = [t for t in finished_trials(study) if t.state == TrialState.COMPLETE and FAILED not in t.user_attrs]
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    return max(worked, key=lambda trial: (sign * (trial.value or 0.0), -trial.number), default=None)


def require_free(folder: Path) -> None:
    """Raises OutputError where something else has the name of what a search leaves in its folder."""
    for place in _places(folder):
        place.require_free([FILE])
    Outputs(folder, "sweep").require_free(FIGURES)


def _places(folder: Path) -> tuple[Outputs, Outputs]:
    return Outputs(folder, "sweep"), Outputs(folder / BEST_FOLDER, "sweep", inside=folder)


def best_config(best: Job, choices: Mapping[str, str], title: str) -> str:
    """An experiment file that composes to the configuration of a job, but for what only a command line may say."""
    config = dataclasses.replace(best.config, data=dataclasses.replace(best.config.data, num_folds=None, fold=None))
    values = {key: value for key, value in config_tree(config).items() if key not in _NOT_FOUND}
    for key in guarded_keys(Config):
        section, _, name = key.partition(".")
        values.get(section, {}).pop(name, None)
    overrides = [{f"override /{group}": choice} for group, choice in choices.items() if group in values]
    head = f"# @package _global_\n# {title}\n# python -m mammo.train --config-dir FOLDER experiment=best_config\n"
    return head + yaml.safe_dump({"defaults": [*overrides, "_self_"], **values}, sort_keys=False, allow_unicode=True)

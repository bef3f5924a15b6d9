"""What a search leaves: three figures, and the best configuration as an experiment that runs as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import optuna
import yaml

from mammo.config.tree import Config, config_tree
from mammo.support.outputs import Outputs
from mammo.support.schema import guarded_keys
from mammo.sweeps.findings import BestTrial
from mammo.sweeps.plan import Job
from mammo.sweeps.reading import BEST_FOLDER
from mammo.sweeps.search_figures import FIGURES, plot_search

# What describes the place and the way of running, not the configuration that was found.
FILE = "best_config.yaml"
_NOT_FOUND = ("run", "sweep", "hpo", "tracker", "device", "cache_dir")


def write_findings(
    folder: Path, study: optuna.Study, best: BestTrial, job: Job, choices: Mapping[str, str], objective_name: str
) -> None:
    """Write the figures, and `best_config.yaml`, which is also below `experiment/` for `--config-dir`.

    `job` is the configuration of the best trial, `choices` are the groups and choices that it is composed from.
    """
    require_free(folder)
    plot_search(study, folder, objective_name, best)
    title = " ".join(
        [f"trial {best.trial.number} of {folder.name}: {best.trial.value:.4f}.", *best.remarks(objective_name)]
    )
    text = best_config(job, choices, title.removesuffix("."))
    for place in _places(folder):
        place.write_text(FILE, text)


def require_free(folder: Path) -> None:
    """Raises OutputError where something else has the name of what a search leaves in its folder."""
    for place in _places(folder):
        place.require_free([FILE])
    Outputs(folder, "sweep").require_free(FIGURES)


def _places(folder: Path) -> tuple[Outputs, Outputs]:
    return Outputs(folder, "sweep"), Outputs(folder / BEST_FOLDER, "sweep", inside=folder)


def best_config(best: Job, choices: Mapping[str, str], title: str) -> str:
    """An experiment file that composes to the configuration of a job, but for what only a command line may say."""
    data = best.config.data
    # A fold that was set aside from the search is so for what it has found.
    data = (
        dataclasses.replace(data, inner_fold=0)
        if data.inner_folds
        else dataclasses.replace(data, num_folds=None, fold=None)
    )
    config = dataclasses.replace(best.config, data=data)
    values = {key: value for key, value in config_tree(config).items() if key not in _NOT_FOUND}
    for key in guarded_keys(Config):
        section, _, name = key.partition(".")
        values.get(section, {}).pop(name, None)
    overrides = [{f"override /{group}": choice} for group, choice in choices.items() if group in values]
    head = f"# @package _global_\n# {title}\n# python -m mammo.train --config-dir FOLDER experiment=best_config\n"
    return head + yaml.safe_dump({"defaults": [*overrides, "_self_"], **values}, sort_keys=False, allow_unicode=True)

"""What a search leaves: three figures, and the best configuration as an experiment that runs as it is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import optuna
import yaml

from mammo.config import Config, config_tree
from mammo.files import write_text
from mammo.schema import guarded_keys
from mammo.sweeps.plan import Job
from mammo.sweeps.results import BEST_FOLDER
from mammo.sweeps.search_figures import plot_search

# What describes the place and the way of running, not the configuration that was found.
_NOT_FOUND = ("run", "sweep", "hpo", "tracker", "device", "cache_dir")


def write_findings(
    folder: Path, study: optuna.Study, best: Job, choices: Mapping[str, str], objective_name: str
) -> None:
    """Write the figures, and `best_config.yaml`, which is also below `experiment/` for `--config-dir`.

    `choices` are the groups and choices that the best configuration is composed from.
    """
    plot_search(study, folder, objective_name)
    text = best_config(best, choices, f"trial {study.best_trial.number} of {folder.name}: {study.best_value:.4f}")
    write_text(folder / "best_config.yaml", text)
    write_text(folder / BEST_FOLDER / "best_config.yaml", text)


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

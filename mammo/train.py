"""Train one run.

    python -m mammo.train model=efficientnetb0 strategy=frozen_last_block
    python -m mammo.train data=mias data.root=DIR model=efficientnet_lite0 train.epochs=10
    python -m mammo.train --help

The same command again says that the run is finished, or goes on where it stopped.
"""

from __future__ import annotations

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from mammo.cli.entry import end_with, run_command
from mammo.config.composition import TRAIN, checked_config
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.own_files import GROUP
from mammo.config.untrusted import own_files
from mammo.runs.directory import HydraFiles
from mammo.support.errors import ConfigError
from mammo.support.files import without_credentials
from mammo.support.interruption import listen
from mammo.sweeps.machine import jobs_at_once


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="train")
def job(tree: DictConfig) -> float:
    """One job of Hydra: check, then run; returns the objective for a search."""
    config = checked_config(tree)
    context = HydraConfig.get()
    for group in ("hpo", "launcher"):
        if context.mode != RunMode.MULTIRUN and context.runtime.choices.get(group):
            choice = context.runtime.choices[group]
            end_with(ConfigError(f"{group}={choice} has no effect on a single run", to_do="add -m"))
    if context.mode != RunMode.MULTIRUN and config.hpo.space:
        end_with(ConfigError("hpo.space has no effect on a single run", to_do="add -m to search, or hpo.space=null"))
    files = HydraFiles(
        config=without_credentials(OmegaConf.to_yaml(tree)),
        hydra=without_credentials(OmegaConf.to_yaml(OmegaConf.create({"hydra": context}))),
        overrides=[without_credentials(override) for override in context.overrides.task],
        studies={
            name: without_credentials(own.text)
            for name, own in own_files().items()
            if name == context.runtime.choices.get(GROUP)
        },
    )
    # torch takes seconds to import: a mistake in the configuration has been answered by now.
    from mammo.runs.failures import run_in_sweep
    from mammo.runs.training import run_training
    from mammo.support.hardware import Share

    if context.mode == RunMode.MULTIRUN:
        listen()  # a launcher may have started this process
        share = Share(context.job.num, jobs_at_once(context.launcher) or 1)
        return run_in_sweep(config, context.runtime.output_dir, files, share)
    try:
        return run_training(config, context.runtime.output_dir, files, Share())
    except Exception as error:
        # Ended here and not by Hydra, which would put its own message before ours.
        end_with(error)


if __name__ == "__main__":
    run_command(job, TRAIN)

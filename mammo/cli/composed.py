"""The dataset of a run that is composed as `mammo.train` composes it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from omegaconf import DictConfig

from mammo.checks.report import Section
from mammo.cli.entry import end_with, run_command
from mammo.config.composition import TRAIN, checked_config
from mammo.config.foreign import CONFIG_FOLDER
from mammo.support.errors import UserError

COMMAND = dataclasses.replace(TRAIN, program="mammo.doctor")


def check_composed(options: Sequence[str]) -> list[Section]:
    """Sections about the dataset that a run with these options would use.

    A mistake in the options ends the process as it ends `mammo.train`. Raises UserError for a sweep.
    """
    if {"-m", "--multirun"} & set(options):
        raise UserError("several runs are composed by -m", "the options of one run", "leave out -m")
    found: list[Section] = []

    @hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="train")
    def job(tree: DictConfig) -> None:
        try:
            config = checked_config(tree, COMMAND)
            # A mistake in the configuration has been answered before pandas and the decoders are imported.
            from mammo.checks.dataset import check_dataset
            from mammo.support.cache import user_cache_folder
            from mammo.support.progress import counting, start_logging

            # What is remarkable in a dataset is shown with the findings.
            start_logging("error")
            found.extend(check_dataset(config.data, user_cache_folder(config.cache_dir), counting))
        except Exception as error:  # ended here and not by Hydra, which would put its own message before ours
            end_with(error, COMMAND)

    # Nothing is trained, so no folder is made.
    sys.argv = ["mammo.doctor", *options, "hydra.run.dir=."]
    run_command(job, COMMAND)
    if not found:  # Hydra has answered by itself: --cfg job
        sys.exit(0)
    return found


def options_for_folder(folder: Path, options: Sequence[str]) -> list[str]:
    """The options that find out by themselves what the data in a folder is, unless the others say it."""
    is_named = any(option.startswith("data=") for option in options)
    quoted = str(folder).replace("'", r"\'")
    return [*([] if is_named else ["data=auto"]), f"data.root='{quoted}'", *options]

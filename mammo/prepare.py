"""Decode the images of a dataset ahead of training.

    python -m mammo.prepare data=mias data.root=DIR
    python -m mammo.prepare data=archive data.root=DIR prepare.workers=8
    python -m mammo.prepare -m data=archive data.root=DIR prepare.shard=0,1,2,3
    python -m mammo.prepare weights model=resnet50
    python -m mammo.prepare --help

It takes the data options of `mammo.train` and the model, on which the size of the images may depend. The
same command again goes on where it stopped. With the word `weights` the published weights of the model are fetched
instead, for nodes that have no network but share the cache.
"""

from __future__ import annotations

import dataclasses
import logging
import sys
from contextlib import suppress

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig

from mammo.cli.entry import end_with, run_command
from mammo.config.composition import checked_config
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.prepare import PREPARE, PrepareConfig
from mammo.data.data_options import DEFAULT_IMAGE_SIZE_PX

# Not __name__, which is __main__ here.
log = logging.getLogger("mammo.prepare")


@hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name="prepare")
def job(tree: DictConfig) -> None:
    """One job of Hydra: check, then fill the store."""
    try:
        config = checked_config(tree, PREPARE)
        if config.prepare.weights:
            _fetch_weights(config)
            return
        # A mistake in the configuration has been answered before pandas and the decoders are imported.
        from mammo.data.preparation import check_preparation, prepare_dataset
        from mammo.support.cache import user_cache_folder
        from mammo.support.progress import counting, start_logging

        start_logging("info")
        done = prepare_dataset(config.data, config.prepare, user_cache_folder(config.cache_dir), counting)
        for line in done.lines():
            log.info("%s", line)
        check_preparation(done, config.data.max_bad_fraction)
    except Exception as error:
        # Ended here and not by Hydra, which would put its own message before ours.
        end_with(error, PREPARE)
    log.info("python -m mammo.train finds them, with the same options for data and model")


def _fetch_weights(config: PrepareConfig) -> None:
    """Put the published weights of the model into their cache; raises WeightsError where they cannot be had."""
    from mammo.models.build import build_model
    from mammo.models.strategy import HeadOnly
    from mammo.support.progress import start_logging

    start_logging("info")
    published = dataclasses.replace(config.model, weights="imagenet")
    built = build_model(published, HeadOnly(), 2, config.data.image_size or DEFAULT_IMAGE_SIZE_PX, 0)
    log.info("weights of %s: %s, here now", config.model.name, built.weights.source)


def with_weights(arguments: list[str]) -> list[str]:
    """The arguments, with the word `weights` as the option that it stands for."""
    return ["prepare.weights=true" if word == "weights" else word for word in arguments]


def with_num_shards(arguments: list[str]) -> list[str]:
    """The arguments, with prepare.num_shards added where `-m` starts all shards and it is not given.

    A job sees only its own shard: only here is it known how many there are.
    """
    if not {"-m", "--multirun"} & set(arguments):
        return arguments
    with suppress(HydraException):  # what cannot be parsed is Hydra's to report
        overrides = OverridesParser.create().parse_overrides([word for word in arguments if "=" in word])
        keys = [override.key_or_group for override in overrides]
        for override in overrides:
            if override.key_or_group == "prepare.shard" and override.is_sweep_override():
                shards = sorted(override.sweep_string_iterator())
                if "prepare.num_shards" not in keys and shards == sorted(map(str, range(len(shards)))):
                    return [*arguments, f"prepare.num_shards={len(shards)}"]
    return arguments


if __name__ == "__main__":
    sys.argv[1:] = with_num_shards(with_weights(sys.argv[1:]))
    run_command(job, PREPARE)

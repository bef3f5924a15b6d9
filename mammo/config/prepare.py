"""The configuration of `python -m mammo.prepare`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from mammo.config.check import build_checked, with_image_size
from mammo.config.command import Command
from mammo.config.rules import impossible_data, impossible_labels
from mammo.data.data_options import DataOptions, PrepareOptions
from mammo.models.model_options import ModelOptions
from mammo.support.option_registry import option, section
from mammo.support.schema import Problem


@dataclasses.dataclass(frozen=True)
class PrepareConfig:
    """One call of the command, completely described."""

    cache_dir: str | None = option(None, "stores and generated data; null: the user's cache folder", guarded=True)
    data: DataOptions = section(DataOptions)
    model: ModelOptions = section(ModelOptions)
    prepare: PrepareOptions = section(PrepareOptions)


def check(tree: Mapping[str, Any], where: Callable[[str], str] | None = None) -> PrepareConfig:
    """The configuration of a composed tree, see `mammo.config.check.check`."""
    config = build_checked(PrepareConfig, tree, _problems, where)
    return dataclasses.replace(config, data=with_image_size(config.data, config.model))


def _problems(config: PrepareConfig) -> list[Problem]:
    problems = [*impossible_data(config.data, config.model), *impossible_labels(config.data)]
    shard, num_shards = config.prepare.shard, config.prepare.num_shards
    if shard is not None and num_shards is None:
        to_do = "set prepare.num_shards, or start all of them at once: -m prepare.shard=0,1,2,3"
        problems.append(Problem("prepare.shard", f"{shard}, but of how many is not known", to_do))
    elif shard is not None and num_shards is not None and shard >= num_shards:
        problems.append(Problem("prepare.shard", f"{shard} of {num_shards}", f"0 to {num_shards - 1}"))
    elif shard is None and num_shards is not None:
        problems.append(Problem("prepare.num_shards", "has no effect without prepare.shard", "set both or neither"))
    return problems


PREPARE = Command(
    program="mammo.prepare",
    options=PrepareConfig,
    check=check,
    about="Decodes the images of a dataset once, so that training with the same data options starts at once.",
    groups=("data", "model"),
    examples=(
        ("Spread over several jobs:", "-m prepare.shard=0,1,2,3"),
        ("Fetch pretrained weights for nodes without a network:", "weights model=resnet50"),
    ),
)

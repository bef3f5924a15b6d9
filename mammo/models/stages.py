"""Where a published architecture is cut: its stages in order, its pooling, the width of its features.

A block, counted from the head by `strategy.blocks`, is one stage here: a residual stage of a ResNet,
an entry of `features` of an EfficientNet, a transformer block, a stage of Swin or ConvNeXt (the last
one with the final norm). Which function serves which network, its family says (`mammo.models.families`).
"""

from __future__ import annotations

import dataclasses
from typing import Any

from timm.models import group_parameters
from torch import Tensor, nn

from mammo.models.maps import CHANNELS_FIRST, MapLayout
from mammo.support.errors import ConfigError

# A published network: its attributes are known by its class, not by its type annotations.
Published = Any


@dataclasses.dataclass
class Parts:
    """Stages of a backbone in order and the pooling to features [N, num_features].

    `layout` says where the map is in what the stages return.
    """

    stages: list[nn.Module]
    pool: nn.Module
    num_features: int
    layout: MapLayout = CHANNELS_FIRST


class TokenPool(nn.Module):
    """Pool the tokens [N, T, F] of a transformer as timm's `global_pool` option says, then normalise."""

    def __init__(self, kind: str, num_prefix_tokens: int, norm: nn.Module) -> None:
        super().__init__()
        if kind not in ("token", "avg"):
            raise ConfigError(f"the transformer pools by {kind!r}", "token or avg", "choose another model.name")
        self.kind, self.num_prefix_tokens, self.norm = kind, num_prefix_tokens, norm

    def forward(self, tokens: Tensor) -> Tensor:
        """Features [N, F]."""
        pooled = tokens[:, 0] if self.kind == "token" else tokens[:, self.num_prefix_tokens :].mean(dim=1)
        return self.norm(pooled)


class TokenEmbedding(nn.Module):
    """The part of a timm vision transformer before its first block.

    The transformer itself is kept with its blocks and final norm taken out, so that its own code
    adds class tokens and positions.
    """

    def __init__(self, transformer: Published) -> None:
        super().__init__()
        for name in ("norm", "fc_norm", "head"):
            setattr(transformer, name, nn.Identity())
        transformer.blocks = nn.Sequential()
        self.transformer = transformer

    def forward(self, images: Tensor) -> Tensor:
        """Tokens [N, T, F] of images [N, 3, H, W]."""
        return self.transformer.forward_features(images)


class WholeBackbone(nn.Module):
    """A timm network of unknown anatomy as one stage: images to pooled features."""

    def __init__(self, model: Published) -> None:
        super().__init__()
        self.model = model

    def maps(self, images: Tensor) -> Tensor:
        """What is pooled of images [N, 3, H, W]: maps or tokens, as the network has them."""
        return self.model.forward_features(images)

    def pooled(self, maps: Tensor) -> Tensor:
        """Features [N, F] of maps; the pooling is the network's own."""
        return self.model.forward_head(maps, pre_logits=True)

    def layers(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer from the input on, as timm groups them; all in one where it does not."""
        if not hasattr(self.model, "group_matcher"):
            return [list(self.model.parameters())]
        parameters = dict(self.model.named_parameters())
        layers = group_parameters(self.model, self.model.group_matcher())
        return [[parameters[name] for name in layers[layer]] for layer in sorted(layers)]

    def forward(self, images: Tensor) -> Tensor:
        """Features [N, F] of images [N, 3, H, W]."""
        return self.pooled(self.maps(images))


def resnet_parts(model: Published) -> Parts:
    """Torchvision's and timm's ResNets: stem, layer1..layer4."""
    activation = model.act1 if hasattr(model, "act1") else model.relu
    stem = nn.Sequential(model.conv1, model.bn1, activation, model.maxpool)
    stages = [stem, model.layer1, model.layer2, model.layer3, model.layer4]
    return Parts(stages, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), model.fc.in_features)


def torchvision_efficientnet_parts(model: Published) -> Parts:
    """Torchvision's EfficientNets: the entries of `features`."""
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return Parts(list(model.features), pool, model.classifier[-1].in_features)


def timm_efficientnet_parts(model: Published) -> Parts:
    """timm's EfficientNets: stem, the entries of `blocks`, conv_head with its norm."""
    stem = nn.Sequential(model.conv_stem, model.bn1)
    top = nn.Sequential(model.conv_head, model.bn2)
    pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1))
    return Parts([stem, *model.blocks, top], pool, model.classifier.in_features)


def vision_transformer_parts(model: Published) -> Parts:
    """timm's ViT and DeiT: embedding, the transformer blocks, the last one with the final norm."""
    width = model.embed_dim
    *blocks, last = list(model.blocks)
    last_with_norm = nn.Sequential(last, model.norm)
    pool = TokenPool(model.global_pool, model.num_prefix_tokens, model.fc_norm)
    layout = MapLayout("tokens", model.num_prefix_tokens, is_pooled=pool.kind == "avg")
    return Parts([TokenEmbedding(model), *blocks, last_with_norm], pool, width, layout)


def swin_parts(model: Published) -> Parts:
    """timm's Swin transformers: patches, four stages, the last one with the final norm."""
    *layers, last = list(model.layers)
    stages = [model.patch_embed, *layers, nn.Sequential(last, model.norm)]
    return Parts(stages, model.head.global_pool, model.num_features, MapLayout("channels_last"))


def convnext_parts(model: Published) -> Parts:
    """timm's ConvNeXts: stem and four stages; the final norm comes after pooling and learns with the last stage."""
    *layers, last = list(model.stages)
    head = model.head
    pool = nn.Sequential(head.global_pool, head.norm, head.flatten, head.pre_logits)
    return Parts([model.stem, *layers, nn.Sequential(last, model.norm_pre)], pool, model.num_features)


def whole_parts(model: Published) -> Parts:
    """A timm network whose blocks are not known, as one single stage."""
    model.reset_classifier(0)
    width = getattr(model, "head_hidden_size", None) or model.num_features
    layout = MapLayout("channels_last" if getattr(model, "output_fmt", "") == "NHWC" else "channels_first")
    return Parts([WholeBackbone(model)], nn.Identity(), int(width), layout)

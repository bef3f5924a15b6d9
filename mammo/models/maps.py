"""Where the map of features is in what a stage of a network returns.

Convolutional networks return the map itself, Swin has its channels last, and transformers return tokens, with a class
token before those of the patches. A heat map needs rows and columns, whatever the network.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal

import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class MapLayout:
    """How the stages of one architecture hold their maps.

    `num_prefix_tokens` stand before the tokens of the patches and belong to no place in the image. `is_pooled` is
    False where the pooling reads one of those alone, so that no class depends on the last map.
    """

    kind: Literal["channels_first", "channels_last", "tokens"] = "channels_first"
    num_prefix_tokens: int = 0
    is_pooled: bool = True

    def map_of(self, output: Tensor) -> Tensor:
        """The map [N, C, H, W] in the output of a stage; raises ValueError for tokens that are no square."""
        if self.kind == "channels_first":
            return output
        if self.kind == "channels_last":
            return output.movedim(-1, 1)
        tokens = output[:, self.num_prefix_tokens :]
        side = math.isqrt(tokens.shape[1])
        if side**2 != tokens.shape[1]:
            raise ValueError(f"{tokens.shape[1]} tokens of patches are no square")
        return tokens.unflatten(1, (side, side)).movedim(-1, 1)

    def with_map(self, output: Tensor, maps: Tensor) -> Tensor:
        """The output of a stage with another map [N, C, H, W] in it."""
        if self.kind == "channels_first":
            return maps
        if self.kind == "channels_last":
            return maps.movedim(1, -1)
        return torch.cat([output[:, : self.num_prefix_tokens], maps.movedim(1, -1).flatten(1, 2)], dim=1)


CHANNELS_FIRST = MapLayout()

"""The one kind of network the engine sees: stages in order, pooling, a linear head, and a cut.

Stages before the cut are the frozen trunk: they run without gradients and stay in eval mode whatever
`train()` says, so that the running statistics of their BatchNorm layers never move. What comes after it is the tail.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from mammo.models.maps import CHANNELS_FIRST, MapLayout


@runtime_checkable
class HasLayers(Protocol):
    """A stage of several layers."""

    def layers(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer from the input on."""
        ...


class Tail(nn.Module):
    """What learns, from the output of the frozen trunk to the outputs of the network; its modules are the network's.

    `blocks` are the stages that learn with the pooling, none where only the head does.
    """

    def __init__(self, blocks: Sequence[nn.Module], dropout: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.blocks, self.dropout, self.head = nn.ModuleList(blocks), dropout, head
        self.only_head_learns = False

    def features(self, trunk_output: Tensor, sample_of: Tensor | None = None) -> Tensor:
        """Features [N, F] from the output of the trunk [M, ...], of samples of several images their mean.

        `sample_of` [M] says which sample each image belongs to; None where every image is a sample.
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.only_head_learns):
            for block in self.blocks:
                trunk_output = block(trunk_output)
        return trunk_output if sample_of is None else mean_of_samples(trunk_output, sample_of)

    def forward(self, trunk_output: Tensor, sample_of: Tensor | None = None) -> Tensor:
        """Outputs [N, num_outputs]; arguments as for `features`."""
        return self.head(self.dropout(self.features(trunk_output, sample_of)))


def mean_of_samples(features: Tensor, sample_of: Tensor) -> Tensor:
    """The mean [N, F] over the images of each sample, of features [M, F]; every sample 0..N-1 has an image."""
    counts = torch.bincount(sample_of)
    sums = features.new_zeros(len(counts), features.shape[1]).index_add(0, sample_of, features)
    return sums / counts.unsqueeze(1).to(features.dtype)


class Network(nn.Module):
    """A classifier of images [N, 3, H, W] (normalised) into outputs [N, num_outputs].

    `stages` are the blocks of the backbone in order; `pool` turns the last map into features [N, F];
    `head` is linear. The names of the parameters do not depend on where the cut is. `layout` says where the map is in
    what the stages return.
    """

    tail: Tail

    def __init__(
        self,
        stages: Sequence[nn.Module],
        pool: nn.Module,
        num_features: int,
        num_outputs: int,
        layout: MapLayout = CHANNELS_FIRST,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.pool = pool
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(num_features, num_outputs)
        self.layout = layout
        self.freeze_all_but(len(stages))

    def freeze_all_but(self, num_trained_stages: int) -> None:
        """Let the head and the last `num_trained_stages` stages learn and freeze the rest.

        Raises ValueError when the backbone has fewer stages.
        """
        if not 0 <= num_trained_stages <= len(self.stages):
            raise ValueError(f"{num_trained_stages} blocks asked for, the backbone has {len(self.stages)}")
        self.num_frozen_stages = len(self.stages) - num_trained_stages
        learning = list(self.stages)[self.num_frozen_stages :]
        # Not registered as a module of the network: each parameter has one name in its state dict.
        self.__dict__["tail"] = Tail([*learning, self.pool] if learning else [], self.dropout, self.head)
        self.requires_grad_(False)
        self.tail.requires_grad_(True)
        self.train(self.training)

    @property
    def trunk(self) -> list[nn.Module]:
        """What is frozen, in order: the first stages, or all with the pooling; empty when all learns."""
        frozen = list(self.stages)[: self.num_frozen_stages]
        return frozen if len(self.tail.blocks) else [*frozen, self.pool]

    def train(self, mode: bool = True) -> Network:
        """As in torch, except that frozen parts stay in eval mode."""
        super().train(mode)
        for module in [*self.stages, self.pool] if self.tail.only_head_learns else self.trunk:
            module.eval()
        return self

    def layers(self) -> list[tuple[str, list[nn.Parameter]]]:
        """Name and parameters of each layer, frozen or not, from the input to the head, which is the last.

        A layer is a stage; a stage that knows layers of its own, as timm's networks do, says which.
        """
        found: list[tuple[str, list[nn.Parameter]]] = []
        for i, stage in enumerate(self.stages):
            groups = stage.layers() if isinstance(stage, HasLayers) else [list(stage.parameters())]
            found += [(f"stages.{i}.{j}" if len(groups) > 1 else f"stages.{i}", of) for j, of in enumerate(groups)]
        return [*found, ("pool", list(self.pool.parameters())), ("head", list(self.head.parameters()))]

    def forward_trunk(self, images: Tensor) -> Tensor:
        """What the frozen trunk makes of normalised images (features [N, F] when only the head learns).

        Never tracked by autograd.
        """
        with torch.no_grad():
            for stage in self.trunk:
                images = stage(images)
        return images

    def forward(self, images: Tensor, sample_of: Tensor | None = None) -> Tensor:
        """Outputs [N, num_outputs] of normalised images [M, 3, H, W]; `sample_of` as in `Tail.features`."""
        return self.tail(self.forward_trunk(images), sample_of)

    def count_parameters(self) -> tuple[int, int]:
        """All parameters, and those that learn."""
        sizes = [(p.numel(), p.requires_grad) for p in self.parameters()]
        return sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns)

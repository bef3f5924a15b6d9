"""The one kind of network the engine sees: stages in order, pooling, a linear head, and a cut.

Stages before the cut are the frozen trunk: they run without gradients and stay in eval mode whatever
`train()` says, so that the running statistics of their BatchNorm layers never move.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from mammo.models.maps import CHANNELS_FIRST, MapLayout


class Network(nn.Module):
    """A classifier of images [N, 3, H, W] (normalised) into logits [N, K].

    `stages` are the blocks of the backbone in order; `pool` turns the last map into features [N, F];
    `head` is linear. The names of the parameters do not depend on where the cut is. `layout` says where the map is in
    what the stages return.
    """

    def __init__(
        self,
        stages: Sequence[nn.Module],
        pool: nn.Module,
        num_features: int,
        num_classes: int,
        layout: MapLayout = CHANNELS_FIRST,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(stages)
        self.pool = pool
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(num_features, num_classes)
        self.layout = layout
        self.num_frozen_stages = 0
        self.only_head_learns = False

    @property
    def trunk(self) -> list[nn.Module]:
        """What is frozen, in order: the first stages, or all with the pooling; empty when all learns."""
        frozen = list(self.stages)[: self.num_frozen_stages]
        return frozen if self.last_blocks else [*frozen, self.pool]

    @property
    def last_blocks(self) -> list[nn.Module]:
        """The stages that learn, the pooling with its norm (if any) included."""
        learning = list(self.stages)[self.num_frozen_stages :]
        return [*learning, self.pool] if learning else []

    def freeze_all_but(self, num_trained_stages: int) -> None:
        """Let the head and the last `num_trained_stages` stages learn and freeze the rest.

        Raises ValueError when the backbone has fewer stages.
        """
        if not 0 <= num_trained_stages <= len(self.stages):
            raise ValueError(f"{num_trained_stages} blocks asked for, the backbone has {len(self.stages)}")
        self.num_frozen_stages = len(self.stages) - num_trained_stages
        self.requires_grad_(False)
        for module in (*self.last_blocks, self.head):
            module.requires_grad_(True)
        self.train(self.training)

    def train(self, mode: bool = True) -> Network:
        """As in torch, except that frozen parts stay in eval mode."""
        super().train(mode)
        frozen = [*self.stages, self.pool] if self.only_head_learns else self.trunk
        for module in frozen:
            module.eval()
        return self

    def backbone_parameters(self) -> Iterable[nn.Parameter]:
        """The parameters of all stages and of the pooling, frozen or not."""
        yield from self.stages.parameters()
        yield from self.pool.parameters()

    def forward_trunk(self, images: Tensor) -> Tensor:
        """What the frozen trunk makes of normalised images (features [N, F] when only the head learns).

        Never tracked by autograd.
        """
        with torch.no_grad():
            for stage in self.trunk:
                images = stage(images)
        return images

    def forward_rest(self, trunk_output: Tensor) -> Tensor:
        """Logits [N, K] from the output of the trunk."""
        return self.head(self.dropout(self.pooled(trunk_output)))

    def pooled(self, trunk_output: Tensor) -> Tensor:
        """Features [N, F] from the output of the trunk."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.only_head_learns):
            for block in self.last_blocks:
                trunk_output = block(trunk_output)
            return trunk_output

    def forward(self, images: Tensor) -> Tensor:
        """Logits [N, K] of normalised images [N, 3, H, W]."""
        return self.forward_rest(self.forward_trunk(images))

    def count_parameters(self) -> tuple[int, int]:
        """All parameters, and those that learn."""
        sizes = [(p.numel(), p.requires_grad) for p in self.parameters()]
        return sum(n for n, _ in sizes), sum(n for n, learns in sizes if learns)

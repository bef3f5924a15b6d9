"""Transfer-learning strategies: what of a network learns.

A strategy says how many of the last stages are trained; everything before them is the frozen trunk.
"""

from __future__ import annotations

import dataclasses
from typing import ClassVar, Literal, Protocol

from mammo.support.option_registry import option, register

HEAD_ONLY_EPOCHS_DOC = "train only the head for the first epochs (not the warmup of the learning rate)"


class Strategy(Protocol):
    """What the model room and the engine need of a strategy."""

    name: str
    has_frozen_trunk: ClassVar[bool]
    trains_backbone: ClassVar[bool]
    uses_dropout: ClassVar[bool]

    @property
    def head_only_epochs(self) -> int: ...
    def num_trained_stages(self, num_stages: int) -> int:
        """How many of the last stages of the backbone learn, of `num_stages`."""
        ...


@dataclasses.dataclass(frozen=True)
class FrozenTrunkOptions:
    """Options of all strategies that freeze the first part of the network."""

    feature_bank: Literal["auto", "on", "off"] = option(
        "auto", "keep the outputs of the frozen part on disk for all epochs and runs; auto: when it pays",
        in_run_id=False,
    )  # fmt: skip
    feature_bank_budget_gb: float = option(
        20.0, "disk space of all feature banks; the least recently used go first", above=0, in_run_id=False
    )


@register("strategy", "frozen_last_block")
@dataclasses.dataclass(frozen=True)
class FrozenLastBlock(FrozenTrunkOptions):
    """Freeze the backbone except its last block(s), which learn with the head."""

    name = "frozen_last_block"
    has_frozen_trunk: ClassVar[bool] = True
    trains_backbone: ClassVar[bool] = True
    uses_dropout: ClassVar[bool] = True
    blocks: int = option(1, "how many blocks learn, counted from the head", at_least=1, at_most=100)
    head_only_epochs: int = option(0, HEAD_ONLY_EPOCHS_DOC, at_least=0)

    def num_trained_stages(self, num_stages: int) -> int:
        """See `Strategy.num_trained_stages`."""
        return self.blocks


@register("strategy", "head_only")
@dataclasses.dataclass(frozen=True)
class HeadOnly(FrozenTrunkOptions):
    """Freeze the whole backbone; the head learns."""

    name = "head_only"
    has_frozen_trunk: ClassVar[bool] = True
    trains_backbone: ClassVar[bool] = False
    uses_dropout: ClassVar[bool] = True
    head_only_epochs: ClassVar[int] = 0

    def num_trained_stages(self, num_stages: int) -> int:
        """See `Strategy.num_trained_stages`."""
        return 0


@register("strategy", "linear_probe")
@dataclasses.dataclass(frozen=True)
class LinearProbe(FrozenTrunkOptions):
    """Freeze the whole backbone; a linear classifier without dropout learns by SGD."""

    name = "linear_probe"
    has_frozen_trunk: ClassVar[bool] = True
    trains_backbone: ClassVar[bool] = False
    uses_dropout: ClassVar[bool] = False
    head_only_epochs: ClassVar[int] = 0

    def num_trained_stages(self, num_stages: int) -> int:
        """See `Strategy.num_trained_stages`."""
        return 0


@register("strategy", "full_finetune")
@dataclasses.dataclass(frozen=True)
class FullFinetune:
    """The whole network learns."""

    name = "full_finetune"
    has_frozen_trunk: ClassVar[bool] = False
    trains_backbone: ClassVar[bool] = True
    uses_dropout: ClassVar[bool] = True
    head_only_epochs: int = option(0, HEAD_ONLY_EPOCHS_DOC, at_least=0)

    def num_trained_stages(self, num_stages: int) -> int:
        """See `Strategy.num_trained_stages`."""
        return num_stages

"""Losses, one value per sample, so that every mean is a mean over samples and never over batches.

To add one: derive a dataclass from `Loss` and register it; `loss=<name>` selects it. One whose outputs are not K logits
overrides the methods of `OutputSpace`. Options need no torch; it is imported when a loss is first computed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from mammo.support.option_registry import option, register
from mammo.tasks.outputs import OutputSpace

if TYPE_CHECKING:
    from torch import Tensor


@dataclasses.dataclass(frozen=True)
class Loss(OutputSpace):
    """What every loss has; it owns what the outputs of a network mean."""

    name: ClassVar[str]
    class_weights: Literal["auto", "none"] | list[float] = option(
        "auto",
        "weight of each class: auto (N / (K * n_c), none with the weighted sampler), none, or a list of K numbers",
        above=0,
    )
    class_weights_alpha: float = option(1.0, "power of class_weights=auto: 1 balances fully", at_least=0, at_most=2)

    def per_sample(self, outputs: Tensor, targets: Tensor, class_weights: Tensor | None) -> Tensor:
        """Loss of each sample: outputs [N, num_outputs] float32, targets as of the task, class_weights [K] -> [N].

        A weighted sample counts its weight, and the mean divides by the samples.
        """
        raise NotImplementedError


@register("loss", "cross_entropy")
@dataclasses.dataclass(frozen=True)
class CrossEntropy(Loss):
    """Cross-entropy with optional label smoothing and class weights."""

    label_smoothing: float = option(0.0, "probability spread over all classes", at_least=0, below=1)

    def per_sample(self, outputs: Tensor, targets: Tensor, class_weights: Tensor | None) -> Tensor:
        """See `Loss.per_sample`."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            outputs, targets, weight=class_weights, label_smoothing=self.label_smoothing, reduction="none"
        )


def balanced_class_weights(class_counts: Sequence[int], alpha: float = 1.0) -> list[float]:
    """(N / (K * n_c)) ** alpha for each of K classes with n_c of N images.

    Counts 40, 363, 849, 335 give 9.919, 1.093, 0.467, 1.184. Counts must be above 0.
    """
    total, num_classes = sum(class_counts), len(class_counts)
    return [(total / (num_classes * count)) ** alpha for count in class_counts]


def effective_class_weights(
    requested: str | list[float], alpha: float, sampler_name: str, class_counts: Sequence[int]
) -> tuple[list[float] | None, str]:
    """The class weights that are used, and a sentence for the log.

    `auto` resolves to none with the weighted sampler: balancing twice over-corrects.
    """
    if isinstance(requested, list):
        return list(requested), f"class weights as given: {requested}"
    if requested == "none":
        return None, "no class weights (loss.class_weights=none)"
    if sampler_name == "weighted":
        return None, "no class weights: the weighted sampler balances already (loss.class_weights=auto)"
    weights = balanced_class_weights(class_counts, alpha)
    return weights, f"class weights (N / (K * n_c)) ** {alpha:g}: {[round(w, 3) for w in weights]}"

"""Losses, one value per image, so that every mean is a mean over images and never over batches.

To add one: write a dataclass with a `per_image` method and register it; `loss=<name>` selects it.
Options need no torch; it is imported when a loss is first computed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from mammo.support.options import option, register

if TYPE_CHECKING:
    from torch import Tensor

CLASS_WEIGHTS_DOC = (
    "weight of each class: auto (N / (K * n_c), none with the weighted sampler), none, or a list of K numbers"
)


class Loss(Protocol):
    """What the engine needs of a loss."""

    name: str

    @property
    def class_weights(self) -> str | list[float]: ...
    def per_image(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None) -> Tensor:
        """Loss of each image: logits [N, K] float32, targets [N] int64, class_weights [K] -> [N]."""
        ...


@register("loss", "cross_entropy")
@dataclasses.dataclass(frozen=True)
class CrossEntropy:
    """Cross-entropy with optional label smoothing and class weights."""

    name = "cross_entropy"
    class_weights: Literal["auto", "none"] | list[float] = option("auto", CLASS_WEIGHTS_DOC, above=0)
    class_weights_alpha: float = option(1.0, "power of class_weights=auto: 1 balances fully", at_least=0, at_most=2)
    label_smoothing: float = option(0.0, "probability spread over all classes", at_least=0, below=1)

    def per_image(self, logits: Tensor, targets: Tensor, class_weights: Tensor | None) -> Tensor:
        """See `Loss.per_image`; a weighted image counts its weight, and the mean divides by the images."""
        from torch.nn.functional import cross_entropy

        return cross_entropy(
            logits, targets, weight=class_weights, label_smoothing=self.label_smoothing, reduction="none"
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

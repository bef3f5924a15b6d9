"""What the outputs of a network mean: how many there are, and the probabilities that they stand for."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import softmax


class OutputSpace:
    """K logits whose softmax are the probabilities of K classes; a loss with other outputs overrides these methods.

    Outputs are numpy arrays or torch tensors [..., num_outputs] and stay what they are: the same definition serves
    training, prediction and files for other programs.
    """

    def num_outputs(self, num_classes: int) -> int:
        """How many outputs the network needs for K classes."""
        return num_classes

    def probabilities(self, outputs: Any) -> Any:
        """Probabilities [..., K] of outputs."""
        return softmax(outputs, axis=-1) if isinstance(outputs, np.ndarray) else outputs.softmax(-1)

    def outputs_of(self, probabilities: np.ndarray) -> np.ndarray:
        """Outputs that stand for some probabilities [N, K]: the inverse, for means over networks and stored files.

        A probability of 0 counts as the smallest normal number.
        """
        return np.log(np.maximum(np.asarray(probabilities, dtype=np.float64), np.finfo(np.float64).tiny))

    def with_temperature(self, probabilities: np.ndarray, temperature: float) -> np.ndarray:
        """The probabilities [N, K] of outputs divided by a temperature: above 1 less sure, below 1 surer.

        The one place where a temperature is applied (Guo et al. 2017): of a network, of a mean over networks, of a
        file. Raises `ValueError` unless it is above 0.
        """
        if not temperature > 0:
            raise ValueError(f"a temperature is above 0, not {temperature}")
        return self.probabilities(self.outputs_of(probabilities) / temperature)

    def class_scores(self, outputs: Any) -> Any:
        """A score of each class [..., K] that a heat map explains: its logit."""
        return outputs


SOFTMAX = OutputSpace()

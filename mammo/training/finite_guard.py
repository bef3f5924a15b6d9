"""Losses and gradients that are not finite: noticed where training can still be put right, with the images to blame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from mammo.support.errors import TrainingError


class FiniteGuard:
    """Notices a loss or a gradient that is not finite, and in which images.

    Asking an accelerator for a value makes the host wait for it: there it is asked when a state is told.
    """

    def __init__(self, at_once: bool) -> None:
        self._at_once = at_once
        self._watched: list[tuple[str, Tensor, np.ndarray]] = []
        self._of_step: list[np.ndarray] = []

    def watch_losses(self, per_sample: Tensor, positions: np.ndarray) -> None:
        """Losses [N] of the samples at some positions [N]."""
        self._of_step.append(positions)
        self._watch("loss", per_sample, positions)

    def watch_gradient(self, norm: Tensor) -> None:
        """Norm of the gradient of a step, of all images since the last one."""
        positions = np.concatenate(self._of_step)
        self._of_step.clear()
        self._watch("gradient", norm.expand(len(positions)), positions)

    def _watch(self, what: str, values: Tensor, positions: np.ndarray) -> None:
        self._watched.append((what, values, positions))
        if self._at_once:
            self.check()

    def check(self) -> None:
        """Raises NonFiniteLossError."""
        for what, values, positions in self._watched:
            finite = torch.isfinite(values).cpu().numpy()
            if not finite.all():
                raise NonFiniteLossError(what, positions[~finite].tolist())
        self._watched.clear()


class NonFiniteError(TrainingError):
    """Training has led to infinity or NaN; `positions` are places in the training set of images that it arose from."""

    def __init__(self, message: str, positions: Sequence[int] = ()) -> None:
        self.positions = positions
        super().__init__(message)


class NonFiniteLossError(NonFiniteError):
    """The loss (or the gradient) of some images is not finite."""

    def __init__(self, what: str, positions: Sequence[int]) -> None:
        super().__init__(f"the {what} of {len(set(positions))} images is not finite", positions)

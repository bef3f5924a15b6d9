"""The training loop, top to bottom, in plain PyTorch.

It gets batches, a network, a loss, an optimizer and a schedule, and yields one result an epoch. It knows
neither files nor configuration, writes nothing, and decides nothing: who consumes the results saves,
selects and stops.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mammo.errors import TrainingError
from mammo.hardware import Hardware, seed_everything
from mammo.losses import Loss
from mammo.models.network import Network
from mammo.schedulers import Schedule

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
Prepare = Callable[[Any], tuple[Tensor, Tensor]]


class EpochBatches(Protocol):
    """Batches of any epoch."""

    @property
    def sizes(self) -> list[int]: ...
    def epoch(self, epoch: int) -> Iterator[Any]: ...


@dataclasses.dataclass(frozen=True)
class Inputs:
    """What an epoch is fed.

    `prepare` makes of a batch of `train` what the learning part of the network takes, on the device: the
    output of its frozen trunk, or images where nothing is frozen; `prepare_validation` does so in fp32.
    """

    train: EpochBatches
    validation: Iterable[Any]
    prepare: Prepare
    prepare_validation: Prepare


@dataclasses.dataclass(frozen=True)
class LoopSettings:
    """How an epoch is trained: gradient accumulation in batches, clipping norm (0 = off), seed of dropout."""

    epochs: int
    accumulate: int
    clip_norm: float
    head_only_epochs: int
    seed: int


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Logits [N, K] float32 and class indices [N] of a pass over images, in their order."""

    logits: np.ndarray
    targets: np.ndarray

    @property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits in float64, [N, K]."""
        shifted = self.logits.astype(np.float64) - self.logits.max(axis=1, keepdims=True)
        exponentials = np.exp(shifted)
        return exponentials / exponentials.sum(axis=1, keepdims=True)


@dataclasses.dataclass(frozen=True)
class EpochResult:
    """What one epoch did; `epoch` is 0-based, rates are those used in the epoch (its last step's, if by step)."""

    epoch: int
    train_loss: float
    train_acc: float
    learning_rates: dict[str, float]
    validation: Predictions
    train_images: int
    train_seconds: float
    validation_seconds: float
    loading_seconds: float
    skipped_steps: int


@dataclasses.dataclass
class Trainer:
    """Everything that changes while training, and what an epoch needs."""

    network: Network
    loss: Loss
    class_weights: Tensor | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    settings: LoopSettings
    hardware: Hardware
    track: Track
    compiled: bool = False

    def __post_init__(self) -> None:
        rest = self.network.forward_rest
        self._forward: Callable[[Tensor], Tensor] = torch.compile(rest) if self.compiled else rest

    def fit(
        self, inputs: Inputs, first_epoch: int, validation_losses: Callable[[], Sequence[float]]
    ) -> Iterator[EpochResult]:
        """Train from `first_epoch` (0-based) on and yield the result of each epoch.

        `validation_losses` gives the losses of all epochs so far, which some schedules look at; it is
        asked when an epoch begins, after the consumer has taken in the one before. Raises
        TrainingError when a loss is not finite.
        """
        for epoch in range(first_epoch, self.settings.epochs):
            # Dropout is a function of seed and epoch: a resumed run draws what an uninterrupted one does.
            seed_everything(self.settings.seed, epoch)
            label = f"Epoch {epoch + 1}/{self.settings.epochs}"
            result = self._train_epoch(inputs, epoch, validation_losses(), f"{label} [train]")
            started = time.perf_counter()
            validation = predict(self.network, inputs, self.track, f"{label} [val]")
            seconds = time.perf_counter() - started
            yield dataclasses.replace(result, validation=validation, validation_seconds=seconds)

    def _train_epoch(self, inputs: Inputs, epoch: int, val_losses: Sequence[float], label: str) -> EpochResult:
        network, device = self.network, self.hardware.device
        network.only_head_learns = epoch < self.settings.head_only_epochs
        network.train()
        sizes = inputs.train.sizes
        # Apple's GPUs know no float64; there a sum over an epoch is good to six digits.
        sum_dtype = torch.float32 if device.type == "mps" else torch.float64
        total_loss = torch.zeros((), dtype=sum_dtype, device=device)
        total_correct = torch.zeros((), dtype=torch.int64, device=device)
        guard = _FiniteGuard(at_once=device.type == "cpu")
        skipped_steps, loading_seconds, started = 0, 0.0, time.perf_counter()
        waiting_since = started
        for i, batch in enumerate(self.track(inputs.train.epoch(epoch), label, len(sizes))):
            loading_seconds += time.perf_counter() - waiting_since
            group = range(
                i - i % self.settings.accumulate,
                min(len(sizes), i - i % self.settings.accumulate + self.settings.accumulate),
            )
            if i == group.start:
                self._set_rates(epoch, group.stop / len(sizes), val_losses)
                self.optimizer.zero_grad(set_to_none=True)

            trunk_output, targets = inputs.prepare(batch)
            with self.hardware.autocast():
                logits = self._forward(trunk_output)
            per_image = self.loss.per_image(logits.float(), targets, self.class_weights)
            # A mean over the images of the whole step, whatever the sizes of its batches.
            self.scaler.scale(per_image.sum() / sum(sizes[j] for j in group)).backward()
            if i == group.stop - 1:
                skipped_steps += self._step()

            total_loss += per_image.detach().sum()
            total_correct += (logits.argmax(dim=1) == targets).sum()
            guard.watch(per_image.detach(), batch)
            waiting_since = time.perf_counter()
        guard.check()
        seconds, images_seen = time.perf_counter() - started, sum(sizes)
        return EpochResult(
            epoch=epoch,
            train_loss=total_loss.item() / images_seen,
            train_acc=total_correct.item() / images_seen,
            learning_rates={group["name"]: group["lr"] for group in self.optimizer.param_groups},
            validation=Predictions(np.empty((0, 0)), np.empty(0)),
            train_images=images_seen,
            train_seconds=seconds,
            validation_seconds=0.0,
            loading_seconds=loading_seconds,
            skipped_steps=skipped_steps,
        )

    def _set_rates(self, epoch: int, step_fraction: float, val_losses: Sequence[float]) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(group["base_lr"], epoch, self.settings.epochs, step_fraction, val_losses)

    def _step(self) -> int:
        """Unscale, clip, step, update; returns 1 when the scaler skipped the step because of an overflow."""
        self.scaler.unscale_(self.optimizer)
        if self.settings.clip_norm > 0:
            learning = [p for group in self.optimizer.param_groups for p in group["params"]]
            torch.nn.utils.clip_grad_norm_(learning, self.settings.clip_norm)
        scale_before = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return int(self.scaler.get_scale() < scale_before)


class _FiniteGuard:
    """Notices a loss that is not finite, and in which images.

    Asking an accelerator for a value makes the host wait for it: there it is asked when the epoch ends.
    """

    def __init__(self, at_once: bool) -> None:
        self._at_once = at_once
        self._watched: list[tuple[Tensor, Any]] = []

    def watch(self, per_image: Tensor, batch: Any) -> None:
        self._watched.append((per_image, batch.positions))
        if self._at_once:
            self.check()

    def check(self) -> None:
        for per_image, positions in self._watched:
            finite = torch.isfinite(per_image).cpu().numpy()
            if not finite.all():
                raise NonFiniteLossError(positions[~finite].tolist())
        self._watched.clear()


class NonFiniteLossError(TrainingError):
    """The loss of some images is not finite; `positions` are their places in the training set."""

    def __init__(self, positions: list[int]) -> None:
        self.positions = positions
        super().__init__(f"the loss of {len(positions)} images is not finite")


@torch.inference_mode()
def predict(network: Network, inputs: Inputs, track: Track, label: str) -> Predictions:
    """Logits of all validation batches in fp32: what is reported must not depend on a machine's fast formats."""
    network.eval()
    logits, targets = [], []
    for batch in track(inputs.validation, label, len(inputs.validation)):  # type: ignore[arg-type]
        trunk_output, target = inputs.prepare_validation(batch)
        logits.append(network.forward_rest(trunk_output).float())
        targets.append(target)
    return Predictions(torch.cat(logits).cpu().numpy(), torch.cat(targets).cpu().numpy())

"""The training loop, top to bottom, in plain PyTorch.

It gets batches, a network, a loss, an optimizer and a schedule, and yields one result an epoch. It knows
neither files nor configuration, writes nothing, and decides nothing: who consumes the results saves,
selects and stops.
"""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from mammo.data.batches import Prepared
from mammo.models.network import Network, Tail
from mammo.support.hardware import Hardware, random_state, restore_random_state, seed_everything
from mammo.tasks.outputs import OutputSpace
from mammo.tasks.task import Task
from mammo.training.finite_guard import FiniteGuard
from mammo.training.losses import Loss
from mammo.training.optimizers import load_optimizer
from mammo.training.schedulers import Schedule

Track = Callable[[Iterable[Any], str, int], Iterable[Any]]
Prepare = Callable[[Any], Prepared]


class EpochBatches(Protocol):
    """Batches of any epoch."""

    @property
    def sizes(self) -> list[int]: ...
    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Any]: ...


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
    """Outputs [N, num_outputs] float32, which mean what `space` says, and targets [N, ...] of samples in their order.

    `features` [N, F] float32 are what the head was given; None where they were not kept.
    """

    outputs: np.ndarray
    targets: np.ndarray
    space: OutputSpace
    features: np.ndarray | None = None

    @property
    def is_finite(self) -> np.ndarray:
        """Of which samples all outputs, and the features that were kept, are finite: bool [N]."""
        finite = np.isfinite(self.outputs).all(axis=1)
        return finite if self.features is None else finite & np.isfinite(self.features).all(axis=1)

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities in float64, [N, K]."""
        return self.space.probabilities(self.outputs.astype(np.float64))


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


@dataclasses.dataclass(frozen=True)
class EpochState:
    """How far an epoch has come, in plain numbers: with network, optimizer and scaler, training goes on from it.

    `epoch` is 0-based; `batches_done` ends with a step of the optimizer; `rng` is the state of the generators.
    """

    epoch: int
    batches_done: int = 0
    loss_sum: float = 0.0
    num_correct: int = 0
    skipped_steps: int = 0
    train_seconds: float = 0.0
    loading_seconds: float = 0.0
    rng: dict[str, Any] | None = None


# Called where training can be left and taken up again: `Trainer.state_dict` tells the state there. Asking for it makes
# the host wait for the device.
AtRest = Callable[[], None]


@dataclasses.dataclass
class Trainer:
    """Everything that changes while training, and what an epoch needs."""

    network: Network
    loss: Loss
    task: Task
    class_weights: Tensor | None
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    schedule: Schedule
    settings: LoopSettings
    hardware: Hardware
    track: Track
    compiled: bool = False

    def __post_init__(self) -> None:
        tail = self.network.tail
        self._tail: Callable[[Tensor, Tensor | None], Tensor] = torch.compile(tail) if self.compiled else tail
        self._position: Callable[[], EpochState] = lambda: EpochState(0)

    @property
    def position(self) -> EpochState:
        """How far training has come; where it goes on from."""
        return self._position()

    def state_dict(self, batches_per_epoch: int) -> dict[str, Any]:
        """All that has to survive a kill, as entries of a checkpoint: at the end of an epoch or within it."""
        position = self.position
        unfinished = {key: value for key, value in vars(position).items() if key not in ("epoch", "rng")}
        steps_done = position.epoch * self.steps(batches_per_epoch) + self.steps(position.batches_done)
        return {
            "model_state_dict": self.network.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            # Schedules are functions of the epoch and of the losses in the history.
            "scheduler_state_dict": {"name": self.schedule.name},
            "scaler_state_dict": self.scaler.state_dict(),
            "ema_state_dict": None,
            "epoch": position.epoch,
            "unfinished_epoch": unfinished if position.batches_done else None,
            "global_step": steps_done,
            "rng": position.rng or random_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go back to where a checkpoint was saved; `fit` goes on from there.

        Raises RuntimeError, ValueError, TypeError, KeyError or AttributeError for the state of another network or
        optimizer.
        """
        self.load_weights(state)
        load_optimizer(self.optimizer, state["optimizer_state_dict"])
        if state["scaler_state_dict"]:
            # Empty where the run was begun in another number format than fp16.
            self.scaler.load_state_dict(state["scaler_state_dict"])
        position = EpochState(state["epoch"])
        if unfinished := state.get("unfinished_epoch"):
            # What a later version adds is not looked at.
            known = {key: unfinished[key] for key in vars(position) if key in unfinished}
            position = EpochState(state["epoch"], **known, rng=state["rng"])
        self._position = lambda: position

    def load_weights(self, state: Mapping[str, Any]) -> None:
        """Take the weights of a checkpoint, to predict with them; raises RuntimeError for those of another network."""
        self.network.load_state_dict(state["model_state_dict"])

    def predict(
        self, batches: Iterable[Any], prepare: Prepare, after_batch: Callable[[], None], *, keep_features: bool = False
    ) -> Predictions:
        """See `predict`."""
        return predict(self.network.tail, self.loss, batches, prepare, after_batch, keep_features=keep_features)

    def steps(self, num_batches: int) -> int:
        """How many steps of the optimizer some batches of an epoch make."""
        return -(-num_batches // self.settings.accumulate)

    def fit(
        self, inputs: Inputs, validation_losses: Callable[[], Sequence[float]], at_rest: AtRest
    ) -> Iterator[EpochResult]:
        """Train from `position` on and yield the result of each epoch.

        `validation_losses` gives the losses of all epochs so far, which some schedules look at; it is
        asked when an epoch begins, after the consumer has taken in the one before. `at_rest` is called after
        each step of the optimizer and each batch of the validation; what it raises ends training there. Raises
        TrainingError when a loss is not finite.
        """
        start = self.position
        for epoch in range(start.epoch, self.settings.epochs):
            # Dropout is a function of seed and epoch: a resumed run draws what an uninterrupted one does.
            seed_everything(self.settings.seed, epoch)
            label = f"Epoch {epoch + 1}/{self.settings.epochs}"
            begun = start if epoch == start.epoch else EpochState(epoch)
            trained = self._train_epoch(inputs, begun, validation_losses(), at_rest, f"{label} [train]")
            result = self._validated(inputs, trained, at_rest, f"{label} [val]")
            self._position = partial(EpochState, epoch + 1)
            yield result

    def _train_epoch(
        self, inputs: Inputs, begun: EpochState, val_losses: Sequence[float], at_rest: AtRest, label: str
    ) -> EpochState:
        epoch, sizes, device = begun.epoch, inputs.train.sizes, self.hardware.device
        self.network.tail.only_head_learns = epoch < self.settings.head_only_epochs
        self.network.train()
        # Apple's GPUs know no float64; there a sum over an epoch is good to six digits.
        sum_dtype = torch.float32 if device.type == "mps" else torch.float64
        loss_sum = torch.tensor(begun.loss_sum, dtype=sum_dtype, device=device)
        num_correct = torch.tensor(begun.num_correct, dtype=torch.int64, device=device)
        guard = FiniteGuard(at_once=device.type == "cpu")
        batches_done, skipped_steps, loading_seconds = begun.batches_done, begun.skipped_steps, begun.loading_seconds

        def state() -> EpochState:
            guard.check()
            seconds = begun.train_seconds + time.perf_counter() - started
            sums = loss_sum.item(), int(num_correct.item())
            return EpochState(epoch, batches_done, *sums, skipped_steps, seconds, loading_seconds, random_state())

        self._position = state
        if begun.rng is not None:
            restore_random_state(begun.rng)
        started = waiting_since = time.perf_counter()
        batches = self.track(inputs.train.epoch(epoch, batches_done), label, len(sizes) - batches_done)
        for i, batch in enumerate(batches, start=batches_done):
            loading_seconds += time.perf_counter() - waiting_since
            first = i - i % self.settings.accumulate
            group = range(first, min(len(sizes), first + self.settings.accumulate))
            if i == group.start:
                self._set_rates(epoch, group.stop / len(sizes), val_losses)
                self.optimizer.zero_grad(set_to_none=True)

            trunk_output, targets, sample_of = inputs.prepare(batch)
            with self.hardware.autocast():
                outputs = self._tail(trunk_output, sample_of)
            per_sample = self.loss.per_sample(outputs.float(), targets, self.class_weights)
            guard.watch_losses(per_sample.detach(), batch.positions)
            # A mean over the samples of the whole step, whatever the sizes of its batches.
            self.scaler.scale(per_sample.sum() / sum(sizes[j] for j in group)).backward()
            loss_sum += per_sample.detach().sum()
            decided = self.task.decide(self.loss.probabilities(outputs.detach().float()))
            num_correct += self.task.is_right(decided, targets).sum()
            if i == group.stop - 1:
                norm, was_skipped = self._step()
                skipped_steps += was_skipped
                guard.watch_gradient(torch.zeros_like(norm) if was_skipped else norm)
                batches_done = group.stop
                at_rest()
            waiting_since = time.perf_counter()
        return state()

    def _validated(self, inputs: Inputs, trained: EpochState, at_rest: AtRest, label: str) -> EpochResult:
        started, num_images = time.perf_counter(), sum(inputs.train.sizes)
        # Training goes on from its end, whatever batch of the validation it is left at.
        self._position = lambda: trained
        batches = self.track(inputs.validation, label, len(inputs.validation))  # type: ignore[arg-type]
        validation = self.predict(batches, inputs.prepare_validation, at_rest)
        return EpochResult(
            epoch=trained.epoch,
            train_loss=trained.loss_sum / num_images,
            train_acc=trained.num_correct / num_images,
            learning_rates={group["name"]: group["lr"] for group in self.optimizer.param_groups},
            validation=validation,
            train_images=num_images,
            train_seconds=trained.train_seconds,
            validation_seconds=time.perf_counter() - started,
            loading_seconds=trained.loading_seconds,
            skipped_steps=trained.skipped_steps,
        )

    def _set_rates(self, epoch: int, step_fraction: float, val_losses: Sequence[float]) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.schedule.rate(group["base_lr"], epoch, self.settings.epochs, step_fraction, val_losses)

    def _step(self) -> tuple[Tensor, bool]:
        """Unscale, clip, step, update; returns the norm of the gradient, and whether the scaler skipped the step
        because of an overflow."""
        self.scaler.unscale_(self.optimizer)
        learning = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = torch.nn.utils.clip_grad_norm_(learning, self.settings.clip_norm or math.inf)
        scale_before = self.scaler.get_scale()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return norm, self.scaler.get_scale() < scale_before


@torch.inference_mode()
def predict(
    tail: Tail,
    space: OutputSpace,
    batches: Iterable[Any],
    prepare: Prepare,
    after_batch: Callable[[], None],
    *,
    keep_features: bool = False,
) -> Predictions:
    """Predictions for all batches in fp32: what is reported must not depend on a machine's fast formats.

    `space` says what the outputs mean; `prepare` makes of a batch the output of the frozen trunk, on the device.
    """
    tail.eval()
    outputs, targets, kept = [], [], []
    for batch in batches:
        trunk_output, target, sample_of = prepare(batch)
        features = tail.features(trunk_output, sample_of)
        outputs.append(tail.head(features).float())
        targets.append(target)
        if keep_features:
            kept.append(features.float())
        after_batch()
    features_of_all = torch.cat(kept).cpu().numpy() if keep_features else None
    return Predictions(torch.cat(outputs).cpu().numpy(), torch.cat(targets).cpu().numpy(), space, features_of_all)

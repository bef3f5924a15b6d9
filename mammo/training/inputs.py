"""What the learning part of a network is fed: outputs of the frozen trunk, computed at every step or kept.

The augmentation draws from a limited number of views when a trunk is frozen, so the inputs of all epochs
are known before the first: a feature bank holds exactly those, and which way they come changes no result.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import logging
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mammo.data.augment import AugmentOptions
from mammo.data.batches import (
    PREPARATION_VERSION,
    EvaluationBatches,
    LabelledImages,
    Preparation,
    Prepared,
    TrainingBatches,
    images_and_views,
)
from mammo.data.image_list import Counting
from mammo.data.parallel import in_order
from mammo.models.feature_bank import GB, BankPlan, FeatureBank, bytes_in_use, decide, make_room
from mammo.models.trunk import FrozenTrunk
from mammo.support.errors import ConfigError
from mammo.support.files import one_at_a_time
from mammo.training.engine import Inputs, Prepare

log = logging.getLogger(__name__)

# Pixels of the images that fill a bank at once on an accelerator; on a CPU the trunk itself says how many.
GPU_PIXELS_AT_ONCE = 128 * 224**2


def through(preparation: Preparation, trunk: FrozenTrunk) -> Prepare:
    """From a batch of images to the output of a trunk."""

    def prepare(batch: Any) -> Prepared:
        prepared = preparation(batch)
        return prepared._replace(inputs=trunk(prepared.inputs))

    return prepare


class Source:
    """Where inputs come from: images are prepared, then pass the trunk in the precision of the run or in fp32.

    `seconds_feature_bank` is how long a bank took to fill; None without one.
    """

    def __init__(
        self,
        train: TrainingBatches,
        validation: EvaluationBatches,
        preparation: Preparation,
        trunk: FrozenTrunk,
        exact_trunk: FrozenTrunk,
    ) -> None:
        self.train, self.validation, self.preparation = train, validation, preparation
        self.trunk, self.exact_trunk = trunk, exact_trunk
        self.seconds_feature_bank: float | None = None

    def streamed(self) -> Inputs:
        """Every input computed when it is needed."""
        prepare, prepare_exactly = (through(self.preparation, trunk) for trunk in (self.trunk, self.exact_trunk))
        return Inputs(self.train, self.validation, prepare, prepare_exactly)

    def with_bank(
        self, choice: str, budget_gb: float, folder: Path, pixels: Mapping[str, Any], epochs: range, counting: Counting
    ) -> Inputs:
        """Inputs from a feature bank that holds what `epochs` (0-based) need, or streamed where it does not pay.

        Arguments:
            choice: auto, on or off.
            budget_gb: disk space of all banks.
            folder: of all banks.
            pixels: the dataset and what decides how a file becomes stored pixels, `size_px` with it.
            epochs: those that will be trained.

        Raises ConfigError when `on` is impossible.
        """
        if choice == "off":
            log.info("feature bank: off (strategy.feature_bank=off)")
            return self.streamed()
        try:
            return self._banked(choice, budget_gb, folder, pixels, epochs, counting)
        except OSError as error:
            reason = f"the bank in the cache folder cannot be written or read: {error.strerror or error}"
            if choice == "on":
                raise ConfigError(
                    f"strategy.feature_bank=on: {reason}", to_do="mend it, choose another cache_dir=DIR, or off"
                ) from error
            log.warning("feature bank: off (%s)", reason)
            return self.streamed()

    def _banked(
        self, choice: str, budget_gb: float, folder: Path, pixels: Mapping[str, Any], epochs: range, counting: Counting
    ) -> Inputs:
        drawn = _Drawn(self.train, epochs)
        validated, _ = self.validation.data.images_of(np.arange(self.validation.num_samples))
        shown = _TrunkInputs(self.validation.data, validated, None)
        policy = self.train.augment
        bank = self._bank(folder, self.trunk, pixels, None if policy.changes_nothing else policy)
        exact_bank = self._bank(folder, self.exact_trunk, pixels, None)
        parts = [(bank, self.trunk, drawn.inputs), (exact_bank, self.exact_trunk, shown)]
        num_missing = [len(part_bank.missing(inputs.keys)) for part_bank, _, inputs in parts]
        new_bytes = num_missing[0] * bank.feature_bytes + num_missing[1] * exact_bank.feature_bytes
        folder.mkdir(parents=True, exist_ok=True)
        # One run at a time decides what goes.
        with one_at_a_time(folder / "budget.lock", "another run is deciding about feature banks"):
            plan = BankPlan(
                passes_without=len(epochs) * (sum(self.train.sizes) + len(shown.positions)),
                passes_with=sum(num_missing),
                new_bytes=new_bytes,
                bank_bytes=new_bytes + sum({b.path: len(b) * b.feature_bytes for b in (bank, exact_bank)}.values()),
                others_bytes=bytes_in_use(folder, [bank, exact_bank]),
            )
            is_used, reason = decide(choice, plan, budget_gb * GB, shutil.disk_usage(folder).free)
            log.info("feature bank: %s (%s)", "on" if is_used else "off", reason)
            if not is_used:
                return self.streamed()
            make_room(folder, [bank, exact_bank], new_bytes, budget_gb * GB)
        started = time.perf_counter()
        for part_bank, trunk, inputs in parts:
            self._fill(part_bank, trunk, inputs, counting)
        self.seconds_feature_bank = time.perf_counter() - started
        kept, exactly_kept = (_Kept(bank, inputs, self._compute(trunk, inputs)) for bank, trunk, inputs in parts)
        train = BankedTraining(self.train, kept, drawn)
        validation = BankedEvaluation(self.validation, exactly_kept)
        return Inputs(train, validation, self._to_device, self._to_device)

    def _bank(
        self, folder: Path, trunk: FrozenTrunk, pixels: Mapping[str, Any], policy: AugmentOptions | None
    ) -> FeatureBank:
        # A key names its input completely. Dataset and policy are here so that what is no longer used can go.
        identity = {
            **trunk.identity(),
            "pixels": dict(pixels),
            "mean": list(self.preparation.mean),
            "std": list(self.preparation.std),
            "augment": None if policy is None else dataclasses.asdict(policy) | {"num_variants": None},
            "preparation_version": PREPARATION_VERSION,
        }
        return FeatureBank(folder, identity, trunk.example(int(pixels["size_px"])))

    def _fill(self, bank: FeatureBank, trunk: FrozenTrunk, inputs: _TrunkInputs, counting: Counting) -> None:
        image_pixels = inputs.data.images.read([0]).size
        on_gpu = max(self.train.sizes[0], GPU_PIXELS_AT_ONCE // image_pixels)
        with counting("Filling the feature bank") as count:
            bank.fill(inputs.keys, self._compute(trunk, inputs), trunk.images_at_once or on_gpu, count)

    def _compute(self, trunk: FrozenTrunk, inputs: _TrunkInputs) -> Callable[[Sequence[int]], Tensor]:
        def compute(places: Sequence[int]) -> Tensor:
            stored = torch.from_numpy(inputs.data.images.read(inputs.positions[places]))
            changes = inputs.changes_of(places)
            return trunk(self.preparation.images(stored, None if changes is None else torch.from_numpy(changes)))

        return compute

    def _to_device(self, batch: FeatureBatch) -> Prepared:
        sample_of = None if batch.sample_of is None else self.preparation.on_device(batch.sample_of)
        features, targets = self.preparation.on_device(batch.features), self.preparation.on_device(batch.targets)
        return Prepared(features, targets, sample_of)


@dataclasses.dataclass(frozen=True)
class _TrunkInputs:
    """Inputs of a trunk: images at some positions [M], with the changes [M, 7] of the augmentation or None."""

    data: LabelledImages
    positions: np.ndarray
    changes: np.ndarray | None

    def changes_of(self, places: Sequence[int]) -> np.ndarray | None:
        return None if self.changes is None else self.changes[places]

    @functools.cached_property
    def keys(self) -> list[str]:
        """A key of each input: it names the pixels and what is changed of them, so it can never be stale."""
        all_changes = [b""] * len(self.positions) if self.changes is None else [row.tobytes() for row in self.changes]
        contents = [self.data.content_keys[i] for i in self.positions]
        pairs = zip(contents, all_changes, strict=True)
        return [hashlib.sha256(content.encode() + changes).hexdigest()[:32] for content, changes in pairs]


class _Drawn:
    """Every different input (image and view) that some epochs show, each once."""

    def __init__(self, batches: TrainingBatches, epochs: range) -> None:
        # Without augmentation all views are the same.
        self._num_variants = 1 if batches.augment.changes_nothing else batches.num_variants or 1
        drawn = [images_and_views(batches.data, *batches.drawn(epoch)) for epoch in epochs]
        self._codes = np.unique(np.concatenate([self._code(*images) for images in drawn]))
        positions, views = np.divmod(self._codes, self._num_variants)
        self.inputs = _TrunkInputs(batches.data, positions, batches.changes_of(positions, views))

    def _code(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        return positions * self._num_variants + views % self._num_variants

    def places(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray:
        """Where the views of some images are in `inputs`."""
        return np.searchsorted(self._codes, self._code(positions, views))


@dataclasses.dataclass(frozen=True)
class FeatureBatch:
    """Outputs of the trunk [M, ...]; targets, positions of the samples and `sample_of` as in `Batch`."""

    features: Tensor
    targets: Tensor
    positions: np.ndarray
    sample_of: Tensor | None


class _Kept:
    """Features of some inputs in a bank; those that are found damaged there are computed again.

    `compute`: from places in the inputs to features [N, ...].
    """

    def __init__(self, bank: FeatureBank, inputs: _TrunkInputs, compute: Callable[[Sequence[int]], Tensor]) -> None:
        self.bank = bank
        self._data, self._keys, self._compute = inputs.data, inputs.keys, compute
        self._rows = bank.rows_of(inputs.keys)

    def batches(self, groups: Iterable[tuple[np.ndarray, np.ndarray]], num_workers: int) -> Iterator[FeatureBatch]:
        """A batch of each group: some samples, and where the inputs of their images are; read ahead by threads."""

        def read(group: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, Tensor, np.ndarray]:
            samples, places = group
            return samples, places, *self.bank.read(self._rows[places])

        for samples, places, features, is_damaged in in_order(read, groups, num_workers):
            if is_damaged.any():
                # Not by those threads: torch may use another number of threads there, and round otherwise.
                self._compute_again(features, places, is_damaged)
            targets, (_, sample_of) = torch.from_numpy(self._data.targets[samples]), self._data.images_of(samples)
            yield FeatureBatch(features, targets, samples, None if sample_of is None else torch.from_numpy(sample_of))

    def _compute_again(self, features: Tensor, places: np.ndarray, is_damaged: np.ndarray) -> None:
        again = places[is_damaged]
        computed = self._compute(again.tolist())
        features[torch.from_numpy(is_damaged)] = computed.to(features.device)
        keys = [self._keys[place] for place in again]
        with suppress(OSError):  # read-only, or full: they are computed whenever they are needed
            self.bank.replace(keys, computed)
            self._rows[again] = self.bank.rows_of(keys)


class BankedTraining:
    """The batches of `TrainingBatches`, as outputs of the trunk from a bank."""

    def __init__(self, batches: TrainingBatches, kept: _Kept, drawn: _Drawn) -> None:
        self._batches, self._kept, self._drawn = batches, kept, drawn

    @property
    def sizes(self) -> list[int]:
        """Number of samples of each batch of an epoch."""
        return self._batches.sizes

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[FeatureBatch]:
        """The batches of epoch `epoch` (0-based), from `first_batch` on."""
        self._kept.bank.mark_as_used()
        order, views = self._batches.drawn(epoch)

        def group(part: slice) -> tuple[np.ndarray, np.ndarray]:
            images = images_and_views(self._batches.data, order[part], views[part])
            return order[part], self._drawn.places(*images)

        return self._kept.batches(map(group, self._batches.plan[first_batch:]), self._batches.num_workers)


class BankedEvaluation:
    """The batches of `EvaluationBatches`, as outputs of the trunk from a bank."""

    def __init__(self, batches: EvaluationBatches, kept: _Kept) -> None:
        self._batches, self._kept = batches, kept

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[FeatureBatch]:
        self._kept.bank.mark_as_used()
        groups = (np.arange(part.start, part.stop) for part in self._batches.plan)
        # All images are kept, in their order.
        placed = ((samples, self._batches.data.images_of(samples)[0]) for samples in groups)
        return self._kept.batches(placed, self._batches.num_workers)

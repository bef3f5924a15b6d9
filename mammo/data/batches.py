"""Batches: images of the store, in an order that is a function of seed and epoch.

On the host a batch stays uint8 with one channel. `Preparation` makes it what a network takes, on the
device: augmented, three channels, normalised.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from mammo.data.augment import VIEW_COLUMNS, AugmentOptions, draw_view, view_of
from mammo.data.parallel import in_order
from mammo.data.sampler import Sampler, times_drawn_before
from mammo.data.store import StoredImages

# Part of the key of what is computed from prepared images: raise it with every change that can alter one.
PREPARATION_VERSION = 1
# What is darker is background. Resampling leaves traces there that contrast would otherwise lift.
BACKGROUND_GREY = 1 / 255
# Pixels of a batch that a CPU prepares at once: what is made of them on the way should stay in the caches.
CPU_PIXELS_AT_ONCE = 2**19


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images uint8 [M, S, S] of N samples, with targets [N, ...], positions of the samples [N], drawn changes [M, 7].

    `sample_of` [M] says which sample of the batch each image belongs to; None where every image is a sample.
    """

    images: Tensor
    targets: Tensor
    positions: np.ndarray
    changes: Tensor | None = None
    sample_of: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """N samples of one part of the split: M images, targets [N, ...], and raw ids [M], which seed the augmentation.

    `content_keys` [M] name the stored pixels of each image, for what is computed from them and kept. `strata` [N] are
    integers that the sampler balances; None where the targets are such. `sample_of` [M] says which sample each image
    belongs to, in ascending order; None where every image is a sample.
    """

    images: StoredImages
    targets: np.ndarray
    image_ids: Sequence[str]
    content_keys: Sequence[str] = ()
    strata: np.ndarray | None = None
    sample_of: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.targets)

    def images_of(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Positions [m] of the images of some samples [n], and to which of these each belongs, [m] or None."""
        if self.sample_of is None:
            return samples, None
        starts, stops = (np.searchsorted(self.sample_of, samples, side=side) for side in ("left", "right"))
        images = [np.arange(start, stop) for start, stop in zip(starts, stops, strict=True)]
        return np.concatenate(images), np.repeat(np.arange(len(samples)), stops - starts)


def plan_batches(num_samples: int, batch_size: int, max_batches: int | None = None) -> list[slice]:
    """Slices of consecutive positions; a last batch of one sample is joined to the one before.

    BatchNorm has nothing to normalise a single sample by.
    """
    starts = list(range(0, num_samples, batch_size))
    if len(starts) > 1 and num_samples - starts[-1] == 1:
        starts.pop()
    slices = [slice(a, b) for a, b in zip(starts, [*starts[1:], num_samples], strict=True)]
    return slices[:max_batches]


class EvaluationBatches:
    """All images once, in order, unchanged."""

    def __init__(self, data: LabelledImages, batch_size: int, num_workers: int, max_batches: int | None = None) -> None:
        self.data, self.num_workers = data, num_workers
        self.plan = plan_batches(len(data), batch_size, max_batches)

    @property
    def num_samples(self) -> int:
        """How many samples one pass shows."""
        return self.plan[-1].stop if self.plan else 0

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        parts = [np.arange(part.start, part.stop) for part in self.plan]
        return in_order(lambda positions: make_batch(self.data, positions, None), parts, self.num_workers)


class TrainingBatches:
    """The batches of any epoch: drawn by the sampler, with the changes of the augmentation."""

    def __init__(
        self,
        data: LabelledImages,
        sampler: Sampler,
        augment: AugmentOptions,
        num_variants: int | None,
        batch_size: int,
        seed: int,
        num_workers: int,
        max_batches: int | None = None,
    ) -> None:
        self.data, self.sampler, self.augment = data, sampler, augment
        self.num_variants, self.seed, self.num_workers = num_variants, seed, num_workers
        self.plan = plan_batches(len(data), batch_size, max_batches)
        # The changes of the views of a frozen trunk come again and again; others never do.
        num_kept = 0 if num_variants is None or augment.changes_nothing else num_variants
        self._drawn_changes = np.full((len(data.image_ids), num_kept, len(VIEW_COLUMNS)), np.nan, dtype=np.float32)

    @property
    def sizes(self) -> list[int]:
        """Number of samples of each batch of an epoch."""
        return [part.stop - part.start for part in self.plan]

    def drawn(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """Positions and views (`view_of`) of the samples of epoch `epoch` (0-based), in their order."""
        strata = self.data.targets if self.data.strata is None else self.data.strata
        order = self.sampler.order(strata, self.seed, epoch)
        views = view_of(epoch, times_drawn_before(order), self.num_variants)
        num_shown = sum(self.sizes)
        return order[:num_shown], views[:num_shown]

    def changes_of(self, positions: np.ndarray, views: np.ndarray) -> np.ndarray | None:
        """The changes [N, 7] of the views of some images; None when the augmentation changes nothing."""
        if self.augment.changes_nothing:
            return None
        return np.stack([self._changes(int(i), int(view)) for i, view in zip(positions, views, strict=True)])

    def _changes(self, position: int, view: int) -> np.ndarray:
        if self.num_variants is None:
            return draw_view(self.augment, self.data.image_ids[position], view)
        kept = self._drawn_changes[position, view]
        if np.isnan(kept[0]):
            kept[:] = draw_view(self.augment, self.data.image_ids[position], view)
        return kept

    def epoch(self, epoch: int, first_batch: int = 0) -> Iterator[Batch]:
        """The batches of epoch `epoch` (0-based), from `first_batch` on."""
        order, views = self.drawn(epoch)

        def load(part: slice) -> Batch:
            images = images_and_views(self.data, order[part], views[part])
            return make_batch(self.data, order[part], self.changes_of(*images))

        return in_order(load, self.plan[first_batch:], self.num_workers)


def images_and_views(data: LabelledImages, samples: np.ndarray, views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Positions [m] and views [m] of the images of some samples [n], which are shown with some views [n]."""
    images, sample_of = data.images_of(samples)
    return images, views if sample_of is None else views[sample_of]


def make_batch(data: LabelledImages, samples: np.ndarray, changes: np.ndarray | None) -> Batch:
    """A batch of the samples at some positions, with what the augmentation is to change of their images."""
    images, sample_of = data.images_of(samples)
    return Batch(
        torch.from_numpy(data.images.read(images)),
        torch.from_numpy(data.targets[samples]),
        samples,
        None if changes is None else torch.from_numpy(changes),
        None if sample_of is None else torch.from_numpy(sample_of),
    )


class Prepared(NamedTuple):
    """What the engine takes of a batch, on the device.

    `inputs` [M, ...] are images, or what a frozen trunk makes of them; targets [N, ...]; `sample_of` [M] or None as in
    `Batch`.
    """

    inputs: Tensor
    targets: Tensor
    sample_of: Tensor | None = None


class Preparation:
    """From a batch to what a network takes: float32 [N, 3, S, S] on the device, channels last.

    `mean` and `std` are per channel, of grey values in 0..1.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> None:
        self.mean, self.std, self.device = mean, std, device
        # Made once: sending a number to an accelerator at every step would make the host wait for it.
        self._affine = [(torch.tensor(-m / s, device=device), 1 / s) for m, s in zip(mean, std, strict=True)]

    def __call__(self, batch: Batch) -> Prepared:
        """A batch with normalised images, on the device."""
        sample_of = None if batch.sample_of is None else self.on_device(batch.sample_of)
        return Prepared(self.images(batch.images, batch.changes), self.on_device(batch.targets), sample_of)

    def images(self, stored: Tensor, changes: Tensor | None) -> Tensor:
        """Normalised images [M, 3, S, S] of stored ones [M, S, S], with drawn changes [M, 7]."""
        stored = self.on_device(stored)
        changes = None if changes is None else self.on_device(changes)
        # Written with the channels last, which is how convolutions read them.
        normalised = torch.empty(*stored.shape, len(self.mean), device=self.device)
        at_once = self._images_at_once(*stored.shape)
        for first in range(0, len(stored), at_once):
            part = slice(first, first + at_once)
            grey = stored[part].float().div_(255)
            if changes is not None:
                grey = change(grey, changes[part])
            channels = [torch.add(shift, grey, alpha=scale) for shift, scale in self._affine]
            torch.stack(channels, dim=-1, out=normalised[part])
        return normalised.movedim(-1, 1)

    def _images_at_once(self, count: int, height: int, width: int) -> int:
        """How many images are prepared at a time: equal parts that fit into the caches of a CPU."""
        if self.device.type != "cpu":
            return count
        num_parts = -(-count * height * width // CPU_PIXELS_AT_ONCE)
        return -(-count // num_parts)

    def on_device(self, tensor: Tensor) -> Tensor:
        """A copy on the device that the host does not wait for."""
        if self.device.type != "cuda":
            return tensor.to(self.device)
        return tensor.pin_memory().to(self.device, non_blocking=True)


def change(grey: Tensor, changes: Tensor) -> Tensor:
    """Apply drawn changes [N, 7] (columns: `VIEW_COLUMNS`) to grey images [N, S, S] in 0..1.

    One resampling does flip, rotation, zoom and shift; what comes in from outside is background.
    Contrast turns about the mean of the breast, and the background stays black.
    """
    column = (-1, 1, 1)
    flip, rotation_degrees, zoom, shift_x, shift_y, contrast, brightness = (
        values.view(column) for values in changes.unbind(1)
    )
    angle = rotation_degrees * (math.pi / 180)
    cosine, sine, mirror = torch.cos(angle) / zoom, torch.sin(angle) / zoom, 1 - 2 * flip
    # Where each pixel comes from, in coordinates of -1..1 from border to border, hence twice the shift.
    height, width = grey.shape[-2:]
    y, x = _pixel_centres(height, grey).view(1, -1, 1), _pixel_centres(width, grey).view(1, 1, -1)
    from_x = (mirror * cosine) * x + ((mirror * sine) * y + 2 * shift_x)
    from_y = cosine * y - (sine * x - 2 * shift_y)
    grid = torch.stack([from_x, from_y], dim=3)
    moved = grid_sample(grey.unsqueeze(1), grid, align_corners=False).squeeze(1)
    is_breast = (moved - BACKGROUND_GREY).sign_().clamp_(min=0)
    # Row by row: the sum of a single large image would be split over the threads, and rounded otherwise.
    mean = (moved.sum(2).sum(1) / is_breast.sum(2).sum(1).clamp(min=1)).view(column)
    # ((grey - mean) * contrast + mean) * brightness
    moved.mul_(contrast * brightness).add_(mean * (1 - contrast) * brightness)
    return moved.clamp_(0, 1).mul_(is_breast)


def _pixel_centres(count: int, like: Tensor) -> Tensor:
    """Centres of `count` pixels that span -1..1."""
    return (torch.arange(count, device=like.device, dtype=like.dtype) * 2 + 1) / count - 1

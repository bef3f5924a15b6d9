"""Batches: slices of the image store, in an order that is a function of seed and epoch.

On the host a batch stays uint8 with one channel. `Preparation` makes it what a network takes, on the
device: augmented, three channels, normalised.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import affine_grid, grid_sample

from mammo.data.augment import AugmentOptions, draw_view, view_of
from mammo.data.parallel import in_order
from mammo.data.sampler import Sampler, times_drawn_before
from mammo.data.store import StoredImages

# What is darker is background. Resampling leaves traces there that contrast would otherwise lift.
BACKGROUND_GREY = 1 / 255


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images uint8 [N, S, S], class indices int64 [N], positions in the dataset [N], drawn changes or None."""

    images: Tensor
    targets: Tensor
    positions: np.ndarray
    changes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.targets)


@dataclasses.dataclass(frozen=True)
class LabelledImages:
    """Images of one part of the split with class indices [N] and raw ids (which seed the augmentation)."""

    images: StoredImages
    targets: np.ndarray
    image_ids: Sequence[str]

    def __len__(self) -> int:
        return len(self.targets)


def plan_batches(num_images: int, batch_size: int, max_batches: int | None = None) -> list[slice]:
    """Slices of consecutive positions; a last batch of one image is joined to the one before.

    BatchNorm has nothing to normalise a single image by.
    """
    starts = list(range(0, num_images, batch_size))
    if len(starts) > 1 and num_images - starts[-1] == 1:
        starts.pop()
    slices = [slice(a, b) for a, b in zip(starts, [*starts[1:], num_images], strict=True)]
    return slices[:max_batches]


class EvaluationBatches:
    """All images once, in order, unchanged."""

    def __init__(self, data: LabelledImages, batch_size: int, num_workers: int, max_batches: int | None = None) -> None:
        self.data, self.num_workers = data, num_workers
        self.plan = plan_batches(len(data), batch_size, max_batches)

    @property
    def num_images(self) -> int:
        """How many images one pass shows."""
        return self.plan[-1].stop if self.plan else 0

    def __len__(self) -> int:
        return len(self.plan)

    def __iter__(self) -> Iterator[Batch]:
        def load(part: slice) -> Batch:
            positions = np.arange(part.start, part.stop)
            images, targets = self.data.images.read(positions), self.data.targets[positions]
            return Batch(torch.from_numpy(images), torch.from_numpy(targets), positions)

        return in_order(load, self.plan, self.num_workers)


class TrainingBatches:
    """The batches of any epoch: drawn by the sampler, with the changes of the augmentation."""

    def __init__(
        self,
        data: LabelledImages,
        sampler: Sampler,
        augment: AugmentOptions,
        num_views: int | None,
        batch_size: int,
        seed: int,
        num_workers: int,
        max_batches: int | None = None,
    ) -> None:
        self.data, self.sampler, self.augment = data, sampler, augment
        self.num_views, self.seed, self.num_workers = num_views, seed, num_workers
        self.plan = plan_batches(len(data), batch_size, max_batches)

    @property
    def sizes(self) -> list[int]:
        """Number of images of each batch of an epoch."""
        return [part.stop - part.start for part in self.plan]

    def epoch(self, epoch: int) -> Iterator[Batch]:
        """The batches of epoch `epoch` (0-based)."""
        order = self.sampler.order(self.data.targets, self.seed, epoch)
        views = view_of(epoch, times_drawn_before(order), self.num_views)

        def load(part: slice) -> Batch:
            positions = order[part]
            changes = None
            if not self.augment.changes_nothing:
                ids = [self.data.image_ids[i] for i in positions]
                drawn = [draw_view(self.augment, i, int(v)) for i, v in zip(ids, views[part], strict=True)]
                changes = torch.from_numpy(np.stack(drawn))
            images, targets = self.data.images.read(positions), self.data.targets[positions]
            return Batch(torch.from_numpy(images), torch.from_numpy(targets), positions, changes)

        return in_order(load, self.plan, self.num_workers)


@dataclasses.dataclass(frozen=True)
class Preparation:
    """From a batch to what a network takes: float32 [N, 3, S, S] on the device, channels last.

    `mean` and `std` are per channel, of grey values in 0..1.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    device: torch.device

    def __call__(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Normalised images and class indices on the device."""
        grey = batch.images.to(self.device, non_blocking=True).unsqueeze(1).float().div_(255)
        if batch.changes is not None:
            grey = change(grey, batch.changes.to(self.device, non_blocking=True))
        mean = torch.tensor(self.mean, device=self.device).view(1, 3, 1, 1)
        std = torch.tensor(self.std, device=self.device).view(1, 3, 1, 1)
        images = ((grey - mean) / std).contiguous(memory_format=torch.channels_last)
        return images, batch.targets.to(self.device, non_blocking=True)


def change(grey: Tensor, changes: Tensor) -> Tensor:
    """Apply drawn changes [N, 7] (columns: `VIEW_COLUMNS`) to grey images [N, 1, S, S] in 0..1.

    One resampling does flip, rotation, zoom and shift; what comes in from outside is background.
    Contrast turns about the mean of the breast, and the background stays black.
    """
    flip, rotation_degrees, zoom, shift_x, shift_y, contrast, brightness = changes.unbind(1)
    angle = rotation_degrees * (math.pi / 180)
    cosine, sine, mirror = torch.cos(angle) / zoom, torch.sin(angle) / zoom, 1 - 2 * flip
    # Rows map output to input coordinates in -1..1, hence twice the shift.
    theta = torch.stack(
        [
            torch.stack([mirror * cosine, mirror * sine, 2 * shift_x], dim=1),
            torch.stack([-sine, cosine, 2 * shift_y], dim=1),
        ],
        dim=1,
    )
    moved = grid_sample(grey, affine_grid(theta, list(grey.shape), align_corners=False), align_corners=False)
    is_breast = moved > BACKGROUND_GREY
    mean = moved.sum(dim=(1, 2, 3)) / is_breast.sum(dim=(1, 2, 3)).clamp(min=1)
    column = (-1, 1, 1, 1)
    turned = (moved - mean.view(column)) * contrast.view(column) + mean.view(column)
    return (turned * brightness.view(column)).clamp(0, 1) * is_breast

"""Augmentation as a pure function of (seed, image id, view): what to do is drawn here, without torch.

`mammo.data.batches` applies it to a batch on the device. An image drawn for the n-th time in epoch e
gets view (e + n) mod num_variants when the trunk is frozen, so that its outputs can be kept, and view
(e, n), always a new one, otherwise.
"""

from __future__ import annotations

import dataclasses
import hashlib
import struct

import numpy as np

from mammo.support.option_registry import option

# What one drawn view holds: flip (0 or 1), rotation in degrees, zoom factor, shifts as fractions of the
# side, factors of contrast and brightness.
VIEW_COLUMNS = ("flip", "rotation_degrees", "zoom", "shift_x", "shift_y", "contrast", "brightness")


@dataclasses.dataclass(frozen=True)
class AugmentOptions:
    """Ranges of the random changes; all symmetric about no change."""

    seed: int = option(
        0, "seed of the augmentation; ${seed} lets it follow the training seed", at_least=0, at_most=2**31 - 1
    )
    num_variants: int = option(8, "variants an image has when the trunk is frozen", at_least=1, at_most=1000)
    flip_probability: float = option(0.0, "probability of a left-right flip", at_least=0, at_most=1)
    rotation_degrees: float = option(0.0, "rotation up to this many degrees", at_least=0, at_most=180)
    zoom_fraction: float = option(0.0, "zoom in or out by up to this fraction", at_least=0, below=1)
    shift_fraction: float = option(0.0, "shift by up to this fraction of the side", at_least=0, below=1)
    contrast_fraction: float = option(0.0, "contrast up or down by up to this fraction", at_least=0, below=1)
    brightness_fraction: float = option(0.0, "brightness up or down by up to this fraction", at_least=0, below=1)

    @property
    def changes_nothing(self) -> bool:
        """Whether every range is empty."""
        return not any(value for name, value in vars(self).items() if name not in ("seed", "num_variants"))


def view_of(epoch: int, times_drawn_before: np.ndarray, num_variants: int | None) -> np.ndarray:
    """The number of the view for images drawn for the n-th time in an epoch (n from 0) -> int64 [N].

    With `num_variants` (frozen trunk): (epoch + n) mod num_variants. Without: a number that is unique to
    (epoch, n).
    """
    if num_variants is not None:
        return (epoch + times_drawn_before) % num_variants
    return (np.int64(epoch) << 32) + times_drawn_before


def draw_view(options: AugmentOptions, image_id: str, view: int) -> np.ndarray:
    """The changes of one view of one image, float32 [len(VIEW_COLUMNS)]; a pure function of its arguments."""
    digest = hashlib.sha256(struct.pack("<qq", options.seed, view) + image_id.encode()).digest()
    uniform = np.random.default_rng(int.from_bytes(digest[:16], "little")).uniform(-1.0, 1.0, len(VIEW_COLUMNS))
    flip = float((uniform[0] + 1) / 2 < options.flip_probability)
    return np.array(
        [
            flip,
            uniform[1] * options.rotation_degrees,
            1 + uniform[2] * options.zoom_fraction,
            uniform[3] * options.shift_fraction,
            uniform[4] * options.shift_fraction,
            1 + uniform[5] * options.contrast_fraction,
            1 + uniform[6] * options.brightness_fraction,
        ],
        dtype=np.float32,
    )

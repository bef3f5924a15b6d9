"""From the content of an image file to the square that is stored of it, at the least cost.

With `decode=fast` a JPEG 2000 image is decoded at the strongest reduction that leaves its long side about 1.5
times that of the square or more. Cropping to the breast takes some of that away; where less than three quarters of
the square's side would remain, it is decoded again at a weaker reduction. On real films and mammograms the
squares of fast and exact differ by less than 1 of 255 grey levels on average. All other images are decoded
whole, and are the same to the bit with `decode=exact`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math

import numpy as np

from mammo.data.crop_placement import Placement
from mammo.data.grey import GreyImage
from mammo.data.images import OpenedImage, open_image
from mammo.data.preprocess import PREPROCESS_VERSION, Breast, locate, placement_of, prepare

# Not 1.5: a quarter of the 3062 rows of a common detector is 1.496 times 512.
FAST_OVERSAMPLING = 1.49
# A breast that is 0.95 of the square at the first reduction differs by 0.3 grey levels on average, and decoding it
# again would take four times as long.
LEAST_OVERSAMPLING = 0.75


@dataclasses.dataclass(frozen=True)
class PixelSettings:
    """Everything that decides what the stored pixels of a file are."""

    size_px: int
    crop: bool
    orient: bool
    accept: tuple[str, ...] = ()
    decode: str = "fast"

    def key(self) -> str:
        """Hash of the settings, of how they are understood, and of the version of the preprocessing."""
        content = dataclasses.asdict(self) | {
            "version": PREPROCESS_VERSION,
            "oversampling": [FAST_OVERSAMPLING, LEAST_OVERSAMPLING],
        }
        text = json.dumps(content, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def pixels_of(content: bytes, laterality: str, settings: PixelSettings) -> np.ndarray:
    """The square uint8 [size_px, size_px] of an image file; raises `BadFile`.

    `laterality` (`L`, `R` or empty) comes before that of the header.
    """
    opened, laterality = _opened(content, laterality, settings)
    grey, breast = _decoded(opened, settings)
    return prepare(grey, laterality, settings.size_px, settings.crop, settings.orient, breast)


def negative_pixels_of(content: bytes, laterality: str, settings: PixelSettings) -> np.ndarray:
    """`pixels_of` the negative of an image file: the breast is looked for in what is dark in the file."""
    opened, laterality = _opened(content, laterality, settings)
    grey = GreyImage(1 - opened.grey(None).levels())
    return prepare(grey, laterality, settings.size_px, settings.crop, settings.orient)


def image_and_placement(
    content: bytes, laterality: str, settings: PixelSettings, enough_px: int
) -> tuple[GreyImage, Placement]:
    """The image in a file, and where the square lies in it that `pixels_of` makes; arguments and errors as there.

    The long side of an image that is decoded at a fraction of its size is about `enough_px` or more.
    """
    opened, laterality = _opened(content, laterality, settings)
    grey, breast = _decoded(opened, settings)
    placement = placement_of(grey, laterality, settings.size_px, settings.crop, settings.orient, breast)
    return (opened.grey(enough_px) if grey.reduction else grey), placement


def _opened(content: bytes, laterality: str, settings: PixelSettings) -> tuple[OpenedImage, str]:
    """An image file, and the side of its breast where it is known."""
    opened = open_image(content, settings.accept)
    return opened, laterality or (opened.header.laterality if opened.header is not None else "")


def _decoded(opened: OpenedImage, settings: PixelSettings) -> tuple[GreyImage, Breast]:
    """The grey levels of which the square is made, and where the breast is in them."""
    enough_px = math.ceil(FAST_OVERSAMPLING * settings.size_px)
    grey = opened.grey(enough_px if settings.decode == "fast" else None)
    breast = locate(grey)
    if grey.reduction > 0 and settings.crop:
        top, bottom, left, right = breast.box(grey.whole_shape)
        breast_px = max(bottom - top, right - left)
        if breast_px < LEAST_OVERSAMPLING * settings.size_px * 2**grey.reduction:
            grey = opened.grey(math.ceil(enough_px * max(grey.whole_shape) / breast_px))
    return grey, breast

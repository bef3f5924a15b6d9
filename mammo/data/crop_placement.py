"""Which part of an image the square shows that a network sees, and the way back from the square to the image."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from PIL import Image


class Placement(NamedTuple):
    """A box of an image as it lies in a square.

    `box_px` is (top, bottom, left, right) in pixels of the whole image, bottom and right exclusive; its long side
    becomes the side of the square. It lies at the left, centred from top to bottom, mirrored where `flip` is true.
    """

    box_px: tuple[int, int, int, int]
    flip: bool
    size_px: int

    @property
    def shape_px(self) -> tuple[int, int]:
        """Rows and columns that the box takes in the square."""
        top, bottom, left, right = self.box_px
        scale = self.size_px / max(bottom - top, right - left)
        return max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale))

    @property
    def first_row_px(self) -> int:
        """The first row of the square that shows the box; its first column is 0."""
        return (self.size_px - self.shape_px[0]) // 2

    def box_in(self, shape: tuple[int, int], whole_shape: tuple[int, int]) -> tuple[int, int, int, int]:
        """The box in pixels of a smaller copy of the image, at least one pixel in each direction."""
        edges = []
        for (start, stop), length, whole in zip((self.box_px[:2], self.box_px[2:]), shape, whole_shape, strict=True):
            first = min(round(start * length / whole), length - 1)
            edges += [first, max(first + 1, round(stop * length / whole))]
        top, bottom, left, right = edges
        return top, bottom, left, right

    def back(self, values: np.ndarray, shape: tuple[int, int], whole_shape: tuple[int, int]) -> np.ndarray:
        """Values on a grid over the square, brought to the image: float32 of `shape`, 0 beside the box.

        Arguments:
            values: [R, C] on a grid of any size that covers the square; interpolated linearly.
            shape: rows and columns of the copy of the image that is wanted.
            whole_shape: rows and columns of the whole image, in whose pixels the box is.
        """
        top, bottom, left, right = self.box_in(shape, whole_shape)
        rows, columns = self.shape_px
        down, across = values.shape[0] / self.size_px, values.shape[1] / self.size_px
        shown = (0.0, self.first_row_px * down, columns * across, (self.first_row_px + rows) * down)
        grid = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
        part = np.asarray(grid.resize((right - left, bottom - top), Image.Resampling.BILINEAR, shown))
        picture = np.zeros(shape, dtype=np.float32)
        picture[top:bottom, left:right] = part[:, ::-1] if self.flip else part
        return picture

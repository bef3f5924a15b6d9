"""A grey image whose grey levels are looked up only where they are needed.

A mammogram has ten million pixels, of which a third is breast. The way from a stored value to a grey level
depends on that value alone, so a decoded image is kept as integers with a table, and what is cropped away
is never turned into floats.
"""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class GreyImage:
    """Values [rows, columns] and the grey level of each value, float32.

    `table[i]` is the grey level of the value `lowest + i`; without a table the values are grey levels
    themselves, float32. `reduction` is r for an image that was decoded at 1 / 2**r of its size: pixel
    (i, j) then shows what is around the pixel (i * 2**r, j * 2**r) of the whole image, and not the mean of
    the block that begins there.
    """

    values: np.ndarray
    table: np.ndarray | None = None
    lowest: int = 0
    reduction: int = 0

    @classmethod
    def of(cls, image: np.ndarray | GreyImage) -> GreyImage:
        """An array [rows, columns] of grey levels as a grey image; a grey image is returned as it is."""
        return image if isinstance(image, GreyImage) else cls(np.asarray(image, dtype=np.float32))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.values.shape
        return rows, columns

    def levels(self, rows: slice = slice(None), columns: slice = slice(None)) -> np.ndarray:
        """Grey levels of a part of the image, float32 [rows, columns]."""
        part = self.values[rows, columns]
        if self.table is None:
            return np.ascontiguousarray(part, dtype=np.float32)
        return self.table.take(part if self.lowest == 0 else part.astype(np.int32) - self.lowest)

    def sample(self, step: int) -> np.ndarray:
        """Grey levels of every `step`-th pixel in both directions."""
        every = slice(None, None, step)
        return self.levels(every, every)

    def is_constant(self) -> bool:
        """Whether all pixels have the same grey level."""
        # A few pixels nearly always answer the question.
        return all(levels.min() == levels.max() for levels in map(self.sample, (16, 1)))

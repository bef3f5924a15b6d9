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
    themselves, float32. `reduction` is r for an image that was decoded at 1 / 2**r of its size, which was
    `reduced_from`, rows and columns, before.
    """

    values: np.ndarray
    table: np.ndarray | None = None
    lowest: int = 0
    reduction: int = 0
    reduced_from: tuple[int, int] | None = None

    @classmethod
    def of(cls, image: np.ndarray | GreyImage) -> GreyImage:
        """An array [rows, columns] of grey levels as a grey image; a grey image is returned as it is."""
        return image if isinstance(image, GreyImage) else cls(np.asarray(image, dtype=np.float32))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        rows, columns = self.values.shape
        return rows, columns

    @property
    def whole_shape(self) -> tuple[int, int]:
        """Rows and columns of the whole image that this one is decoded from."""
        return self.reduced_from or self.shape

    def position(self, edge: float) -> float:
        """Where an edge between pixels of the whole image, counted from 0, is in this one.

        A pixel of a reduced image shows what is around the first of the pixels that it stands for, not around
        their centre. To ignore that shift costs more grey levels than the lost detail does.
        """
        return edge / 2**self.reduction + (0.5 - 0.5 / 2**self.reduction)

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

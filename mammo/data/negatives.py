"""Pictures read as their negatives, for images that may be negatives themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial

import numpy as np

from mammo.data.content_hashes import read_content
from mammo.data.crash_safe_pool import isolated, num_processes_for
from mammo.data.pixels import PixelSettings, negative_pixels_of
from mammo.data.store import FILES_PER_PROCESS, ImageFile
from mammo.support.errors import BadFile


def _read(file: ImageFile, settings: PixelSettings) -> np.ndarray | None:
    try:
        return negative_pixels_of(read_content(file.path)[0], file.laterality, settings)
    except (BadFile, OSError):
        return None


def read_negatives(
    files: Sequence[ImageFile], settings: PixelSettings, num_workers: int, timeout_seconds: float
) -> Iterator[np.ndarray | None]:
    """Squares of the negatives of some files, in their order; None for one that cannot be read.

    Decoded by processes that can be lost, as when the store is filled; with 0 workers by this one.
    """
    reader = partial(_read, settings=settings)
    num_processes = num_processes_for(len(files), FILES_PER_PROCESS, num_workers)
    with closing(isolated(reader, files, num_processes, timeout_seconds)) as squares:
        for square in squares:
            yield square if isinstance(square, np.ndarray) else None

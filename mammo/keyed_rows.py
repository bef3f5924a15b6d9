"""Arrays of one shape in one file, each under a key: what is computed once and read by every later run.

Rows are on disk before their keys name them, so a crash at any moment leaves nothing wrong and loses at
most what was being written. Several processes may write and read at once. Rows are read by position and
not through a memory map: the pages of a map count as memory of the process, which would grow with the
number of images.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from filelock import FileLock

from mammo.errors import DamagedFile
from mammo.files import naming, sync_folder

# In case two processes start a file at once; a write takes far less.
LOCK_TIMEOUT_SECONDS = 600


class KeyedRows:
    """Rows of one shape and type in `<folder>/rows.bin`; line i of `<folder>/keys.txt` is the key of row i.

    Keys are text without spaces and line breaks.
    """

    _descriptor: int | None = None

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype | str) -> None:
        self.folder, self.shape, self.dtype = folder, shape, np.dtype(dtype)
        self.row_bytes = math.prod(shape) * self.dtype.itemsize
        folder.mkdir(parents=True, exist_ok=True)
        self._rows_file, self._keys_file = folder / "rows.bin", folder / "keys.txt"
        self._lock = FileLock(folder / "write.lock", timeout=LOCK_TIMEOUT_SECONDS)
        self._row_of: dict[str, int] = {}
        self._num_rows = 0
        self._keys_bytes = 0
        self.refresh()

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, key: str) -> bool:
        return key in self._row_of

    def row_of(self, key: str) -> int:
        """The row of a key; raises KeyError."""
        return self._row_of[key]

    def refresh(self) -> None:
        """Take in the keys that other processes have added since."""
        if not self._keys_file.exists():
            return
        with self._keys_file.open("rb") as file:
            file.seek(self._keys_bytes)
            added = file.read()
        # What follows the last line break was cut off by a crash; `append` removes it.
        complete = added[: added.rfind(b"\n") + 1]
        for row, key in enumerate(complete.decode("ascii", errors="replace").splitlines(), start=self._num_rows):
            self._row_of.setdefault(key, row)
            self._num_rows = row + 1
        self._keys_bytes += len(complete)

    def append(self, keys: Sequence[str], rows: np.ndarray) -> None:
        """Add rows [N, *shape] under their keys and force them to disk; keys that are there keep their rows.

        Raises OSError for a damaged file.
        """
        if rows.shape != (len(keys), *self.shape) or rows.dtype != self.dtype:
            raise ValueError(f"rows of {rows.dtype} {rows.shape}, expected {self.dtype} {(len(keys), *self.shape)}")
        with self._lock, naming(self._rows_file):
            self.refresh()
            new = {key: i for i, key in enumerate(keys) if key not in self._row_of}
            if not new:
                return
            is_new = not self._rows_file.exists()
            self._rows_file.touch()
            with self._rows_file.open("r+b") as file:
                # Beyond the end a file would be filled with zeros, which the keys there are would then name.
                if file.seek(0, os.SEEK_END) < self._num_rows * self.row_bytes:
                    raise self._damaged()
                file.seek(self._num_rows * self.row_bytes)
                for i in new.values():
                    file.write(np.ascontiguousarray(rows[i]).data)
                file.flush()
                os.fsync(file.fileno())
            self._keys_file.touch()
            with self._keys_file.open("r+b") as file:
                file.seek(self._keys_bytes)
                file.write("".join(f"{key}\n" for key in new).encode("ascii"))
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync_folder(self.folder)
            self.refresh()

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The rows [N, *shape] of the numbers [N]; threads may read at once. Raises OSError for a damaged file."""
        result = np.empty((len(rows), *self.shape), self.dtype)
        as_bytes = result.reshape(len(rows), math.prod(self.shape)).view(np.uint8)
        for target, row in zip(as_bytes, rows.tolist(), strict=True):
            if self._read_at(row * self.row_bytes, target) != self.row_bytes:
                raise self._damaged()
        return result

    def _damaged(self) -> DamagedFile:
        name = f"{self.folder.parent.name}/{self.folder.name}"
        return DamagedFile(f"{name} in the cache folder is damaged (fewer rows than keys); delete it")

    def _read_at(self, offset: int, target: np.ndarray) -> int:
        """Fill `target` from a position of the file; returns the number of bytes read."""
        if not hasattr(os, "preadv"):  # Windows
            with self._rows_file.open("rb", buffering=0) as file:
                file.seek(offset)
                return file.readinto(target.data) or 0
        if self._descriptor is None:
            self._descriptor = os.open(self._rows_file, os.O_RDONLY)
        return os.preadv(self._descriptor, [target.data], offset)

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()

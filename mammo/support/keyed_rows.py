"""Arrays of one shape in one file, each under a key: what is computed once and read by every later run.

Rows are on disk before their keys name them, so a crash at any moment leaves nothing wrong and loses at
most what was being written. A row is never written over, and has a checksum, which is compared when a
process reads it for the first time: what is damaged is said once, forgotten, and computed anew by whoever
knows how. Several processes may write and read at once. Rows are read by position and not through a memory
map: the pages of a map count as memory of the process, which would grow with the number of images.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import math
import os
import threading
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np
from filelock import FileLock

from mammo.support.errors import DamagedFile
from mammo.support.files import naming, sync_folder
from mammo.support.row_files import (
    ENTRY,
    HEADER_BYTES,
    KEY_BYTES,
    KEYS_FILE,
    MOST_PLACES,
    NO_KEY,
    ROWS_FILE,
    entries_of,
    entry_of,
    header_of,
    is_whole,
)

log = logging.getLogger(__name__)

# In case two processes start a file at once; a write takes far less.
LOCK_TIMEOUT_SECONDS = 600
_ENTRIES_PER_READ = 2**16
# Of each row: its entry, its place in the file, its checksum, and whether that was compared.
_KNOWN = np.dtype([("slot", np.int64), ("place", np.int64), ("sum", np.uint32), ("is_checked", bool)])


class KeyedRows:
    """Rows of one shape and type in `<folder>/rows.bin`, their keys in `<folder>/keys.bin`; a key is any text.

    Raises DamagedFile where rows of another shape or type are.
    """

    _descriptor: int | None = None

    def __init__(self, folder: Path, shape: tuple[int, ...], dtype: np.dtype | str) -> None:
        self.folder, self.shape, self.dtype = folder, shape, np.dtype(dtype)
        self.row_bytes = math.prod(shape) * self.dtype.itemsize
        folder.mkdir(parents=True, exist_ok=True)
        self._rows_file, self._keys_file = folder / ROWS_FILE, folder / KEYS_FILE
        self._header = header_of(shape, self.dtype)
        self._lock = FileLock(folder / "write.lock", timeout=LOCK_TIMEOUT_SECONDS)
        self._threads = threading.RLock()
        self._row_of: dict[bytes, int] = {}
        self._keys: list[bytes] = []
        self._known = np.empty(0, _KNOWN)
        self._next_slot = self._next_place = 0
        self._has_said = False
        self.refresh()

    def __len__(self) -> int:
        return len(self._row_of)

    def __contains__(self, key: str) -> bool:
        return _hash(key) in self._row_of

    def row_of(self, key: str) -> int:
        """The row of a key; raises KeyError."""
        return self._row_of[_hash(key)]

    def refresh(self) -> None:
        """Take in the keys that other processes have added since."""
        with self._threads, suppress(FileNotFoundError), self._keys_file.open("rb") as file:
            header = file.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES:  # cut off by a crash; `append` writes it
                return
            if header != self._header:
                self._mend_header(header)
            num_lost = 0
            # What follows the last whole entry was cut off by a crash; `append` writes over it.
            while content := self._read_entries(file):
                num_lost += self._take_in(content)
            if num_lost:
                self._say(num_lost, self._next_slot)

    def _mend_header(self, header: bytes) -> None:
        if is_whole(header):
            raise DamagedFile(f"{self._name} in the cache folder holds rows of another kind; delete it")
        log.warning("%s in the cache folder is damaged: the header of its keys is written again", self._name)
        with suppress(OSError), self._lock, self._keys_file.open("r+b") as file:  # OSError: may only be read
            file.write(self._header)

    def _read_entries(self, file: BinaryIO) -> bytes:
        file.seek(HEADER_BYTES + self._next_slot * ENTRY.itemsize)
        content = file.read(_ENTRIES_PER_READ * ENTRY.itemsize)
        return content[: len(content) // ENTRY.itemsize * ENTRY.itemsize]

    def _take_in(self, content: bytes) -> int:
        """Add entries; returns how many are lost."""
        entries = entries_of(content)
        is_lost = entries.is_lost(self._num_places())
        if is_lost.any():
            content, is_lost = self._looked_at_again(content)
            entries = entries_of(content)
        good = np.flatnonzero(~is_lost & ~entries.is_void)
        first_row = len(self._keys)
        keys = [content[start : start + KEY_BYTES] for start in (good * ENTRY.itemsize).tolist()]
        self._keys += keys
        known = np.zeros(len(good), _KNOWN)
        known["slot"], fields = self._next_slot + good, entries.fields[good]
        known["place"], known["sum"] = fields["place"], fields["row_sum"]
        self._known = np.append(self._known, known)
        self._row_of.update(zip(keys, range(first_row, first_row + len(keys)), strict=True))
        taken = entries.fields["place"][entries.is_whole]
        # Places that no disk has are no reason to fail.
        self._next_place = max(self._next_place, *(1 + taken[taken < MOST_PLACES]).tolist(), 0)
        self._next_slot += len(entries.fields)
        return int(np.count_nonzero(is_lost))

    def _looked_at_again(self, content: bytes) -> tuple[bytes, np.ndarray]:
        """The next entries while nobody writes, and which of them are lost; these are voided where that is possible."""
        try:
            with self._lock, self._keys_file.open("r+b") as file:
                content = self._read_entries(file)
                entries = entries_of(content)
                is_lost = entries.is_lost(self._num_places())
                places = np.where(entries.is_whole, entries.fields["place"], 0).tolist()
                self._void(file, {self._next_slot + i: places[i] for i in np.flatnonzero(is_lost).tolist()})
        except OSError:  # may only be read
            is_lost = entries_of(content).is_lost(self._num_places())
        return content, is_lost

    def _void(self, file: BinaryIO, place_of_slot: dict[int, int]) -> None:
        for slot, place in place_of_slot.items():
            file.seek(HEADER_BYTES + slot * ENTRY.itemsize)
            file.write(entry_of(NO_KEY, place, 0))

    def _num_places(self) -> int:
        try:
            return self._rows_file.stat().st_size // self.row_bytes
        except FileNotFoundError:
            return 0

    def append(self, keys: Sequence[str], rows: np.ndarray) -> None:
        """Add rows [N, *shape] under their keys and force them to disk; keys that are there keep their rows.

        Raises OSError where that is not possible.
        """
        if rows.shape != (len(keys), *self.shape) or rows.dtype != self.dtype:
            raise ValueError(f"rows of {rows.dtype} {rows.shape}, expected {self.dtype} {(len(keys), *self.shape)}")
        with self._threads, self._lock, naming(self._rows_file):
            self.refresh()
            hashes = [_hash(key) for key in keys]
            new = {key: i for i, key in enumerate(hashes) if key not in self._row_of}
            if not new:
                return
            is_new = not self._keys_file.exists()
            entries = self._write_rows(new, rows)
            self._keys_file.touch()
            with self._keys_file.open("r+b") as file:
                if len(file.read(HEADER_BYTES)) < HEADER_BYTES:
                    file.seek(0)
                    file.write(self._header)
                num_entries = max(0, file.seek(0, os.SEEK_END) - HEADER_BYTES) // ENTRY.itemsize
                self._next_slot = min(self._next_slot, num_entries)  # if somebody has cut the file off
                file.seek(HEADER_BYTES + num_entries * ENTRY.itemsize)
                file.write(entries)
                file.truncate()
                file.flush()
                os.fsync(file.fileno())
            if is_new:
                sync_folder(self.folder)
            self.refresh()

    def _write_rows(self, new: dict[bytes, int], rows: np.ndarray) -> bytes:
        """Write rows behind all others; returns their entries."""
        self._rows_file.touch()
        entries = []
        with self._rows_file.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            # Neither where a crash has left something, nor where a row was that has been cut off since: another
            # process may have read it.
            first = max(-(-size // self.row_bytes), self._next_place)
            try:
                file.seek(first * self.row_bytes)
                for place, (key, i) in enumerate(new.items(), start=first):
                    row = np.ascontiguousarray(rows[i]).reshape(-1).view(np.uint8)
                    file.write(row.data)
                    entries.append(entry_of(key, place, zlib.crc32(row.data)))
                file.flush()
                os.fsync(file.fileno())
            except OSError:  # the disk is full
                with suppress(OSError):
                    os.truncate(self._rows_file, size)
                raise
        return b"".join(entries)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """The rows [N, *shape] of the numbers [N]; threads may read at once. Raises DamagedFile."""
        result, is_damaged = self.read(rows)
        if is_damaged.any():
            raise DamagedFile(f"{self._name} in the cache folder is damaged; delete it")
        return result

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The rows [N, *shape] of the numbers [N], and which of them are damaged, bool [N]; threads may read at once.

        What a damaged row holds means nothing, and its key is forgotten: `append` takes it again.
        """
        result = np.empty((len(rows), *self.shape), self.dtype)
        as_bytes = result.reshape(len(rows), math.prod(self.shape)).view(np.uint8)
        is_damaged = ~np.array(
            [self._is_sound(row, target) for row, target in zip(self._known[rows], as_bytes, strict=True)], bool
        )
        if is_damaged.any():
            self._lose(rows[is_damaged])
        else:
            self._known["is_checked"][rows] = True
        return result, is_damaged

    def _lose(self, rows: np.ndarray) -> None:
        """Forget the keys of damaged rows. The first time all rows are looked at, to say how many there are."""
        with self._threads:
            if not self._has_said:
                total = len(self._row_of)
                every = np.array(sorted(self._row_of.values()), np.int64)
                self._known["is_checked"] = False
                target = np.empty(self.row_bytes, np.uint8)
                rows = np.union1d(rows, [row for row in every if not self._is_sound(self._known[row], target)])
                self._say(len(rows), total)
            self._known["is_checked"][rows] = False
            lost = [row for row in rows.tolist() if self._row_of.get(self._keys[row]) == row]
            for row in lost:
                del self._row_of[self._keys[row]]
            with suppress(OSError), self._lock, self._keys_file.open("r+b") as file:
                self._void(file, {slot: place for slot, place, *_ in self._known[lost].tolist()})

    def _is_sound(self, known: np.void, target: np.ndarray) -> bool:
        """Whether a row can be read into `target`, and is as it was written where that was not compared before."""
        is_read = self._read_at(int(known["place"]) * self.row_bytes, target) == self.row_bytes
        return bool(is_read and (known["is_checked"] or zlib.crc32(target.data) == known["sum"]))

    def _say(self, num_lost: int, total: int) -> None:
        if not self._has_said:
            what = f"{num_lost} of its {total} rows are computed anew when they are needed"
            log.warning("%s in the cache folder is damaged: %s", self._name, what)
        self._has_said = True

    @property
    def _name(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def _read_at(self, offset: int, target: np.ndarray) -> int:
        """Fill `target` from a position of the file; returns the number of bytes read, 0 of a damaged disk."""
        try:
            if not hasattr(os, "preadv"):  # Windows
                with self._rows_file.open("rb", buffering=0) as file:
                    file.seek(offset)
                    return file.readinto(target.data) or 0
            if self._descriptor is None:
                self._descriptor = os.open(self._rows_file, os.O_RDONLY)
            return os.preadv(self._descriptor, [target.data], offset)
        except OSError as error:
            if error.errno in (errno.EIO, errno.ENOENT):
                return 0
            raise

    def close(self) -> None:
        """Close the file; it is opened again when needed."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __del__(self) -> None:
        self.close()


def _hash(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=KEY_BYTES).digest()

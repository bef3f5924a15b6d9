"""How rows and their keys lie on the disk, so that any damage to them is noticed.

`keys.bin` is a header and then entries of one length, so that no damage can shift what follows it. An entry
has the hash of a key, the place of its row in `rows.bin`, the CRC-32 of that row, and the CRC-32 of all this.
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

ROWS_FILE, KEYS_FILE = "rows.bin", "keys.bin"
# Of the version before, which had no checksums.
OLD_KEYS_FILE = "keys.txt"
# Raise it when the layout changes; whoever names folders of rows puts it into the name.
LAYOUT_VERSION = 2
HEADER_BYTES = 128
ENTRY = np.dtype([("key", "<u8", 2), ("place", "<u8"), ("row_sum", "<u4"), ("sum", "<u4")])
KEY_BYTES, _SUM_BYTES = 16, 4
# Of an entry that stands for nothing any more; its place, where it had one, stays taken.
NO_KEY = bytes(KEY_BYTES)
MOST_PLACES = 2**40
_HEADER = re.compile(rb"mammo rows %d: [<|][uif]([1248]) (\d{1,9}(?:x\d{1,9}){0,7}) *\n" % LAYOUT_VERSION)
_ENTRIES_PER_READ = 2**6
_BYTES_PER_READ = 2**20


def header_of(shape: Sequence[int], dtype: np.dtype) -> bytes:
    """The header of rows of a shape and type."""
    text = f"mammo rows {LAYOUT_VERSION}: {dtype.str} {'x'.join(map(str, shape))}"
    return _with_sum(text.encode("ascii").ljust(HEADER_BYTES - 1 - _SUM_BYTES) + b"\n")


def entry_of(key: bytes, place: int, row_sum: int) -> bytes:
    """The entry of a row."""
    return _with_sum(key + place.to_bytes(8, "little") + row_sum.to_bytes(4, "little"))


def _with_sum(content: bytes) -> bytes:
    return content + zlib.crc32(content).to_bytes(_SUM_BYTES, "little")


def is_whole(content: bytes) -> bool:
    """Whether a header or entry is as it was written."""
    return _with_sum(content[:-_SUM_BYTES]) == content


class Entries(NamedTuple):
    """Entries as an array of `ENTRY`, and bool arrays: which are as they were written, which stand for nothing."""

    fields: np.ndarray
    is_whole: np.ndarray
    is_void: np.ndarray

    def is_lost(self, num_places: int) -> np.ndarray:
        """Which are damaged, or name a row behind the end of a file of so many rows."""
        return ~self.is_whole | (~self.is_void & (self.fields["place"] >= num_places))


def entries_of(content: bytes) -> Entries:
    """The entries in a part of the file; half a one at its end is left out."""
    fields = np.frombuffer(content, ENTRY, len(content) // ENTRY.itemsize)
    whole, length = memoryview(content), ENTRY.itemsize - _SUM_BYTES
    sums = [zlib.crc32(whole[start : start + length]) for start in range(0, fields.nbytes, ENTRY.itemsize)]
    is_whole = fields["sum"] == np.array(sums, np.uint32)
    return Entries(fields, is_whole, is_whole & (fields["key"] == 0).all(axis=1))


class Survey(NamedTuple):
    """Of a part of a folder: rows that are as they were written, rows that are not, keys that lead to none.

    `num_bytes` is the size of a part of the keys; the last one may be smaller.
    """

    num_sound: int
    num_damaged: int
    num_lost: int
    num_bytes: int


def survey(folder: Path) -> Iterator[Survey]:
    """Compare all checksums of a folder, part by part; changes nothing, and needs little memory whatever is there.

    Raises OSError, and ValueError for a damaged header.
    """
    with (folder / KEYS_FILE).open("rb") as keys, (folder / ROWS_FILE).open("rb") as rows:
        header = keys.read(HEADER_BYTES)
        match = _HEADER.match(header)
        if match is None or not is_whole(header):
            raise ValueError("the header of the keys is damaged")
        row_bytes = int(match[1]) * math.prod(map(int, match[2].split(b"x")))
        num_places = rows.seek(0, os.SEEK_END) // max(1, row_bytes)
        while content := keys.read(_ENTRIES_PER_READ * ENTRY.itemsize):
            entries = entries_of(content)
            is_lost = entries.is_lost(num_places)
            kept = entries.fields[~is_lost & ~entries.is_void]
            sums = zip(kept["place"].tolist(), kept["row_sum"].tolist(), strict=True)
            num_sound = sum(_sum_of(rows, place * row_bytes, row_bytes) == row_sum for place, row_sum in sums)
            yield Survey(
                num_sound, len(kept) - num_sound, int(np.count_nonzero(is_lost)), _ENTRIES_PER_READ * ENTRY.itemsize
            )


def _sum_of(rows: BinaryIO, start: int, num_bytes: int) -> int | None:
    """The CRC-32 of a part of a file; None where it cannot be read."""
    total = 0
    try:
        rows.seek(start)
        for left in range(num_bytes, 0, -_BYTES_PER_READ):
            total = zlib.crc32(rows.read(min(left, _BYTES_PER_READ)), total)
    except OSError:
        return None
    return total

"""Ways in which the files of `KeyedRows` can be damaged, one of each class of bytes in them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mammo.support.row_files import ENTRY, HEADER_BYTES, KEYS_FILE, ROWS_FILE

Change = Callable[[bytearray, int], None]

FIELDS = {"key": 0, "place": 16, "row_sum": 24, "sum": 28}


def _flip(at: int) -> Change:
    def change(content: bytearray, unit: int) -> None:
        content[at] ^= 0x04

    return change


def _in_unit(which: float, at: int, start: int) -> Change:
    """A bit of byte `at` of a unit (0 the first, 1 the last); the units begin at `start`."""

    def change(content: bytearray, unit: int) -> None:
        count = (len(content) - start) // unit
        content[start + round(which * (count - 1)) * unit + at] ^= 0x04

    return change


def _swap(one: int, other: int, start: int) -> Change:
    def change(content: bytearray, unit: int) -> None:
        places = [slice(start + i * unit, start + (i + 1) * unit) for i in (one, other)]
        content[places[0]], content[places[1]] = content[places[1]], content[places[0]]

    return change


def _copy(source: int, start: int) -> Change:
    """One unit a second time, at the end."""

    def change(content: bytearray, unit: int) -> None:
        content += content[start + source * unit : start + (source + 1) * unit]

    return change


def _replace(first: int, length: int, by: bytes) -> Change:
    def change(content: bytearray, unit: int) -> None:
        content[first : first + length] = by

    return change


def _cut(num_left: Callable[[int, int], int]) -> Change:
    def change(content: bytearray, unit: int) -> None:
        del content[num_left(len(content), unit) :]

    return change


def _append(more: bytes) -> Change:
    def change(content: bytearray, unit: int) -> None:
        content += more

    return change


def _every_second(content: bytearray, unit: int) -> None:
    for i in range(1, len(content), 2):
        content[i] ^= 0x80


_KEYS: dict[str, Change] = {
    "header begins": _flip(0),
    "header ends": _flip(HEADER_BYTES - 5),
    "sum of header": _flip(HEADER_BYTES - 1),
    "header is zeros": _replace(0, HEADER_BYTES, bytes(HEADER_BYTES)),
    **{
        f"{field} of {name} entry": _in_unit(which, at, HEADER_BYTES)
        for field, at in FIELDS.items()
        for name, which in (("first", 0), ("middle", 0.5), ("last", 1))
    },
    "line feed in a key": _replace(HEADER_BYTES + 3, 1, b"\n"),
    "first entry is zeros": _replace(HEADER_BYTES, ENTRY.itemsize, bytes(ENTRY.itemsize)),
    "all entries are zeros": _replace(HEADER_BYTES, 3 * ENTRY.itemsize, bytes(3 * ENTRY.itemsize)),
    "two entries swapped": _swap(0, 2, HEADER_BYTES),
    "an entry twice": _copy(0, HEADER_BYTES),
    "an entry over another": lambda content, unit: _replace(
        HEADER_BYTES, unit, bytes(content[HEADER_BYTES + unit : HEADER_BYTES + 2 * unit])
    )(content, unit),
    "a byte too many": _replace(HEADER_BYTES + 5, 0, b"\n"),
    "a byte too few": _replace(HEADER_BYTES + 5, 1, b""),
    "an entry too few": _replace(HEADER_BYTES, ENTRY.itemsize, b""),
    "last byte cut off": _cut(lambda length, unit: length - 1),
    "last entry cut off": _cut(lambda length, unit: length - unit),
    "cut off in the header": _cut(lambda length, unit: 50),
    "nothing left": _cut(lambda length, unit: 0),
    "5 bytes behind": _append(b"hello"),
    "100 zeros behind": _append(bytes(100)),
    "every second byte": _every_second,
}
_ROWS: dict[str, Change] = {
    **{
        f"{where} byte of {name} row": _in_unit(which, at, 0)
        for where, at in (("first", 0), ("last", -1))
        for name, which in (("first", 0), ("middle", 0.5), ("last", 1))
        if (at, which) != (-1, 0)
    },
    "two rows swapped": _swap(0, 2, 0),
    "a row over another": lambda content, unit: _replace(0, unit, bytes(content[unit : 2 * unit]))(content, unit),
    "a row is zeros": lambda content, unit: _replace(0, unit, bytes(unit))(content, unit),
    "all is zeros": lambda content, unit: _replace(0, len(content), bytes(len(content)))(content, unit),
    "a byte too many": _replace(5, 0, b"\0"),
    "a byte too few": _replace(5, 1, b""),
    "last byte cut off": _cut(lambda length, unit: length - 1),
    "last row cut off": _cut(lambda length, unit: length - unit),
    "half cut off": _cut(lambda length, unit: length // 2),
    "nothing left": _cut(lambda length, unit: 0),
    "5 bytes behind": _append(b"hello"),
    "a row behind": _copy(1, 0),
    "every second byte": _every_second,
}
DAMAGES = [("keys", name) for name in (*_KEYS, "removed")] + [("rows", name) for name in (*_ROWS, "removed")]


def damage(folder: Path, file: str, name: str, row_bytes: int) -> None:
    """Do to the files in a folder what one of `DAMAGES` says; at least three rows must be there."""
    path = folder / {"keys": KEYS_FILE, "rows": ROWS_FILE}[file]
    if name == "removed":
        path.unlink()
        return
    content = bytearray(path.read_bytes())
    changes, unit = (_KEYS, ENTRY.itemsize) if file == "keys" else (_ROWS, row_bytes)
    changes[name](content, unit)
    assert content != path.read_bytes(), "this damages nothing"
    path.write_bytes(content)

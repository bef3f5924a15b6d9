"""Rows under keys: what was written is read back, whatever happened in between."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mammo.support.errors import DamagedFile
from mammo.support.keyed_rows import KeyedRows
from mammo.support.row_files import ENTRY, HEADER_BYTES, survey
from tests.conftest import REPOSITORY
from tests.support.damage_to_rows import DAMAGES, damage


def rows(*values: int) -> np.ndarray:
    """A row of shape [2, 3] for each value, filled with it."""
    return np.stack([np.full((2, 3), value, np.uint16) for value in values])


@pytest.fixture
def stored(tmp_path) -> KeyedRows:
    keyed = KeyedRows(tmp_path / "rows", (2, 3), "u2")
    keyed.append(["a", "b"], rows(1, 2))
    return keyed


def read(keyed: KeyedRows, *keys: str) -> list[int]:
    return keyed[np.array([keyed.row_of(key) for key in keys])][:, 0, 0].tolist()


def test_rows_are_read_in_any_order_and_more_than_once(stored):
    stored.append(["c"], rows(3))
    found = stored[np.array([2, 0, 2])]
    assert np.array_equal(found, rows(3, 1, 3))
    assert found.dtype == np.uint16
    assert stored[np.array([], dtype=int)].shape == (0, 2, 3)


def test_a_key_that_is_there_keeps_its_row(stored):
    stored.append(["b", "c", "c"], rows(9, 3, 4))
    assert len(stored) == 3
    assert read(stored, "a", "b") == [1, 2]
    assert (stored.folder / "rows.bin").stat().st_size == 3 * stored.row_bytes


def test_another_reader_sees_the_rows_once_it_looks_again(stored):
    other = KeyedRows(stored.folder, (2, 3), "u2")
    stored.append(["c"], rows(3))
    assert "c" not in other
    other.refresh()
    assert read(other, "c", "a") == [3, 1]


@pytest.mark.parametrize(
    ("rows_left", "keys_left"),
    [(b"\x07" * 5, b""), (b"\x07" * 12, b"half-a-k"), (b"\x07" * 30, b"")],
    ids=["half a row", "row without its key", "two and a half rows"],
)
def test_what_a_crash_left_is_in_nobodys_way(stored, rows_left, keys_left):
    """Rows come before keys, so a crash leaves rows without keys, or a key that is cut off."""
    with (stored.folder / "rows.bin").open("ab") as file:
        file.write(rows_left)
    with (stored.folder / "keys.bin").open("ab") as file:
        file.write(keys_left)
    again = KeyedRows(stored.folder, (2, 3), "u2")
    assert len(again) == 2
    again.append(["c", "d"], rows(3, 4))
    assert read(KeyedRows(stored.folder, (2, 3), "u2"), "d", "c", "b", "a") == [4, 3, 2, 1]


def test_processes_that_write_at_once_lose_nothing(tmp_path):
    """Each writes its own keys and one that all have."""
    code = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from mammo.support.keyed_rows import KeyedRows\n"
        "keyed, me = KeyedRows(Path(sys.argv[1]), (2, 3), 'u2'), int(sys.argv[2])\n"
        "for i in range(20):\n"
        "    keyed.append([f'{me}-{i}', f'all-{i}'], np.full((2, 2, 3), [[[100 * me + i]], [[i]]], 'u2'))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(me)], cwd=REPOSITORY) for me in (1, 2, 3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    keyed = KeyedRows(tmp_path, (2, 3), "u2")
    assert len(keyed) == 80
    for i in range(20):
        assert read(keyed, f"all-{i}", *(f"{me}-{i}" for me in (1, 2, 3))) == [i, 100 + i, 200 + i, 300 + i]


def test_rows_of_another_shape_or_type_are_refused(stored):
    with pytest.raises(ValueError, match="expected uint16"):
        stored.append(["c"], np.zeros((1, 2, 3), np.uint8))
    with pytest.raises(ValueError, match="expected uint16"):
        stored.append(["c", "d"], rows(1))


def values(folder: Path, *keys: str) -> tuple[list[int], list[str]]:
    """What a process that can compute every row gets, and which rows it computed: that of key `x` holds `ord(x)`."""
    keyed, computed = KeyedRows(folder, (2, 3), "u2"), []

    def add(missing: list[str]) -> None:
        if missing:
            keyed.append(missing, rows(*map(ord, missing)))
            computed.extend(missing)

    add([key for key in keys if key not in keyed])
    found, is_damaged = keyed.read(np.array([keyed.row_of(key) for key in keys]))
    add([key for key, is_bad in zip(keys, is_damaged, strict=True) if is_bad])
    found = keyed[np.array([keyed.row_of(key) for key in keys])]
    assert (found == found[:, :1, :1]).all()
    return found[:, 0, 0].tolist(), computed


EVERY = "abcde"


@pytest.fixture
def filled(tmp_path) -> Path:
    """Five rows, written at two times."""
    values(tmp_path / "store" / "rows", *"abc")
    assert values(tmp_path / "store" / "rows", *EVERY) == ([*map(ord, EVERY)], ["d", "e"])
    return tmp_path / "store" / "rows"


HEADER = [("keys", name) for name in ("header begins", "header ends", "sum of header", "header is zeros")]
HARMLESS = [("keys", name) for name in ("two entries swapped", "an entry twice", "5 bytes behind")]
HARMLESS += [("rows", name) for name in ("5 bytes behind", "a row behind")]
# What is gone without a trace, as after a crash before it was written, is computed without a word.
GONE = ("an entry over another", "an entry too few", "last byte cut off", "last entry cut off")
GONE += ("cut off in the header", "nothing left", "removed")


@pytest.mark.parametrize(("file", "name"), DAMAGES, ids=lambda one: one)
def test_any_damage_is_noticed_or_without_effect(filled, file, name, caplog):
    """The values are right, what was lost is computed once, said once, and is then well again."""
    damage(filled, file, name, row_bytes=12)
    found, computed = values(filled, *EVERY)
    assert found == [*map(ord, EVERY)]
    said = [record.getMessage() for record in caplog.records]
    is_silent = (file, name) in HARMLESS or (file == "keys" and name in GONE)
    assert len(said) == (0 if is_silent else 2 if (file, name) == ("keys", "every second byte") else 1)
    assert all("store/rows in the cache folder is damaged: " in line for line in said)
    assert (computed == []) == ((file, name) in [*HARMLESS, *HEADER, ("keys", "100 zeros behind")])
    caplog.clear()
    assert values(filled, *EVERY) == ([*map(ord, EVERY)], []), "once is enough"
    assert caplog.records == []
    assert sum(part.num_damaged + part.num_lost for part in survey(filled)) == 0


def test_every_single_byte(filled, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)  # this is about content, hundreds of times
    keys, content = (filled / "keys.bin").read_bytes(), (filled / "rows.bin").read_bytes()
    for file, original in (("keys.bin", keys), ("rows.bin", content)):
        for at in range(len(original)):
            (filled / "keys.bin").write_bytes(keys)
            (filled / "rows.bin").write_bytes(content)
            changed = original[at] ^ 1 << at % 8
            (filled / file).write_bytes(original[:at] + bytes([changed]) + original[at + 1 :])
            assert values(filled, *EVERY)[0] == [*map(ord, EVERY)], (file, at)


@pytest.mark.parametrize(("file", "name"), DAMAGES, ids=lambda one: one)
def test_damage_while_a_process_reads_gives_no_other_rows(filled, file, name):
    """What was not read yet is compared; what was read is never written over, also by a process that mends."""
    reader = KeyedRows(filled, (2, 3), "u2")
    all_rows = np.array([reader.row_of(key) for key in EVERY])
    damage(filled, file, name, row_bytes=12)
    values(filled, *EVERY, "f", "g")
    found, is_damaged = reader.read(all_rows)
    for key, row, is_bad in zip(EVERY, found, is_damaged, strict=True):
        assert is_bad or (row == ord(key)).all()


def test_rows_that_were_read_are_not_written_over(filled):
    reader = KeyedRows(filled, (2, 3), "u2")
    every = np.array([reader.row_of(key) for key in EVERY])
    reader[every]
    for name in ("keys.bin", "rows.bin"):
        with (filled / name).open("r+b") as file:
            file.truncate((filled / name).stat().st_size - (32 if name == "keys.bin" else 12))
        values(filled, *"fgh")
        found, is_damaged = reader.read(every)
        assert (is_damaged | (found[:, 0, 0] == [*map(ord, EVERY)])).all()


def test_damage_is_an_error_for_whoever_cannot_compute(filled):
    keyed = KeyedRows(filled, (2, 3), "u2")
    damage(filled, "rows", "first byte of first row", 12)
    assert read(keyed, "b", "c") == [ord("b"), ord("c")]
    with pytest.raises(DamagedFile, match="store/rows in the cache folder is damaged; delete it"):
        read(keyed, "b", "a")
    assert "a" not in keyed


def test_rows_of_another_kind_are_not_touched(filled):
    before = {path: path.read_bytes() for path in filled.iterdir()}
    with pytest.raises(DamagedFile, match="holds rows of another kind"):
        KeyedRows(filled, (3, 2), "u2")
    assert {path: path.read_bytes() for path in filled.iterdir()} == before


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_damaged_file_that_may_only_be_read(filled):
    damage(filled, "keys", "key of first entry", 12)
    for path in (*filled.iterdir(), filled):
        path.chmod(path.stat().st_mode & 0o555)
    keyed = KeyedRows(filled, (2, 3), "u2")
    assert [key in keyed for key in EVERY] == [False, True, True, True, True]


def test_a_full_disk_leaves_what_was_there(filled, monkeypatch):
    before = {path: path.read_bytes() for path in filled.iterdir()}

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        KeyedRows(filled, (2, 3), "u2").append(["x"], rows(7))
    assert {path: path.read_bytes() for path in filled.iterdir()} == before


def test_a_key_that_is_named_twice_moves_no_other(stored):
    """As two writers could leave it where the locks of a network file system fail."""
    stored.append(["c"], rows(3))
    keys_file = stored.folder / "keys.bin"
    content = keys_file.read_bytes()
    keys_file.write_bytes(content[: HEADER_BYTES + ENTRY.itemsize] + content[HEADER_BYTES:])
    assert read(KeyedRows(stored.folder, (2, 3), "u2"), "a", "b", "c") == [1, 2, 3]

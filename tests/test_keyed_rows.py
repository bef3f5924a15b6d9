"""Rows under keys: what was written is read back, whatever happened in between."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mammo.keyed_rows import KeyedRows
from tests.conftest import REPOSITORY


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
def test_what_a_crash_left_is_overwritten(stored, rows_left, keys_left):
    """Rows come before keys, so a crash leaves rows without keys, or a key that is cut off."""
    with (stored.folder / "rows.bin").open("ab") as file:
        file.write(rows_left)
    with (stored.folder / "keys.txt").open("ab") as file:
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
        "from mammo.keyed_rows import KeyedRows\n"
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


def test_a_file_that_was_cut_off_is_an_error_and_not_zeros(stored):
    with (stored.folder / "rows.bin").open("r+b") as file:
        file.truncate(stored.row_bytes + 3)
    assert read(stored, "a") == [1]
    with pytest.raises(OSError, match=r"/rows in the cache folder is damaged"):
        read(stored, "b")


@pytest.mark.parametrize("num_bytes_left", [None, 0, 15])
def test_rows_that_are_missing_do_not_become_zeros(stored, num_bytes_left):
    """When half a cache is copied, or removing it is interrupted."""
    rows_file = stored.folder / "rows.bin"
    if num_bytes_left is None:
        rows_file.unlink()
    else:
        rows_file.write_bytes(rows_file.read_bytes()[:num_bytes_left])
    again = KeyedRows(stored.folder, (2, 3), "u2")
    with pytest.raises(OSError, match=r"is damaged \(fewer rows than keys\); delete it"):
        again.append(["c"], rows(3))


def test_a_key_that_is_named_twice_moves_no_other(stored):
    """As two writers could leave it where the locks of a network file system fail."""
    stored.append(["c"], rows(3))
    keys_file = stored.folder / "keys.txt"
    keys_file.write_text("a\na\nc\n")
    assert read(KeyedRows(stored.folder, (2, 3), "u2"), "a", "c") == [1, 3]

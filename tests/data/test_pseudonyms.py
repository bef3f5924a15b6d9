"""The key of the pseudonyms: made once, for the user alone."""

from __future__ import annotations

import csv
import hmac
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mammo.data.pseudonyms import renamer, tables_of, write_lookup
from mammo.support.errors import DataError
from tests.conftest import REPOSITORY

MANY = """
import sys, time
from pathlib import Path
from mammo.data.pseudonyms import renamer
time.sleep(max(0, float(sys.argv[2]) - time.time()))
print(renamer(Path(sys.argv[1]))("patient"))
"""


def test_processes_that_start_at_once_share_one_key_under_a_lax_umask(tmp_path):

    command = [sys.executable, "-c", MANY, str(tmp_path / "cache"), str(time.time() + 1.5)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, umask=0) for _ in range(6)
    ]  # fmt: skip
    assert len({process.communicate()[0] for process in started}) == 1
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["pseudonym.check", "pseudonym.key"]
    assert stat.S_IMODE((tmp_path / "cache" / "pseudonym.key").stat().st_mode) == 0o600


def test_a_key_that_others_could_read_is_closed(tmp_path):
    rename = renamer(tmp_path)
    (tmp_path / "pseudonym.key").chmod(0o644)
    write_lookup(tmp_path / "table.csv", rename, ["a"])
    (tmp_path / "table.csv").chmod(0o644)
    assert renamer(tmp_path)("a") == rename("a")
    write_lookup(tmp_path / "table.csv", rename, ["a"])
    for name in ("pseudonym.key", "table.csv"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o600


def test_a_damaged_key_is_not_used(tmp_path):
    for content in ("", "00", "x" * 64):
        (tmp_path / "pseudonym.key").write_text(content)
        with pytest.raises(DataError, match="damaged"):
            renamer(tmp_path)


@pytest.fixture
def cache(tmp_path) -> Path:
    """A cache folder with a key, its check value and two tables."""
    for name, identifiers in (("one", ["a", "=b", "caf\u00e9"]), ("two", ["c"])):
        write_lookup(tmp_path / "pseudonyms" / f"{name}.csv", renamer(tmp_path), identifiers)
    return tmp_path


def test_a_changed_key_is_an_error_and_not_other_pseudonyms(cache):
    key = cache / "pseudonym.key"
    original = key.read_text()
    for at in range(len(original)):
        key.write_text(original[:at] + ("0" if original[at] != "0" else "1") + original[at + 1 :])
        with pytest.raises(DataError, match=r"pseudonym\.key in the cache folder\) is another one than before"):
            renamer(cache)
    key.write_text(os.urandom(32).hex())
    with pytest.raises(DataError, match=r"put it back from a copy, or remove pseudonym\.key, pseudonym\.check and"):
        renamer(cache)


def test_a_lost_key_is_an_error_where_there_are_pseudonyms(cache):
    (cache / "pseudonym.key").unlink()
    with pytest.raises(DataError, match="is gone"):
        renamer(cache)
    (cache / "pseudonym.check").unlink()
    with pytest.raises(DataError, match="is gone"):
        renamer(cache)
    shutil.rmtree(cache / "pseudonyms")
    renamer(cache)


def test_damage_to_the_check_value_is_mended_and_the_tables_vouch_for_the_key(cache):
    check, before = cache / "pseudonym.check", renamer(cache)("a")
    content = check.read_text()
    for at in range(len(content)):
        check.write_text(content[:at] + chr(ord(content[at]) ^ 1) + content[at + 1 :])
        assert renamer(cache)("a") == before
        assert check.read_text() == content
    for damaged in (b"", b"\xff", content[:-1].encode()):
        check.write_bytes(damaged)
        assert renamer(cache)("a") == before
        assert check.read_text() == content
    check.unlink()
    (cache / "pseudonym.key").write_text(os.urandom(32).hex())
    with pytest.raises(DataError, match="is not the one of the tables in pseudonyms/"):
        renamer(cache)


def test_a_key_of_an_earlier_version_goes_on(tmp_path):
    """It has no check value; tables that another key has left before are no reason to doubt it."""
    key = "12" * 32
    (tmp_path / "pseudonym.key").write_text(key)
    assert renamer(tmp_path)("a") == hmac.new(bytes.fromhex(key), b"a", "sha256").hexdigest()[:12]
    (tmp_path / "pseudonyms").mkdir()
    (tmp_path / "pseudonyms" / "old.csv").write_text("pseudonym,id\r\n0123456789ab,a\r\n")
    (tmp_path / "pseudonyms" / "new.csv").write_text(f"pseudonym,id\r\n{renamer(tmp_path)('a')},a\r\n")
    (tmp_path / "pseudonym.check").unlink()
    assert renamer(tmp_path)("a")


def test_every_byte_of_a_table(cache):
    key = bytes.fromhex((cache / "pseudonym.key").read_text())
    table = cache / "pseudonyms" / "one.csv"
    content = table.read_bytes()
    assert [one.is_whole for one in tables_of(cache, key)] == [True, True]
    for at in range(len(content)):
        table.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert next(tables_of(cache, key)).is_whole in (False, None), at
        table.write_bytes(content[:at])
        assert next(tables_of(cache, key)).is_whole in (False, None), at
    write_lookup(table, renamer(cache), ["a", "=b", "caf\u00e9"])
    assert table.read_bytes() == content
    rows = list(csv.DictReader(table.open(newline="")))
    assert {row["pseudonym"]: row["id"] for row in rows}[renamer(cache)("a")] == "a"

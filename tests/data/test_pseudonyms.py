"""The key of the pseudonyms: made once, for the user alone."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time

import pytest

from mammo.data.pseudonyms import renamer, write_lookup
from mammo.errors import DataError
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
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["pseudonym.key"]
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

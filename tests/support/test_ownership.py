"""Who owns a folder: one process, whatever is deleted, moved or replaced meanwhile."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mammo.support.errors import OwnershipLost
from mammo.support.ownership import one_owner
from tests.conftest import REPOSITORY

# Where a file system locks no folders (NFS), only the lock file is there.
EITHER = pytest.mark.parametrize("whole_folder", [True, False], ids=["folder", "file"])
HOLD = (
    "import sys; from pathlib import Path; from mammo.support.ownership import one_owner\n"
    "with one_owner(Path(sys.argv[1]), RuntimeError, whole_folder=sys.argv[2] == 'True'):\n"
    "    print('held', flush=True); sys.stdin.read()"
)
# All that earlier versions know is the lock file.
HOLD_AS_EARLIER = (
    "import sys; from filelock import FileLock\n"
    "with FileLock(sys.argv[1]).acquire(timeout=0): print('held', flush=True); sys.stdin.read()"
)


class Refused(Exception):
    """What a second process is told."""


@contextlib.contextmanager
def other_process(
    lock_file: Path, whole_folder: bool = True, code: str = HOLD
) -> Iterator[subprocess.Popen[str] | None]:
    """Another process that holds the lock until the end of the block; None where it could not have it."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(lock_file), str(whole_folder)],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    holds = process.stdout.readline() == "held\n"
    try:
        yield process if holds else None
    finally:
        process.stdin.close()
        process.wait()


def require_refused(lock_file: Path, whole_folder: bool = True, match: str | None = None) -> None:
    with pytest.raises(Refused, match=match), one_owner(lock_file, Refused, whole_folder=whole_folder):
        pass


@EITHER
def test_a_second_process_is_told_who_holds_it_and_a_dead_one_holds_nothing(tmp_path, whole_folder):
    lock = tmp_path / ".lock"
    with other_process(lock, whole_folder) as process:
        assert process is not None
        require_refused(lock, whole_folder, rf"process {process.pid} on .*, since 2")
        process.kill()
        process.wait()
        with one_owner(lock, Refused, whole_folder=whole_folder) as owner:
            owner.require()
    with one_owner(lock, Refused, whole_folder=whole_folder):
        require_refused(lock, whole_folder, f"process {os.getpid()} ")
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_deleted_lock_file_lets_nobody_in(tmp_path):
    lock = tmp_path / ".lock"
    with other_process(lock):
        lock.unlink()
        require_refused(lock)
        (tmp_path / ".lock_owner").unlink()
        require_refused(lock, match="another process")
    with one_owner(lock, Refused, whole_folder=True) as owner:
        lock.unlink()
        owner.require()
        owner.require()
        require_refused(lock)
        with other_process(lock, code=HOLD_AS_EARLIER) as process:
            assert process is None, "the lock file is there again"


def test_a_process_of_an_earlier_version_shuts_out_and_is_noticed(tmp_path):
    lock = tmp_path / ".lock"
    with other_process(lock, code=HOLD_AS_EARLIER):
        require_refused(lock)
    with one_owner(lock, Refused, whole_folder=True) as owner:
        lock.unlink()
        with other_process(lock, code=HOLD_AS_EARLIER), pytest.raises(OwnershipLost, match="another process has taken"):
            owner.require()


@pytest.mark.parametrize("is_made_anew", [True, False])
def test_without_locks_of_folders_the_loss_of_the_lock_file_is_noticed(tmp_path, is_made_anew):
    lock = tmp_path / ".lock"
    with one_owner(lock, Refused) as owner:
        owner.require()
        lock.unlink()
        if is_made_anew:
            lock.touch()
        with pytest.raises(OwnershipLost, match="was removed or replaced"):
            owner.require()
        with other_process(lock, False) as process:
            assert process is not None
            note = (tmp_path / ".lock_owner").read_text()
    assert f"process {process.pid} " in note, "what another owner has noted stays"


@EITHER
@pytest.mark.parametrize("is_made_anew", [True, False])
def test_a_folder_that_is_moved_away_is_noticed(tmp_path, whole_folder, is_made_anew):
    folder = tmp_path / "run"
    folder.mkdir()
    with one_owner(folder / ".lock", Refused, whole_folder=whole_folder) as owner:
        folder.rename(tmp_path / "moved")
        if is_made_anew:
            folder.mkdir()
        with pytest.raises(OwnershipLost, match="was moved, removed or replaced"):
            owner.require()
        if is_made_anew:
            with one_owner(folder / ".lock", Refused, whole_folder=whole_folder) as second:
                second.require()


def test_a_file_of_somebody_else_at_the_name_of_the_lock_stays_as_it_is(tmp_path):
    lock, table = tmp_path / ".lock", tmp_path / "labels.csv"
    lock.write_text("mine")
    with one_owner(lock, Refused) as owner:
        owner.remove_file()
    assert lock.read_text() == "mine"
    lock.unlink()
    table.write_text("mine")
    lock.symlink_to(table)
    with pytest.raises(OSError, match="symbolic links"), one_owner(lock, Refused, whole_folder=True):
        pass
    assert table.read_text() == "mine"

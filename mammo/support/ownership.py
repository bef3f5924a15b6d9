"""One process at a time in a folder, held by what deleting a file does not undo.

The lock is on the folder itself where its file system locks folders, and on a file in it, which is all that earlier
versions know and all that there is on other file systems. Whoever is about to replace something asks first whether
what it holds is still what others see.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout, lock_descriptor

from mammo.support.errors import OwnershipLost
from mammo.support.files import read_text, write_text


class Owner:
    """Holds a lock file, and with `whole_folder` the folder that it is in; made by `one_owner`."""

    def __init__(self, lock_file: Path, *, whole_folder: bool) -> None:
        self._lock_file, self._lock = lock_file, FileLock(lock_file)
        # Open as long as it is held: until then the system gives its number to no other folder.
        self._folder_descriptor = _opened(lock_file.parent)
        self._holds_folder = False
        try:
            if whole_folder and self._folder_descriptor is not None:
                self._holds_folder = _lock_folder(self._folder_descriptor)
            self._take_file()
            self._folder = _identity(lock_file.parent)
            if self._folder_descriptor is not None and self._folder != _identity(self._folder_descriptor):
                raise Timeout(str(lock_file))
        except BaseException:  # Ctrl-C too: nobody would let go of what is held
            self.release()
            raise

    def _take_file(self) -> None:
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            if not self._lock_file.exists():
                self._lock_file.touch()  # filelock takes every folder that cannot hold the file for one that is busy
            raise
        self._file = _identity(self._lock_file)

    def require(self) -> None:
        """Raises OwnershipLost where another process may have come in; nothing may be written then.

        A lock file that was deleted is made anew where the folder itself is held.
        """
        folder = self._lock_file.parent
        if _identity(folder) != self._folder:
            raise _lost(f"{folder} was moved, removed or replaced while this process was writing into it")
        if self._file is not None and _identity(self._lock_file) == self._file:
            return
        if not self._holds_folder:
            raise _lost(f"the lock file of this process, {self._lock_file}, was removed or replaced")
        try:
            self._lock.release()
            self._take_file()
        except Timeout:
            raise _lost(f"another process has taken {self._lock_file}, which was removed") from None

    def remove_file(self) -> None:
        """Remove the lock file while it is held; one with content has been somebody else's before."""
        with suppress(FileNotFoundError):
            if _identity(self._lock_file) == self._file and self._lock_file.stat().st_size == 0:
                self._lock_file.unlink()

    def release(self) -> None:
        """Let others in."""
        self._lock.release()
        if self._folder_descriptor is not None:
            os.close(self._folder_descriptor)
            self._folder_descriptor = None


def _lost(found: str) -> OwnershipLost:
    return OwnershipLost(
        found, "a folder that one process has to itself", "nothing was replaced; see what is there, then start again"
    )


def _opened(folder: Path) -> int | None:
    """A descriptor of a folder; None where the system has none."""
    return os.open(folder, os.O_RDONLY | os.O_DIRECTORY) if hasattr(os, "O_DIRECTORY") else None


def _lock_folder(descriptor: int) -> bool:
    """Lock a folder; False where its file system cannot (NFS). Raises Timeout when another process has it."""
    try:
        is_locked = lock_descriptor(descriptor, blocking=False)
    except OSError:
        return False
    if not is_locked:
        raise Timeout("the folder")
    return True


def _identity(place: Path | int) -> tuple[int, int] | None:
    """What a name stands for now: device and number; None where there is nothing."""
    try:
        found = os.stat(place)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino


@contextmanager
def one_owner(lock_file: Path, refusal: Callable[[str], Exception], *, whole_folder: bool = False) -> Iterator[Owner]:
    """Hold a lock between processes; raises `refusal(holder)` when another one holds it.

    With `whole_folder` nobody else can be owner of anything in the folder of the lock file. The system frees the lock
    of a process that has died, however it died. Raises OSError where the file of the lock cannot be made.
    """
    note = lock_file.with_name(f"{lock_file.name}_owner")
    try:
        owner = Owner(lock_file, whole_folder=whole_folder)
    except Timeout:
        raise refusal(_holder(note) or "another process") from None
    now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    holder = f"process {os.getpid()} on {platform.node()}, since {now}"
    try:
        write_text(note, holder)
        yield owner
    finally:
        if _holder(note) == holder:
            note.unlink(missing_ok=True)
        owner.release()


def _holder(note: Path) -> str:
    try:
        return read_text(note)
    except (OSError, ValueError):
        return ""

"""Hashes of the content of files, remembered while a file stays what it was, so that it need not be read for them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from stat import S_ISREG
from typing import Any

from filelock import FileLock

# A file this young may change again without its time stamp changing: its hash is not remembered.
YOUNG_FILE_SECONDS = 2.0
# Size, two times and inode of a file.
SIGNATURE_LENGTH = 4
# The largest tomosynthesis objects are below 1 GB; a file is read into memory as a whole.
MAX_FILE_BYTES = 2_000_000_000
# An entry has about 240.
_MAX_LINE_BYTES = 1000


class ContentHashes:
    """SHA-256 of files, remembered while size, times and inode of a file stay what they were.

    An entry without its checksum, or one that does not match, is none: its file is read again.
    """

    def __init__(self, folder: Path) -> None:
        self.file = folder / "content_hashes.jsonl"
        self._lock = FileLock(folder / "content_hashes.lock")
        self._known = {name: known for name, known, is_sound in read_entries(self.file) if is_sound}

    def known_hash(self, path: Path) -> str | None:
        """The remembered hash of a file that has not changed since; None for others and unreadable ones."""
        known = self._known.get(_name_hash(path))
        try:
            return str(known[-1]) if known is not None and known[:SIGNATURE_LENGTH] == _signature(path.stat()) else None
        except OSError:
            return None

    def remember(self, entries: Sequence[dict]) -> None:
        """Append entries of `read_content` to the file."""
        if not entries:
            return
        with self._lock, self.file.open("a+b") as stream:
            # A line that a crash has cut off must not swallow the first new one.
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                stream.write(b"" if stream.read(1) == b"\n" else b"\n")
            stream.write("".join(json.dumps(entry) + "\n" for entry in entries).encode())
            stream.flush()
            os.fsync(stream.fileno())


def read_content(path: Path) -> tuple[bytes, str, dict | None]:
    """Content and SHA-256 of a file, and the entry for `ContentHashes` unless it is young.

    Raises OSError, also for what is no file and for a file of more than `MAX_FILE_BYTES`.
    """
    stat = path.stat()
    if not S_ISREG(stat.st_mode) or stat.st_size > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, "too large" if S_ISREG(stat.st_mode) else "not a regular file")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if time.time() - max(stat.st_mtime, stat.st_ctime) < YOUNG_FILE_SECONDS:
        return content, digest, None
    name, known = _name_hash(path), [*_signature(stat), digest]
    return content, digest, {"file": name, "hash": known, "sum": _sum(name, known)}


def read_entries(file: Path) -> Iterator[tuple[str, list[Any], bool | None]]:
    """Name, content and soundness of each line of a file of hashes: None where a line has no checksum.

    What is no entry, such as a last line that a crash has cut off, is left out.
    """
    if not file.exists():
        return
    with file.open("rb") as stream:
        while line := stream.readline(_MAX_LINE_BYTES):
            try:
                entry = json.loads(line)
                name, known = entry["file"], entry["hash"]
                if isinstance(name, str) and isinstance(known, list) and len(known) == SIGNATURE_LENGTH + 1:
                    yield name, known, entry["sum"] == _sum(name, known) if "sum" in entry else None
            except (ValueError, KeyError, TypeError, RecursionError):
                continue


def _sum(name: str, known: list[Any]) -> int:
    return zlib.crc32(json.dumps([name, known]).encode())


def _name_hash(path: Path) -> str:
    return hashlib.sha256(os.fsencode(path.absolute())).hexdigest()


def _signature(stat: os.stat_result) -> list[int]:
    # The time of the last change of the inode cannot be set by a program, unlike the modification time.
    return [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]

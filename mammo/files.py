"""What several rooms do with files."""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

log = logging.getLogger(__name__)


def without_credentials(text: str) -> str:
    """The text without user names and passwords in URLs, also passwords with characters that should be escaped."""
    return re.sub(r"(?i)\b(password|passwd|pwd)=[^&\s'\"]+", r"\1=", re.sub(r"://[^\s'\"]*@", "://", text))


def this_command() -> str:
    """The command line of this process, without passwords in URLs."""
    return join_command(["python", *sys.orig_argv[1:]])


def join_command(words: Sequence[str]) -> str:
    """A command line as it is typed, without passwords in URLs."""
    return without_credentials(shlex.join(words))


def write_text(path: Path, text: str) -> None:
    """Write a file so that a reader, and a crash, sees the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("w", encoding="utf-8", newline="") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(temporary, path)
    sync_folder(path.parent)


def write_json(path: Path, content: Any) -> None:
    """Write strict JSON as `write_text` does; what is not a finite number becomes null."""
    write_text(path, json.dumps(_strict(content), indent=2, allow_nan=False) + "\n")


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _strict(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def sync_folder(folder: Path) -> None:
    """Force the names in a folder to disk, so that a renamed file is still there after a power cut."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """SHA-256 of the content of a file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def one_at_a_time(lock_file: Path, waiting: str) -> Iterator[None]:
    """Hold a lock between processes; `waiting` goes to the log when another one holds it."""
    lock = FileLock(lock_file)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log.info("%s; waiting for it", waiting)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table of a run directory, without the apostrophes that guard cells in spreadsheets.

    Raises OSError, and ValueError for what is not text, has no header or has a row of another length.
    """
    with path.open(encoding="utf-8", newline="") as stream:
        try:
            lines = list(csv.reader(stream))
        except csv.Error as error:
            raise ValueError(str(error)) from error
    if not lines or any(len(line) != len(lines[0]) for line in lines):
        raise ValueError("not a whole table")
    return lines[0], [[cell.removeprefix("'") for cell in line] for line in lines[1:]]

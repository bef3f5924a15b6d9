"""What several rooms do with files."""

from __future__ import annotations

import csv
import errno
import hashlib
import io
import json
import logging
import math
import os
import re
import shlex
import stat
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from filelock import FileLock, Timeout

from mammo.support.interruption import stop_if_asked
from mammo.support.plain_text import cell_text, text_of_cell
from mammo.support.type_checks import MAX_WHOLE, require_bounded

log = logging.getLogger(__name__)

SECONDS_BETWEEN_TRIES = 0.5
# The summary of a large sweep has some megabytes, the predictions of a million images some hundred.
MAX_TEXT_BYTES = 64 * 2**20
MAX_TABLE_BYTES = 2**30
# File systems that cannot force the names of a folder to disk say so with one of these.
CANNOT_SYNC_FOLDERS = (errno.EINVAL, errno.ENOTSUP)


def without_credentials(text: str) -> str:
    """The text without user names and passwords in URLs, also passwords with characters that should be escaped."""
    return re.sub(r"(?i)\b(password|passwd|pwd)=[^&\s'\"]+", r"\1=", re.sub(r"://[^\s'\"]*@", "://", text))


def this_command() -> str:
    """The command line of this process, without passwords in URLs."""
    return join_command(["python", *sys.orig_argv[1:]])


def join_command(words: Sequence[str]) -> str:
    """A command line as it is typed, without passwords in URLs."""
    return without_credentials(shlex.join(words))


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a reader, and a crash, sees the old content or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with naming(path):
        try:
            with temporary.open("wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Add the name of a file to errors of writing it, which have none when the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = path.name
        raise


def write_text(path: Path, text: str) -> None:
    """Write text in UTF-8 as `write_bytes` does."""
    write_bytes(path, text.encode(errors="backslashreplace"))


def write_json(path: Path, content: Any) -> None:
    """Write `json_text` as `write_text` does."""
    write_text(path, json_text(content))


def json_text(content: Any) -> str:
    """Strict JSON; what is not a finite number becomes null."""
    return json.dumps(_strict(content), indent=2, allow_nan=False) + "\n"


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
    except OSError as error:
        if error.errno not in CANNOT_SYNC_FOLDERS:
            raise
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """SHA-256 of the content of a file; raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def one_at_a_time(lock_file: Path, waiting: str) -> Iterator[None]:
    """Hold a lock between processes; `waiting` goes to the log when another one holds it.

    While it waits, a signal that asks the process to end does so.
    """
    lock = FileLock(lock_file)
    is_said = False
    while True:
        try:
            lock.acquire(timeout=SECONDS_BETWEEN_TRIES if is_said else 0)
            break
        except Timeout:
            stop_if_asked()
            if not is_said:
                log.info("%s; waiting for it", waiting)
            is_said = True
    try:
        yield
    finally:
        lock.release()


def read_text(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> str:
    """The text of a file in UTF-8; raises as `read_bytes`, and ValueError for what is no text."""
    return read_bytes(path, max_bytes).decode("utf-8")


def read_bytes(path: Path, max_bytes: int = MAX_TEXT_BYTES) -> bytes:
    """The content of a file.

    Raises OSError, and ValueError for what is larger or no file at all: a pipe would never end.
    """
    # Windows would stop at a byte 26 and change line ends.
    try:
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise ValueError("a link to itself") from None
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if status.st_size > max_bytes:
            raise ValueError(f"more than {max_bytes // 2**20} MB")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            return stream.read()
    finally:
        os.close(descriptor)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; raises OSError, and ValueError for a file that holds none (damaged, half-written)."""
    content = parse_json(read_text(path))
    if not isinstance(content, dict):
        raise ValueError("not a JSON object")
    return content


def parse_json(text: str) -> Any:
    """Strict JSON; raises ValueError for what is none, has a key twice, or is nested too deeply."""
    try:
        content = json.loads(
            text, parse_constant=_refuse, parse_float=_finite, parse_int=_whole, object_pairs_hook=_unique
        )
    except RecursionError:
        raise ValueError("too deeply nested") from None
    require_bounded(content)
    return content


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no strict JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError("a number is not finite")
    return number


def _whole(digits: str) -> int:
    if len(digits) > len(str(MAX_WHOLE)) or abs(int(digits)) > MAX_WHOLE:
        raise ValueError("a whole number is beyond 64 bits")
    return int(digits)


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def safe_name(text: str) -> str:
    """The text as a part of a file name on any system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)


def csv_text(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A CSV with a header; a cell that a spreadsheet would take for a formula is guarded by an apostrophe."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerows([cell_text(cell) for cell in row] for row in (columns, *rows))
    return lines.getvalue()


def read_csv(path: Path) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of a table of a run directory, without the apostrophes that guard cells in spreadsheets.

    Raises OSError, and ValueError for what is not text, has no header or has a row of another length.
    """
    try:
        lines = list(csv.reader(io.StringIO(read_text(path, MAX_TABLE_BYTES), newline="")))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if not lines or any(len(line) != len(lines[0]) for line in lines):
        raise ValueError("not a whole table")
    header, *rows = [[text_of_cell(cell) for cell in line] for line in lines]
    return header, rows

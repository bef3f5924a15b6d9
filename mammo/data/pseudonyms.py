"""Keyed hashes in place of patient, exam and image ids in everything that is written.

The key stays in the user's cache folder, readable by the user alone, and so does a table that leads from
a pseudonym back to the id: whoever has the data can find an image, whoever has only the results cannot.
A check value beside the key tells a changed key from the one of earlier runs.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import hmac
import io
import os
import secrets
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from mammo.support.errors import DataError
from mammo.support.files import read_text
from mammo.support.plain_text import cell_text, text_of_cell

KEY_FILE, CHECK_FILE, TABLES = "pseudonym.key", "pseudonym.check", "pseudonyms"
LENGTH = 12
KEY_BYTES = 32
# In place of a pseudonym, in the last row of a table.
_SUM_ROW = "sha256"
MAX_TABLE_BYTES = 2**28
_PRIVATE = 0o600

Rename = Callable[[str], str]


def unchanged(identifier: str) -> str:
    """The id itself, for public and synthetic datasets."""
    return identifier


def renamer(cache_folder: Path, length: int = LENGTH) -> Rename:
    """A function from id to pseudonym, hex digits of an HMAC-SHA-256 (64 at most); the empty id stays empty.

    Raises DataError when the key is not the one that the cache folder was begun with: pseudonyms would be others.
    """
    key = _key(cache_folder)

    def rename(identifier: str) -> str:
        if not identifier:
            return ""
        return _pseudonym(key, identifier)[:length]

    return rename


def _pseudonym(key: bytes, identifier: str) -> str:
    return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()


def _key(cache_folder: Path) -> bytes:
    """The key of this user, made on first use; of two processes that make one, the first wins."""
    cache_folder.mkdir(parents=True, exist_ok=True)
    file = cache_folder / KEY_FILE
    if not file.exists():
        if (cache_folder / CHECK_FILE).exists() or any((cache_folder / TABLES).glob("*.csv")):
            raise _not_the_key("is gone")
        _write_if_absent(file, secrets.token_hex(KEY_BYTES))
    with contextlib.suppress(OSError):  # a copy, or another program, may have opened it to others
        file.chmod(_PRIVATE)
    key = read_key(file)
    _compare_with_check(cache_folder, key)
    return key


def read_key(file: Path) -> bytes:
    """The key in a file; raises DataError when it holds no whole one: hashes with a weak key could be guessed."""
    try:
        key = bytes.fromhex(read_text(file).strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise _not_the_key(f"is damaged: it does not hold {KEY_BYTES} bytes in hexadecimal")
    return key


def _compare_with_check(cache_folder: Path, key: bytes) -> None:
    """Raise DataError for a key that has changed. Without a whole check value the tables tell, and one is written."""
    state = state_of_key(cache_folder, key)
    if state == "other":
        raise _not_the_key("is another one than before")
    if state == "unchecked":
        check = cache_folder / CHECK_FILE
        known = [table.is_of_key for table in tables_of(cache_folder, key) if table.is_of_key is not None]
        if known and not any(known):
            raise _not_the_key("is not the one of the tables in pseudonyms/")
        with contextlib.suppress(OSError):  # read-only: compared next time
            check.unlink(missing_ok=True)
            _write_if_absent(check, _check_value(key))


def state_of_key(cache_folder: Path, key: bytes) -> str:
    """`same` as before, `other`, or `unchecked` where no whole check value says it."""
    try:
        stored = read_text(cache_folder / CHECK_FILE)
    except (OSError, ValueError):
        return "unchecked"
    digits, _, checksum = stored.partition(" ")
    if checksum != _checksum(digits):
        return "unchecked"
    return "same" if stored == _check_value(key) else "other"


def _check_value(key: bytes) -> str:
    # With a checksum of its own: damage to it is no reason to doubt the key.
    digits = _pseudonym(key, "check value of pseudonym.key")
    return f"{digits} {_checksum(digits)}"


def _checksum(digits: str) -> str:
    return f"{zlib.crc32(digits.encode()):08x}"


def _not_the_key(what: str) -> DataError:
    return DataError(
        f"the key of the pseudonyms ({KEY_FILE} in the cache folder) {what}",
        "the key with which earlier pseudonyms were made",
        f"put it back from a copy, or remove {KEY_FILE}, {CHECK_FILE} and {TABLES}/: a new key is made, and pseudonyms "
        "of earlier runs can then neither be compared with new ones nor led back to ids",
    )


def _private_file(folder: Path, content: bytes) -> str:
    """The name of a new file that is readable by the user alone."""
    descriptor, temporary = tempfile.mkstemp(dir=folder)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    return temporary


def _write_if_absent(file: Path, text: str) -> None:
    temporary = _private_file(file.parent, text.encode())
    with contextlib.suppress(FileExistsError):
        os.link(temporary, file)
    os.unlink(temporary)


def write_lookup(file: Path, rename: Rename, identifiers: Iterable[str]) -> None:
    """A table from pseudonym to id, readable by the user alone; its last row has the checksum of all others."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["pseudonym", "id"])
    writer.writerows((rename(one), cell_text(one)) for one in sorted(set(identifiers)) if one)
    content = text.getvalue().encode(errors="backslashreplace")
    content += _sum_row(content)
    # It takes the place of what is there: neither its permissions nor a link are taken over.
    os.replace(_private_file(file.parent, content), file)


class Table(NamedTuple):
    """A table from pseudonym to id as it was found, and whether it is of the key (None where it does not say).

    `is_whole` is None where it has no checksum: an earlier version wrote it, or its end was cut off.
    """

    name: str
    is_whole: bool | None
    is_of_key: bool | None


def tables_of(cache_folder: Path, key: bytes) -> Iterator[Table]:
    """Every table in the cache folder."""
    for file in sorted((cache_folder / TABLES).glob("*.csv")):
        try:
            content = file.read_bytes() if file.stat().st_size <= MAX_TABLE_BYTES else b""
            rows = list(csv.reader(io.StringIO(content.decode(), newline="")))
        except (OSError, ValueError, csv.Error):
            yield Table(file.name, False, None)
            continue
        start = content.rfind(f"{_SUM_ROW},".encode())
        is_whole = content[start:] == _sum_row(content[:start]) if start >= 0 else None
        pairs = [(row[0], text_of_cell(row[1])) for row in rows[1:] if len(row) == 2 and row[0] != _SUM_ROW]
        fits = [len(name) >= LENGTH and _pseudonym(key, one).startswith(name) for name, one in pairs]
        # What is plain is in the table as it is.
        is_plain = [one.isascii() and one.isprintable() for _, one in pairs]
        if is_whole is None and not all(fit for fit, plain in zip(fits, is_plain, strict=True) if plain):
            is_whole = False
        yield Table(file.name, is_whole, any(fits) if fits else None)


def _sum_row(content: bytes) -> bytes:
    return f"{_SUM_ROW},{hashlib.sha256(content).hexdigest()}\r\n".encode()

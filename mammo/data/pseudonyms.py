"""Keyed hashes in place of patient, exam and image ids in everything that is written.

The key stays in the user's cache folder, readable by the user alone, and so does a table that leads from
a pseudonym back to the id: whoever has the data can find an image, whoever has only the results cannot.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from mammo.errors import DataError
from mammo.plain_text import cell_text

LENGTH = 12
KEY_BYTES = 32
_PRIVATE = 0o600

Rename = Callable[[str], str]


def unchanged(identifier: str) -> str:
    """The id itself, for public and synthetic datasets."""
    return identifier


def renamer(cache_folder: Path, length: int = LENGTH) -> Rename:
    """A function from id to pseudonym, hex digits of an HMAC-SHA-256 (64 at most); the empty id stays empty."""
    key = _key(cache_folder / "pseudonym.key")

    def rename(identifier: str) -> str:
        if not identifier:
            return ""
        return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:length]

    return rename


def _key(file: Path) -> bytes:
    """The key of this user, made on first use; of two processes that make one, the first wins.

    Raises DataError when the file holds no whole key: hashes with a weak key could be guessed.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        descriptor, temporary = tempfile.mkstemp(dir=file.parent)  # readable by the user alone
        with os.fdopen(descriptor, "w") as stream:
            stream.write(secrets.token_hex(KEY_BYTES))
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(temporary, file)
        os.unlink(temporary)
    with contextlib.suppress(OSError):  # a copy, or another program, may have opened it to others
        file.chmod(_PRIVATE)
    try:
        key = bytes.fromhex(file.read_text().strip())
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise DataError(
            "the key of the pseudonyms (pseudonym.key in the cache folder) is damaged",
            f"{KEY_BYTES} bytes in hexadecimal",
            "remove it: a new one is made, and pseudonyms of earlier runs can then not be compared with new ones",
        )
    return key


def write_lookup(file: Path, rename: Rename, identifiers: Iterable[str]) -> None:
    """A table from pseudonym to id, readable by the user alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    # A file of our own that takes the place of what is there: neither its permissions nor a link are taken over.
    descriptor, temporary = tempfile.mkstemp(dir=file.parent)  # readable by the user alone
    with os.fdopen(descriptor, "w", newline="", encoding="utf-8", errors="backslashreplace") as stream:
        writer = csv.writer(stream)
        writer.writerow(["pseudonym", "id"])
        writer.writerows((rename(one), cell_text(one)) for one in sorted(set(identifiers)) if one)
    os.replace(temporary, file)

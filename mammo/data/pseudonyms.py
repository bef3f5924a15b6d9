"""Keyed hashes in place of patient, exam and image ids in everything that is written.

The key stays in the user's cache folder, readable by the user alone, and so does a table that leads from
a pseudonym back to the id: whoever has the data can find an image, whoever has only the results cannot.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import os
import secrets
from collections.abc import Callable, Iterable
from pathlib import Path

LENGTH = 12
_PRIVATE = 0o600

Rename = Callable[[str], str]


def unchanged(identifier: str) -> str:
    """The id itself, for public and synthetic datasets."""
    return identifier


def renamer(cache_folder: Path) -> Rename:
    """A function from id to pseudonym, 12 hex digits of an HMAC-SHA-256; the empty id stays empty."""
    key = _key(cache_folder / "pseudonym.key")

    def rename(identifier: str) -> str:
        if not identifier:
            return ""
        return hmac.new(key, identifier.encode(), hashlib.sha256).hexdigest()[:LENGTH]

    return rename


def _key(file: Path) -> bytes:
    """The key of this user, made on first use."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _PRIVATE)
    except FileExistsError:
        return bytes.fromhex(file.read_text().strip())
    with os.fdopen(descriptor, "w") as stream:
        stream.write(secrets.token_hex(32))
        stream.flush()
        os.fsync(stream.fileno())
    return bytes.fromhex(file.read_text().strip())


def write_lookup(file: Path, rename: Rename, identifiers: Iterable[str]) -> None:
    """A table from pseudonym to id, readable by the user alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _PRIVATE), "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["pseudonym", "id"])
        writer.writerows((rename(identifier), identifier) for identifier in sorted(set(identifiers)) if identifier)

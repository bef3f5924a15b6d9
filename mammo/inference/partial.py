"""Results that are collected one by one: an interrupted command goes on behind the last one on disk."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mammo.support.errors import RunDirectoryError
from mammo.support.files import MAX_TABLE_BYTES, read_bytes

SUFFIX = ".partial.jsonl"


class PartialResults:
    """Lines of JSON beside `output`, the first of which says what they were made with.

    Each result has a key, which names a file and its state, so that a file that has changed is done again, and a sum.
    """

    def __init__(self, output: Path, made_with: Mapping[str, Any]) -> None:
        self.file = output.with_name(f".{output.name}{SUFFIX}")
        self._made_with = dict(made_with)
        self.results: dict[str, dict[str, Any]] = {}
        if self.file.is_symlink():
            raise RunDirectoryError(f"{self.file.name} is a link", "results of an interrupted command", "remove it")
        if self.file.exists():
            self._read()

    def _read(self) -> None:
        """Take in the whole lines of the file; one that a kill has cut off is removed."""
        try:
            content = read_bytes(self.file, MAX_TABLE_BYTES)
            whole = content[: content.rfind(b"\n") + 1]
            lines = [json.loads(line) for line in whole.splitlines()]
            first, results = lines[0] if lines else {}, dict(map(_result_of, lines[1:]))
            # Without a whole line it is the first that was cut off.
            is_own = isinstance(first, dict) and (lines or self._head().startswith(content))
        except (ValueError, TypeError, KeyError, RecursionError):
            is_own = False
        if not is_own:
            raise RunDirectoryError(
                f"{self.file.name} is damaged, or nothing that this command has left", to_do="remove it, start again"
            )
        if lines and first != self._made_with:
            both = {*first, *self._made_with}
            differing = sorted(key for key in both if first.get(key) != self._made_with.get(key))
            raise RunDirectoryError(
                f"{self.file.name} holds results of an interrupted command that differs in {', '.join(differing)}",
                "the same command, which goes on",
                "repeat that one, choose another output, or remove the file",
            )
        if len(whole) < len(content):
            os.truncate(self.file, len(whole))
        self.results = results

    def _head(self) -> bytes:
        return json.dumps(self._made_with).encode() + b"\n"

    def add(self, results: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Write results with their keys, forced to disk."""
        is_new = not self.file.exists() or self.file.stat().st_size == 0
        with self.file.open("a", encoding="utf-8") as stream:
            if is_new:
                stream.write(self._head().decode())
            for key, result in results:
                stream.write(json.dumps({"key": key, "result": result, "crc32": _sum_of(key, result)}) + "\n")
                self.results[key] = dict(result)
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self) -> None:
        """Remove the file: its results are where they belong."""
        self.file.unlink(missing_ok=True)


def _sum_of(key: str, result: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps([key, result]).encode())


def _result_of(line: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Key and result of a line; raises ValueError where they are not as written, KeyError and TypeError elsewhere.

    Lines of versions before checksums have none.
    """
    key, result = line["key"], dict(line["result"])
    if line.get("crc32", _sum_of(key, result)) != _sum_of(key, result):
        raise ValueError("a line is not as it was written")
    return key, result

"""Results that are collected one by one: an interrupted command goes on behind the last one on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mammo.errors import RunDirectoryError

SUFFIX = ".partial.jsonl"


class PartialResults:
    """Lines of JSON beside `output`, the first of which says what they were made with.

    Each result has a key, which names a file and its state, so that a file that has changed is done again.
    """

    def __init__(self, output: Path, made_with: Mapping[str, Any]) -> None:
        self.file = output.with_name(f".{output.name}{SUFFIX}")
        self._made_with = dict(made_with)
        self.results: dict[str, dict[str, Any]] = {}
        lines = self._lines()
        if not lines:
            return
        if lines[0] != self._made_with:
            differing = sorted(key for key in {*lines[0], *made_with} if lines[0].get(key) != self._made_with.get(key))
            raise RunDirectoryError(
                f"{self.file.name} holds results of an interrupted command that differs in {', '.join(differing)}",
                "the same command, which goes on",
                "repeat that one, choose another output, or remove the file",
            )
        self.results = {line["key"]: line["result"] for line in lines[1:]}

    def _lines(self) -> list[dict[str, Any]]:
        """The whole lines of the file; one that a kill has cut off is removed."""
        if not self.file.exists():
            return []
        content = self.file.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self.file, len(whole))
        try:
            return [json.loads(line) for line in whole.splitlines()]
        except ValueError as error:
            raise RunDirectoryError(f"{self.file.name} is damaged", to_do="remove it, and start again") from error

    def add(self, results: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """Write results with their keys, forced to disk."""
        is_new = not self.file.exists()
        with self.file.open("a", encoding="utf-8") as stream:
            if is_new:
                stream.write(json.dumps(self._made_with) + "\n")
            for key, result in results:
                stream.write(json.dumps({"key": key, "result": result}) + "\n")
                self.results[key] = dict(result)
            stream.flush()
            os.fsync(stream.fileno())

    def remove(self) -> None:
        """Remove the file: its results are where they belong."""
        self.file.unlink(missing_ok=True)

"""Files that commands write where a person says: a command replaces only what it has written itself.

What it has written is known by content. Each folder has a list of SHA-256 sums, `.mammo-written`, to which a line is
added before a file gets its name: a process that is killed in between leaves nothing that the next one takes for
somebody else's. What earlier versions have written has no list, and is known by what is in it.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mammo.support.errors import OutputError
from mammo.support.files import csv_text, file_sha256, json_text, read_bytes, write_bytes
from mammo.support.outputs_of_earlier_versions import is_of_earlier_version

LIST_FILE = ".mammo-written"
_HEAD = "# What mammo has written here: SHA-256, command, name. What is not as listed, no command replaces.\n"
SHOWN = 5


class Outputs:
    """The files of one command in one folder.

    Arguments:
        folder: where they go; made when the first is written.
        command: by which its files are known, such as `report`.
        overwrite: replace files of others too, but no folder, and nothing that is read.
        inside: the folder that was named, where `folder` is below it: no link between them is followed.
        inputs: files that the command reads.
    """

    def __init__(
        self, folder: Path, command: str, *, overwrite: bool = False, inside: Path | None = None,
        inputs: Sequence[Path] = (),
    ) -> None:  # fmt: skip
        self.folder, self._command, self._overwrite = folder, command, overwrite
        self._inside, self._inputs = inside, inputs
        self._own: set[tuple[str, str]] = set()

    def require_free(self, names: Iterable[str]) -> None:
        """Raises OutputError for files that are not this command's, or for a folder that is a link or a file."""
        self._require_folder()
        wanted = list(names)
        taken = [name for name in wanted if self._is_in_the_way(name)]
        if taken:
            more = f" and {len(taken) - SHOWN} more" if len(taken) > SHOWN else ""
            raise OutputError(
                f"{', '.join(str(self.folder / name) for name in taken[:SHOWN])}{more}: not written by mammo."
                f"{self._command}, or changed since",
                "a place where nothing is, or what the same command has written",
                "move it, choose another output, or say overwrite=true",
            )

    def _is_in_the_way(self, name: str) -> bool:
        """Whether there is a file that may not be replaced; raises OutputError for what never may."""
        path = self.folder / name
        if not os.path.lexists(path):
            return False
        if path.is_dir() and not path.is_symlink():
            raise OutputError(f"{path} is a folder", f"a file that can be written, {name}", "choose another output")
        if path.exists() and any(path.samefile(read) for read in self._inputs if read.exists()):
            raise OutputError(f"{path} is what the command reads", "another file to write", "choose another output")
        return not (self._overwrite or self.has_written(name))

    def _require_folder(self) -> None:
        inside = self._inside or self.folder
        below = [self.folder, *self.folder.parents]
        links = [path for path in below[: below.index(inside)] if path.is_symlink()]
        if links:
            raise OutputError(
                f"{links[-1]} is a link: what is written there would lie outside of {inside}",
                "a folder",
                "remove the link, or choose a folder with output=DIR",
            )
        if self.folder.exists() and not self.folder.is_dir():
            raise OutputError(f"{self.folder} is no folder", "a folder for the results", "choose another output")

    def has_written(self, name: str) -> bool:
        """Whether a file is there and is as this command, or an earlier version of it, has written it."""
        path = self.folder / name
        if path.is_symlink() or not path.is_file():
            return False
        entry = (file_sha256(path), name)
        if entry in self._own:
            return True
        listed = [(digest, of) for digest, command, of in listed_in(self.folder) if command == self._command]
        # What has been listed and is another file now was changed by somebody: it is not looked into.
        if entry in listed or (all(of != name for _, of in listed) and is_of_earlier_version(self._command, path)):
            self._own.add(entry)
            return True
        return False

    def write_bytes(self, name: str, content: bytes) -> None:
        """Write a file as `files.write_bytes` does; raises OutputError where it is somebody else's by now."""
        self._claim(name, hashlib.sha256(content).hexdigest())
        write_bytes(self.folder / name, content)

    def take(self, source: Path, name: str) -> None:
        """Give a file of this command, in the same folder, its name."""
        self._claim(name, file_sha256(source))
        os.replace(source, self.folder / name)

    def _claim(self, name: str, digest: str) -> None:
        self.require_free([name])
        self.folder.mkdir(parents=True, exist_ok=True)
        # With what earlier versions have left: the files that tell so are replaced in some order.
        listed = set(listed_in(self.folder))
        new = [(*entry[:1], self._command, entry[1]) for entry in sorted(self._own | {(digest, name)})]
        _append(self.folder, [entry for entry in new if entry not in listed])
        self._own.add((digest, name))

    def write_text(self, name: str, text: str) -> None:
        """Write text in UTF-8."""
        self.write_bytes(name, text.encode(errors="backslashreplace"))

    def write_json(self, name: str, content: Any) -> None:
        """Write strict JSON; what is not a finite number becomes null."""
        self.write_text(name, json_text(content))

    def write_csv(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a CSV as `files.csv_text` makes it."""
        self.write_text(name, csv_text(columns, rows))

    def write_array(self, name: str, values: np.ndarray) -> None:
        """Write numbers as `array_bytes` makes them."""
        self.write_bytes(name, array_bytes(values))

    def remove(self, name: str) -> None:
        """Remove a file that this command has written; one of somebody else stays."""
        if self.has_written(name):
            (self.folder / name).unlink()


def array_bytes(values: np.ndarray) -> bytes:
    """Numbers in the format of numpy, for `np.load(..., allow_pickle=False)`."""
    buffer = io.BytesIO()
    np.save(buffer, values, allow_pickle=False)
    return buffer.getvalue()


def listed_in(folder: Path) -> list[tuple[str, str, str]]:
    """SHA-256, command and name of all that is listed as written in a folder; lines that are none are left out."""
    try:
        lines = read_bytes(folder / LIST_FILE).decode(errors="replace").splitlines()
    except (FileNotFoundError, ValueError):
        return []
    return [entry for line in lines if (entry := _entry(line)) is not None]


def _entry(line: str) -> tuple[str, str, str] | None:
    digest, _, rest = line.partition("  ")
    command, _, name = rest.partition("  ")
    try:
        text = json.loads(name)
    except (ValueError, RecursionError):
        return None
    return (digest, command, text) if isinstance(text, str) else None


def _append(folder: Path, entries: Iterable[tuple[str, str, str]]) -> None:
    """Add lines to the list of a folder, which commands that write there at once share; neither link nor table of
    somebody else is written into."""
    lines = "".join(f"{digest}  {command}  {json.dumps(name)}\n" for digest, command, name in entries)
    if not lines:
        return
    path = folder / LIST_FILE
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    with open(os.open(path, flags, 0o666), "r+b", buffering=0) as file:
        found, head = os.fstat(file.fileno()), _HEAD.encode()
        if not stat.S_ISREG(found.st_mode) or (found.st_size and file.read(len(head)) != head):
            raise OutputError(f"{path} is not the list of what was written there", "none", "move it away")
        file.write((b"" if found.st_size else head) + lines.encode())
        os.fsync(file.fileno())


def files_of_others(folder: Path) -> Iterator[Path]:
    """What is in a folder, at any depth, and was written by no command: files, and all links."""
    for parent, folders, names in os.walk(folder):
        here = Path(parent)
        listed = {(digest, name) for digest, _, name in listed_in(here)}
        for name in sorted([*folders, *names]):
            path = here / name
            if path.is_symlink() or (
                path.is_file() and name != LIST_FILE and (file_sha256(path), name) not in listed
                and not is_of_earlier_version(None, path)
            ):  # fmt: skip
                yield path

"""The exceptions of the project.

A `UserError` is something the person at the keyboard can mend: it ends a command with exit status 2
and no traceback. A `BadFile` concerns one file only: the file is left out and listed, the run goes on.
"""

from __future__ import annotations

import difflib
import errno
from collections.abc import Iterable, Mapping
from typing import Any


class UserError(Exception):
    """A problem the user can mend: what was found, what was expected, what to do.

    `found` and the others are one or more full sentences or lines; the two optional ones are left
    out of the message when empty.
    """

    def __init__(self, found: str, expected: str = "", to_do: str = "") -> None:
        self.found, self.expected, self.to_do = found, expected, to_do
        lines = [found]
        if expected:
            lines.append(f"  expected: {expected}")
        if to_do:
            lines.append(f"  to do:    {to_do}")
        super().__init__("\n".join(lines))


class ConfigError(UserError):
    """The composed configuration is not valid."""


class DataError(UserError):
    """The dataset as a whole cannot be used (a missing root, mixed label conventions, ...).

    `go_on_with` are options of the dataset (dotted keys below `data`) with which it could be: `mammo.doctor` looks on
    with them, to show everything that is wrong and not only what is found first.
    """

    def __init__(
        self, found: str, expected: str = "", to_do: str = "", go_on_with: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(found, expected, to_do)
        self.go_on_with = dict(go_on_with or {})


class RunDirectoryError(UserError):
    """The run directory holds something that must not be touched or cannot be continued."""


class OwnershipLost(RunDirectoryError):
    """Somebody else may be writing where this process writes: nothing is to be written any more, not even this."""


class SweepFolderError(UserError):
    """A folder was given as that of a sweep and is none."""


class OutputError(UserError):
    """A command would write where something is that it has not written."""


class ComparisonError(UserError):
    """Two sets of predictions cannot be compared with each other."""


class WeightsError(UserError):
    """Pretrained weights were asked for and cannot be had, or do not fit the network."""


class TrainingError(Exception):
    """Training itself went wrong (a non-finite loss, a collapse that was told to stop the run)."""


class DamagedFile(OSError):
    """A file of the project is not as it was written. The message names no more than that file."""


class BadFile(Exception):
    """One file cannot be used; it is listed in `quarantine.csv` with this reason.

    The reason must not contain patient data or absolute paths: it is written to disk.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


def mistake_of(error: BaseException) -> UserError | None:
    """What the user can mend about an error of the system, without the name that it has: it can be one of the data."""
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return UserError(
            "a file or folder has a longer name than the file system allows, 255 bytes as a rule",
            to_do="shorten the paths of the command, run.name or sweep.name",
        )
    return None


# More names than this are too many to list.
LISTED_NAMES = 16


def nearest(word: str, known: Iterable[str]) -> str:
    """The known names most like `word` for a message: 'did you mean a or b?', else all when they are few."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(close)}?"
    if not names:
        return ""
    more = f", ... ({len(names)} in all)" if len(names) > LISTED_NAMES else ""
    return f"valid: {', '.join(names[:LISTED_NAMES])}{more}"


def nearest_key(key: str, siblings: Iterable[str], everywhere: Iterable[str]) -> str:
    """Near names for a dotted key: among its siblings, and the same or a similar name in another section."""
    leaf = key.rpartition(".")[2]
    by_leaf: dict[str, list[str]] = {}
    for path in everywhere:
        by_leaf.setdefault(path.rpartition(".")[2], []).append(path)
    similar = difflib.get_close_matches(leaf, by_leaf, n=2, cutoff=0.75)
    elsewhere = [path for name in similar for path in by_leaf[name] if path != key]
    words = nearest(leaf, siblings)
    if words.startswith("did you mean") or not elsewhere:
        return words
    meant = f"did you mean {' or '.join(elsewhere[:3])}?"
    return f"{meant}\n  {words}" if words else meant

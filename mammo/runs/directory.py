"""The directory of one run: whose it is, what state it is in, and how files get into it.

Every file is written to a temporary name and renamed, so that a reader sees the old one or the new one.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mammo.config.check import check_stored
from mammo.config.tree import Config, identity_tree
from mammo.runs.layout import (
    BEST,
    ERROR_FILE,
    LAST,
    LATER_FOLDERS,
    LOCK_FILE,
    OWN_FILES,
    OWN_FOLDERS,
    OWN_PATTERNS,
    SUMMARY_FILE,
    SUMS_FILE,
    files_with_sums,
)
from mammo.runs.stored import CompletedSummary, EarlySummary, ErrorFile, Malformed, Summary, read_stored, read_summary
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError, RunDirectoryError, UserError
from mammo.support.files import csv_text, file_sha256, json_text, write_bytes, write_json, write_text
from mammo.support.outputs import array_bytes, files_of_others
from mammo.support.ownership import Owner, one_owner
from mammo.support.tracebacks import traceback_text
from mammo.support.yaml_files import read_yaml

_ANOTHER_FOLDER = "choose another folder with run.name=NAME or hydra.run.dir=DIR, or remove that one yourself"
SHOWN = 5
RESTORE = "copy it from where the run was made, or train again with run.restart=true"


class _Nothing:
    """In place of the value of an option that a configuration does not have."""

    def __repr__(self) -> str:
        return "nothing"


_NOTHING = _Nothing()


def _is_in_the_way(path: Path) -> bool:
    """Whether something is there that a file cannot replace; what another process removes meanwhile is not."""
    try:
        is_link, mode = path.is_symlink(), path.stat().st_mode
    except OSError:
        return False
    return stat.S_ISDIR(mode) or not (stat.S_ISREG(mode) or is_link)


@dataclasses.dataclass(frozen=True)
class HydraFiles:
    """What Hydra writes into `.hydra/`; the run writes it itself, once the folder is its own.

    `studies` are the texts of the study files that the command line named, by name.
    """

    config: str
    hydra: str
    overrides: list[str]
    studies: Mapping[str, str] = dataclasses.field(default_factory=dict)


class RunDirectory:
    """Reads and writes `<path>/...`; knows the layout and nothing of training."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._owner: Owner | None = None
        self.best_checkpoint = path / BEST
        self.last_checkpoint = path / LAST

    def check_identity(self, config: Config) -> None:
        """Refuse a folder that holds a run of another configuration, or results without one.

        Raises RunDirectoryError with the keys that differ.
        """
        names = (*OWN_FILES, *OWN_FOLDERS)
        links = [name for name in names if (self.path / name).is_symlink()]
        if links:
            raise RunDirectoryError(
                f"{', '.join(links)} in {self.path}: a link, and what a run writes stays in its folder",
                to_do="remove the link; a folder of runs may be one (outputs/), what is in a run may not",
            )
        if not (self.path / "config.yaml").exists():
            foreign = [name for name in names if (self.path / name).exists()]
            if foreign:
                raise RunDirectoryError(
                    f"{self.path} holds {', '.join(foreign)} but no config.yaml, so it is not known which run it was",
                    "an empty folder, or the run of the same configuration",
                    "choose another folder with run.name=NAME or hydra.run.dir=DIR",
                )
            return
        stored, own = flatten(identity_tree(self._stored_config())), flatten(identity_tree(config))
        differing = [key for key in {**own, **stored} if stored.get(key, _NOTHING) != own.get(key, _NOTHING)]
        if differing:
            lines = [
                f"    {key}: {stored.get(key, _NOTHING)!r} there, {own.get(key, _NOTHING)!r} here"
                for key in differing[:12]
            ]
            raise RunDirectoryError(
                f"{self.path} holds a run of another configuration:\n" + "\n".join(lines), to_do=_ANOTHER_FOLDER
            )

    def _stored_config(self) -> Config:
        try:
            return check_stored(read_yaml(self.path / "config.yaml"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise RunDirectoryError(
                f"config.yaml in {self.path} cannot be read ({type(error).__name__}): which run was it?",
                to_do=_ANOTHER_FOLDER,
            ) from error
        except ConfigError as error:
            raise RunDirectoryError(
                f"config.yaml in {self.path} is not one of this version: {error.found.splitlines()[0]}",
                to_do=f"use the version that made it (summary.json has the commit), or {_ANOTHER_FOLDER}",
            ) from error

    def claim(self, config: Mapping[str, Any], hydra_files: HydraFiles) -> None:
        """Make the folder that of this run: the configuration comes first, so that it is known whose it is.

        A run that is resumed keeps the files of its first start.
        """
        self.require_ownership()
        self._require_own_kinds()
        (self.path / ERROR_FILE).unlink(missing_ok=True)
        if self.has_checkpoint:
            return
        self.write_yaml("config.yaml", config)
        self.write_text(".hydra/config.yaml", hydra_files.config)
        self.write_text(".hydra/hydra.yaml", hydra_files.hydra)
        self.write_text(".hydra/overrides.yaml", yaml.safe_dump(hydra_files.overrides))
        for name, text in hydra_files.studies.items():
            self.write_text(f".hydra/experiment/{name}.yaml", text)

    def _require_own_kinds(self) -> None:
        """Raises RunDirectoryError where what a run writes would end somewhere else, or cannot be written."""
        wrong = [name for name in OWN_FILES if _is_in_the_way(self.path / name)]
        # These are written into where they are, and not replaced.
        in_place = (LOCK_FILE, f"{LOCK_FILE}_owner", "run.log")
        wrong += [name for name in in_place if (self.path / name).is_symlink() or _is_in_the_way(self.path / name)]
        for name in OWN_FOLDERS:
            folder = self.path / name
            if os.path.lexists(folder) and (folder.is_symlink() or not folder.is_dir()):
                wrong.append(name)
            elif folder.is_dir():
                wrong += [f"{name}/{one.name}" for one in folder.iterdir() if _is_in_the_way(one) and not one.is_dir()]
                wrong += [f"{name}/{one}" for one in OWN_PATTERNS.get(name, ()) if (folder / one).is_dir()]
        if wrong:
            raise RunDirectoryError(
                f"{self.path.name} holds {', '.join(wrong[:4])}, where a run has files and folders of its own",
                "regular files, and folders that are no links",
                "remove it yourself, or choose another folder with run.name=NAME or hydra.run.dir=DIR",
            )

    def error(self) -> dict[str, Any] | None:
        """The recorded failure, or None."""
        return self._read(ERROR_FILE, lambda path: read_stored(path, ErrorFile, ("type", "message")))

    def write_error(self, error: Exception, message: str) -> None:
        """Write `error.json` and mark the error as recorded; a mistake of the user needs no traceback."""
        error.is_recorded = True  # type: ignore[attr-defined]
        text = None if isinstance(error, UserError) else traceback_text(error)
        self.write_json(ERROR_FILE, {"type": type(error).__name__, "message": message, "traceback": text})

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The lock that the one process holds that trains here.

        Raises RunDirectoryError when another process holds it. It is free again when the process ends.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._require_own_kinds()
        with one_owner(self.path / LOCK_FILE, self._refusal, whole_folder=True) as self._owner:
            try:
                self._remove_leftovers()
                yield
            finally:
                self._owner = None

    def require_ownership(self) -> None:
        """Raises OwnershipLost where the folder that was locked is not, or may not be, this process's any more."""
        if self._owner is not None:
            self._owner.require()

    def _refusal(self, holder: str) -> RunDirectoryError:
        return RunDirectoryError(
            f"another process is training this run in {self.path}: {holder}",
            to_do="wait for it, or start a run of another configuration",
        )

    def remove_if_empty(self) -> None:
        """Remove the folder when nothing is in it: Hydra makes it before anything is known to work.

        A folder with nothing but a lock belongs to a process that has just begun.
        """
        if self.path.is_dir() and not any(self.path.iterdir()):
            self.path.rmdir()

    def _remove_leftovers(self) -> None:
        """Remove the temporary files of a run that was killed here."""
        patterns = [f".{name}.*.tmp" for name in OWN_FILES] + [f"{name}/.*.tmp" for name in OWN_FOLDERS]
        for file in [file for pattern in patterns for file in self.path.glob(pattern)]:
            file.unlink(missing_ok=True)

    def clear(self) -> None:
        """Remove everything that a run, and commands that start from it, have written here.

        Raises RunDirectoryError, with nothing removed, where something of somebody else lies between, and OSError when
        something cannot be removed. Killed within it, the folder is still known as that of its run, and nothing looks
        finished.
        """
        self.require_ownership()
        foreign = [str(path.relative_to(self.path)) for path in self._files_of_others()]
        if foreign:
            raise RunDirectoryError(
                f"run.restart=true would remove what the run has not written: {', '.join(foreign[:SHOWN])}"
                + (f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""),
                f"nothing else in {', '.join(OWN_FOLDERS)}",
                "move it away, or choose another folder with run.name=NAME",
            )
        files = [name for name in OWN_FILES if name not in (SUMMARY_FILE, "config.yaml")]
        for name in (SUMMARY_FILE, *OWN_FOLDERS, *files, "config.yaml"):
            path = self.path / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)

    def _files_of_others(self) -> Iterator[Path]:
        """What lies in the folders that `clear` removes and is of no command of the project."""
        for name, patterns in OWN_PATTERNS.items():
            for path in sorted((self.path / name).rglob("*")):
                inside = path.relative_to(self.path / name)
                is_own = any(
                    inside.match(each) and len(inside.parts) == len(Path(each).parts)
                    for each in (*patterns, ".*.tmp", "experiment/.*.tmp")
                )
                if not is_own and (path.is_symlink() or not path.is_dir()):
                    yield path
        for name in LATER_FOLDERS:
            yield from files_of_others(self.path / name)

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is something to go on from."""
        return any(path.exists() for path in (self.last_checkpoint, self.best_checkpoint))

    def summary(self) -> dict[str, Any] | None:
        """The stored summary, or None where there is none that is JSON.

        Raises RunDirectoryError where something in it is of another type than a run writes, or it cannot be read.
        """
        return self._read(SUMMARY_FILE, read_summary)

    def write_summary(self, summary: Summary | EarlySummary | CompletedSummary) -> None:
        """Write `summary.json`; right before that of a finished run, the SHA-256 of everything that it has left."""
        text = json_text(summary)
        if summary["status"] == "completed":
            sums = {name: file_sha256(self.path / name) for name in files_with_sums(self.path)}
            sums[SUMMARY_FILE] = hashlib.sha256(text.encode(errors="backslashreplace")).hexdigest()
            self.write_text(SUMS_FILE, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))
        self.write_text(SUMMARY_FILE, text)

    def _read(self, name: str, read: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
        try:
            return read(self.path / name)
        except Malformed as error:
            found = f"{name} of {self.path.name}: {error}"
            raise RunDirectoryError(found, "a file that a run has written", RESTORE) from None
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            raise RunDirectoryError(f"{name} of {self.path.name} cannot be read: {error.strerror}") from error

    @property
    def status(self) -> str:
        """What the summary says of its run; empty where there is none that can be understood."""
        try:
            return (self.summary() or {}).get("status", "")
        except RunDirectoryError:
            return ""

    @property
    def is_finished(self) -> bool:
        """Whether the run that is here has its results."""
        return self.status == "completed"

    def check_data(self, data_fingerprint: str, split_fingerprint: str) -> None:
        """Refuse to go on, or to show old results, when the data is not what the run was started with."""
        stored = self.summary()
        if stored is None:
            return
        changed = [
            what
            for what, section, now in (("data", "data", data_fingerprint), ("split", "split", split_fingerprint))
            if stored.get(section, {}).get("fingerprint") not in (None, now)
        ]
        if changed:
            raise RunDirectoryError(
                f"{self.path} was made from other data: the fingerprint of {' and '.join(changed)} differs "
                "(a label, an image or the split has changed since)",
                "the data that the run was started with",
                "start over here with run.restart=true, or keep both with another run.name=NAME",
            )

    def file(self, name: str) -> Path:
        """The path of a file below the run directory to write, its folder made; see `require_ownership`."""
        self.require_ownership()
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def write_text(self, name: str, text: str) -> None:
        """Write a text file."""
        write_text(self.file(name), text)

    def write_json(self, name: str, content: Any) -> None:
        """Write strict JSON; what is not a finite number becomes null."""
        write_json(self.file(name), content)

    def write_yaml(self, name: str, content: Mapping[str, Any]) -> None:
        """Write YAML in the order of the keys."""
        self.write_text(name, yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True))

    def write_array(self, name: str, values: np.ndarray) -> None:
        """Write numbers in the format of numpy, for `np.load(..., allow_pickle=False)`."""
        write_bytes(self.file(name), array_bytes(values))

    def write_csv(self, name: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
        """Write a CSV with a header; a cell that a spreadsheet would take for a formula is quoted by an apostrophe."""
        self.write_text(name, csv_text(columns, rows))

"""Checkpoints: plain tensors, numbers, strings, lists and dicts, so that reading one never runs code.

A checkpoint alone is enough to predict: it holds the configuration, the classes and the preprocessing. At
every moment, also while one is replaced, there is a whole one whose SHA-256 is in `SHA256SUMS` beside it:
`sha256sum --check SHA256SUMS` there verifies them without this project.
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch

from mammo.support.errors import DamagedFile, RunDirectoryError
from mammo.support.files import file_sha256, naming, read_text, sync_folder, write_text
from mammo.support.torch_files import fault_of_weights, has_nan, load_tensors
from mammo.support.type_checks import lacking
from mammo.training.checkpoint_content import wrong_content

log = logging.getLogger(__name__)

SCHEMA_VERSION = 1
SUMS_FILE = "SHA256SUMS"
MAX_SUMS_BYTES = 2**20
# sha256sum skips lines that begin so.
SUPERSEDED = "# "
# More of what is wrong with a file helps nobody.
MAX_SAID = 4
# What is known of every checkpoint that training goes on from.
POSITION = ("epoch", "monitor_state.best_epoch")
_SUM = re.compile(rf"(?:{SUPERSEDED})?(?P<digest>[0-9a-f]{{64}})  (?P<name>[\w.-]+\.pth)")


def previous_of(path: Path) -> Path:
    """Where the checkpoint is kept that was at `path` before the present one."""
    return path.with_name(f"previous_{path.name.removeprefix('last_')}")


def save_checkpoint(
    path: Path,
    content: Mapping[str, Any],
    also_as: Sequence[Path] = (),
    require_ownership: Callable[[], None] = lambda: None,
) -> None:
    """Write a checkpoint and read it back before it replaces the one at `path`, which goes to `previous_of(path)`.

    `also_as` are further names for it in the same folder. `require_ownership` is called before anything is written
    and again before anything is replaced, which can be minutes later. Raises what it raises, and OSError, with the
    checkpoints as they were before.
    """
    require_ownership()
    folder, previous = path.parent, previous_of(path)
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        digest = _write_verified(temporary, content)
        require_ownership()
        sums = _read_sums(folder)
        new = {other.name: [digest, *sums.get(other.name, [])[:1]] for other in also_as} | {path.name: [digest]}
        if path.exists():
            new[previous.name] = sums.get(path.name, [])[:1]
        # Before anything changes its name: the old content of `path` is known as that of the previous one, and that
        # of a further name is listed as superseded.
        _write_sums(folder, sums | new)
        if path.exists():
            _give_name(path, previous)
        for other in also_as:
            _give_name(temporary, other)
        os.replace(temporary, path)
        sync_folder(folder)
    finally:
        temporary.unlink(missing_ok=True)


def _write_verified(path: Path, content: Mapping[str, Any]) -> str:
    """Write a checkpoint and force it to disk; returns its SHA-256 once the file has been found to have it."""
    with naming(path), path.open("wb") as file:
        hashing = _Hashing(file)
        try:
            torch.save(dict(content), hashing)  # type: ignore[arg-type]
        except RuntimeError as error:
            # What torch makes of a full disk, or of Ctrl-C, is a position in the file that it did not expect.
            raise _first_cause(error) from None
        _force_to_disk(file)
    digest = hashing.sha256.hexdigest()
    _require_content(path, digest)
    return digest


def _force_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
    if hasattr(os, "posix_fadvise"):
        # What is read back comes from the disk then, and not from memory.
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _require_content(path: Path, digest: str) -> None:
    if file_sha256(path) != digest:
        raise DamagedFile(f"{path.name} is not on the disk as it was written; is the disk sound?")


def _first_cause(error: BaseException) -> BaseException:
    while error.__context__ is not None:
        error = error.__context__
    return error


class _Hashing:
    """Passes on what is written to a file and computes its SHA-256."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha256.update(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def _give_name(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no hard links."""
    beside = target.with_name(f".{target.name}.tmp")
    beside.unlink(missing_ok=True)
    try:
        try:
            os.link(source, beside)
        except OSError:
            _copy_verified(source, beside)
        os.replace(beside, target)
    finally:
        beside.unlink(missing_ok=True)


def _copy_verified(source: Path, target: Path) -> None:
    with naming(target), source.open("rb") as original, target.open("wb") as file:
        shutil.copyfileobj(original, file, 2**20)
        _force_to_disk(file)
    _require_content(target, file_sha256(source))


def _read_sums(folder: Path) -> dict[str, list[str]]:
    """The SHA-256 of each checkpoint of a folder, and behind it that of what had the name before."""
    try:
        lines = read_text(folder / SUMS_FILE, MAX_SUMS_BYTES).splitlines()
    except (FileNotFoundError, ValueError):
        return {}
    sums: dict[str, list[str]] = {}
    for line in lines:
        if found := _SUM.fullmatch(line):
            sums.setdefault(found["name"], []).append(found["digest"])
    return sums


def _write_sums(folder: Path, sums: Mapping[str, Sequence[str]]) -> None:
    lines = [
        f"{SUPERSEDED if i else ''}{digest}  {name}\n" for name in sorted(sums) for i, digest in enumerate(sums[name])
    ]
    write_text(folder / SUMS_FILE, "".join(lines))


def _clean_sums(folder: Path) -> None:
    """List what is there: a process that was killed while files changed their names has listed what was to come."""
    sums = _read_sums(folder)
    known = set(itertools.chain(*sums.values()))
    actual = {name: file_sha256(folder / name) for name in sums if (folder / name).exists()}
    clean = {name: [digest] for name, digest in actual.items() if digest in known}
    if clean != sums:
        # One that is damaged keeps what it should be.
        _write_sums(folder, {name: clean.get(name, sums[name][:1]) for name in actual})


def remove_previous(path: Path) -> None:
    """Remove the checkpoint before the one at `path`: of a finished run nobody goes on from it."""
    previous = previous_of(path)
    sums = _read_sums(path.parent)
    if sums:
        _write_sums(path.parent, {name: digests[:1] for name, digests in sums.items() if name != previous.name})
    previous.unlink(missing_ok=True)


def verify(path: Path) -> bool | None:
    """Whether the content of a checkpoint is what was written; None where no SHA-256 of it is known."""
    sums = _read_sums(path.parent)
    return file_sha256(path) in itertools.chain(*sums.values()) if sums.get(path.name) else None


def load_checkpoint(path: Path, needed: Sequence[str] = ()) -> dict[str, Any]:
    """Read a checkpoint on the CPU without running code: what is in it has the types of `CheckpointContent`.

    Of what may be missing the reader names what is `needed`, with dotted keys. Raises RunDirectoryError when it is no
    whole one.
    """
    if not path.exists():
        raise _unusable(f"{path.name} is missing")
    if not path.is_file():
        raise _unusable(f"{path.name} is no regular file")
    try:
        is_damaged = verify(path) is False
    except OSError as error:
        raise _unusable(f"{path.name} cannot be read ({error.strerror})") from error
    if is_damaged:
        raise _unusable(f"{path.name} is damaged: its SHA-256 is not the one in {SUMS_FILE}")
    try:
        content = load_tensors(path)
    except Exception as error:
        # torch raises zip, pickle, EOF and runtime errors alike for a damaged file.
        raise _unusable(f"{path.name} cannot be read ({type(error).__name__})") from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise _unusable(f"{path.name} is not a checkpoint of schema version {SCHEMA_VERSION}")
    require_content(path.name, content, needed)
    fault = fault_of_weights(content.get("model_state_dict", {}))
    if fault or has_nan(content.get("optimizer_state_dict")):
        raise _unusable(f"the weights in {path.name} are none: {fault or 'the state of the optimizer is not a number'}")
    return content


def require_content(name: str, content: dict[str, Any], needed: Sequence[str]) -> None:
    """Raises RunDirectoryError for a checkpoint that holds something else than it should, or too little."""
    wrong = [*wrong_content(content), *lacking(content, tuple(needed))]
    if wrong:
        raise _unusable(f"{name}: {'; '.join(wrong[:MAX_SAID])}")


def _unusable(found: str) -> RunDirectoryError:
    return RunDirectoryError(found, "a whole checkpoint of this project", "start over with run.restart=true")


def load_newest(last: Path, best: Path) -> dict[str, Any] | None:
    """The newest whole checkpoint of a run, which is at `last` afterwards; None where there is none.

    What is damaged is said in the log. `best` is put right where another checkpoint of its epoch is whole. Raises
    RunDirectoryError when there are checkpoints and none is whole, or when the best one is lost.
    """
    folder, previous = last.parent, previous_of(last)
    if not any(os.path.lexists(path) for path in (last, best, previous)):
        return None
    _clean_sums(folder)
    whole = _load_whole([path for path in (last, best) if path.exists()])
    if last not in whole and previous.exists():
        whole |= _load_whole([previous])
    if not whole:
        raise _unusable("no checkpoint of this run is whole")
    # The first of equals: `last`. A best one that is newer was given its name just before the process was killed.
    chosen = max(whole, key=lambda path: position_of(whole[path]))
    if chosen != last:
        if last.exists() and last not in whole:
            log.warning("going on from %s instead; what came after it is computed again", chosen.name)
        _put_in_place(chosen, last)
    best_epoch = whole[chosen]["monitor_state"]["best_epoch"]
    if best_epoch > 0 and (best not in whole or whole[best]["epoch"] != best_epoch):
        others = whole | _load_whole([path for path in sorted(folder.glob("*.pth")) if path not in (*whole, best)])
        source = next((path for path, content in others.items() if position_of(content) == (best_epoch, 0)), None)
        if source is None:
            raise _unusable(f"{best.name} is missing or damaged, and so is what epoch {best_epoch} left elsewhere")
        log.warning("%s is taken from %s, which is of the same epoch", best.name, source.name)
        _put_in_place(source, best)
    return whole[chosen]


def _load_whole(paths: Sequence[Path]) -> dict[Path, dict[str, Any]]:
    """The content of those that are whole; the others are named in the log."""
    whole = {}
    for path in paths:
        try:
            whole[path] = load_checkpoint(path, POSITION)
        except RunDirectoryError as error:
            log.warning("%s", error.found)
    return whole


def _put_in_place(source: Path, target: Path) -> None:
    """Give one checkpoint the name of another, which is lost or older."""
    sums = _read_sums(source.parent)
    _write_sums(source.parent, sums | {target.name: [*sums.get(source.name, [])[:1], *sums.get(target.name, [])[:1]]})
    _give_name(source, target)


def position_of(content: Mapping[str, Any]) -> tuple[int, int]:
    """How far a checkpoint is: whole epochs, and batches of the next one."""
    unfinished = content.get("unfinished_epoch")
    return content["epoch"], unfinished["batches_done"] if unfinished else 0

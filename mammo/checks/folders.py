"""The cache folder and the current folder: can they be written to, how full are they, do file locks work there."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from mammo.checks.report import Finding, counted, note, ok, problem
from mammo.support.cache import cache_folder_and_its_name
from mammo.support.errors import UserError

GIGABYTE = 10**9
LOW_DISK_BYTES = 10 * GIGABYTE
# Below this not even the checkpoints of a few runs fit.
NO_DISK_BYTES = GIGABYTE
IMAGE_BYTES = 512**2
LOCK_TIMEOUT_SECONDS = 30
# Exits with 0 when the lock is held by another process, as it should be, and with 3 when it is not.
_OTHER_PROCESS = """
import sys, filelock
try:
    filelock.FileLock(sys.argv[1]).acquire(timeout=0)
except filelock.Timeout:
    sys.exit(0)
sys.exit(3)
"""


def check_folders() -> list[Finding]:
    """Findings about the user's cache folder and the current folder."""
    return [*_cache_findings(), *_folder_findings("current folder", Path.cwd(), "start runs where you may write")]


def _cache_findings() -> list[Finding]:
    try:
        cache, _ = cache_folder_and_its_name(None)
        findings = [*_folder_findings("cache folder", cache, "choose another one with cache_dir=DIR")]
        if cache.is_dir():
            findings += [_content_finding(cache), *_key_findings(cache)]
    except UserError as error:
        return [problem("cache folder", error.found, error.to_do)]
    except OSError as error:  # a folder that cannot even be looked into
        return [problem("cache folder", f"cannot be used ({error.strerror})", "choose another one with cache_dir=DIR")]
    return findings


def _folder_findings(subject: str, folder: Path, elsewhere: str) -> Iterator[Finding]:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        yield problem(subject, f"{existing} is a file and no folder", elsewhere)
        return
    shown = str(folder) if existing == folder else f"{folder} (will be made)"
    try:
        with tempfile.TemporaryDirectory(prefix=".mammo-doctor-", dir=existing) as trial:
            yield ok(subject, shown)
            yield _locks_finding(Path(trial), elsewhere)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        yield problem(subject, f"{shown} cannot be written to ({reason})", elsewhere)
    free = shutil.disk_usage(existing).free
    text = f"{free / GIGABYTE:.0f} GB free"
    if free < NO_DISK_BYTES:
        yield problem("- disk", f"{free / GIGABYTE:.2f} GB free: a run may end for want of space", elsewhere)
    elif free < LOW_DISK_BYTES:
        room = f"{text}: as much as {free // IMAGE_BYTES:,} images of 512 px, without feature banks and runs"
        yield note("- disk", room, f"free some space, or {elsewhere}")
    else:
        yield ok("- disk", text)


def _locks_finding(folder: Path, elsewhere: str) -> Finding:
    """A lock that this process holds must be refused to another one: on some network folders it is not."""
    to_do = f"one process at a time there; {elsewhere}"
    try:
        from filelock import FileLock
    except ImportError:
        return problem("- file locks", "not tried: the package filelock cannot be imported")
    lock = str(folder / "trial.lock")
    try:
        with FileLock(lock, timeout=LOCK_TIMEOUT_SECONDS):
            command = [sys.executable, "-c", _OTHER_PROCESS, lock]
            status = subprocess.run(command, capture_output=True, timeout=LOCK_TIMEOUT_SECONDS, check=False).returncode
    except (OSError, NotImplementedError, subprocess.TimeoutExpired) as error:
        return problem("- file locks", f"do not work ({type(error).__name__})", to_do)
    if status != 0:
        return problem("- file locks", "have no effect: two processes held the same one at once", to_do)
    return ok("- file locks", "work: a second process is refused")


def _content_finding(cache: Path) -> Finding:
    parts = []
    for name, noun in (("stores", "image store"), ("features", "feature bank")):
        num_folders = sum(path.is_dir() for path in _entries(cache / name))
        parts.append(f"{counted(num_folders, noun)} {_size_bytes(cache / name) / GIGABYTE:.2f} GB")
    return ok("- in it", f"{_size_bytes(cache) / GIGABYTE:.2f} GB: {', '.join(parts)}")


def _entries(folder: Path) -> list[Path]:
    return list(folder.iterdir()) if folder.is_dir() else []


def _size_bytes(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                total += os.lstat(os.path.join(place, name)).st_size
    return total


def _key_findings(cache: Path) -> Iterator[Finding]:
    """The key of the pseudonyms, and the tables that lead back to ids, are for the user alone."""
    private = [cache / "pseudonym.key", *_entries(cache / "pseudonyms")]
    there = [path for path in private if path.is_file()]
    if not there or os.name == "nt":
        return
    exposed = [path for path in there if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if exposed:
        text = f"{counted(len(exposed), 'file')} that lead from pseudonyms back to ids can be read by other users"
        yield problem("- pseudonyms", text, "chmod 600 pseudonym.key pseudonyms/* in the cache folder")
    else:
        yield ok("- pseudonyms", "key and tables can be read by you alone")

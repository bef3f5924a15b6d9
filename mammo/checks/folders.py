"""The cache folder and the current folder: can they be written to, how full are they, do file locks work there."""

from __future__ import annotations

import contextlib
import os
import shutil
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
LOCK_TIMEOUT_SECONDS = 30
ANOTHER_CACHE = "choose another one with cache_dir=DIR"


def check_folders() -> list[Finding]:
    """Findings about the user's cache folder and the current folder."""
    try:
        cache, _ = cache_folder_and_its_name(None)
        found = [*_folder_findings("cache folder", cache, ANOTHER_CACHE), *_content_findings(cache)]
    except UserError as error:
        found = [problem("cache folder", error.found, error.to_do)]
    except OSError as error:  # a folder that cannot even be looked into
        found = [problem("cache folder", f"cannot be used ({error.strerror})", ANOTHER_CACHE)]
    return [*found, *_folder_findings("current folder", Path.cwd(), "start runs where you may write")]


def _folder_findings(subject: str, folder: Path, elsewhere: str) -> Iterator[Finding]:
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not existing.is_dir():
        yield problem(subject, f"{existing} is a file and no folder", elsewhere)
        return
    shown = str(folder) if existing == folder else f"{folder} (will be made)"
    try:
        with tempfile.TemporaryDirectory(prefix=".mammo-doctor-", dir=existing) as trial:
            yield ok(subject, shown)
            yield _locks_finding(Path(trial, "trial.lock"), f"one process at a time there; {elsewhere}")
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        yield problem(subject, f"{shown} cannot be written to ({reason})", elsewhere)
    free = shutil.disk_usage(existing).free
    text = f"{free / GIGABYTE:.{0 if free >= LOW_DISK_BYTES else 2}f} GB free"
    if free < NO_DISK_BYTES:
        yield problem("- disk", f"{text}: a run may end for want of space", elsewhere)
    else:
        yield ok("- disk", text) if free >= LOW_DISK_BYTES else note("- disk", text, f"free some space, or {elsewhere}")


def _locks_finding(lock: Path, to_do: str) -> Finding:
    """A lock that this process holds must be refused to another one: on some network folders it is not."""
    again = "import sys, filelock; filelock.FileLock(sys.argv[1]).acquire(timeout=0)"
    try:
        from filelock import FileLock

        with FileLock(lock, timeout=LOCK_TIMEOUT_SECONDS):
            command = [sys.executable, "-c", again, str(lock)]
            other = subprocess.run(command, capture_output=True, timeout=LOCK_TIMEOUT_SECONDS, check=False)
    except ImportError:
        return problem("- file locks", "not tried: the package filelock cannot be imported")
    except (OSError, NotImplementedError, subprocess.TimeoutExpired) as error:
        return problem("- file locks", f"do not work ({type(error).__name__})", to_do)
    if other.returncode == 0:
        return problem("- file locks", "have no effect: two processes held the same one at once", to_do)
    return ok("- file locks", "work: a second process is refused")


def _content_findings(cache: Path) -> Iterator[Finding]:
    if not cache.is_dir():
        return
    parts = []
    for name, noun in (("stores", "image store"), ("features", "feature bank")):
        num_folders = sum(path.is_dir() for path in (cache / name).glob("*"))
        parts.append(f"{counted(num_folders, noun)} {_size_bytes(cache / name) / GIGABYTE:.2f} GB")
    yield ok("- in it", f"{_size_bytes(cache) / GIGABYTE:.2f} GB: {', '.join(parts)}")
    # The key of the pseudonyms, and the tables that lead back to ids, are for the user alone.
    if os.name == "nt":
        return
    private = [path for path in (cache / "pseudonym.key", *cache.glob("pseudonyms/*")) if path.is_file()]
    exposed = [path for path in private if path.stat().st_mode & 0o077]
    if exposed:
        text = f"{counted(len(exposed), 'file')} that lead from pseudonyms back to ids can be read by other users"
        yield problem("- pseudonyms", text, "chmod 600 pseudonym.key pseudonyms/* in the cache folder")
    elif private:
        yield ok("- pseudonyms", "key and tables can be read by you alone")


def _size_bytes(folder: Path) -> int:
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                total += os.lstat(os.path.join(place, name)).st_size
    return total

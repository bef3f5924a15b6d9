"""Where a result came from: which code, which machine, which versions."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mammo
from mammo.support.files import this_command
from mammo.support.plain_text import without_folders

if TYPE_CHECKING:
    from mammo.runs.stored import Environment, Git
    from mammo.support.hardware import Hardware

GIT_TIMEOUT_SECONDS = 20


def utc_now() -> str:
    """The time as ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).replace(microsecond=0).isoformat()


def git_state() -> Git:
    """Commit, branch, whether tracked files were changed, and the hash of that change.

    All null where the code is not in a git checkout.
    """
    folder = Path(mammo.__file__).resolve().parent
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None:
        return {"commit": None, "branch": None, "dirty": None, "diff_sha256": None}
    difference = _git(folder, "diff", "HEAD", "--binary") or ""
    # Files that git does not know can be code too (a new loss, a new option).
    unknown = _git(folder, "ls-files", "--others", "--exclude-standard", "--full-name", ":/mammo", ":/conf") or ""
    is_dirty = bool(difference or unknown)
    digest = hashlib.sha256(difference.encode())
    for name in unknown.splitlines():
        digest.update(name.encode())
        digest.update((folder.parent / name).read_bytes())
    return {
        "commit": commit,
        "branch": _git(folder, "rev-parse", "--abbrev-ref", "HEAD"),
        "dirty": is_dirty,
        "diff_sha256": digest.hexdigest() if is_dirty else None,
    }


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def environment(hardware: Hardware) -> Environment:
    """Versions and machine, as `summary.json` states them."""
    return {
        "python": platform.python_version(),
        "mammo": mammo.__version__,
        "torch": version("torch"),
        "torchvision": version("torchvision"),
        "timm": version("timm"),
        "hydra": version("hydra-core"),
        "platform": platform.platform(),
        "device": hardware.device.type,
        "device_name": hardware.device_name,
        "threads": hardware.threads,
        "amp_dtype": hardware.amp,
        "deterministic": hardware.deterministic,
    }


def evaluation_provenance(
    networks: Sequence[Mapping[str, Any]], data: Mapping[str, Any], hardware: Hardware, *, was_fitted: bool
) -> dict[str, Any]:
    """Which networks were evaluated on what, by which code on which machine.

    `was_fitted` is whether the temperature was fitted to these very images.
    """
    return {
        "created_at": utc_now(),
        "command": without_folders(this_command()),
        "git": git_state(),
        "environment": environment(hardware),
        "networks": list(networks),
        "data": dict(data),
        "temperature_fitted_on_these_images": was_fitted,
        "max_difference_from_run": None,
    }

"""Where decoded images, feature banks and generated exams are kept, without heavy imports."""

from __future__ import annotations

import os
from pathlib import Path

from mammo.support.errors import ConfigError


def user_cache_folder(cache_dir: str | None) -> Path:
    """Where stores and generated data are kept: `cache_dir`, or `mammo` in the user's cache folder; made if missing.

    It is made readable by the user alone: images are in it. Raises ConfigError where there can be no such folder, or
    where this user may not write into it.
    """
    folder, named = cache_folder_and_its_name(cache_dir)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        why = "" if os.access(folder, os.W_OK | os.X_OK) else "this user may not write into it"
    except OSError as error:
        why = error.strerror or type(error).__name__
    if why:
        raise ConfigError(
            f"there is no cache folder: {named} cannot be used ({why})",
            "a folder in which this user may write: decoded images and the key of the pseudonyms are kept there",
            "choose one with cache_dir=DIR" + ("" if cache_dir is not None else ", or mend HOME or XDG_CACHE_HOME"),
        )
    return folder


def cache_folder_and_its_name(cache_dir: str | None) -> tuple[Path, str]:
    """The cache folder, there or not, and what a message calls it: a home is often named after its user.

    Raises ConfigError where nothing says where it is.
    """
    try:
        if cache_dir is not None:
            return Path(cache_dir).expanduser(), f"cache_dir={cache_dir}"
        if chosen := os.environ.get("XDG_CACHE_HOME"):
            return Path(chosen) / "mammo", "mammo in the folder that XDG_CACHE_HOME names"
        if os.environ.get("HOME") == "":
            raise RuntimeError("HOME is empty")
        return Path.home() / ".cache" / "mammo", ".cache/mammo in the folder that HOME names"
    except RuntimeError as error:
        raise ConfigError(
            "it is not known where the cache folder is: neither HOME nor XDG_CACHE_HOME names a folder",
            "a folder in which decoded images and the key of the pseudonyms are kept",
            "choose one with cache_dir=DIR, or set HOME",
        ) from error

"""Where decoded images, feature banks and generated exams are kept, without heavy imports."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def user_cache_folder(cache_dir: str | None) -> Path:
    """Where stores and generated data are kept: `cache_dir`, or `mammo` in the user's cache folder.

    The latter is made readable by the user alone: images are in it.
    """
    if cache_dir is not None:
        return Path(cache_dir).expanduser()
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mammo"
    # Whoever needs it says what is wrong with it.
    with suppress(OSError):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder

"""Results near a path that is not there, for messages: other folders may be named after patients."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from mammo.sweeps.results import is_run_folder, is_sweep_folder


def results_in(folder: Path) -> list[str]:
    """The runs and sweeps that lie in a folder, as paths; none where it cannot be read."""
    found = []
    with suppress(OSError):
        for path in sorted(folder.iterdir()):
            with suppress(OSError):
                if path.is_dir() and not path.name.startswith(".") and (is_run_folder(path) or is_sweep_folder(path)):
                    found.append(str(path))
    return found

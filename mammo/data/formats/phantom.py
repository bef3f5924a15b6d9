"""The phantom: generated exams in the archive layout, read as any archive is."""

from __future__ import annotations

from pathlib import Path

from mammo.data.formats.archive import read_archive
from mammo.data.formats.registry import Progress, reader
from mammo.data.manifest import Manifest
from mammo.data.options import DataOptions


@reader("phantom")
def read_phantom(root: Path, options: DataOptions, progress: Progress | None) -> Manifest:
    """The manifest of a folder that `mammo.data.phantom` has generated."""
    return read_archive(root, options, progress)

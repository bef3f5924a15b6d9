"""Dataset formats: each module here turns one kind of dataset folder into a `Manifest`.

A reader is a function with `@reader(name)` in a module of this package; every module is imported, so a
new format is one new file. Most public datasets need none: a YAML file over `table` is enough.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
from pathlib import Path

from mammo.data.data_options import DataOptions
from mammo.data.formats.registry import READERS, Progress, reader
from mammo.data.manifest import Manifest
from mammo.support.errors import DataError, nearest

__all__ = ["Progress", "read_manifest", "reader", "require_folder"]

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")


def read_manifest(options: DataOptions, root: Path | None, *, progress: Progress | None = None) -> Manifest:
    """The manifest of the dataset in the folder `root`, read as `options.format` says.

    Labels are those of the dataset (`mammo.data.labels.apply_task` comes after); unlabelled images are in it.
    `progress` is called with (files done, all files) while headers are read. Raises `DataError` when the
    folder or the dataset as a whole cannot be used; single bad files and rows are in `left_out`.
    """
    if options.format not in READERS:
        raise DataError(f"data.format={options.format} is no format", to_do=nearest(options.format, READERS))
    folder = require_folder(options, root)
    return READERS[options.format](Path(os.path.abspath(folder)), options, progress)


def require_folder(options: DataOptions, root: Path | None) -> Path:
    """The folder of a dataset; raises `DataError` where it is not set or is none."""
    if root is None:
        raise DataError(
            f"data.root is not set for data={options.name}",
            expected="the folder of the dataset",
            to_do="add data.root=FOLDER to the command",
        )
    if not root.is_dir():
        found = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"data.root {root} {found}", expected="the folder of the dataset", to_do="correct data.root")
    return root

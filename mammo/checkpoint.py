"""Checkpoints: plain tensors, numbers, strings, lists and dicts, so that reading one never runs code.

A checkpoint alone is enough to predict: it holds the configuration, the classes and the preprocessing.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mammo.errors import RunDirectoryError
from mammo.files import sync_folder
from mammo.torch_files import load_tensors

SCHEMA_VERSION = 1


def random_state() -> dict[str, Any]:
    """The state of all global generators as tensors and plain lists."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def save_checkpoint(path: Path, content: Mapping[str, Any], also_as: Sequence[Path] = ()) -> None:
    """Write a checkpoint so that a crash leaves the old one or the new one, never half of one.

    `also_as` are further names for it, given before `path` itself is replaced: a resumed run reads
    `path` and does again what came after it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        torch.save(dict(content), file)
        file.flush()
        os.fsync(file.fileno())
    for other in also_as:
        beside = other.with_name(f".{other.name}.tmp")
        beside.unlink(missing_ok=True)
        _same_content(temporary, beside)
        os.replace(beside, other)
    os.replace(temporary, path)
    sync_folder(path.parent)


def _same_content(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint on the CPU without running code; raises RunDirectoryError when it is not one."""
    try:
        content = load_tensors(path)
    except Exception as error:
        # torch raises zip, pickle, EOF and runtime errors alike for a damaged file.
        raise RunDirectoryError(
            f"{path.name} cannot be read ({type(error).__name__})",
            "a checkpoint written by this project",
            "start over with run.restart=true",
        ) from error
    if not isinstance(content, dict) or content.get("schema_version") != SCHEMA_VERSION:
        raise RunDirectoryError(
            f"{path.name} is not a checkpoint of schema version {SCHEMA_VERSION}",
            to_do="start over with run.restart=true",
        )
    return content

"""Reading files of torch that somebody else may have written."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch


def load_tensors(path: Path) -> Any:
    """Tensors and plain values of a file that `torch.save` wrote, on the CPU; reading it never runs code.

    Raises OSError, and whatever torch raises for a damaged file or one that holds other objects; ValueError for a
    file that would take more memory than it has bytes.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # torch.save compresses nothing. What is larger inside than outside was made to fill the memory.
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("it would unpack to more than its size")
    return torch.load(path, map_location="cpu", weights_only=True)

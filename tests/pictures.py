"""Tiny pictures that stand for breasts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def write_class_folders(root: Path) -> Path:
    """A dataset of four classes, 8 PNGs each: bright half-ellipses whose texture grows with the class."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:96, :72]
    breast = ((y - 48) / 42) ** 2 + (x / 60) ** 2 < 1
    for index, name in enumerate("ABCD"):
        (root / name).mkdir(parents=True)
        for number in range(8):
            tissue = random.random((96, 72)) < 0.1 + 0.25 * index
            grey = breast * (70 + 120 * tissue + random.normal(0, 8, tissue.shape))
            Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(root / name / f"{name}{number}.png")
    return root


# How rows and columns are stored of a picture that viewers turn back, by EXIF orientation.
_STORED = {
    1: lambda values: values, 2: np.fliplr, 3: lambda values: np.rot90(values, 2), 4: np.flipud, 5: np.transpose,
    6: np.rot90, 7: lambda values: np.rot90(values, 2).T, 8: lambda values: np.rot90(values, -1),
}  # fmt: skip


def save_turned(values: np.ndarray, path: Path, orientation: int) -> Path:
    """Write a picture so that viewers show `values`, in another way for each EXIF orientation from 1 to 8."""
    exif = Image.Exif()
    exif[274] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.ascontiguousarray(_STORED[orientation](values))).save(path, exif=exif)
    return path

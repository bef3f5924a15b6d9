"""Whole images in one call, as tests look at them; the store decodes them step by step."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from mammo.data.dicom import Source, open_dicom
from mammo.data.dicom_header import Header
from mammo.data.grey import GreyImage
from mammo.data.images import open_image
from mammo.data.preprocess import locate


def read_dicom(source: Source, accept: Collection[str] = ()) -> tuple[np.ndarray, Header]:
    """Grey levels of a DICOM file, and its header."""
    opened = open_dicom(source, accept)
    return opened.grey().levels(), opened.header


def read_image(source: Source, accept: Collection[str] = ()) -> tuple[np.ndarray, Header | None]:
    """Grey levels of an image file, and its header if it is DICOM."""
    opened = open_image(source, accept)
    return opened.grey(None).levels(), opened.header


def find_breast(image: np.ndarray) -> tuple[int, int, int, int]:
    """The box (top, bottom, left, right) of the breast in pixels."""
    return locate(GreyImage.of(image)).box(image.shape)


def chest_wall_asymmetry(image: np.ndarray) -> float:
    """On which side of a breast its chest wall is: -1 (left) .. 1 (right)."""
    return locate(GreyImage.of(image)).asymmetry()

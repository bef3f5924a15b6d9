"""One image from any file: DICOM, or a picture that Pillow reads. The content decides, not the extension."""

from __future__ import annotations

import os
from collections.abc import Collection

import numpy as np
from PIL import Image

from mammo.data.decode import bad_file_if_it_fails
from mammo.data.dicom import Header, looks_like_dicom, read_dicom
from mammo.data.preprocess import breast_percentiles
from mammo.errors import BadFile

__all__ = ["MAX_PIXELS", "looks_like_dicom", "read_image"]

# The largest mammograms are films of 30 million pixels; a file of a few kB can claim billions. Pillow itself
# stops at 179 million.
MAX_PIXELS = 80_000_000
# Grey levels of 255 by which channels may differ on average before an image counts as coloured. JPEG keeps
# colour in other blocks than grey and leaves a difference below 1 in grey pictures.
MAX_CHANNEL_DIFFERENCE = 2.0

_FORMATS = ("PNG", "JPEG", "PPM", "TIFF", "BMP")  # PPM is Pillow's name for PGM too


def read_image(path: str | os.PathLike[str], accept: Collection[str] = ()) -> tuple[np.ndarray, Header | None]:
    """The image in a file, and its header if it is DICOM.

    Arguments:
        path: a DICOM, PNG, JPEG, PGM, TIFF or BMP file, whatever its name.
        accept: kinds of image that are otherwise refused, see `read_dicom`; `colour` holds for pictures too.

    Returns a float32 array [rows, columns] in 0..1: 8-bit grey divided by 255; deeper pictures, which have
    no window, between the percentiles 0.5 and 99.5 of the breast; DICOM as `read_dicom` says.
    Raises `BadFile` for a file that is refused or cannot be read.
    """
    with bad_file_if_it_fails("the file cannot be read"):
        is_dicom = looks_like_dicom(path)
    if is_dicom:
        return read_dicom(path, accept)
    return _read_picture(path, accept), None


def _read_picture(path: str | os.PathLike[str], accept: Collection[str]) -> np.ndarray:
    with (
        bad_file_if_it_fails("neither a DICOM file nor a readable picture"),
        Image.open(path, formats=_FORMATS) as opened,
    ):
        width_px, height_px = opened.size
        if width_px * height_px > MAX_PIXELS:
            raise BadFile(f"a picture of {height_px} x {width_px} pixels, more than {MAX_PIXELS}")
        num_pages = getattr(opened, "n_frames", 1)
        if num_pages > 1 and "multiframe" not in accept:
            raise BadFile(f"a picture of {num_pages} pages")
        with bad_file_if_it_fails("the picture is cut off or damaged"):
            opened.load()
            values = _grey_values(opened, accept)
    if values.min() == values.max():
        raise BadFile("constant image")
    if values.dtype == np.uint8:
        # The same table as for DICOM of 8 bits, so that equal pixels give equal images to the last bit.
        return (np.arange(256) / 255).astype(np.float32)[values]
    image = values.astype(np.float32)
    low, high = breast_percentiles(image)
    if not high > low:
        raise BadFile("constant image")
    return np.clip((image - low) / (high - low), 0, 1)


def _grey_values(picture: Image.Image, accept: Collection[str]) -> np.ndarray:
    """Grey levels [rows, columns]: uint8, or another type when the picture is deeper than 8 bits."""
    if picture.mode in ("L", "1", "LA", "La"):
        return np.asarray(picture.convert("L"))
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture)
        if not np.isfinite(values).all():
            raise BadFile("the picture has values that are not finite")
        return values
    channels = np.asarray(picture.convert("RGB"))
    green = channels[..., 1].astype(np.int16)
    difference = max(float(np.abs(channels[..., other] - green).mean()) for other in (0, 2))
    if difference > MAX_CHANNEL_DIFFERENCE and "colour" not in accept:
        raise BadFile(f"coloured picture (channels differ by {difference:.1f} of 255 on average)")
    return np.asarray(Image.fromarray(channels).convert("L"))

"""One image from any file: DICOM, or a picture that Pillow reads. The content decides, not the extension."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL import TiffImagePlugin as TIFF
from PIL.TiffImagePlugin import TiffImageFile

from mammo.data.dicom import Header, Source, looks_like_dicom, open_dicom
from mammo.data.dicom_elements import bad_file_if_it_fails
from mammo.data.grey import GreyImage
from mammo.data.jpeg import refuse_completed
from mammo.data.preprocess import breast_percentiles
from mammo.data.presentation import CONSTANT
from mammo.support.errors import BadFile

# The largest mammograms are films of 30 million pixels; a file of a few kB can claim billions. Pillow itself
# stops at 179 million.
MAX_PIXELS = 80_000_000
# Grey levels of 255 by which channels may differ on average before an image counts as coloured. JPEG keeps
# colour in other blocks than grey and leaves a difference below 1 in grey pictures.
MAX_CHANNEL_DIFFERENCE = 2.0

# How far apart the channels of a pixel are that people see as coloured, and the share of such pixels from which on a
# picture is no mere film or detector image: a screenshot with its buttons, a photograph, something drawn on it.
VISIBLE_COLOUR = 40
MAX_COLOURED_FRACTION = 0.001

# What is refused unless it is named in `accept`.
ALL_KINDS = ("colour", "for_processing", "multiframe", "other_modality")

_GREY_MODES = ("L", "1", "LA", "La", "F")
_FORMATS = ("PNG", "JPEG", "PPM", "TIFF", "BMP")  # PPM is Pillow's name for PGM too


@dataclasses.dataclass(frozen=True)
class OpenedImage:
    """An image whose header, if it is DICOM, has been read and accepted.

    `grey` decodes it, see `OpenedDicom.grey`.
    """

    header: Header | None
    grey: Callable[[int | None], GreyImage]


def looks_like_picture(file: Path) -> bool:
    """Whether a file begins as a picture does that `open_image` may read, whatever it is called."""
    try:
        with Image.open(file, formats=_FORMATS):
            return True
    except Image.DecompressionBombError:
        return True
    except Exception:  # whatever a text that begins like a picture leads to
        return False


def open_image(source: Source, accept: Collection[str] = ()) -> OpenedImage:
    """An image file that is about to be decoded, DICOM, PNG, JPEG, PGM, TIFF or BMP, by its path or content.

    The levels of `grey` lie in 0..1, as viewers show the image: a picture is turned as its EXIF orientation says. 8-bit
    grey is divided by 255; deeper pictures, which have no window, lie between the percentiles 0.5 and 99.5 of the
    breast. `accept`: see `open_dicom`; `colour` holds for pictures too. Raises `BadFile`, as `grey` does, for a file
    that is refused or cannot be read.
    """
    with bad_file_if_it_fails("the file cannot be read"):
        is_dicom = looks_like_dicom(source)
    if is_dicom:
        opened = open_dicom(source, accept)
        return OpenedImage(opened.header, opened.grey)
    return OpenedImage(None, lambda _: _read_picture(source, accept))


def is_coloured(content: bytes) -> bool:
    """Whether a picture that `open_image` takes is more than grey levels: in all, or visibly in a part of it."""
    if looks_like_dicom(content):
        return False
    with bad_file_if_it_fails("neither a DICOM file nor a readable picture"), _opened_picture(content) as picture:
        if picture.mode in _GREY_MODES or picture.mode.startswith("I"):
            return False
        channels = np.asarray(picture.convert("RGB"))
        red, green, blue = np.moveaxis(channels, -1, 0)
        apart = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        is_visible = float((apart >= VISIBLE_COLOUR).mean()) > MAX_COLOURED_FRACTION
        return is_visible or _channel_difference(channels) > MAX_CHANNEL_DIFFERENCE


def _channel_difference(channels: np.ndarray) -> float:
    """By how much red or blue differ from green on average, of 255."""
    green = channels[..., 1].astype(np.int16)
    return max(float(np.abs(channels[..., other] - green).mean()) for other in (0, 2))


def _read_picture(source: Source, accept: Collection[str]) -> GreyImage:
    with bad_file_if_it_fails("neither a DICOM file nor a readable picture"):
        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        with _opened_picture(content) as opened:
            width_px, height_px = opened.size
            if width_px * height_px > MAX_PIXELS:
                raise BadFile(f"a picture of {height_px} x {width_px} pixels, more than {MAX_PIXELS}")
            # What follows the first image of an MPO, as phones write them, is seen by no viewer: previews, depth.
            num_pages = 1 if opened.format == "MPO" else getattr(opened, "n_frames", 1)
            if num_pages > 1 and "multiframe" not in accept:
                raise BadFile(f"a picture of {num_pages} pages")
            with bad_file_if_it_fails("the picture is cut off or damaged"):
                values = _checked_values(opened, content, accept)
    if values.min() == values.max():
        raise BadFile(CONSTANT)
    if values.dtype == np.uint8:
        # The same table as for DICOM of 8 bits, so that equal pixels give equal images to the last bit.
        return GreyImage(values, (np.arange(256) / 255).astype(np.float32))
    image = values.astype(np.float32)
    low, high = breast_percentiles(image)
    if not high > low:
        raise BadFile(CONSTANT)
    return GreyImage(np.clip((image - low) / (high - low), 0, 1))


def _opened_picture(content: bytes) -> Image.Image:
    try:
        return Image.open(io.BytesIO(content), formats=_FORMATS)
    except UnidentifiedImageError:
        raise BadFile("neither a DICOM file nor a readable picture") from None


def _checked_values(picture: Image.Image, content: bytes, accept: Collection[str]) -> np.ndarray:
    """The grey levels of a picture as viewers show it, see `_grey_values`; raises where they are not certain."""
    if isinstance(picture, TiffImageFile):
        return _values_of_tiff(picture, content, accept)
    if picture.format == "PNG":
        _check_sums(content)
    picture.load()
    if picture.format == "PNG":
        _check_rows(content, np.asarray(picture))
    if picture.format in ("JPEG", "MPO"):
        refuse_completed(content, np.asarray(picture))
    return turned(_grey_values(picture, accept), _exif_orientation(picture))


def _exif_orientation(picture: Image.Image) -> object:
    """What the EXIF data of a JPEG or PNG say of how it is to be turned; None where they say nothing.

    Other than `Image.getexif`, XMP does not count: browsers and viewers do not follow it. Damaged EXIF data say
    nothing, as everywhere.
    """
    exif = Image.Exif()
    with suppress(Exception):  # whatever malformed bytes lead to
        if "exif" in picture.info:
            exif.load(picture.info["exif"])
        else:  # as ImageMagick writes it into a PNG: a name, a length and lines of hexadecimal digits
            profile = picture.info.get("Raw profile type exif") or picture.info["Raw profile type APP1"]
            exif.load(bytes.fromhex("".join(profile.split("\n")[3:])))
        return exif.get(ExifTags.Base.Orientation)
    return None


def turned(values: np.ndarray, orientation: object) -> np.ndarray:
    """Stored values [rows, columns] as they are to be seen by an EXIF orientation (tag 0x0112); others than 1 to 8 say
    nothing. 5 to 8 are 1 to 4 of the transposed picture."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return np.ascontiguousarray(values)


def _check_sums(content: bytes) -> None:
    """Raise for a PNG with a wrong check sum; decoding alone does not look at those of the pixels."""
    with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
        picture.verify()


def _check_rows(content: bytes, values: np.ndarray) -> None:
    """Raise for a PNG that holds fewer rows than its header says, which Pillow leaves black; libpng refuses it."""
    if not values[-1].any():
        imagecodecs.png_decode(content)


def _values_of_tiff(picture: TiffImageFile, content: bytes, accept: Collection[str]) -> np.ndarray:
    """`_checked_values` of a TIFF; raises for one that Pillow has to guess at, or that libtiff reads in another way.

    Pillow takes a missing polarity for inverted, does not invert 16 bits, and reads strips that are not there.
    It turns the picture itself.
    """
    tags: Any = picture.tag_v2
    orientation = tags.get(ExifTags.Base.Orientation)
    picture.info.pop("xmp", None)  # which it would follow
    picture.load()
    if any(tag not in tags for tag in (TIFF.BITSPERSAMPLE, TIFF.PHOTOMETRIC_INTERPRETATION)):
        raise BadFile("a TIFF without bits per sample or photometric interpretation")
    if not set(tags[TIFF.BITSPERSAMPLE]) <= {1, 8, 16, 32}:
        raise BadFile("a TIFF of unusual bits per sample")
    is_inverted = tags[TIFF.PHOTOMETRIC_INTERPRETATION] == 0
    if is_inverted and picture.mode not in ("1", "L"):
        raise BadFile("a TIFF of more than 8 bits in which 0 is white is not supported")
    other = turned(imagecodecs.tiff_decode(content), orientation)
    values = np.asarray(picture)
    if picture.mode == "L" or picture.mode.startswith("I") or picture.mode == "F":
        other = 255 - other if is_inverted else other
        if not np.array_equal(values, other):
            raise BadFile("two decoders read different pixels")
    elif values.shape[:2] != other.shape[:2]:
        raise BadFile("two decoders read images of different size")
    return _grey_values(picture, accept)


def _grey_values(picture: Image.Image, accept: Collection[str]) -> np.ndarray:
    """Grey levels [rows, columns]: uint8, or another type when the picture is deeper than 8 bits."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture)
        if not np.isfinite(values).all():
            raise BadFile("the picture has values that are not finite")
        return values
    if picture.mode in _GREY_MODES:
        return np.asarray(picture.convert("L"))
    channels = np.asarray(picture.convert("RGB"))
    difference = _channel_difference(channels)
    if difference > MAX_CHANNEL_DIFFERENCE and "colour" not in accept:
        raise BadFile(f"coloured picture (channels differ by {difference:.1f} of 255 on average)")
    return np.asarray(Image.fromarray(channels).convert("L"))

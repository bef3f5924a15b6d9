"""What comes of a damaged file: read as a dataset is read, then compared with an independent decoder.

An image is *wrongly accepted* when its square differs from that of the undamaged file, unless
- an independent decoder (pydicom with its plugins; libpng, libjpeg for pictures) reads the same values from the
  damaged file, or
- only bytes inside the pixel data differ, which is another picture to every decoder, or those and a header that is read
  right with the old pixel data. Of a lossy JPEG scan bytes may be lost, where the image is complete with what is left:
  nothing in a scan tells.
A stream that lacks data must not be completed with invented pixels, whatever other decoders do. A label table is
wrongly accepted when an image has a label that does not stand in its line.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import re
import resource
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from PIL import ExifTags, Image
from PIL import TiffImagePlugin as TIFF
from pydicom import uid

from mammo.data.data_options import DataOptions
from mammo.data.decode import decode_stored_values
from mammo.data.dicom import looks_like_dicom, open_dicom, read_header
from mammo.data.dicom_elements import integer_of, transfer_syntax_of
from mammo.data.formats import read_manifest
from mammo.data.images import turned
from mammo.data.labels import apply_task
from mammo.data.pixels import PixelSettings, pixels_of
from mammo.support.errors import BadFile, UserError
from mammo.tasks.multiclass import DENSITY
from tests.data.dicom_files import EVERYTHING, decoded_by_pydicom
from tests.mutations.damage import BOMBS, OF_KIND
from tests.mutations.sources import Source, write_pictures

SETTINGS = PixelSettings(64, crop=True, orient=True, accept=EVERYTHING)
LOSES_DATA = (
    "lose_the_middle", "lose_the_middle_of_the_stream", "end_the_stream_early", "end_the_jpeg_early", "truncate",
)  # fmt: skip
# Decoders of lossy images round differently.
TOLERANCE = {uid.JPEGBaseline8Bit: 2, uid.JPEGExtended12Bit: 2, uid.JPEG2000: 1}


@dataclasses.dataclass(frozen=True)
class Task:
    """One damaged file, made where it is judged: a seed names all of it."""

    source: Source
    seed: int
    is_bomb: bool = False


@dataclasses.dataclass(frozen=True)
class Verdict:
    """`outcome` is `accepted`, `refused` or `untyped error`; `detail` says as what, why, or which."""

    outcome: str
    detail: str
    damage: str
    seconds: float
    peak_bytes: int
    is_wrong: bool = False


class Judge:
    """Makes and judges damaged files in a worker process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, task: Task) -> Verdict:
        """The verdict on one damaged file."""
        random = np.random.default_rng(task.seed)
        kinds = OF_KIND[task.source.kind]
        damage = BOMBS[task.source.kind] if task.is_bomb else kinds[random.integers(len(kinds))]
        content = damage(task.source.content, random)
        read = self._read_labels if task.source.kind in ("csv", "features") else _read_image
        _forget_peak_memory()
        before, start = _memory("VmRSS"), time.perf_counter()
        outcome, result = _outcome_of(lambda: read(task.source.kind, content))
        seconds, peak_bytes = time.perf_counter() - start, _memory("VmHWM") - before
        detail, is_wrong = str(result), False
        if outcome == "accepted":
            if task.source.kind in ("csv", "features"):
                detail = _why_right_labels(task.source.kind, content, result)
            else:
                detail = _why_right_pixels(task.source, content, result, damage.__name__)
            is_wrong = detail.startswith("WRONG")
        return Verdict(outcome, detail, damage.__name__, seconds, peak_bytes, is_wrong)

    def _read_labels(self, kind: str, content: bytes) -> dict[str, str]:
        """Image id -> label of a label file beside its pictures."""
        root = self.folder / kind
        if not root.exists():
            write_pictures(root)
        name = "labels.csv" if kind == "csv" else "featureS.txt"
        (root / name).write_bytes(content)
        reader = "table" if kind == "csv" else "patches"
        manifest = read_manifest(DataOptions(format=reader, group_by="image"), root)
        table = apply_task(manifest, "density4").table
        return dict(zip(table["image_id"], table["label"], strict=True))


def _outcome_of(read: Callable[[], Any]) -> tuple[str, Any]:
    try:
        return "accepted", read()
    except (BadFile, UserError) as error:
        return "refused", re.sub(r"\d+(\.\d+)?(e[+-]?\d+)?", "N", str(error).splitlines()[0])
    except Exception as error:
        return "untyped error", f"{type(error).__name__}: {error}"[:200]


def _read_image(kind: str, content: bytes) -> np.ndarray:
    if looks_like_dicom(content):
        read_header(content)
    return pixels_of(content, "", SETTINGS)


def _why_right_pixels(source: Source, content: bytes, square: np.ndarray, damage: str) -> str:
    """Why an accepted image is right; `WRONG: ...` when it is not."""
    if np.array_equal(square, pixels_of(source.content, "", SETTINGS)):
        return "the same pixels"
    is_inside = _differs_only_inside_pixels(source, content)
    try:
        is_equal = _equals_reference(source.kind, content)
        reference = "an independent decoder reads the same" if is_equal else "an independent decoder reads others"
    except Exception as error:
        is_equal, reference = False, f"an independent decoder refuses it ({type(error).__name__}: {error})"[:150]
    if damage in LOSES_DATA and _is_completed(source.kind, content):
        return "WRONG: completed with invented pixels"
    if is_equal:
        return reference
    return "other pixel data" if is_inside or _has_a_right_header(source, content) else f"WRONG: {reference}"


def _has_a_right_header(source: Source, content: bytes) -> bool:
    """Whether a DICOM file that is damaged in header and pixel data is read right with the old pixel data."""
    start = _pixel_range(source)[0]
    mended = content[:start] + source.content[start:]
    if source.kind != "dicom" or start == 0 or len(content) != len(mended) or content == mended:
        return False
    try:
        square = _read_image(source.kind, mended)
    except BadFile:
        return False
    return not _why_right_pixels(source, mended, square, "").startswith("WRONG")


def _pixel_range(source: Source) -> tuple[int, int]:
    """Where the pixel data of an undamaged file begins and ends; (0, 0) where it is no part of the file."""
    if source.kind == "dicom":
        dataset = pydicom.dcmread(io.BytesIO(source.content))
        is_deflated = dataset.file_meta.TransferSyntaxUID.is_deflated
        return (0, 0) if is_deflated else (dataset["PixelData"].file_tell, len(source.content))
    if source.kind == "jpeg":
        return source.content.index(b"\xff\xda"), len(source.content)
    if source.kind == "tiff":
        with Image.open(io.BytesIO(source.content)) as picture:
            tags: Any = picture.tag_v2  # type: ignore[attr-defined]
            return tags[273][0], tags[273][-1] + tags[279][-1]
    return 0, 0


def _differs_only_inside_pixels(source: Source, content: bytes) -> bool:
    start, stop = _pixel_range(source)
    if (start, stop) == (0, 0) and source.kind != "dicom":
        return False
    same_length = len(content) == len(source.content)
    if source.kind == "dicom" and _says_the_same(source.content, content):
        return True
    return same_length and content[:start] == source.content[:start] and content[stop:] == source.content[stop:]


def _says_the_same(one: bytes, other: bytes) -> bool:
    """Whether two DICOM files agree in everything that is read of them but the pixel data."""
    opened = [open_dicom(content, EVERYTHING) for content in (one, other)]
    pixels = [image.dataset.PixelData for image in opened]
    is_dct = transfer_syntax_of(opened[0].dataset) in (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
    for image in opened:
        del image.dataset.PixelData
    if not is_dct:
        return opened[0] == opened[1] and len(pixels[0]) == len(pixels[1])
    headers = [stream[stream.index(b"\xff\xd8") : stream.index(b"\xff\xda") + 10] for stream in pixels]
    return opened[0] == opened[1] and headers[0] == headers[1]


def _equals_reference(kind: str, content: bytes) -> bool:
    if kind != "dicom":
        return _picture_equals_reference(kind, content)
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    opened = open_dicom(content, EVERYTHING)
    frames = opened.header.frames
    ours = decode_stored_values(opened.dataset, frames // 2 if frames > 1 else None)
    bits, allocated = integer_of(dataset, "BitsStored"), integer_of(dataset, "BitsAllocated")
    syntax, shift = transfer_syntax_of(dataset), 0
    # pydicom finds out the syntax of a file that does not say it, but then decodes nothing.
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PhotometricInterpretation = opened.header.photometric  # in capitals, where it is not
    if not syntax.is_encapsulated:
        # pydicom has bits in the lowest place only: it is asked for all that are there.
        shift = integer_of(dataset, "HighBit", bits - 1) + 1 - bits
        dataset.BitsStored, dataset.HighBit = allocated, allocated - 1
    theirs = decoded_by_pydicom(dataset)
    theirs = theirs[frames // 2] if frames > 1 else theirs
    if ours.shape != theirs.shape:
        return False
    mask = 2**bits - 1
    if syntax in (uid.JPEG2000, uid.JPEGExtended12Bit) and theirs.dtype.kind == "u":
        theirs = theirs.clip(0, mask)  # what overshoots is clipped
    difference = (ours.astype(np.int64) & mask) - ((theirs.astype(np.int64) >> shift) & mask)
    if syntax in (uid.JPEGLossless, uid.JPEGLosslessSV1):
        # Of values that the stream has no bits for the other decoder makes the highest; ours keeps the stored bits.
        difference[theirs == mask] = 0
    return int(np.abs(difference).max()) <= TOLERANCE.get(syntax, 0)


def _picture_equals_reference(kind: str, content: bytes) -> bool:
    with Image.open(io.BytesIO(content)) as picture:
        tags: Any = getattr(picture, "tag_v2", {})
        orientation = tags.get(ExifTags.Base.Orientation)
        ours = np.asarray(picture)
        is_inverted = picture.mode == "L" and tags.get(TIFF.PHOTOMETRIC_INTERPRETATION) == 0
    if kind == "png":
        theirs = imagecodecs.png_decode(content)
        if ours.dtype == np.uint8 and theirs.dtype == np.uint16:
            theirs = theirs >> 8  # of colours with 16 bits Pillow reads the higher 8
        return np.array_equal(ours, theirs > 0 if ours.dtype == bool else theirs)
    if kind == "jpeg":
        return np.array_equal(ours, imagecodecs.jpeg8_decode(content))
    # libtiff reads some damaged files now in one way, now in another; it leaves polarity and turning to its caller.
    theirs = [turned(imagecodecs.tiff_decode(content), orientation) for _ in range(3)]
    return any(np.array_equal(ours, 255 - values if is_inverted else values) for values in theirs)


def _is_completed(kind: str, content: bytes) -> bool:
    """Whether a JPEG stream lacks data: more data at its end changes the image."""
    if kind == "jpeg":
        streams = [content]
    elif kind == "dicom":
        dataset = pydicom.dcmread(io.BytesIO(content), force=True)
        if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
            return False
        frames = int(dataset.get("NumberOfFrames") or 1)
        streams = list(pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=frames))
        streams = streams[frames // 2 :][:1]
    else:
        return False
    for stream in streams:
        end = stream.rfind(b"\xff\xd9")
        if stream[:2] == b"\xff\xd8" and b"\xff\xf7" not in stream[:200] and end > 0:
            # At the first end mark, and not behind a byte that would make it another marker.
            data = stream[: stream.index(b"\xff\xd9")].rstrip(b"\xff")
            short, longer = data + b"\xff\xd9", data + bytes(range(1, 200)) + b"\xff\xd9"
            if not np.array_equal(imagecodecs.jpeg8_decode(short), imagecodecs.jpeg8_decode(longer)):
                return True
    return False


def _why_right_labels(kind: str, content: bytes, labels: dict[str, str]) -> str:
    """Why labels are right: each stands in the line of its image (CSV), or in the next one (featureS.txt)."""
    text = next(
        text for text in map(partial(_decoded, content), ("utf-16", "utf-8-sig", "latin-1")) if text is not None
    )
    text = text.replace("\0", "")
    if kind == "csv":
        found = set()
        for delimiter in ",;":
            for line in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter):
                cells = [cell.strip() for cell in line]
                found |= {(Path(path).name.lower(), label.upper()) for path in cells for label in cells}
    else:
        lines = [line.strip() for line in text.splitlines() if line.strip() and not line.strip().startswith("#")]
        # As `01` a number is the same one.
        classes = [DENSITY[int(line)] if line.isdecimal() and int(line) < len(DENSITY) else "?" for line in lines]
        names = [
            Path("".join(line.split()).replace("\\", "/")).name.removesuffix(".png").lower() + ".png" for line in lines
        ]
        found = set(zip(names, classes[1:], strict=False))
    digits = {name: str(number) for number, name in enumerate(DENSITY, start=1)}
    strange = [
        image_id for image_id, label in labels.items()
        if not {(Path(image_id).name.lower(), label), (Path(image_id).name.lower(), digits.get(label, "?"))} & found
    ]  # fmt: skip
    return f"WRONG: labels of {len(strange)} images" if strange else "labels stand beside their images"


def _decoded(content: bytes, encoding: str) -> str | None:
    if encoding == "utf-16" and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):
        return None
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        return None


def _memory(name: str) -> int:
    """A figure of this process in bytes, `VmRSS` or `VmHWM` (its highest value)."""
    match = re.search(rf"{name}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(match[1]) if match else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _forget_peak_memory() -> None:
    Path("/proc/self/clear_refs").write_text("5")

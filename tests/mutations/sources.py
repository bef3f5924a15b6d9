"""The valid files: small, one for each transfer syntax, picture format and kind of label file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from pydicom import uid

from tests.data.dicom_files import DICOM, dicom_file, lut_item

# Small enough for thousands of mutations; together all transfer syntaxes that are read.
REAL_FILES = (
    "CT_small", "MR_small_bigendian", "image_dfl", "emri_small_RLE", "emri_small_jpeg_2k_lossless",
    "emri_small_jpeg_ls_lossless", "JPEG-lossy", "JPEG-LL", "SC_rgb_16bit", "vlut_04", "CT1_J2KR", "RG3_JLSN",
)  # fmt: skip


class Source(NamedTuple):
    """A valid file: `kind` is `dicom`, `png`, `jpeg`, `tiff`, `csv` or `features`."""

    kind: str
    name: str
    content: bytes


def mammogram(shape: tuple[int, int] = (96, 72), bits: int = 12) -> np.ndarray:
    """A bright textured half disc at the left on noise, uint16, or uint8 with 8 bits."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[: shape[0], : shape[1]]
    inside = ((y - shape[0] / 2) / (0.45 * shape[0])) ** 2 + (x / (0.8 * shape[1])) ** 2 < 1
    grey = np.where(inside, 0.4 + 0.3 * np.sin(y / 5) * np.cos(x / 7), 0.02) + random.normal(0, 0.01, shape)
    return (grey.clip(0, 1) * (2**bits - 1)).astype(np.uint16 if bits > 8 else np.uint8)


def image_sources() -> list[Source]:
    """DICOM files and pictures; the real files where the shared data is."""
    deep, flat = mammogram(), mammogram(bits=8)
    window = {"WindowCenter": 2000, "WindowWidth": 3500}
    table = {"VOILUTSequence": [lut_item([16 * index for index in range(4096)], 0, 16, words=True)]}
    sources = [
        Source("dicom", "explicit", dicom_file(deep, **window)),
        Source("dicom", "lookup table", dicom_file(deep, **table)),
        Source("dicom", "8 bits", dicom_file(flat, None, bits=8, PhotometricInterpretation="MONOCHROME1")),
    ]
    for syntax in (
        uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless,
        uid.JPEGLosslessSV1, uid.JPEGLSLossless, uid.JPEG2000Lossless, uid.JPEG2000, uid.JPEGExtended12Bit,
    ):  # fmt: skip
        sources.append(Source("dicom", syntax.name, dicom_file(deep, syntax, **window)))
    sources.append(Source("dicom", "JPEG baseline", dicom_file(flat, uid.JPEGBaseline8Bit, bits=8)))
    if DICOM.is_dir():
        sources += [Source("dicom", name, (DICOM / f"{name}.dcm").read_bytes()) for name in REAL_FILES]
    return [*sources, *_pictures(deep, flat)]


def _pictures(deep: np.ndarray, flat: np.ndarray) -> list[Source]:
    def saved(values: np.ndarray, name: str, **options: object) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(values).save(stream, name, **options)
        return stream.getvalue()

    return [
        Source("png", "PNG, 8 bits", saved(flat, "PNG")),
        Source("png", "PNG, 16 bits", saved(deep * 16, "PNG")),
        Source("png", "PNG, colour", saved(np.stack([flat] * 3, axis=-1), "PNG")),
        Source("jpeg", "JPEG", saved(flat, "JPEG", quality=90)),
        Source("jpeg", "JPEG, progressive", saved(flat, "JPEG", quality=90, progressive=True)),
        Source("tiff", "TIFF", saved(flat, "TIFF")),
        Source("tiff", "TIFF, deflated", saved(deep, "TIFF", compression="tiff_adobe_deflate")),
        Source("tiff", "TIFF, JPEG", saved(flat, "TIFF", compression="jpeg")),
    ]


def table_sources() -> list[Source]:
    """Label files of the twelve pictures that `write_pictures` makes."""
    rows = [f"images/{i}.png,{'ABCD'[i % 4]},p{i // 2:02d},{'LR'[i % 2]},CC" for i in range(12)]
    header = "path,label,patient_id,laterality,view"
    semicolons = [line.replace(",", ";") for line in (header, *rows)]
    numbered = [f"images/{i}\n{i % 4}" for i in range(12)]
    return [
        Source("csv", "CSV", "\n".join([header, *rows, ""]).encode()),
        Source("csv", "CSV of a spreadsheet", "\r\n".join(["\ufeff" + semicolons[0], *semicolons[1:], ""]).encode()),
        Source("features", "featureS.txt", "\n".join(["# names and classes", *numbered, ""]).encode()),
    ]


def write_pictures(folder: Path) -> None:
    """The pictures that the label files name; tables are read without looking at their pixels."""
    (folder / "images").mkdir(parents=True)
    for i in range(12):
        (folder / "images" / f"{i}.png").write_bytes(b"a picture")

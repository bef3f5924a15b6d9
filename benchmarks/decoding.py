"""From a file to the square that is trained on: the project against `pixel_array` and a resize by Pillow.

One mammogram in each transfer syntax that mammography uses. The project does more with it - header checks, display
window, search and crop of the breast - and all of that is in its time. Both run on one CPU, in turn, in one process,
with the file in the system's cache.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import pydicom
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_encoder

from benchmarks.samples import Comparison, PartResult, Settings, number
from mammo.data.phantom import render_view
from mammo.data.pixels import PixelSettings, pixels_of
from mammo.support.errors import BadFile

ROWS_PX, COLUMNS_PX = 3328, 2560
TARGET_SIZE_PX = 512
WHITE = 4095
# Grey levels of noise in the breast and outside it, so that lossless files have the sizes of real ones.
BREAST_NOISE, BACKGROUND_NOISE = 25.0, 4.0
REPETITIONS_A_ROUND = 5
MAX_REAL_FILES = 20
NAMES = {
    uid.ExplicitVRLittleEndian: "uncompressed",
    uid.RLELossless: "RLE",
    uid.JPEG2000Lossless: "JPEG 2000 lossless",
    uid.JPEG2000: "JPEG 2000",
    uid.JPEGLosslessSV1: "JPEG Lossless SV1",
    uid.JPEGLSLossless: "JPEG-LS lossless",
}
TARGETS = {uid.JPEG2000Lossless: 8.0, uid.JPEGLosslessSV1: 3.0, uid.JPEGLSLossless: 2.0}

Encoder = Callable[[np.ndarray], Any]
ENCODERS: dict[uid.UID, Encoder] = {
    uid.JPEG2000Lossless: lambda pixels: imagecodecs.jpeg2k_encode(
        pixels, level=0, codecformat="j2k", bitspersample=12, reversible=True
    ),
    uid.JPEGLosslessSV1: lambda pixels: imagecodecs.jpeg_encode(pixels, lossless=True, predictor=1, bitspersample=12),
    uid.JPEGLSLossless: imagecodecs.jpegls_encode,
    uid.RLELossless: lambda pixels: get_encoder(uid.RLELossless).encode(
        pixels, rows=pixels.shape[0], columns=pixels.shape[1], samples_per_pixel=1, bits_allocated=16, bits_stored=12,
        pixel_representation=0, number_of_frames=1, photometric_interpretation="MONOCHROME2",
        encoding_plugin="pydicom",
    ),
}  # fmt: skip


def project_way(path: Path) -> np.ndarray:
    """uint8 [512, 512] as the image store keeps it."""
    return pixels_of(path.read_bytes(), "", PixelSettings(TARGET_SIZE_PX, crop=True, orient=True))


def plain_way(path: Path) -> np.ndarray:
    """float32 [512, 512]: stored values by pydicom, an antialiased resize by Pillow, nothing else."""
    picture = Image.fromarray(pydicom.dcmread(path).pixel_array.astype(np.float32))
    return np.asarray(picture.resize((TARGET_SIZE_PX, TARGET_SIZE_PX), Image.Resampling.BILINEAR))


def measure(settings: Settings) -> PartResult:
    """The generated mammogram in each syntax, then the files of `settings.dicom_folder`."""
    folder = settings.folder / "decoding"
    folder.mkdir(parents=True, exist_ok=True)
    pixels = mammogram()
    comparisons, ratios = [], {}
    with on_one_cpu():
        for syntax in (uid.ExplicitVRLittleEndian, uid.RLELossless, *TARGETS):
            path = folder / f"{syntax.keyword}.dcm"
            ratios[NAMES[syntax]] = pixels.nbytes / write_dicom(path, pixels, syntax)
            comparisons.append(compare(NAMES[syntax], path, settings, TARGETS.get(syntax)))
        comparisons += real_files(settings)
    compression = ", ".join(f"{name} {number(ratio)}:1" for name, ratio in ratios.items() if ratio > 1.01)
    notes = [
        f"A generated mammogram, 12 of 16 bits, {ROWS_PX} x {COLUMNS_PX}: a phantom view enlarged, with noise of "
        f"{BREAST_NOISE:g} grey levels in the breast and {BACKGROUND_NOISE:g} beside it. Compression: {compression}.",
        f"Milliseconds from the file to {TARGET_SIZE_PX} x {TARGET_SIZE_PX} on one CPU. The project's time includes "
        "the checks of the header, the display window and the crop to the breast; the other's does not.",
    ]
    return PartResult("Decoding", "pydicom + resize", comparisons, [], notes, {"compression": ratios})


def compare(name: str, path: Path, settings: Settings, target: float | None) -> Comparison:
    """Both ways in turn on one file; a sample is the median of a round, milliseconds."""
    ways = [project_way]
    note = ""
    try:
        plain_way(path)
        ways.append(plain_way)
    except Exception as error:  # whatever pydicom and its plugins raise where they cannot read a file
        note = f"pydicom cannot decode it here ({type(error).__name__}); its decoders: pip install -e '.[bench]'"
    repetitions = 1 if settings.quick else REPETITIONS_A_ROUND
    samples: dict[Callable[[Path], np.ndarray], list[float]] = {project_way: [], plain_way: []}
    for _ in range(settings.rounds):
        times = [[_milliseconds(way, path) for way in ways] for _ in range(repetitions)]
        for way, values in zip(ways, zip(*times, strict=True), strict=True):
            samples[way].append(statistics.median(values))
    compared = Comparison(name, "ms", False, samples[project_way], samples[plain_way], target, note)
    print(compared.line, flush=True)
    return compared


def _milliseconds(way: Callable[[Path], np.ndarray], path: Path) -> float:
    started = time.perf_counter()
    way(path)
    return 1000 * (time.perf_counter() - started)


def mammogram() -> np.ndarray:
    """uint16 [3328, 2560], 0..4095, bright where dense: smooth structure of a phantom view and pixel noise."""
    view = Image.fromarray(render_view(0, 0, "L", "CC").image.astype(np.float32))
    smooth = np.asarray(view.resize((COLUMNS_PX, ROWS_PX), Image.Resampling.BICUBIC))
    sigma = np.where(smooth > 0, np.float32(BREAST_NOISE), np.float32(BACKGROUND_NOISE))
    noise = np.random.default_rng(0).standard_normal(smooth.shape, np.float32) * sigma
    return np.clip(np.round(smooth + noise), 0, WHITE).astype(np.uint16)


def write_dicom(path: Path, pixels: np.ndarray, syntax: uid.UID) -> int:
    """Write a mammogram for presentation without loss; returns the bytes of its pixel data."""
    meta = pydicom.dataset.FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = uid.generate_uid()
    meta.TransferSyntaxUID = syntax
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    values = {
        "Modality": "MG", "PatientID": "P1", "ImageLaterality": "L", "ViewPosition": "CC",
        "PresentationIntentType": "FOR PRESENTATION", "Rows": pixels.shape[0], "Columns": pixels.shape[1],
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 12,
        "HighBit": 11, "PixelRepresentation": 0, "WindowCenter": 2048, "WindowWidth": 4096,
    }  # fmt: skip
    for name, value in values.items():
        setattr(dataset, name, value)
    encode = ENCODERS.get(syntax)
    stream = pixels.astype("<u2").tobytes() if encode is None else bytes(encode(pixels))
    dataset.PixelData = stream if encode is None else encapsulate([stream])
    dataset["PixelData"].VR = "OW" if encode is None else "OB"
    dataset.save_as(path, enforce_file_format=True)
    return len(stream)


def real_files(settings: Settings) -> list[Comparison]:
    """The first usable mammograms of the user's folder; named by number, syntax and size only."""
    if settings.dicom_folder is None:
        return []
    comparisons: list[Comparison] = []
    for path in sorted(file for file in settings.dicom_folder.rglob("*") if file.is_file()):
        if len(comparisons) == MAX_REAL_FILES:
            break
        try:
            project_way(path)
            header = pydicom.dcmread(path, stop_before_pixels=True)
        except (BadFile, pydicom.errors.InvalidDicomError):
            continue
        syntax = header.file_meta.TransferSyntaxUID
        name = f"file {len(comparisons) + 1}, {header.Rows} x {header.Columns}, {NAMES.get(syntax, syntax.name)}"
        comparisons.append(compare(name, path, settings, None))
    return comparisons


@contextlib.contextmanager
def on_one_cpu() -> Iterator[None]:
    """Keep this thread, and decoders' threads that it starts, on one CPU where the system can."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(allowed)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)

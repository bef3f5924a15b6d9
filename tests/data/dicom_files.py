"""DICOM files for tests: the real ones of the shared data, and mammograms made by pydicom."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import imagecodecs
import libjpeg
import numpy as np
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from tests.data.reading import read_dicom

DICOM = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "dicom"
INDEX = list(csv.DictReader((DICOM / "INDEX.csv").open())) if DICOM.is_dir() else []
needs_shared_data = pytest.mark.skipif(not INDEX, reason="the shared real data (../shared/data/dicom) is missing")
# pytest undoes the filter that mammo.data.dicom sets; damaged files make pydicom warn.
quiet_pydicom = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")
EVERYTHING = ("for_processing", "other_modality", "colour", "multiframe")
RAMP = np.arange(4096, dtype=np.uint16).reshape(64, 64)
NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
STREAMS = {
    JPEG2000Lossless: lambda values: imagecodecs.jpeg2k_encode(
        values, level=0, codecformat="j2k", bitspersample=12, reversible=True
    ),
    # 16 bits for what are 12: a lossy stream overshoots them where it is saturated.
    JPEG2000: lambda values: imagecodecs.jpeg2k_encode(
        values, level=65, codecformat="j2k", bitspersample=16, reversible=False
    ),
    JPEGExtended12Bit: lambda values: imagecodecs.jpeg_encode(values, level=80, bitspersample=12),
    JPEGLosslessSV1: lambda values: imagecodecs.jpeg_encode(values, lossless=True, predictor=1, bitspersample=12),
    JPEGLSLossless: imagecodecs.jpegls_encode,
    JPEGBaseline8Bit: lambda values: imagecodecs.jpeg8_encode(values, level=95),
}


def lut_item(
    entries: list[int], first: int, bits: int, words: bool = False, descriptor: list[int] | None = None
) -> Dataset:
    """An item of a LUT sequence, its data as numbers (US) or as bytes (OW); `descriptor` may say something else."""
    item = Dataset()
    descriptor = descriptor or [len(entries), first, bits]
    item.add_new("LUTDescriptor", "SS" if descriptor[1] < 0 else "US", descriptor)
    item.add_new("LUTData", "OW" if words else "US", np.array(entries, "<u2").tobytes() if words else entries)
    return item


def code_item(value: str, **changes: Any) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    for keyword, element in changes.items():
        setattr(item, keyword, element)
    return item


def build(values: np.ndarray, bits: int = 12, **changes: Any) -> Dataset:
    """A mammogram for presentation; `changes` set or, with None, remove elements."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1.2"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.PatientName, dataset.PatientID, dataset.Modality = "Secret^Name", "000123", "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Rows, dataset.Columns = values.shape[:2]
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = values.dtype.itemsize * 8
    dataset.BitsStored, dataset.HighBit = bits, bits - 1
    dataset.PixelRepresentation = int(values.dtype.kind == "i")
    for keyword, value in changes.items():
        if value is None:
            delattr(dataset, keyword)
        elif "PixelPadding" in keyword:
            dataset.add_new(keyword, "SS" if values.dtype.kind == "i" else "US", value)
        else:
            setattr(dataset, keyword, value)
    dataset.add_new("PixelData", "OW" if values.dtype.itemsize > 1 else "OB", values.tobytes())
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    if "SOPClassUID" not in dataset:  # as in files of RSNA: pydicom asks for one in the file meta information
        dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.save_as(path, enforce_file_format=True)
    return path


def dicom_file(values: np.ndarray, syntax: str | None = None, bits: int = 12, **changes: object) -> bytes:
    """The content of a mammogram of `build` in any transfer syntax."""
    if syntax == ExplicitVRBigEndian:
        values = values.astype(values.dtype.newbyteorder(">"))
    dataset = build(values, bits, **changes)
    if syntax == RLELossless:
        dataset.compress(RLELossless, encoding_plugin="pydicom", generate_instance_uid=False)
    elif syntax in NATIVE:
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax is not None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.PixelData = encapsulate([STREAMS[syntax](values)])
        dataset["PixelData"].VR = "OB"
    content = io.BytesIO()
    dataset.save_as(content, enforce_file_format=True)
    return content.getvalue()


def show(tmp_path: Path, dataset: Dataset, accept: tuple[str, ...] = ()) -> np.ndarray:
    image, _ = read_dicom(save(dataset, tmp_path / "image.dcm"), accept)
    assert image.dtype == np.float32
    assert image.shape == (dataset.Rows, dataset.Columns)
    assert 0 <= image.min() < image.max() <= 1
    return image


def decoded_by_pydicom(dataset: Dataset) -> np.ndarray:
    """Stored values by pydicom with the decoders of pylibjpeg and CharLS: none of them decodes for the project."""
    if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit:
        # The real files say in the header of their scan that it ends with coefficient 0, and have all 64.
        stream = bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))
        scan = stream.index(b"\xff\xda")
        stream[scan + 6 + 2 * stream[scan + 4]] = 63
        return libjpeg.decode(bytes(stream)).reshape(dataset.Rows, dataset.Columns)
    dataset.pixel_array_options(raw=True)
    return dataset.pixel_array

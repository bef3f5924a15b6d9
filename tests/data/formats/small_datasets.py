"""Small real datasets in temporary folders, written by Pillow and pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from PIL import Image
from pydicom.dataset import FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from mammo.data.manifest import Manifest
from tests.data.dicom_files import build, save


def write_png(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(path, format="PNG")
    return path


def write_dicom(path: Path, pixels: np.ndarray | None = None, **tags: Any) -> Path:
    """An uncompressed mammogram of unsigned pixels; `tags` set or, with None, leave out attributes."""
    if pixels is None:
        pixels = np.arange(64, dtype=np.uint16).reshape(8, 8)
    bits_allocated = 8 * pixels.dtype.itemsize
    bits_stored = min(12, bits_allocated)
    path.parent.mkdir(parents=True, exist_ok=True)
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = pydicom.Dataset()
    dataset.file_meta = meta
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    values = {
        "Modality": "MG", "PatientID": "P1", "ImageLaterality": "L", "ViewPosition": "CC",
        "PresentationIntentType": "FOR PRESENTATION", "Rows": pixels.shape[0], "Columns": pixels.shape[1],
        "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": bits_allocated,
        "BitsStored": bits_stored, "HighBit": bits_stored - 1,
        "PixelRepresentation": 0, "BreastImplantPresent": "NO",
    }  # fmt: skip
    for name, value in {**values, **tags}.items():
        if value is not None:
            setattr(dataset, name, value)
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_like_kaggle(root: Path, num_women: int = 12) -> None:
    """A study with headers as the real files have: no Modality, no SOP class in the data set, no intent, no view."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:96, :72]
    rows = ["patient_id,image_id,laterality,view,density"]
    for number in range(num_women):
        side, view, density = "LR"[number % 2], ("CC", "MLO")[number // 2 % 2], "ABCD"[number % 4]
        tissue = random.random((96, 72)) < 0.1 + 0.25 * (number % 4)
        values = (((y - 48) / 42) ** 2 + (x / 60) ** 2 < 1) * (1000 + 2000 * tissue + random.integers(0, 400, (96, 72)))
        file = root / "train_images" / str(20000 + number) / f"{9000 + number}.dcm"
        file.parent.mkdir(parents=True)
        removed = dict.fromkeys(("Modality", "SOPClassUID", "PresentationIntentType", "PatientName"))
        changes = {"ImageLaterality": side, "PatientID": str(20000 + number), "WindowCenter": 2048, "WindowWidth": 4096}
        save(build(values.astype(np.uint16), **removed, **changes), file)
        rows.append(f"{20000 + number},{9000 + number},{side},{view},{density}")
    (root / "train.csv").write_text("\n".join(rows) + "\n")


def left_out(manifest: Manifest) -> dict[str, tuple[str, str]]:
    """Image id -> (stage, reason) of all that a manifest leaves out."""
    assert len({item.image_id for item in manifest.left_out}) == len(manifest.left_out)
    return {item.image_id: (item.stage, item.reason) for item in manifest.left_out}


def column(manifest: Manifest, name: str) -> dict[str, str]:
    """Image id -> value of a column."""
    return dict(zip(manifest.table["image_id"], manifest.table[name], strict=True))

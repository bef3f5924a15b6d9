"""The embedded default data: synthetic screening exams as real DICOM files in the archive layout.

Without it nobody could try the tool, and no test could run the whole way from file to result, without
patient data. A woman is a pure function of (seed, number): the same call writes the same bytes, and a
smaller phantom is the beginning of a larger one. Her density class is not drawn but measured: it is the
class of the mean area fraction of glandular tissue in her four views. Vendor, syntax, window, size,
brightness and contrast do not depend on the class. For the way of the data only: no model trained on it
says anything about real breasts.
"""

from __future__ import annotations

import csv
import dataclasses
import datetime
import os
import shutil
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1, generate_uid

from mammo.data.phantom_anatomy import WHITE, BoolArray, Breast, Exposure, build_anatomy, burn_marker, expose
from mammo.support.errors import DataError

VERSION = 1  # part of the folder name: raise it whenever the files of a seed change
VIEWS = (("L", "CC"), ("R", "CC"), ("L", "MLO"), ("R", "MLO"))
CLASS_THRESHOLDS = (0.10, 0.35, 0.60)  # lower bounds of B, C and D
# Where a woman's fraction is drawn from: away from the thresholds, so that her four views agree.
_FRACTION_RANGES = ((0.025, 0.085), (0.125, 0.325), (0.375, 0.575), (0.625, 0.78))
_VIEW_SPREAD = 0.012
_SYNTAXES = (JPEG2000Lossless, JPEGLosslessSV1, JPEG2000Lossless, JPEGLosslessSV1, ExplicitVRLittleEndian)
_MAMMOGRAPHY_FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
# Streams of random numbers; each draws from the seed (seed, woman, stream, ...) alone.
_CLASS, _WOMAN, _SIDE, _TEXTURE, _NOISE = range(5)


@dataclasses.dataclass(frozen=True)
class Convention:
    """How a vendor stores an image. `window` is (centre, width) of VOI LUT function LINEAR, or None."""

    manufacturer: str
    shape: tuple[int, int]
    spacing_mm: float
    curve_steepness: float
    photometric: str
    window: tuple[int, int] | None


@dataclasses.dataclass(frozen=True)
class RenderedView:
    """One view as it hangs, chest wall left for a left breast and right for a right one.

    `image`: uint16 0..4095, bright where dense, 0 outside the breast, with the burned-in marker.
    `breast_mask` is the breast without the pectoral muscle, `tissue_mask` the glandular tissue in it.
    """

    image: npt.NDArray[np.uint16]
    tissue_mask: BoolArray
    breast_mask: BoolArray


def density_fraction(tissue_mask: BoolArray, breast_mask: BoolArray) -> float:
    """Share of the breast area that is glandular tissue, 0..1 (skin and muscle are not tissue)."""
    return float(np.count_nonzero(tissue_mask & breast_mask) / np.count_nonzero(breast_mask))


def density_class(fraction: float) -> str:
    """`A` below 0.10, `B` below 0.35, `C` below 0.60, else `D` (a definition of this phantom, not BI-RADS's)."""
    return "ABCD"[sum(fraction >= threshold for threshold in CLASS_THRESHOLDS)]


def accession_of(number: int) -> str:
    """Zero-padded accession number of a woman (her number counts from 0)."""
    return f"{101 + 7 * number:06d}"


def convention_of(number: int) -> Convention:
    """The vendor's convention of a woman: two vendors, each with and without a window, in turn."""
    has_window = number // 2 % 2 == 0
    if number % 2 == 0:
        return Convention(
            "Phantom Vendor 1", (1024, 832), 0.224, 2.6, "MONOCHROME2", (1900, 2800) if has_window else None
        )
    return Convention("Phantom Vendor 2", (1152, 928), 0.2, 4.0, "MONOCHROME1", (2196, 2800) if has_window else None)


def render_view(seed: int, number: int, laterality: str, view: str) -> RenderedView:
    """One view (`L`/`R`, `CC`/`MLO`) of woman `number` (from 0), a pure function of the arguments."""
    convention = convention_of(number)
    breast, exposure = _describe(seed, number, laterality, view)
    anatomy = build_anatomy(breast, convention.shape, convention.spacing_mm)
    noise_seed = _path(seed, number, _NOISE, laterality, view)
    picture = expose(anatomy, exposure, breast.thickness_mm, noise_seed)
    image = np.round(picture * WHITE).astype(np.uint16)
    tissue_mask, breast_mask, free = anatomy.tissue_mask, anatomy.breast_mask, anatomy.depth_mm < -4
    if laterality == "R":
        image = np.ascontiguousarray(image[:, ::-1])
        tissue_mask, breast_mask, free = tissue_mask[:, ::-1], breast_mask[:, ::-1], free[:, ::-1]
    burn_marker(image, free, f"{laterality}-{view}", at_right=laterality == "L")
    return RenderedView(image, tissue_mask, breast_mask)


def stored_pixels(image: npt.NDArray[np.uint16], convention: Convention) -> npt.NDArray[np.uint16]:
    """A rendered image as the vendor stores it, uint16 0..4095.

    With a window the image fills the window, and the background lies outside it; without one it is stored
    over the full range. MONOCHROME1 is stored inverted.
    """
    stored = image
    if convention.window is not None:
        centre, width = convention.window
        if convention.photometric == "MONOCHROME1":
            centre = WHITE + 1 - centre
        lowest = centre - 0.5 - (width - 1) / 2  # where LINEAR begins to rise (DICOM PS3.3 C.11.2.1.2.1)
        filled = np.round(lowest + image * ((width - 1) / WHITE)).astype(np.uint16)
        stored = np.where(image > 0, filled, np.uint16(0))
    return WHITE - stored if convention.photometric == "MONOCHROME1" else stored


def generate_phantom(
    folder: Path, num_patients: int, seed: int, progress: Callable[[int, int], None] | None = None
) -> None:
    """Write `classificacao.csv` and `<AccessionNumber>/*.dcm`, four views a woman, to a new folder.

    It is written beside `folder` and renamed when complete. `progress(done, total)` counts women. Raises
    `DataError` when the folder already exists.
    """
    if folder.exists():
        raise DataError("the folder for the phantom already exists", to_do="remove it, or choose another one")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=partial_prefix(folder), dir=folder.parent))
    pool = ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, 8))
    try:
        jobs = {pool.submit(_write_exam, partial, seed, number): number for number in range(num_patients)}
        labels: dict[int, str] = {}
        for job in as_completed(jobs):
            labels[jobs[job]] = job.result()
            if progress is not None:
                progress(len(labels), num_patients)
        _write_labels(partial / "classificacao.csv", labels)
        partial.chmod(0o755)  # mkdtemp makes it private
        partial.rename(folder)
    except BaseException:  # Ctrl-C too: what is incomplete must not stay
        pool.shutdown(cancel_futures=True)
        shutil.rmtree(partial, ignore_errors=True)
        raise
    pool.shutdown()


def partial_prefix(folder: Path) -> str:
    """How the name of a folder begins in which `folder` is being generated."""
    return f".{folder.name}.partial-"


def _path(seed: int, number: int, stream: int, laterality: str = "", view: str = "") -> tuple[int, ...]:
    """The seed of one stream of random numbers."""
    return (seed, number, stream, "LR".find(laterality) + 1 if laterality else 0, 1 if view == "MLO" else 0)


def _describe(seed: int, number: int, laterality: str, view: str) -> tuple[Breast, Exposure]:
    """Draw what the woman's views share, then the small differences of this side and view."""
    block_order = np.random.default_rng(_path(seed, number // 4, _CLASS)).permutation(4)
    low, high = _FRACTION_RANGES[block_order[number % 4]]
    woman = np.random.default_rng(_path(seed, number, _WOMAN))
    side = np.random.default_rng(_path(seed, number, _SIDE, laterality, view))
    vary = side.uniform(0.97, 1.03, 8)
    depth_mm = woman.uniform(62, 118)
    cc_height_mm = min(woman.uniform(0.75, 0.98) * depth_mm, 98)
    mlo_height_mm = woman.uniform(0.70, 0.82) * depth_mm
    mlo_nipple_mm = woman.uniform(128, 148)
    is_cc = view == "CC"
    breast = Breast(
        view=view,
        depth_mm=depth_mm * vary[0],
        half_height_mm=(cc_height_mm if is_cc else mlo_height_mm) * vary[1],
        nipple_row_mm=(115 if is_cc else mlo_nipple_mm) + side.uniform(-4, 4),
        roundness=woman.uniform(1.95, 2.35) * vary[2],
        droop=woman.uniform(0, 1),
        axilla_mm=min(woman.uniform(58, 82), depth_mm) * vary[3],
        thickness_mm=(28 + 0.25 * depth_mm + woman.uniform(-5, 8)) * vary[4],
        pectoral_width_mm=woman.uniform(32, 52) * vary[5],
        pectoral_height_mm=woman.uniform(95, 140) * vary[6],
        tissue_fraction=woman.uniform(low, high) + side.uniform(-_VIEW_SPREAD, _VIEW_SPREAD),
        tissue_spread=woman.uniform(0, 1),
        strand_level=woman.uniform(0.5, 1.2),
        shared_seed=_path(seed, number, _TEXTURE, "", view),
        own_seed=_path(seed, number, _TEXTURE, laterality, view),
    )
    exposure = Exposure(
        brightness=woman.uniform(0.34, 0.50) + side.uniform(-0.015, 0.015),
        contrast=woman.uniform(0.55, 1.25) * vary[7],
        curve_steepness=convention_of(number).curve_steepness,
        noise=woman.uniform(0.008, 0.022),
        skin=woman.uniform(0.07, 0.15),
    )
    return breast, exposure


def _write_labels(path: Path, labels: dict[int, str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle, lineterminator="\n")
        writer.writerow(["AccessionNumber", "Classification", "ClassificationDate"])
        for number, label in sorted(labels.items()):
            date = _study_date(number) + datetime.timedelta(days=3)
            writer.writerow([accession_of(number), "ABCD".index(label) + 1, date.isoformat()])


def _write_exam(folder: Path, seed: int, number: int) -> str:
    """Write the four files of a woman; returns the class of her mean tissue fraction."""
    exam_folder = folder / accession_of(number)
    exam_folder.mkdir()
    fractions = []
    for index, (laterality, view) in enumerate(VIEWS):
        rendered = render_view(seed, number, laterality, view)
        fractions.append(density_fraction(rendered.tissue_mask, rendered.breast_mask))
        dataset = _make_dataset(seed, number, index)
        _set_pixels(dataset, stored_pixels(rendered.image, convention_of(number)), _SYNTAXES[(number + index) % 5])
        dataset.save_as(exam_folder / f"{laterality}{view}.dcm", enforce_file_format=True)
    return density_class(float(np.mean(fractions)))


def _study_date(number: int) -> datetime.date:
    return datetime.date(2020, 1, 6) + datetime.timedelta(days=number)


def _uid(seed: int, number: int, what: str) -> UID:
    return generate_uid(entropy_srcs=["mammo phantom", str(VERSION), str(seed), str(number), what])


def _make_dataset(seed: int, number: int, index: int) -> FileDataset:
    """The header of one view, without what describes the pixels' encoding."""
    laterality, view = VIEWS[index]
    convention = convention_of(number)
    dataset = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    dataset.SOPClassUID = _MAMMOGRAPHY_FOR_PRESENTATION
    dataset.SOPInstanceUID = _uid(seed, number, f"image {laterality} {view}")
    dataset.StudyInstanceUID = _uid(seed, number, "study")
    dataset.SeriesInstanceUID = _uid(seed, number, "series")
    dataset.FrameOfReferenceUID = _uid(seed, number, f"frame {laterality} {view}")
    dataset.AccessionNumber = accession_of(number)
    dataset.PatientID = f"PHANTOM-{seed}-{number + 1:05d}"
    dataset.PatientName = f"Phantom^{number + 1}"
    dataset.PatientBirthDate, dataset.PatientSex = "", "F"
    dataset.StudyDate = dataset.ContentDate = _study_date(number).strftime("%Y%m%d")
    dataset.StudyTime = dataset.ContentTime = "090000"
    dataset.ReferringPhysicianName, dataset.StudyID = "", "1"
    dataset.SeriesNumber, dataset.InstanceNumber = 1, index + 1
    dataset.Modality, dataset.BodyPartExamined = "MG", "BREAST"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.Manufacturer, dataset.ManufacturerModelName = convention.manufacturer, "Synthetic FFDM"
    dataset.ImageLaterality, dataset.ViewPosition = laterality, view
    dataset.ViewCodeSequence = [_view_code(view)]
    towards_nipple = "A" if laterality == "L" else "P"
    towards_medial = "R" if laterality == "L" else "L"
    downwards = {"CC": towards_medial, "MLO": f"F{towards_medial}"}[view]
    dataset.PatientOrientation = [towards_nipple, downwards]
    dataset.ImagerPixelSpacing = [convention.spacing_mm, convention.spacing_mm]
    dataset.BurnedInAnnotation, dataset.BreastImplantPresent = "NO", "NO"  # a view marker identifies nobody
    dataset.LossyImageCompression = "00"
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.PhotometricInterpretation = convention.photometric
    dataset.PresentationLUTShape = "INVERSE" if convention.photometric == "MONOCHROME1" else "IDENTITY"
    if convention.window is not None:
        dataset.WindowCenter, dataset.WindowWidth = convention.window
        dataset.VOILUTFunction = "LINEAR"
        dataset.PixelPaddingValue = WHITE if convention.photometric == "MONOCHROME1" else 0
    return dataset


def _view_code(view: str) -> Dataset:
    """The SNOMED code of a view (DICOM PS3.16 CID 4014)."""
    code = Dataset()
    code.CodeValue = {"CC": "399162004", "MLO": "399368009"}[view]
    code.CodingSchemeDesignator = "SCT"
    code.CodeMeaning = {"CC": "cranio-caudal", "MLO": "medio-lateral oblique"}[view]
    return code


def _set_pixels(dataset: FileDataset, pixels: npt.NDArray[np.uint16], syntax: UID) -> None:
    """Encode the pixels without loss and set the attributes that describe them."""
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    if syntax == ExplicitVRLittleEndian:
        dataset.PixelData = pixels.astype("<u2").tobytes()
    else:
        dataset.PixelData = encapsulate([_encode(pixels, syntax)])
    dataset["PixelData"].VR = "OW" if syntax == ExplicitVRLittleEndian else "OB"


def _encode(pixels: npt.NDArray[np.uint16], syntax: UID) -> Any:
    if syntax == JPEG2000Lossless:
        return imagecodecs.jpeg2k_encode(pixels, level=0, codecformat="j2k", bitspersample=12, reversible=True)
    # imagecodecs.ljpeg_encode would be smaller but writes predictor 6: SV1 means predictor 1.
    return imagecodecs.jpeg_encode(pixels, lossless=True, predictor=1, bitspersample=12)

"""An archive of exams (`data.format=archive`): `classificacao.csv` and `<AccessionNumber>/**` with DICOM files.

The label belongs to the exam and every image of the exam has it. The class 5 means "skip / problem". What is a
DICOM file is decided by content, patient, side and view come from the headers.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

from mammo.data.data_options import DataOptions
from mammo.data.dicom import looks_like_dicom, read_header
from mammo.data.dicom_elements import shown_code
from mammo.data.dicom_header import PROJECTION_MODALITIES, Header
from mammo.data.formats.registry import Progress, reader
from mammo.data.formats.rows import Row, build_manifest, id_of, list_files
from mammo.data.formats.table import find_csv
from mammo.data.formats.tabular import read_table, require_column
from mammo.data.labels import NO_LABEL, parse_labels, plain_numbers
from mammo.data.manifest import LeftOut, Manifest
from mammo.data.parallel import HEADER_THREADS, counted, in_order
from mammo.data.quoting import shown_file
from mammo.data.spelling import compare_key
from mammo.support.errors import BadFile, DataError
from mammo.tasks.multiclass import DENSITY

CSV_NAME = "classificacao.csv"
ACCESSION = "AccessionNumber"
CLASSIFICATION = "Classification"
SKIP = "5"
ACCESSION_DIGITS = 6


@dataclasses.dataclass(frozen=True)
class Exam:
    """A usable exam: its folder's name is its id; the label is a class name, or empty."""

    exam_id: str
    label: str
    folder: Path


@reader("phantom")  # generated exams lie as those of any archive
@reader("archive")
def read_archive(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest of all DICOM files of all classified exams.

    The exam folders are in `root`, or in `root/archive`. `options.csv` names the label table where it is not
    `classificacao.csv` in `root`. Raises `DataError` without a label table or one of its columns.
    """
    csv = find_csv(root, options.csv) if options.csv else _own_csv(root)
    exams, class_names, left_out = read_exams(csv, exam_root(root), options)
    files = [(exam, file) for exam in exams for file in list_files(exam.folder) if file.name.upper() != "DICOMDIR"]
    rows, num_ignored, num_burned_in = [], 0, 0
    with_image: set[str] = set()
    headers = counted(in_order(_examine, [file for _, file in files], HEADER_THREADS), len(files), progress)
    for number, ((exam, file), found) in enumerate(zip(files, headers, strict=True), start=1):
        image_id = id_of(file, root)
        if found is None:
            num_ignored += 1
            continue
        with_image.add(exam.exam_id)
        if isinstance(found, LeftOut):
            left_out.append(dataclasses.replace(found, image_id=image_id))
        elif (why := _unusable(found, options.implants)) is not None:
            left_out.append(LeftOut(image_id, *why))
        else:
            num_burned_in += found.burned_in_annotation
            rows.append(
                Row(
                    where=f"file {number} of {len(files)}",
                    label=exam.label,
                    file=file,
                    patient_id=found.patient_id,
                    exam_id=exam.exam_id,
                    laterality=found.laterality,
                    view=found.view,
                )
            )
    empty = [exam for exam in exams if exam.exam_id not in with_image]
    left_out += [LeftOut(exam.exam_id, "file", "the exam folder holds no DICOM file") for exam in empty]
    notes = _one_patient_only(rows)
    if num_burned_in:
        notes.append(
            f"{num_burned_in} images have text burned into their pixels (BurnedInAnnotation=YES), which may name the "
            "patient: the decoded images in the cache folder hold it too"
        )
    if num_ignored:
        notes.append(f"{num_ignored} files in exam folders are no DICOM files and are ignored")
    return build_manifest(
        rows, root, options, classes=class_names, label_map={name: name for name in class_names},
        left_out=left_out, notes=notes, exams_are_folders=True, has_headers=True,
    )  # fmt: skip


def exam_root(root: Path) -> Path:
    """The folder that holds the exam folders: `root/archive` where it exists, else `root`."""
    return root / "archive" if (root / "archive").is_dir() else root


def exam_folder(folder: Path, accession: str) -> Path | None:
    """The folder of an exam, its number padded with zeros where that is how the folder is named; None if missing."""
    names = [accession, accession.zfill(ACCESSION_DIGITS)] if accession.isdigit() else [accession]
    return next((folder / name for name in names if os.path.isdir(folder / name)), None)


def read_exams(csv: Path, folder: Path, options: DataOptions) -> tuple[list[Exam], tuple[str, ...], list[LeftOut]]:
    """The exams of a label table that have a folder, the label set, and the exams that are left out.

    An exam that is listed twice counts once when the labels agree, else it is left out. Raises `DataError`
    for a missing column or labels of mixed conventions.
    """
    name = shown_file(csv)
    table = read_table(csv, name)
    accessions = table[require_column(table, [ACCESSION], name)].tolist()
    written = table[require_column(table, [CLASSIFICATION], name)].tolist()
    numbers = plain_numbers(written)
    where = [f"{name} row {number}" for number in table.index]
    label_map = options.table.label_map
    texts = written if label_map else numbers  # a map compares numbers itself
    is_skip = [number == SKIP and SKIP not in label_map for number in numbers]
    classes = options.classes or (None if label_map else list(DENSITY))
    unskipped = ["" if skip else text for text, skip in zip(texts, is_skip, strict=True)]
    labels = parse_labels(unskipped, where, classes, label_map)
    listed: dict[str, list[int]] = {}
    left_out = []
    for index, accession in enumerate(accessions):
        if not accession:
            left_out.append(LeftOut(where[index], "label", "the row has no accession number"))
        elif accession in (".", "..") or "/" in accession or "\\" in accession:
            left_out.append(LeftOut(where[index], "file", "the accession number is no folder name"))
        else:
            found = exam_folder(folder, accession)
            listed.setdefault(found.name if found else accession, []).append(index)
    exams = []
    for accession, indices in listed.items():
        names = {labels.names[index] for index in indices} - {""}
        problems = [labels.problems[index] for index in indices if labels.problems[index]]
        rows = " and ".join(where[index] for index in indices)
        skipped = any(is_skip[index] for index in indices)
        if len(names) + bool(problems) + skipped > 1:
            left_out.append(LeftOut(accession, "label", "the exam is listed again with another label", rows))
        elif problems:
            left_out.append(LeftOut(accession, "label", problems[0], rows))
        elif skipped:
            left_out.append(LeftOut(accession, "excluded", f"class {SKIP} (skip)"))
        elif not os.path.isdir(folder / accession):
            missing = ("file", "the exam folder is missing") if names else ("excluded", NO_LABEL)
            left_out.append(LeftOut(accession, *missing, rows))
        else:
            exams.append(Exam(accession, "".join(names), folder / accession))
    return exams, labels.class_names, left_out


def _one_patient_only(rows: Sequence[Row]) -> list[str]:
    """A remark where every exam with a PatientID has the same one."""
    patient_of = {row.exam_id: compare_key(row.patient_id) for row in rows if compare_key(row.patient_id)}
    if len(patient_of) < 3 or len(set(patient_of.values())) > 1:
        return []
    return [f"all {len(patient_of)} exams carry the same PatientID: if it was removed, set data.group_by=exam"]


def _own_csv(root: Path) -> Path:
    found = [path for path in sorted(root.iterdir()) if path.name.lower() == CSV_NAME]
    if found:
        return found[0]
    raise DataError(
        f"data.root holds no {CSV_NAME}",
        expected=f"a table with {ACCESSION} and {CLASSIFICATION}, and a folder of DICOM files for each exam",
        to_do="correct data.root, or say where the table is with data.csv=FILE",
    )


def _examine(file: Path) -> Header | LeftOut | None:
    """The header of a DICOM file; why it cannot be used; or None for a file that does not claim to be DICOM."""
    try:
        if looks_like_dicom(file):
            return read_header(file)
    except BadFile as bad:
        return LeftOut("", "header", bad.reason)
    except OSError:
        return LeftOut("", "file", "the file cannot be opened")
    return LeftOut("", "file", "the file is not DICOM") if file.suffix.lower() in (".dcm", ".dicom") else None


def _unusable(header: Header, implants: str) -> tuple[str, str] | None:
    """Stage and reason of a file that its header rules out; what is refused for its kind of pixels comes later."""
    if header.rows == 0 and header.modality and header.modality not in PROJECTION_MODALITIES:
        # Reports and presentation states lie beside the images of many archives: no defect.
        return "excluded", f"the object holds no image (modality {shown_code(header.modality)})"
    if header.rows == 0:
        return "header", "the header of an image is missing or cut off"
    if header.implant and implants == "exclude":
        return "excluded", "breast implant (data.implants=exclude)"
    return None

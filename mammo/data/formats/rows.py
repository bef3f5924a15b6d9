"""What all readers share: from rows that name images to a checked manifest.

A reader says for each image where it is, its label as written and what is known of patient, exam, side, view
and split. Here the label column is parsed as a whole, paths are checked, repeated rows collapse, views are
filtered and images are grouped. A row that cannot be used is left out with its reason; the rest goes on.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mammo.data.data_options import DataOptions
from mammo.data.formats.registry import Progress
from mammo.data.formats.tabular import is_hidden
from mammo.data.formats.wanted_views import with_wanted_views
from mammo.data.label_sets import require_classes
from mammo.data.labels import NO_LABEL, ParsedLabels, parse_labels, plain_numbers
from mammo.data.manifest import Grouping, LeftOut, Manifest, make_table
from mammo.data.patients import Link, group_images, one_spelling
from mammo.data.views import read_view, side_of
from mammo.support.errors import BadFile, DataError

DICOM_SUFFIXES = (".dcm", ".dicom")
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", *DICOM_SUFFIXES)
_LONGEST_PATH = 4096
_LONGEST_CLASS_NAME = 64
_MOST_CLASSES = 100
ALLOW_OUTSIDE = " (data.allow_outside_root=true allows it)"


@dataclasses.dataclass(frozen=True)
class Row:
    """One image as a reader found it; texts are as written, empty when unknown.

    `where` names the row for messages ('labels.csv row 7'). `named` is the image's path as a table gives it,
    relative to `folder`; a reader that found the file itself gives `file` instead, below the dataset's root.
    """

    where: str
    label: str
    named: str = ""
    folder: Path | None = None
    file: Path | None = None
    patient_id: str = ""
    exam_id: str = ""
    laterality: str = ""
    view: str = ""
    split: str = ""
    manufacturer: str = ""
    age: str = ""


def build_manifest(
    rows: Sequence[Row],
    root: Path,
    options: DataOptions,
    *,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
    exams_are_folders: bool = False,
    has_headers: bool = False,
    progress: Progress | None = None,
) -> Manifest:
    """The manifest of `rows`; `classes` and `label_map` default to those of `options`.

    `left_out` and `notes` are what the reader has collected already; `exams_are_folders` says that an exam id is the
    name of a folder, `has_headers` that rows have what headers say of view and side; else those are read, with
    `progress`, where `data.views` needs them. Raises `DataError` when labels mix conventions, split names are unknown,
    nothing is left, or when it is not clear which images are of one woman (`mammo.data.patients`).
    """
    rows, spelling, spelling_notes = _spelled(rows, options)
    written, used_map = [row.label for row in rows], label_map or options.table.label_map
    labels = parse_labels(
        # With a label set of its own a dataset may call a class 1.0; a map compares numbers itself.
        written if options.task == "labels" or used_map else plain_numbers(written),
        [row.where for row in rows],
        classes or options.classes,
        used_map,
    )
    _require_printable(labels.class_names, options)
    require_classes(labels, [row.patient_id or row.exam_id for row in rows], options, label_map)
    splits = _splits(rows, options.table.split_map)
    images, misplaced = _by_image(rows, labels, splits, root, may_be_outside=options.allow_outside_root)
    kept, unusable = _one_entry_each(images)
    all_left_out = [*left_out, *misplaced, *unusable]
    kept, unwanted = with_wanted_views(kept, options.views, has_headers=has_headers, progress=progress)
    all_left_out += unwanted
    if not kept:
        reasons = sorted({f"{item.stage}: {item.reason}" for item in all_left_out})
        raise DataError(
            f"no image of {options.name} can be used; {len(all_left_out)} rows are left out ({'; '.join(reasons[:5])})",
            to_do="check data.root and data.format" + (", and the table" if options.format != "folders" else ""),
        )
    links = [
        Link(image_id, entry["patient_id"], entry["exam_id"], entry["where"])
        for image_id, found in images.items()
        for entry in found
    ]
    grouped = group_images(kept, links, options, exams_are_folders=exams_are_folders)
    return Manifest(
        name=options.name,
        root=root,
        table=make_table(grouped.entries),
        class_names=labels.class_names,
        group_by=grouped.group_by,
        grouping=dataclasses.replace(spelling, exam_ids=grouped.exam_ids, by_exam=grouped.num_joined),
        left_out=[*all_left_out, *grouped.left_out],
        notes=[*notes, *spelling_notes, *grouped.notes],
    )


def _spelled(rows: Sequence[Row], options: DataOptions) -> tuple[list[Row], Grouping, list[str]]:
    """The rows with one spelling of each patient and exam, how many had several, and remarks."""
    merge = options.same_patient == "merge"
    patient_of, num_patients, num_merged = one_spelling([row.patient_id for row in rows], merge=merge)
    exam_of, num_exams, _ = one_spelling([row.exam_id for row in rows])
    spelled = [
        dataclasses.replace(row, patient_id=patient_of[row.patient_id], exam_id=exam_of[row.exam_id]) for row in rows
    ]
    counts = ((num_patients, "patients"), (num_exams, "exams"))
    notes = [
        f"{number} {what} are written in several ways (case, blanks, what cannot be seen): each is one"
        for number, what in counts
        if number
    ]
    if two_sides := sum(_view_and_side(row)[1] is None for row in rows):
        notes.append(f"{two_sides} row{'s' * (two_sides > 1)}: the view names another side than the laterality")
    if no_side := sum(bool(row.laterality.strip()) and not side_of(row.laterality) for row in rows):
        notes.append(f"{no_side} row{'s' * (no_side > 1)}: the laterality is no known word for left or right")
    if num_merged:
        notes.append(f"data.same_patient=merge: {num_merged} patients have several ids that may be the same")
    return spelled, Grouping("", num_patients, num_exams, num_merged), notes


def list_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted by path, without hidden ones; links to folders are not followed."""
    return files_and_others(folder)[0]


def files_and_others(folder: Path) -> tuple[list[Path], int]:
    """`list_files`, and how many entries it leaves aside: what is hidden (`.DS_Store`, and the `._*` that a Mac puts
    beside each file on a foreign disk) and links to folders."""
    found, num_others = [], 0
    for parent, folders, names in os.walk(folder):
        num_others += sum(is_hidden(name) for name in (*folders, *names))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        num_others += sum(os.path.islink(os.path.join(parent, name)) for name in folders)
        found += [Path(parent, name) for name in names if not is_hidden(name)]
    return sorted(found), num_others


def as_on_disk(file: Path) -> Path:
    """A file, or where there is none the one whose name ends in capitals or without them: `a.DCM` for `a.dcm`."""
    if os.path.isfile(file) or not file.suffix:
        return file
    others = [file.with_suffix(suffix) for suffix in (file.suffix.upper(), file.suffix.lower())]
    return next((other for other in others if os.path.isfile(other)), file)


def id_of(file: Path, root: Path) -> str:
    """The path of a file below `root` as an image id; bytes of its name that are no UTF-8 are written as text."""
    return file.relative_to(root).as_posix().encode(errors="backslashreplace").decode()


def contents_of(folder: Path) -> str:
    """What is in a folder, in words: names in an archive may be those of patients."""
    entries = [entry for entry in folder.iterdir() if not is_hidden(entry.name)]
    kinds = Counter("folders" if entry.is_dir() else f"{_suffix_of(entry)} files" for entry in entries)
    return ", ".join(f"{number} {kind}" for kind, number in kinds.most_common(6)) or "nothing"


def _suffix_of(path: Path) -> str:
    suffix = path.suffix.lower()
    return suffix if suffix in (*IMAGE_SUFFIXES, ".csv", ".tsv", ".txt", ".json", ".xlsx", ".zip") else "other"


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_dicom_name(name: str) -> bool:
    """Whether a file name ends like that of a DICOM file."""
    return name.lower().endswith(DICOM_SUFFIXES)


def _by_image(
    rows: Sequence[Row], labels: ParsedLabels, splits: Sequence[str], root: Path, *, may_be_outside: bool
) -> tuple[dict[str, list[dict[str, str]]], list[LeftOut]]:
    """Image id -> what each row says about the image, in columns of a manifest, `problem` and `where`; bad paths."""
    images: dict[str, list[dict[str, str]]] = {}
    left_out = []
    real_folder = functools.cache(os.path.realpath)
    for row, label, problem, split in zip(rows, labels.names, labels.problems, splits, strict=True):
        try:
            file, image_id = _locate(row, root, real_folder, may_be_outside=may_be_outside)
        except BadFile as bad:
            which = row.where if row.file is None else id_of(row.file, root)
            left_out.append(LeftOut(which, "file", bad.reason, row.where))
            continue
        view, side = _view_and_side(row)
        entry = {
            "image_id": image_id,
            "path": str(file),
            "patient_id": row.patient_id,
            "exam_id": row.exam_id,
            "laterality": side or "",
            "view": view,
            "label": label,
            "split": split,
            "manufacturer": row.manufacturer.strip(),
            "age": row.age.strip(),
            "problem": problem,
            "where": row.where,
        }
        images.setdefault(image_id, []).append(entry)
    return images, left_out


def _view_and_side(row: Row) -> tuple[str, str | None]:
    """View and side of a row, whose view may name the side too (`LCC`); None for the side where there are two."""
    view = read_view(row.view)
    if view is None:
        return row.view.strip().upper(), side_of(row.laterality)
    sides = {side_of(row.laterality), view.side} - {""}
    return view.full_view, None if len(sides) > 1 else "".join(sides)


def _locate(row: Row, root: Path, real_folder: Callable[[Path], str], *, may_be_outside: bool) -> tuple[Path, str]:
    """Path and image id of a row's file. Raises `BadFile` for a path outside of `root`, unless that is allowed."""
    if row.file is not None:
        file = row.file
    else:
        file = _named_file(row, root, may_be_absolute=may_be_outside)
    real_file = os.path.join(real_folder(file.parent), file.name)
    if os.path.islink(real_file):
        real_file = os.path.realpath(real_file)
    if not may_be_outside and not Path(real_file).is_relative_to(real_folder(root)):
        raise BadFile(f"the path leaves data.root{ALLOW_OUTSIDE}")
    if file.is_relative_to(root):
        return file, id_of(file, root)
    # What lies elsewhere is told apart by its folder, of which nothing else is written anywhere.
    folder = hashlib.sha256(os.fsencode(file.parent)).hexdigest()[:12]
    return file, f"outside/{folder}/{file.name}"


def _named_file(row: Row, root: Path, *, may_be_absolute: bool) -> Path:
    """The file that a table names; raises `BadFile` for what cannot be one."""
    text = row.named.strip().replace("\\", "/")
    if not text:
        raise BadFile("the row names no image")
    if "\0" in text or len(text) > _LONGEST_PATH:
        raise BadFile("the path is no path of a file")
    if "://" in text:
        raise BadFile("the path is a URL; it must be that of a file")
    if not may_be_absolute and (PurePosixPath(text).is_absolute() or re.match(r"[A-Za-z]:", text)):
        raise BadFile(f"the path is absolute; it must be relative to the table{ALLOW_OUTSIDE}")
    return as_on_disk(Path(os.path.normpath((row.folder or root) / text)))


def _require_printable(class_names: Sequence[str], options: DataOptions) -> None:
    """Raises `DataError` for what is rather something else than classes: their names stand in tables and figures."""
    odd = [name for name in class_names if not name.isprintable() or len(name) > _LONGEST_CLASS_NAME]
    if odd or len(class_names) > _MOST_CLASSES:
        found = "a label that is no name of a class" if odd else f"{len(class_names)} different labels"
        raise DataError(
            found,
            f"at most {_MOST_CLASSES} classes, whose names are printable and no longer than {_LONGEST_CLASS_NAME}",
            "data.root is the folder that holds a folder for each class"
            if options.format == "folders"
            else "check which column holds the labels: data.table.columns.label",
        )


def _splits(rows: Sequence[Row], split_map: Mapping[str, str]) -> list[str]:
    usual = {"": "", "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
    known = usual | {"test": "test", "testing": "test"}
    known |= {key.strip().casefold(): name for key, name in split_map.items()}
    strange = [row.where for row in rows if row.split.strip().casefold() not in known]
    if strange:
        raise DataError(
            f"{len(strange)} rows have an unknown split name: {', '.join(strange[:5])}",
            expected="train, val or test",
            to_do="say in data.table.split_map what they mean, or set data.table.columns.split=null to ignore them",
            go_on_with={"table.columns": {"split": None}},
        )
    return [known[row.split.strip().casefold()] for row in rows]


def _one_entry_each(images: Mapping[str, list[dict[str, str]]]) -> tuple[list[dict[str, str]], list[LeftOut]]:
    """One entry an image: rows that agree collapse; contradictions, bad labels and missing files are left out."""
    kept, left_out = [], []
    for image_id, entries in images.items():
        values = {key: sorted({entry[key] for entry in entries} - {""}) for key in entries[0]}
        where = " and ".join(dict.fromkeys(entry["where"] for entry in entries))
        contradicted = [
            word
            for key, word in (("label", "label"), ("patient_id", "patient"), ("split", "split"))
            if len(values[key]) > 1 or (key == "label" and values["label"] and values["problem"])
        ]
        if not os.path.isfile(entries[0]["path"]):  # public sets are often fetched without unlabelled images: no defect
            is_needed = bool(values["label"] or values["problem"])
            missing = ("file", "file is missing") if is_needed else ("excluded", NO_LABEL)
            left_out.append(LeftOut(image_id, *missing, where))
        elif contradicted:
            reason = f"the image is listed again with another {contradicted[0]}"
            left_out.append(LeftOut(image_id, "label", reason, where))
        elif values["problem"]:
            left_out.append(LeftOut(image_id, "label", values["problem"][0], where))
        else:
            kept.append({key: found[0] if found else "" for key, found in values.items()})
    return kept, left_out

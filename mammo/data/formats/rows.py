"""What all readers share: from rows that name images to a checked manifest.

A reader says for each image where it is, its label as written and what is known of patient, exam, side, view
and split. Here the label column is parsed as a whole, paths are checked, repeated rows collapse, views are
filtered and images are grouped. A row that cannot be used is left out with its reason; the rest goes on.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from mammo.data.labels import NO_LABEL, ParsedLabels, parse_labels
from mammo.data.manifest import LeftOut, Manifest, make_table
from mammo.data.options import DataOptions
from mammo.errors import BadFile, DataError

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".pgm", ".dcm", ".dicom")


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


def build_manifest(
    rows: Sequence[Row],
    root: Path,
    options: DataOptions,
    *,
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
    left_out: Sequence[LeftOut] = (),
    notes: Sequence[str] = (),
) -> Manifest:
    """The manifest of `rows`; `classes` and `label_map` default to those of `options`.

    `left_out` and `notes` are what the reader has collected already. Raises `DataError` when labels mix
    conventions, split names are unknown, nothing is left, or images have neither patient nor exam and
    `options.group_by` does not say that each stands for itself.
    """
    labels = parse_labels(
        [row.label for row in rows],
        [row.where for row in rows],
        classes or options.classes,
        label_map or options.table.label_map,
    )
    splits = _splits([row.split for row in rows], options.table.split_map)
    images, misplaced = _by_image(rows, labels, splits, root)
    kept, unusable = _one_entry_each(images)
    all_left_out = [*left_out, *misplaced, *unusable]
    kept, unwanted = _filter_views(kept, options.views)
    all_left_out += unwanted
    if not kept:
        reasons = sorted({f"{item.stage}: {item.reason}" for item in all_left_out})
        raise DataError(
            f"no image of {options.name} can be used; {len(all_left_out)} rows are left out ({'; '.join(reasons[:5])})",
            to_do="check data.root, data.format and the label table",
        )
    kept, ungrouped, group_by, group_notes = group_images(kept, options.group_by, options.name)
    return Manifest(
        name=options.name,
        root=root,
        table=make_table(kept),
        class_names=labels.class_names,
        group_by=group_by,
        left_out=[*all_left_out, *ungrouped],
        notes=[*notes, *group_notes],
    )


def normal_laterality(text: str) -> str:
    """`L` or `R` of any usual spelling (`left`, `RIGHT`, `r`), else an empty string."""
    text = text.strip().upper()
    return {"L": "L", "LEFT": "L", "R": "R", "RIGHT": "R"}.get(text, "")


def list_files(folder: Path) -> list[Path]:
    """All files below a folder, sorted by path, without hidden ones; links to folders are not followed."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(parent, name) for name in names if not name.startswith(".")]
    return sorted(found)


def is_image_name(name: str) -> bool:
    """Whether a file name ends like an image's."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def _by_image(
    rows: Sequence[Row], labels: ParsedLabels, splits: Sequence[str], root: Path
) -> tuple[dict[str, list[dict[str, str]]], list[LeftOut]]:
    """Image id -> what each row says about the image, in the columns of a manifest and `problem`; bad paths."""
    images: dict[str, list[dict[str, str]]] = {}
    left_out = []
    real_folder = functools.cache(os.path.realpath)
    for row, label, problem, split in zip(rows, labels.names, labels.problems, splits, strict=True):
        try:
            file, image_id = _locate(row, root, real_folder)
        except BadFile as bad:
            left_out.append(LeftOut(row.where, "file", bad.reason))
            continue
        entry = {
            "image_id": image_id,
            "path": str(file),
            "patient_id": row.patient_id,
            "exam_id": row.exam_id,
            "laterality": normal_laterality(row.laterality),
            "view": row.view.strip().upper(),
            "label": label,
            "split": split,
            "problem": problem,
        }
        images.setdefault(image_id, []).append(entry)
    return images, left_out


def _locate(row: Row, root: Path, real_folder: Callable[[Path], str]) -> tuple[Path, str]:
    """Path and image id of a row's file. Raises `BadFile` when a table names a path outside of `root`."""
    if row.file is not None:
        return row.file, row.file.relative_to(root).as_posix()
    text = row.named.strip().replace("\\", "/")
    if not text:
        raise BadFile("the row names no image")
    if PurePosixPath(text).is_absolute() or re.match(r"[A-Za-z]:", text):
        raise BadFile("the path is absolute; it must be relative to the table")
    image_id = os.path.relpath(os.path.normpath((row.folder or root) / text), root).replace(os.sep, "/")
    file = root / image_id
    real_file = Path(real_folder(file.parent), file.name)
    if os.path.islink(real_file):  # False for a name that is too long for a file
        real_file = real_file.resolve()
    if not real_file.is_relative_to(real_folder(root)):
        raise BadFile("the path leaves data.root")
    return file, image_id


def _splits(texts: Sequence[str], split_map: Mapping[str, str]) -> list[str]:
    usual = {"": "", "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
    known = usual | {"test": "test", "testing": "test"}
    known |= {key.strip().casefold(): name for key, name in split_map.items()}
    strange = sorted({text for text in texts if text.strip().casefold() not in known})
    if strange:
        raise DataError(
            f"unknown split names: {', '.join(repr(text) for text in strange[:5])}",
            expected="train, val or test",
            to_do="say in data.table.split_map what they mean, or set data.table.columns.split=null to ignore them",
        )
    return [known[text.strip().casefold()] for text in texts]


def _one_entry_each(images: Mapping[str, list[dict[str, str]]]) -> tuple[list[dict[str, str]], list[LeftOut]]:
    """One entry an image: rows that agree collapse; contradictions, bad labels and missing files are left out."""
    kept, left_out = [], []
    for image_id, entries in images.items():
        values = {key: sorted({entry[key] for entry in entries} - {""}) for key in entries[0]}
        contradicted = [
            word
            for key, word in (("label", "label"), ("patient_id", "patient"), ("split", "split"))
            if len(values[key]) > 1 or (key == "label" and values["label"] and values["problem"])
        ]
        if not os.path.isfile(entries[0]["path"]):  # public sets are often fetched without unlabelled images: no defect
            is_needed = bool(values["label"] or values["problem"])
            missing = ("file", "file is missing") if is_needed else ("excluded", NO_LABEL)
            left_out.append(LeftOut(image_id, *missing))
        elif contradicted:
            left_out.append(LeftOut(image_id, "label", f"the image is listed again with another {contradicted[0]}"))
        elif values["problem"]:
            left_out.append(LeftOut(image_id, "label", values["problem"][0]))
        else:
            kept.append({key: found[0] if found else "" for key, found in values.items()})
    return kept, left_out


def _filter_views(
    entries: list[dict[str, str]], views: Sequence[str] | None
) -> tuple[list[dict[str, str]], list[LeftOut]]:
    if views is None:
        return entries, []
    wanted = {"", *(view.upper() for view in views)}
    left_out = [
        LeftOut(entry["image_id"], "excluded", f"{_shown_view(entry['view'])} is not in data.views")
        for entry in entries
        if entry["view"] not in wanted
    ]
    return [entry for entry in entries if entry["view"] in wanted], left_out


def _shown_view(view: str) -> str:
    return f"view {view}" if re.fullmatch(r"[A-Z-]{1,16}", view) else "the view"  # it can be free text in a header


def group_images(
    entries: list[dict[str, str]], group_by: str, name: str
) -> tuple[list[dict[str, str]], list[LeftOut], str, list[str]]:
    """Fill `patient_id` with what must never span two splits: entries, left out, what it holds, remarks.

    With `group_by` 'patient', an image without a patient takes the patient of its exam where the exam has one,
    else the exam itself. Raises `DataError` when nothing to group by is known, or `group_by` is unknown.
    """
    patients = {entry["patient_id"] for entry in entries} - {""}
    exams = {entry["exam_id"] for entry in entries} - {""}
    if group_by == "image":
        notes = []
        if patients or exams:
            known = f"{len(patients)} patients" if patients else f"{len(exams)} exams"
            notes = [f"data.group_by=image although {known} are known: images of one woman can be in train and val"]
        return [entry | {"patient_id": entry["image_id"]} for entry in entries], [], "image", notes
    if not patients and not exams:
        raise DataError(
            f"{name} has neither patients nor exams to group images by",
            expected="a patient or exam for each image, so that no woman is in train and val",
            to_do="name their columns in data.table.columns, or accept images as independent with data.group_by=image",
        )
    if group_by == "exam":
        if not exams:
            raise DataError(f"data.group_by=exam, but {name} has no exams", to_do="set data.group_by=patient")
        key_of = [entry["exam_id"] for entry in entries]
        spread = [f"grouped by exam although {len(patients)} patients have {len(exams)} exams"]
        notes = spread if 0 < len(patients) < len(exams) else []
    else:
        known_patients: dict[str, set[str]] = {}
        for entry in entries:
            if entry["exam_id"] and entry["patient_id"]:
                known_patients.setdefault(entry["exam_id"], set()).add(entry["patient_id"])
        of_exam = {exam: min(found) for exam, found in known_patients.items() if len(found) == 1}
        key_of = [e["patient_id"] or of_exam.get(e["exam_id"], "") or e["exam_id"] for e in entries]
        fallbacks = [e["exam_id"] for e in entries if not e["patient_id"] and e["exam_id"] not in of_exam]
        notes = []
        if any(fallbacks):
            which = "no image has" if not patients else f"{len([e for e in fallbacks if e])} images have"
            notes = [f"{which} a patient id: the exam stands for the patient"]
    grouped = [entry | {"patient_id": key} for entry, key in zip(entries, key_of, strict=True) if key]
    lost = [
        LeftOut(entry["image_id"], "label", "the row has neither patient nor exam")
        for entry, key in zip(entries, key_of, strict=True)
        if not key
    ]
    return grouped, lost, "exam" if group_by == "exam" or not patients else "patient", notes

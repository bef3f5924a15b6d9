"""Two older layouts with the same label file: `mamografias` (a folder an exam) and `patches` (one flat folder).

`featureS.txt` holds a file name and, on the next line, its class 0-3 (A-D), and so on. The names on disk may
differ a little from those in the file: `a(1)` is `a (1).png`.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from mammo.data.data_options import DataOptions
from mammo.data.formats.registry import Progress, reader
from mammo.data.formats.rows import Row, build_manifest, id_of, is_image_name, list_files
from mammo.data.formats.tabular import read_text
from mammo.data.manifest import LeftOut, Manifest
from mammo.support.errors import DataError
from mammo.tasks.multiclass import DENSITY

FEATURE_FILE = "featureS.txt"
LABELS = {str(number): name for number, name in enumerate(DENSITY)}


@reader("mamografias")
def read_mamografias(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest of exam folders with PNGs and `featureS.txt`; one in `root` wins over those in the folders.

    The exam is the name of the folder in `root`; nothing is known of patients. Raises `DataError` without a
    `featureS.txt`.
    """
    own = feature_file(root)
    inner = exam_feature_files(root)
    sources = [own] if own else inner
    if not sources:
        raise DataError(
            f"neither data.root nor a folder in it holds {FEATURE_FILE}",
            expected=f"folders of PNGs with a {FEATURE_FILE} each",
            to_do="correct data.root or data.format",
        )
    notes = [f"{FEATURE_FILE} in data.root is used, those in {len(inner)} folders are not"] if own and inner else []
    rows, left_out, more_notes = _feature_rows(root, sources)
    rows = [dataclasses.replace(row, exam_id=_exam_of(row, root)) for row in rows]
    label_map = options.table.label_map or LABELS
    return build_manifest(
        rows, root, options, label_map=label_map, left_out=left_out, notes=notes + more_notes, exams_are_folders=True
    )


@reader("patches")
def read_patches(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest of PNGs beside one `featureS.txt`; needs `data.group_by=image`. Raises `DataError`."""
    own = feature_file(root)
    if own is None:
        raise DataError(
            f"data.root holds no {FEATURE_FILE}",
            expected=f"PNGs and {FEATURE_FILE} in one folder",
            to_do="correct data.root or data.format",
        )
    rows, left_out, notes = _feature_rows(root, [own])
    label_map = options.table.label_map or LABELS
    return build_manifest(rows, root, options, label_map=label_map, left_out=left_out, notes=notes)


def feature_file(folder: Path) -> Path | None:
    """The `featureS.txt` of a folder, however its name is capitalised."""
    found = [path for path in sorted(folder.iterdir()) if path.name.lower() == FEATURE_FILE.lower() and path.is_file()]
    return found[0] if found else None


def exam_feature_files(root: Path) -> list[Path]:
    """The `featureS.txt` of each folder in `root` that has one."""
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [found for found in map(feature_file, folders) if found]


def parse_features(text: str) -> list[tuple[int, str, str]]:
    """Line number, file name and class as written, of each image in a `featureS.txt`.

    Blank lines and `#` comments do not count. A name that is followed by another image's name instead of a
    class has the class `?`, so that one forgotten line does not shift all later ones.
    """
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), start=1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    entries, index = [], 0
    while index < len(lines):
        number, name = lines[index]
        follows = lines[index + 1][1] if index + 1 < len(lines) else "?"
        is_class = not is_image_name(follows)
        entries.append((number, name, follows if is_class else "?"))
        index += 2 if is_class else 1
    return entries


def _feature_rows(root: Path, sources: list[Path]) -> tuple[list[Row], list[LeftOut], list[str]]:
    """Rows of all images that the label files name, with their files; ambiguous names; remarks."""
    rows, left_out = [], []
    for place, source in enumerate(sources, start=1):
        # Folders of exams are named by who knows what: the first with a label file is folder 1.
        listed_in = FEATURE_FILE if source.parent == root else f"{FEATURE_FILE} of folder {place}"
        files = [file for file in list_files(source.parent) if is_image_name(file.name)]
        by_name: dict[str, list[Path]] = {}
        for file in files:
            relative = file.relative_to(source.parent).as_posix()
            for name in {_loose(relative), _loose(file.name)}:
                by_name.setdefault(name, []).append(file)
        for number, name, label in parse_features(read_text(source, listed_in)):
            named = (name if is_image_name(name) else f"{name}.png").replace("\\", "/")
            where = f"{listed_in} line {number}"
            found = by_name.get(_loose(named), [])
            if os.path.isfile(source.parent / named) or not found:  # also where the name is too long for a file
                rows.append(Row(where, label, named=named, folder=source.parent))
            elif len(found) > 1:
                left_out.append(LeftOut(where, "file", "several files have this name"))
            else:
                rows.append(Row(where, label, file=found[0]))
    used = {row.file or (row.folder or root) / row.named for row in rows}
    pngs = [file for source in sources for file in list_files(source.parent) if is_image_name(file.name)]
    unlisted = len(set(pngs) - used)
    notes = [f"{unlisted} image files are not in {FEATURE_FILE} and are not used"] if unlisted else []
    return rows, left_out, notes


def _loose(name: str) -> str:
    """A name without blanks and capitals: `A (1).PNG` and `a(1).png` are alike."""
    return "".join(name.split()).casefold()


def _exam_of(row: Row, root: Path) -> str:
    """The name of the folder in `root` that holds the image; empty for an image in `root` itself."""
    file = row.file or (row.folder or root) / row.named
    parts = id_of(file, root).split("/") if file.is_relative_to(root) else []
    return parts[0] if len(parts) > 1 else ""

"""INbreast: the patient stands only in the file names, as a hash between image number and modality."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from mammo.data.data_options import DataOptions
from mammo.data.formats.registry import Progress, reader
from mammo.data.formats.rows import Row, build_manifest, list_files
from mammo.data.formats.table import table_rows
from mammo.data.manifest import Manifest

# 22678622_61b13c59bcba149e_MG_R_CC_ANON.dcm: image number, patient hash, modality, side, view
FILE_NAME = re.compile(r"(\d+)_([0-9a-f]+)_MG_([LR])_(CC|ML)_ANON\.(dcm|png)", re.IGNORECASE)


@reader("inbreast")
def read_inbreast(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest of INbreast; image files may lie anywhere below `root`, DICOM is preferred to PNG.

    In these file names `ML` means MLO.
    """
    files: dict[str, tuple[Path, re.Match[str]]] = {}
    for file in list_files(root):  # .dcm sorts before .png
        match = FILE_NAME.fullmatch(file.name)
        if match and (match[1] not in files or files[match[1]][1][5].lower() == "png"):
            files[match[1]] = (file, match)
    rows = table_rows(root, options)
    unlisted = len(files.keys() - {row.named for row in rows})
    notes = [f"{unlisted} image files are not in the label table and are not used"] if unlisted else []
    rows = [_with_file(row, *files[row.named]) if row.named in files else row for row in rows]
    return build_manifest(rows, root, options, notes=notes, progress=progress)


def _with_file(row: Row, file: Path, match: re.Match[str]) -> Row:
    view = "MLO" if match[4].upper() == "ML" else "CC"
    return dataclasses.replace(row, file=file, patient_id=match[2].lower(), laterality=match[3], view=view)

"""CBIS-DDSM: four case tables whose file names say what is for training and what for testing.

The mass and the calcification study were split separately: over both together 31 patients are in train and in
test. They go to test, so that a patient is in one split only and nothing that was published as test is learnt.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from mammo.data.data_options import DataOptions
from mammo.data.formats.registry import Progress, reader
from mammo.data.formats.rows import Row, as_on_disk, build_manifest, list_files
from mammo.data.formats.table import table_rows
from mammo.data.manifest import Manifest
from mammo.data.quoting import shown_file
from mammo.data.spelling import compare_key
from mammo.support.errors import DataError

KINDS = ("mass", "calc")


@reader("cbis_ddsm")
def read_cbis_ddsm(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest of CBIS-DDSM, of the study or studies that `options.kind` says (null: both)."""
    rows, notes = case_rows(root, options)
    return build_manifest([_as_downloaded(row) for row in rows], root, options, notes=notes, progress=progress)


def case_rows(root: Path, options: DataOptions) -> tuple[list[Row], list[str]]:
    """The rows of the case tables with their splits, and remarks; image files are not looked at.

    Raises `DataError` when a wanted study has no table.
    """
    kinds = KINDS if options.kind in (None, "both") else (str(options.kind),)
    rows: list[Row] = []
    notes: list[str] = []
    for kind in kinds:
        tables = sorted(root.glob(f"{kind}_case_description_*.csv"))
        if not tables:
            raise DataError(
                f"data.root has no {kind}_case_description_*.csv",
                expected="the case tables of CBIS-DDSM",
                to_do="correct data.root, or choose the study with data.kind=mass or data.kind=calc",
            )
        splits = {table: "test" if "_test" in table.name.lower() else "train" for table in tables}
        if set(splits.values()) != {"train", "test"}:
            notes.append(f"CBIS-DDSM {kind}: only the {shown_file(tables[0])} is there")
        for table, split in splits.items():
            rows += [dataclasses.replace(row, split=split) for row in table_rows(root, options, [table])]
    return _overlap_to_test(rows, notes)


def _overlap_to_test(rows: list[Row], notes: list[str]) -> tuple[list[Row], list[str]]:
    in_test = {compare_key(row.patient_id) for row in rows if row.split == "test"}
    in_both = ({compare_key(row.patient_id) for row in rows if row.split == "train"} & in_test) - {""}
    moved = [dataclasses.replace(row, split="test") if compare_key(row.patient_id) in in_both else row for row in rows]
    if in_both:
        notes = [*notes, f"CBIS-DDSM: {len(in_both)} patients are in train and test; all their images go to test"]
    return moved, notes


def _as_downloaded(row: Row) -> Row:
    """The row with the file's present name: newer downloads rename folders and files below the case folder.

    A case folder (`Calc-Test_P_00038_LEFT_CC`) holds one full mammogram, so its only DICOM file is the image.
    """
    folder = row.folder or Path()
    case = row.named.split("/")[0]
    if not case or case in (".", "..") or not os.path.isdir(folder / case):
        return row
    if os.path.isfile(as_on_disk(folder / row.named)):
        return row
    files = [file for file in list_files(folder / case) if file.suffix.lower() == ".dcm"]
    return dataclasses.replace(row, file=files[0]) if len(files) == 1 else row

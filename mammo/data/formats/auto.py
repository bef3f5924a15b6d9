"""Finding out which format a folder has (`data.format=auto`), from what is in it and never from its name."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from mammo.data.data_options import DataOptions, TableOptions
from mammo.data.formats.archive import ACCESSION, CLASSIFICATION, exam_folder, exam_root
from mammo.data.formats.feature_files import FEATURE_FILE, exam_feature_files, feature_file
from mammo.data.formats.registry import READERS, Progress, reader
from mammo.data.formats.rows import as_on_disk, contents_of, is_image_name
from mammo.data.formats.table import find_csv
from mammo.data.formats.tabular import find_column, is_hidden, map_columns, read_table, tables_in
from mammo.data.manifest import Manifest
from mammo.data.quoting import shown_file
from mammo.support.errors import DataError


@dataclasses.dataclass(frozen=True)
class Finding:
    """Whether a folder fits a format, why, and the options to read it with."""

    format: str
    fits: bool
    why: str
    options: DataOptions


@reader("auto")
def read_auto(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest by the only format that fits. Raises `DataError` when none or several do, listing all."""
    findings = look(root, options)
    fitting = [finding for finding in findings if finding.fits]
    if len(fitting) == 1:
        found = fitting[0]
        note = f"data.format=auto: {found.format}, because {found.why}"
        manifest = READERS[found.format](root, found.options, progress)
        return manifest.replace(notes=[note, *manifest.notes])
    listed = "".join(f"\n  {finding.format}: {finding.why}" for finding in fitting or findings)
    if fitting:
        raise DataError(
            f"data.root fits several formats:{listed}",
            to_do=f"choose one: {' or '.join(f'data={name}' for name in dict.fromkeys(f.format for f in fitting))}",
        )
    raise DataError(
        f"data.root fits none of the formats that are looked for:{listed}\n  found there: {contents_of(root)}",
        to_do="correct data.root, or name the dataset (data=mias, data=folders, ... have options of their own)",
    )


def look(root: Path, options: DataOptions) -> list[Finding]:
    """What was found for each format, in the order archive, mamografias, patches, table."""
    tables = tables_in(root)
    csv = find_csv(root, options.csv) if options.csv else None
    return [
        *_look_at_tables("archive", [csv] if csv else tables, root, options),
        _look_for_mamografias(root, options),
        _look_for_patches(root, options),
        *_look_at_tables("table", [csv] if csv else tables, root, options),
    ]


def _look_at_tables(name: str, tables: list[Path], root: Path, options: DataOptions) -> list[Finding]:
    """A finding for each table that fits a format; else one that says what each table lacks."""
    findings = []
    for number, table in enumerate(tables, start=1):
        try:
            shown = shown_file(table, number, len(tables))
            finding = (_archive_table if name == "archive" else _image_table)(table, shown, root, options)
        except DataError as error:
            finding = Finding(name, False, error.found, options)
        findings.append(finding)
    fitting = [finding for finding in findings if finding.fits]
    lacking = "; ".join(finding.why for finding in findings) or "there is no .csv or .tsv file"
    return fitting or [Finding(name, False, lacking, options)]


def _archive_table(path: Path, shown: str, root: Path, options: DataOptions) -> Finding:
    table = read_table(path, shown)
    accession, label = find_column(table, [ACCESSION]), find_column(table, [CLASSIFICATION])
    if accession is None or label is None:
        return Finding("archive", False, f"{shown} has no columns {ACCESSION} and {CLASSIFICATION}", options)
    names = [name for name in table[accession] if name and "/" not in name and name not in (".", "..")]
    num_folders = sum(exam_folder(exam_root(root), name) is not None for name in names)
    why = f"{shown} has {ACCESSION} and {CLASSIFICATION}, and {num_folders} of {len(names)} exam folders exist"
    return Finding("archive", num_folders > 0, why, dataclasses.replace(options, format="archive", csv=str(path)))


def _image_table(path: Path, shown: str, root: Path, options: DataOptions) -> Finding:
    table = map_columns(read_table(path, shown), options.table.columns, shown)
    folder = path.parent if path.is_relative_to(root) else root
    num_files = sum(os.path.isfile(as_on_disk(folder / name.replace("\\", "/"))) for name in table["path"] if name)
    why = f"{shown} has columns for image and label, and {num_files} of {len(table)} files exist"
    table_options = dataclasses.replace(options.table, files=[path.name]) if not options.csv else options.table
    chosen: TableOptions = table_options
    return Finding("table", num_files > 0, why, dataclasses.replace(options, format="table", table=chosen))


def _look_for_mamografias(root: Path, options: DataOptions) -> Finding:
    own, inner = feature_file(root), exam_feature_files(root)
    in_folders = [path for path in root.glob("*/*") if is_image_name(path.name) and not is_hidden(path.name)]
    chosen = dataclasses.replace(options, format="mamografias")
    if inner and in_folders:
        return Finding("mamografias", True, f"{len(inner)} folders hold {FEATURE_FILE} and images", chosen)
    if own and in_folders:
        return Finding("mamografias", True, f"{FEATURE_FILE} is there and images are in folders", chosen)
    return Finding("mamografias", False, f"no folder holds {FEATURE_FILE} and images", options)


def _look_for_patches(root: Path, options: DataOptions) -> Finding:
    own = feature_file(root)
    names = [path.name for path in root.iterdir() if path.is_file() and not is_hidden(path.name)]
    num_images = sum(map(is_image_name, names))
    if own and num_images:
        why = f"{FEATURE_FILE} and {num_images} images are in one folder"
        return Finding("patches", True, why, dataclasses.replace(options, format="patches"))
    return Finding("patches", False, f"there are no images with {FEATURE_FILE} beside them", options)

"""A label table and its images (`data.format=table`): the base of most public datasets."""

from __future__ import annotations

from pathlib import Path

from mammo.data.data_options import DataOptions
from mammo.data.formats.registry import Progress, reader
from mammo.data.formats.rows import Row, build_manifest
from mammo.data.formats.tabular import find_tables, map_columns, read_table
from mammo.data.manifest import Manifest
from mammo.data.quoting import shown_file
from mammo.support.errors import DataError


@reader("table")
def read_table_format(root: Path, options: DataOptions, progress: Progress | None = None) -> Manifest:
    """The manifest of one or more label tables, their columns named by `options.table`.

    Image paths are relative to the folder of their table. Raises `DataError` for a missing table or column.
    """
    return build_manifest(table_rows(root, options), root, options, progress=progress)


def table_rows(root: Path, options: DataOptions, files: list[Path] | None = None) -> list[Row]:
    """The rows of the label tables `files` (default: those that the options say), columns mapped.

    A table outside of `root` (`data.csv`) names images relative to `root`.
    """
    if files is None:
        files = [find_csv(root, options.csv)] if options.csv else find_tables(root, options.table.files)
    rows = []
    for number, file in enumerate(files, start=1):
        folder = file.parent if file.is_relative_to(root) else root
        name = shown_file(file, number, len(files))
        table = map_columns(read_table(file, name), options.table.columns, name)
        rows += [
            Row(where=f"{name} row {number}", folder=folder, named=cells.pop("path"), **cells)  # type: ignore[arg-type]
            for number, cells in zip(table.index, table.to_dict("records"), strict=True)
        ]
    return rows


def find_csv(root: Path, csv: str) -> Path:
    """The label table that `data.csv` names: below `root`, else as the shell would find it. Raises `DataError`."""
    for candidate in (root / csv, Path(csv)):
        if candidate.is_file():
            return candidate
    raise DataError(f"data.csv={csv} is no file", expected="a label table", to_do="give its path, or data.csv=null")

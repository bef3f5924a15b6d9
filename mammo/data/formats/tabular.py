"""Reading label tables: CSV or TSV with any delimiter and encoding that spreadsheets produce.

Everything stays a string (`000123` is an id, not a number; `NA` is a text, not a missing value), and rows
keep the number they have in a spreadsheet, for messages.
"""

from __future__ import annotations

import codecs
import contextlib
import csv
import difflib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mammo.data.quoting import is_header, is_known, shape_of, shown_columns, shown_names, some
from mammo.support.errors import DataError, nearest
from mammo.support.files import MAX_TABLE_BYTES, read_bytes

TABLE_SUFFIXES = (".csv", ".tsv")
UTF_16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
DELIMITERS = ",;\t|"
# `sep=;`, also in quotes; programs that do not know it fill the line up with delimiters, or begin the rest with a mark.
_SEPARATOR_LINE = re.compile(
    r"""\s*(?P<quote>["']?)sep=(?P<sep>\\t|[^\w\s"']|\t|)(?P=quote)[ ,;|\t]*(\r\n|\r|\n)\ufeff?""", re.IGNORECASE
)
_ESCAPED = {"\\t": "\t"}

# The usual spellings of what a manifest needs, for tables whose columns nobody has named.
USUAL_COLUMNS: dict[str, tuple[str, ...]] = {
    "path": ("path", "image_path", "file_path", "filepath", "image", "file", "filename", "file_name", "image_file"),
    "label": ("label", "density", "breast_density", "breast density", "class", "classification", "category"),
    "patient_id": ("patient_id", "patientid", "patient", "subject_id", "subject", "client_id"),
    "exam_id": ("exam_id", "exam", "study_id", "study", "accessionnumber", "accession_number", "accession"),
    "laterality": ("laterality", "side", "breast"),
    "view": ("view", "view_position", "viewposition", "projection"),
    "split": ("split", "subset"),
    "manufacturer": ("manufacturer", "vendor"),
    "age": ("age", "patient_age", "patient's age"),
}


def read_text(path: Path, name: str) -> str:
    """A text file as UTF-16 with a byte order mark, as UTF-8, or else as Latin-1; without NULs, which no name holds.

    `name` is what messages call it. Raises `DataError` when it cannot be read, is no file, or has gigabytes.
    """
    try:
        content = read_bytes(path, MAX_TABLE_BYTES)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error  # not the path
        raise DataError(f"{name} cannot be read: {reason}", to_do="check the file, and that you may read it") from error
    with contextlib.suppress(UnicodeDecodeError):
        encoding = "utf-16" if content.startswith(UTF_16_MARKS) else "utf-8-sig"
        return content.decode(encoding).replace("\0", "")
    return content.decode("latin-1").replace("\0", "")


def read_table(path: Path, name: str) -> pd.DataFrame:
    """A label table as strings; the index holds row numbers as a spreadsheet shows them (header = 1).

    The delimiter is the one that a first line `sep=;` states, which Excel understands and does not show, or else the
    one that splits the header into the most columns. Blank rows are dropped, blanks around cells too. `name` is what
    messages call it, see `mammo.data.quoting.shown_file`. Raises `DataError` when there is no row, a column name
    repeats, or a row is longer than the header.
    """
    stated, text = _without_separator_line(read_text(path, name))
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    try:
        delimiter = _delimiter_of(header_line, stated)
        rows = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True))
    except csv.Error as error:
        raise DataError(f"{name} cannot be read as a table: {error}") from error
    numbered = [(number, [cell.strip() for cell in row]) for number, row in enumerate(rows, start=1) if any(row)]
    if len(numbered) < 2:
        raise DataError(f"{name} is empty: it has no row below the header", to_do="check data.root and the file")
    header = [cell or f"column {index}" for index, cell in enumerate(numbered[0][1], start=1)]
    _refuse_repeated(header, name)
    long = [str(number) for number, row in numbered[1:] if any(row[len(header) :])]
    if long:
        raise DataError(
            f"{name}: {len(long)} rows have more cells than the header, the first at row {', '.join(long[:5])}",
            expected=f"{len(header)} cells separated by {delimiter!r}",
            to_do="put cells that hold the delimiter in quotes",
        )
    cells = [(row + [""] * len(header))[: len(header)] for _, row in numbered[1:]]
    return pd.DataFrame(cells, columns=header, index=[number for number, _ in numbered[1:]], dtype=str)


def _without_separator_line(text: str) -> tuple[str, str]:
    """The delimiter that a line `sep=;` before the header states, or an empty string, and the rest of the text."""
    found = _SEPARATOR_LINE.match(text)
    return (_ESCAPED.get(found["sep"], found["sep"]), text[found.end() :]) if found else ("", text)


def _delimiter_of(header_line: str, stated: str) -> str:
    """What is stated where the header has it: who saves a table anew may change one without the other."""
    num_columns = {one: len(next(csv.reader([header_line], delimiter=one), [])) for one in (stated or ",", *DELIMITERS)}
    return stated if stated and num_columns[stated] > 1 else max(DELIMITERS, key=num_columns.__getitem__)


def _refuse_repeated(header: Sequence[str], name: str) -> None:
    places: dict[str, list[int]] = {}
    for number, cell in enumerate(header, start=1):
        places.setdefault(cell, []).append(number)
    repeated = {cell: numbers for cell, numbers in places.items() if len(numbers) > 1}
    if repeated:
        listed = [
            f"{cell if is_known(cell) else shape_of(cell)} ({' and '.join(map(str, numbers))})"
            for cell, numbers in repeated.items()
        ]
        raise DataError(
            f"{name} has several columns named {some(listed)}",
            "a header line with a name of its own for each column",
            "rename them, or add the header line if there is none",
        )


def is_hidden(name: str) -> bool:
    """Whether a file or folder is one that systems keep for themselves, such as `.DS_Store` and `._labels.csv`."""
    return name.startswith(".")


def tables_in(folder: Path) -> list[Path]:
    """The label tables in a folder by their names, sorted."""
    tables = [path for path in folder.iterdir() if path.suffix.lower() in TABLE_SUFFIXES and not is_hidden(path.name)]
    return sorted(path for path in tables if path.is_file())


def find_tables(root: Path, patterns: Iterable[str]) -> list[Path]:
    """The label tables below `root` that names or glob patterns say; without any, the only one in the folder.

    Raises `DataError` when a name or pattern has no file, or when there are none or several to choose from.
    """
    patterns = list(patterns)
    here = tables_in(root)
    names = shown_names([path.name for path in here], "table") or "no table"
    if not patterns:
        if len(here) == 1:
            return here
        raise DataError(
            f"data.root holds {names}", expected="one .csv or .tsv file", to_do="name it: data.table.files=[NAME.csv]"
        )
    found: list[Path] = []
    for pattern in patterns:
        if Path(pattern).is_absolute() or ".." in Path(pattern).parts:
            raise DataError(f"data.table.files: {pattern} is not below data.root", to_do="give a path relative to it")
        wants_hidden = is_hidden(Path(pattern).name)
        matches = [path for path in sorted(root.glob(pattern)) if path.is_file()]
        matches = [path for path in matches if wants_hidden or not is_hidden(path.name)]
        if not matches:
            raise DataError(f"label table {pattern} is not in data.root; there: {names}", to_do="check data.root")
        found += [path for path in matches if path not in found]
    return found


def find_column(table: pd.DataFrame, spellings: Iterable[str]) -> str | None:
    """The table's own name of the first spelling it has, exactly or in another case; None without."""
    by_case = {str(name).casefold(): str(name) for name in reversed(list(table.columns))}
    for spelling in spellings:
        if spelling in table.columns:
            return spelling
        if spelling.strip().casefold() in by_case:
            return by_case[spelling.strip().casefold()]
    return None


def require_column(table: pd.DataFrame, spellings: Iterable[str], source: str) -> str:
    """Like `find_column`, but a missing column is a `DataError` that says what the table has.

    `source` names the table in it, as it may be written.
    """
    spellings = list(spellings)
    column = find_column(table, spellings)
    if column is None:
        columns = [str(name) for name in table.columns]
        raise DataError(
            f"{source} has no column {' or '.join(spellings)}; it has {some(shown_columns(columns))}",
            to_do=_what_to_do(spellings, columns),
        )
    return column


def _what_to_do(spellings: Sequence[str], columns: Sequence[str]) -> str:
    """The column that was meant, by its number where its name may be somebody's; or a header line."""
    close = difflib.get_close_matches(spellings[0].casefold(), [name.casefold() for name in columns], n=1, cutoff=0.5)
    if close:
        meant = shown_columns(columns)[[name.casefold() for name in columns].index(close[0])]
        return f"did you mean {meant}? (data.table.columns maps names)"
    if not is_header(columns):
        return "is there a header line? It comes first and names the columns"
    return "say in data.table.columns which column is which"


def map_columns(table: pd.DataFrame, columns: Mapping[str, Any], source: str) -> pd.DataFrame:
    """The table with the columns of `USUAL_COLUMNS`, found as `columns` says, else under a usual spelling.

    A value of `columns` is a column, a list of spellings, a pattern such as `{study_id}/{image_id}.dicom`, or
    null for a column that is not wanted. A pattern with an empty part gives an empty cell. What the table does
    not have is empty, but `path`, `label` and named columns are required. Raises `DataError`.
    """
    unknown = [name for name in columns if name not in USUAL_COLUMNS]
    if unknown:
        raise DataError(f"data.table.columns.{unknown[0]} is unknown", to_do=nearest(unknown[0], USUAL_COLUMNS))
    mapped = {}
    for name, usual in USUAL_COLUMNS.items():
        is_named = name in columns
        wanted = columns.get(name, list(usual))
        spellings = [str(one) for one in (wanted if isinstance(wanted, list) else [wanted]) if one is not None]
        patterns = [spelling for spelling in spellings if "{" in spelling]
        if patterns:
            mapped[name] = _fill_pattern(table, patterns[0], source)
        elif spellings and (is_named or name in ("path", "label")):
            mapped[name] = table[require_column(table, spellings, source)]
        else:
            column = find_column(table, spellings)
            mapped[name] = table[column] if column else pd.Series("", index=table.index, dtype=str)
    return pd.DataFrame(mapped, index=table.index)


def _fill_pattern(table: pd.DataFrame, pattern: str, source: str) -> pd.Series:
    parts = re.split(r"\{([^{}]+)\}", pattern)
    fields = [require_column(table, [field], source) for field in parts[1::2]]
    filled = []
    for row in table[fields].itertuples(index=False, name=None):
        values = iter(row)
        text = "".join(part if index % 2 == 0 else next(values) for index, part in enumerate(parts))
        filled.append(text if all(row) else "")
    return pd.Series(filled, index=table.index, dtype=str)

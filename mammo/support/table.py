"""A table is built once and written as whatever is asked for: for a terminal, as Markdown, as LaTeX, as HTML.

Cells are plain text: each format escapes for itself, so that nothing in the data can be taken for markup. (HTML is
written by the template of the report.)
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence
from typing import Literal

from mammo.support.plain_text import WIDTH, latex_text, markdown_text, terminal_text

DASH, UNDEFINED = "-", "undefined"
LEAST_WIDTH = 8  # of the first column on a terminal

# Code is what is compared letter by letter: hashes, keys.
Tone = Literal["", "muted", "code", "changed", "bad", "good"]

Role = Literal["", "true", "predicted", "both"]
# Differences have a plus too.
Sign = Literal["", "+"]


def three_decimals(value: float | None, missing: str = DASH, sign: Sign = "") -> str:
    """Three decimals, or what stands for a value that is not defined."""
    return missing if value is None else f"{value:{sign}.3f}"


def limits(pair: Sequence[float] | None, sign: Sign = "") -> str:
    """An interval, or a dash."""
    return DASH if pair is None else f"[{pair[0]:{sign}.3f}, {pair[1]:{sign}.3f}]"


def span(pair: Sequence[float | None] | None) -> str:
    """The same in words: `0.100 to 0.200`."""
    return DASH if pair is None or pair[0] is None else f"{pair[0]:.3f} to {pair[1]:.3f}"


def mean_and_std(mean: float | None, std: float | None) -> str:
    """Mean +- standard deviation; the mean alone where there is no other."""
    return three_decimals(mean) if mean is None or std is None else f"{mean:.3f} +- {std:.3f}"


@dataclasses.dataclass(frozen=True)
class Bar:
    """A class with its probability (a fraction), drawn as a small bar; `role` says what the class is to the image."""

    name: str
    fraction: float
    role: Role = ""


@dataclasses.dataclass(frozen=True)
class Cell:
    """A cell of a table; `shade` (a fraction) colours it, as in a confusion matrix."""

    text: str
    tone: Tone = ""
    below: str = ""
    shade: float | None = None
    bars: tuple[Bar, ...] = ()

    @property
    def line(self) -> str:
        """All of it in one line."""
        if self.bars:
            return ", ".join(f"{bar.name} {bar.fraction:.2f}" for bar in self.bars)
        return f"{self.text} ({self.below})" if self.text and self.below else self.text or self.below


def estimate(
    value: float | None, pair: Sequence[float] | None, tone: Tone = "", missing: str = DASH, sign: Sign = ""
) -> Cell:
    """A value with the interval of just this value."""
    return Cell(three_decimals(value, missing, sign), tone, below="" if value is None else limits(pair, sign))


@dataclasses.dataclass(frozen=True)
class Column:
    """The head of a column; numbers are aligned at their right."""

    title: str
    is_number: bool = False


@dataclasses.dataclass(frozen=True)
class Table:
    """A table; the first cell of a row names it. `shape` is what it looks like: facts are pairs without a header."""

    caption: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]
    note: str = ""
    shape: Literal["wide", "facts", "confusion"] = "wide"

    def without_empty_columns(self) -> Table:
        """The same without columns that have no entry."""
        used = [i for i in range(len(self.columns)) if any(line[i].line for line in self.rows)]
        rows = tuple(tuple(line[i] for i in used) for line in self.rows)
        return dataclasses.replace(self, columns=tuple(self.columns[i] for i in used), rows=rows)


def columns(*titles: str, numbers: Sequence[str] = ()) -> tuple[Column, ...]:
    """Columns of text, then columns of numbers."""
    return (*(Column(title) for title in titles), *(Column(title, is_number=True) for title in numbers))


def row(*cells: str | Cell) -> tuple[Cell, ...]:
    """A row of a table; a text is a plain cell."""
    return tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in cells)


def terminal_lines(table: Table, indent: int = 0) -> list[str]:
    """Lines of 80 columns at most, without caption and note; the first column takes what the others leave, and wraps.

    What is below a text stands beside it where all of that fits into the lines.
    """
    heads = [_broken(column.title) for column in table.columns]
    below = [max((len(line[i].below) for line in table.rows), default=0) for i in range(len(heads))]
    rows = [
        [f"{one.text} {one.below:<{width}}" if width else one.text for one, width in zip(line, below, strict=True)]
        for line in table.rows
    ]
    if sum(_widths(heads, rows)) + 2 * (len(heads) - 1) > WIDTH - indent:
        rows = [["\n".join(filter(None, (one.text, one.below))) for one in line] for line in table.rows]
    widths = _widths(heads, rows)
    widths[0] = min(widths[0], max(LEAST_WIDTH, WIDTH - indent - sum(width + 2 for width in widths[1:])))
    lines = [line for cells in rows for line in _row_lines(cells, table.columns, widths)]
    if any(heads):
        rule = "-" * (sum(widths) + 2 * (len(widths) - 1))
        lines = [*_row_lines(heads, table.columns, widths, at_bottom=True), rule, *lines]
    return [" " * indent + line for line in lines]


def _widths(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> list[int]:
    return [max(map(len, "\n".join(cells).split("\n"))) for cells in zip(heads, *rows, strict=True)]


def _row_lines(
    cells: Sequence[str], columns: Sequence[Column], widths: Sequence[int], at_bottom: bool = False
) -> list[str]:
    """The lines of a row; a cell with fewer of them stands at the top, or at the bottom."""
    first, *others = (terminal_text(cell).split("\n") for cell in cells)
    parts = [[piece for line in first for piece in textwrap.wrap(line, widths[0]) or [""]], *others]
    blank = [[""] * (max(map(len, parts)) - len(part)) for part in parts]
    whole = [(one + part) if at_bottom else (part + one) for one, part in zip(blank, parts, strict=True)]
    aligned = [[f"{text:{'>' if column.is_number else '<'}{width}}" for text in part]
               for part, column, width in zip(whole, columns, widths, strict=True)]  # fmt: skip
    return ["  ".join(line).rstrip() for line in zip(*aligned, strict=True)]


def _broken(title: str) -> str:
    """A head that is wider than most numbers would take space from the first column."""
    return title if len(title) < 15 else title.replace("_", "_\n", 1)


def markdown_lines(table: Table) -> list[str]:
    """Caption, table and note, a blank line after each."""
    heads = [column.title for column in table.columns]
    lines = [
        f"| {' | '.join(markdown_text(terminal_text(cell)) for cell in cells)} |"
        for cells in (heads, *([one.line for one in line] for line in table.rows))
    ]
    lines.insert(1, "|" + "".join("---:|" if column.is_number else "---|" for column in table.columns))
    before, after = (markdown_text(terminal_text(text)) for text in (table.caption, table.note))
    return [*([f"**{before}**", ""] if before else []), *lines, "", *([after, ""] if after else [])]


def latex_lines(table: Table, label: str) -> list[str]:
    """The environment for a paper, which needs booktabs; the note is the end of the caption."""
    heads = [_latex(column.title) for column in table.columns]
    rows = [
        [_latex(one.line, column.is_number) for one, column in zip(line, table.columns, strict=True)]
        for line in table.rows
    ]
    # A bracket or star at the beginning would be read as belonging to the end of the line above.
    first, *others = [
        f"    {'{}' if cells[0].startswith(('[', '*')) else ''}{' & '.join(cells)} \\\\" for cells in (heads, *rows)
    ]
    return [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex_text(' '.join(filter(None, (table.caption, table.note))))}}}",
        rf"  \label{{{label}}}",
        rf"  \begin{{tabular}}{{{''.join('r' if column.is_number else 'l' for column in table.columns)}}}",
        r"    \toprule",
        first,
        r"    \midrule",
        *others,
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]


def _latex(text: str, is_number: bool = False) -> str:
    if text == DASH:
        return "--"
    escaped = latex_text(text).replace("+-", r"$\pm$")
    return escaped.replace("-", "$-$") if is_number else escaped

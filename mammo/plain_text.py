"""Text from data must stay text for whatever shows it: a spreadsheet, a terminal, Markdown, LaTeX, a figure."""

from __future__ import annotations

import re
from typing import Any

# What spreadsheets take for a formula, also in full-width form; and the apostrophe that guards cells.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def cell_text(cell: Any) -> Any:
    """A cell of a CSV file: text that a spreadsheet would take for a formula has an apostrophe before it.

    A carriage return becomes a blank: the csv module leaves it bare, and readers take it for the end of a row.
    """
    if not isinstance(cell, str):
        return cell
    return ("'" if cell.startswith(_FORMULA_STARTS) else "") + cell.replace("\r", " ")


def text_of_cell(cell: str) -> str:
    """What `cell_text` has made a cell of."""
    return cell.removeprefix("'")


def terminal_text(text: str) -> str:
    """Text without characters that command a terminal, such as colours and titles; lines and tabs stay."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", "?", text)


_MARKDOWN = re.compile(
    r"[\\|<*`\[\]~]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # not between two letters or digits
    r"|&(?=#?\w+;)"
    r"|:(?=//)|(?<=www)\.",
    re.IGNORECASE,
)


def markdown_text(text: str) -> str:
    """Text that Markdown shows as it is, in one line: no table cells, tags, emphasis, code, links or pictures.

    What GitHub makes of bare addresses, tildes and character references is meant as well. An underscore within a word
    is none of these, and stays as it is.
    """
    return _MARKDOWN.sub(r"\\\g<0>", " ".join(text.split()))


def figure_text(text: str) -> str:
    """Text that matplotlib draws as it is: dollar signs begin no formula."""
    return text.replace("$", r"\$")


_LATEX = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    **{character: "\\" + character for character in "&%$#_{}"},
}


def latex_text(text: str) -> str:
    """Text that LaTeX sets as it is, in one line, none of it a command; what is not ASCII becomes a question mark."""
    ascii_only = " ".join(text.split()).encode("ascii", errors="replace").decode("ascii")
    return "".join(_LATEX.get(character, character) for character in terminal_text(ascii_only))

"""Text from data must stay text for whatever shows it: a spreadsheet, a terminal, Markdown, LaTeX, a figure."""

from __future__ import annotations

import re
import textwrap
from typing import Any

# Columns of a terminal.
WIDTH = 80
# What spreadsheets take for a formula, also in full-width form; and the apostrophe that guards cells.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "'", "\uff1d", "\uff0b", "\uff0d", "\uff20")

# What commands a terminal, or is not seen and changes what is: controls (but tabs and line breaks), soft hyphens,
# zero width, marks of direction, annotations.
_UNSEEN = r"\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
_IS_UNSEEN = re.compile(f"[{_UNSEEN}]")
_ESCAPED = re.compile(r"\\(?:x([0-9a-f]{2})|u([0-9a-f]{4}))")
_BACKSLASH = re.compile(rf"\\\\|{_ESCAPED.pattern}")


def cell_text(cell: Any) -> Any:
    r"""A cell of a CSV file: no formula for a spreadsheet, no command for a terminal, nothing that is not seen.

    Text that a spreadsheet would take for a formula has an apostrophe before it; what is not seen is written as
    `\x1b` or `\u202e`, and in such a cell a backslash is doubled. A carriage return becomes a blank: the csv module
    leaves it bare, and readers take it for the end of a row.
    """
    if not isinstance(cell, str):
        return cell
    text = cell.replace("\r", " ")
    if _IS_UNSEEN.search(text) or _is_escaped(text):
        text = _IS_UNSEEN.sub(_escape, text.replace("\\", r"\\"))
    return ("'" if cell.startswith(_FORMULA_STARTS) else "") + text


def text_of_cell(cell: str) -> str:
    """What `cell_text` has made a cell of."""
    text = cell.removeprefix("'")
    return _BACKSLASH.sub(_unescape, text) if _is_escaped(text) else text


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"


def _unescape(found: re.Match[str]) -> str:
    code = found[1] or found[2]
    return chr(int(code, 16)) if code else "\\"


def _is_escaped(text: str) -> bool:
    r"""Whether a cell has the escape of something that is not seen, and no backslash that belongs to no escape.

    Cells of earlier versions have none, whatever their backslashes; who writes `\x1b` in letters gets it back.
    """
    has_escape = any(_IS_UNSEEN.match(_unescape(found)) for found in _ESCAPED.finditer(text))
    return has_escape and "\\" not in _BACKSLASH.sub("", text)


def terminal_text(text: str) -> str:
    """Text without characters that command a terminal, such as colours and titles; lines and tabs stay."""
    return re.sub(rf"[{_UNSEEN}\ud800-\udfff]", "?", text)


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


def without_folders(text: str) -> str:
    """The text with every absolute path cut to its last name: summaries are passed on, folders are private."""
    return re.sub(r"(?<![\w.:/])/(?:[^\s/'\",;]+/)+([^\s/'\",;]*)", r".../\1", text)


def wrapped(text: str, width: int = WIDTH) -> list[str]:
    """Lines for a terminal as lines of `width` columns at most, indented as they are; words and paths stay whole."""
    return [part for line in text.split("\n") for part in _wrapped_line(line, width)]


def _wrapped_line(line: str, width: int) -> list[str]:
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    parts = textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return parts or [line]


def as_typed(value: Any, separator: str = ",") -> str:
    """The value of an option as it is typed on a command line; `separator` is between the items of a list."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{separator.join(as_typed(item, separator) for item in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)

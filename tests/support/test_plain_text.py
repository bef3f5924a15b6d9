"""Text from data must stay text in spreadsheets, on terminals, in Markdown and in figures."""

from __future__ import annotations

import csv
import html
import io
import logging

import matplotlib
import pytest

from mammo.data.data_options import DataOptions
from mammo.data.formats import read_manifest
from mammo.data.pseudonyms import write_lookup
from mammo.runs.directory import RunDirectory
from mammo.runs.figures import confusion_matrix_figure
from mammo.support.errors import DataError
from mammo.support.files import read_csv
from mammo.support.plain_text import cell_text, markdown_text, terminal_text, text_of_cell
from mammo.support.progress import log_to_file, start_logging, stop_logging
from tests.data.formats.small_datasets import write_png

HOSTILE = [
    "=1+1", "+1", "-1+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\n=1", "'=1", "''", "\uff1d1+1", "a,b\"c",
]  # fmt: skip


def test_cells_start_no_formula_and_come_back_as_they_were(tmp_path):
    RunDirectory(tmp_path).write_csv("table.csv", ["=column", "n"], [[text, 1] for text in HOSTILE])
    columns, rows = read_csv(tmp_path / "table.csv")
    assert columns == ["=column", "n"]
    assert [row[0] for row in rows] == HOSTILE
    with (tmp_path / "table.csv").open(newline="") as stream:
        for cell in (cell for line in csv.reader(stream) for cell in line):
            assert not cell.startswith(("=", "+", "-", "@", "\t", "\n", "\uff1d"))


UNSEEN = [
    "\x1b[31mred\x1b]0;title\x07", "A\u202egnp.exe", "zero\u200bwidth\ufeff", "\x9b31m", "=\x00", "a\\b\u2066",
    r"in letters: \x1b", r"\\server\x1b", r"C:\x12\new", "\x7f\x85\u061c\xad",
]  # fmt: skip


@pytest.mark.parametrize("text", UNSEEN)
def test_what_is_not_seen_is_escaped_in_tables_and_comes_back(text, tmp_path):
    RunDirectory(tmp_path).write_csv("table.csv", ["column"], [[text]])
    written = (tmp_path / "table.csv").read_text()
    assert all(letter.isprintable() or letter == "\n" for letter in written)
    assert read_csv(tmp_path / "table.csv") == (["column"], [[text]])
    write_lookup(tmp_path / "lookup.csv", lambda _: "pseudonym", [text])
    assert "\x1b" not in (tmp_path / "lookup.csv").read_text()


@pytest.mark.parametrize("text", [r"C:\data\x.png", r"\\server\share", r"a\udcff.png", "a\\", r"\n\x41"])
def test_backslashes_of_earlier_tables_stay(text):
    assert text_of_cell(text) == cell_text(text) == text


@pytest.mark.parametrize("text", HOSTILE)
def test_a_cell_comes_back(text):
    assert text_of_cell(cell_text(text)) == text
    assert cell_text(f"\r{text}").startswith("' ")


def test_terminals_are_not_commanded(tmp_path, capsys):
    hostile = "\x1b]0;title\x07\x1b[31mred\x1b[2J [bold]markup[/bold] \u202egnp \x9b31m"
    start_logging("info")
    log_to_file(tmp_path / "run.log")
    logging.getLogger("mammo").warning("%s", hostile)
    stop_logging()
    for shown in (capsys.readouterr().out, (tmp_path / "run.log").read_text()):
        assert "[bold]markup[/bold]" in shown
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown)
    assert terminal_text("two\nlines\tand a tab") == "two\nlines\tand a tab"


def test_markdown_shows_text_as_it_is():
    assert markdown_text("a|b <img src=x> [x](http://y) `c`\n# d") == (
        "a\\|b \\<img src=x> \\[x\\](http\\://y) \\`c\\` # d"
    )


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see http://evil.test", r"see http\://evil.test"),
        ("HTTPS://evil.test ftp://x", r"HTTPS\://evil.test ftp\://x"),
        ("WWW.evil.test", r"WWW\.evil.test"),
        ("_x_ __y__ a_b (_c)", r"\_x\_ \_\_y\_\_ a_b (\_c)"),
        ("~~gone~~", r"\~\~gone\~\~"),
        ("&lt;b&#62; a & b;", r"\&lt;b\&#62; a & b;"),
        ("seed=42: val_metrics.json", "seed=42: val_metrics.json"),
    ],
)
def test_markdown_finds_no_links_or_emphasis_in_text(text, shown):
    assert markdown_text(text) == shown


@pytest.mark.parametrize("name", ["$x$", r"$\frac{$", "$", r"a\$b$", "<b>", "_^{}"])
def test_class_names_are_no_formulas_in_figures(name):
    figure = confusion_matrix_figure([[1, 0], [0, 1]], [name, "B"])
    drawn = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):  # text stays text, but that of a formula is taken apart
        figure.savefig(drawn, format="svg")  # a formula that cannot be parsed would raise
    assert html.escape(name, quote=False) in drawn.getvalue()


@pytest.mark.parametrize("name", ["A\x1b[31m", "A" * 200, "A\u202eB"])
def test_class_names_are_printable(name, tmp_path):
    for number, label in enumerate([f"X{name}", "Y"]):
        write_png(tmp_path / f"{number}.png")
        with (tmp_path / "labels.csv").open("a" if number else "w") as table:
            table.write(("" if number else "image,label,patient\n") + f"{number}.png,{label},p{number}\n")
    options = DataOptions(format="table", root=str(tmp_path), task="labels")
    with pytest.raises(DataError, match="a label that is no name of a class"):
        read_manifest(options, tmp_path)

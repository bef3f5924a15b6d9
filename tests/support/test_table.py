"""One table in every format: the same cells, nothing in them taken for markup."""

from __future__ import annotations

import re

from mammo.support.table import (
    Bar,
    Cell,
    Table,
    columns,
    estimate,
    latex_lines,
    markdown_lines,
    mean_and_std,
    row,
    terminal_lines,
)

WIDE = tuple(f"number_{i}" for i in range(6))


def test_numbers_stand_beside_or_above_their_intervals():
    cells = [estimate(0.5, (0.25, 0.75)), estimate(-0.1234, (-0.2, 0.1)), estimate(None, None), estimate(1.0, None)]
    rows = tuple(row(f"score {i}", cell) for i, cell in enumerate(cells))
    assert terminal_lines(Table("", columns("", numbers=("value",)), rows), indent=2)[2:] == [
        "  score 0   0.500 [0.250, 0.750]",
        "  score 1  -0.123 [-0.200, 0.100]",
        "  score 2       -",
        "  score 3   1.000 -",
    ]
    wide = Table("", columns("", numbers=WIDE[:4]), (row("all", *cells[:2], *cells[:2]),))
    (*_, first, second) = terminal_lines(wide)
    assert first.split() == ["all", "0.500", "-0.123", "0.500", "-0.123"]
    assert second.split("]")[0].strip() == "[0.250, 0.750"


def test_a_terminal_has_80_columns_and_no_commands():
    table = Table("", columns("name", numbers=WIDE), (row("long name " * 9 + "\x1b[31m[bold]", *["0.123"] * 6),))
    lines = terminal_lines(table)
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)
    assert "[bold]" in "".join(lines)
    assert "".join(lines).isascii()


def test_markdown_and_latex_have_the_same_cells():
    rows = (row("a|b_c", mean_and_std(-0.5, 0.25), Cell("0.100", below="[-0.100, 0.300]"), ""),
            row("50% & *", "-", Cell("", bars=(Bar("A", 0.25), Bar("B", 0.75))), ""))  # fmt: skip
    table = Table("Of <runs>", columns("name", numbers=("mean +- std", "value", "empty")), rows, note="A note_.")
    table = table.without_empty_columns()
    assert markdown_lines(table) == [
        r"**Of \<runs>**", "",
        "| name | mean +- std | value |",
        "|---|---:|---:|",
        r"| a\|b_c | -0.500 +- 0.250 | 0.100 (\[-0.100, 0.300\]) |",
        r"| 50% & \* | - | A 0.25, B 0.75 |", "",
        r"A note\_.", "",
    ]  # fmt: skip
    lines = [line.strip() for line in latex_lines(table, "tab:one")]
    assert r"\caption{Of \textless{}runs\textgreater{} A note\_.}" in lines
    assert r"\begin{tabular}{lrr}" in lines
    assert r"name & mean $\pm$ std & value \\" in lines
    assert r"a\textbar{}b\_c & $-$0.500 $\pm$ 0.250 & 0.100 ([$-$0.100, 0.300]) \\" in lines
    assert r"50\% \& * & -- & A 0.25, B 0.75 \\" in lines


def test_a_bracket_that_begins_a_row_is_no_option_of_the_row_above():
    table = Table("", columns("name", "value"), (row("[a]", "1"), row("*", "2")))
    assert len([line for line in latex_lines(table, "tab:one") if re.match(r"\s*\{\}[\[*]", line)]) == 2

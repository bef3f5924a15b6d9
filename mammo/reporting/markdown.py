"""A report as Markdown: the same content as the page, with the figures beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mammo.reporting.document import (
    Block,
    Cell,
    Code,
    Details,
    Drawing,
    Group,
    Heading,
    Photograph,
    Report,
    Table,
    Text,
)
from mammo.support.plain_text import markdown_text, terminal_text


def markdown(report: Report) -> str:
    """The whole page; every text of the report is escaped."""
    lines = [f"# {_text(report.title)}", "", _text(report.subtitle), ""]
    for sentence in report.finding:
        lines += [_text(sentence), ""]
    if report.warnings:
        lines += [*(f"> - {_text(warning)}" for warning in report.warnings), ""]
    if report.tiles:
        lines += _rows(("metric", "value", "95% interval"), [(t.label, t.value, t.interval) for t in report.tiles], 1)
    for section in report.sections:
        lines += [f"## {_text(section.title)}", ""]
        for block in section.blocks:
            lines += _block(block)
    return "\n".join([*lines, f"*{_text(report.disclaimer)}*", ""])


def _text(text: str) -> str:
    return markdown_text(terminal_text(text))


def _block(block: Block) -> Iterator[str]:
    match block:
        case Table():
            yield from _table(block)
        case Group() | Details():
            if isinstance(block, Details):
                yield from (f"**{_text(block.summary)}**", "")
            for one in block.blocks:
                yield from _block(one)
            # A figure has the pictures of several.
            files = dict.fromkeys(one.file for one in block.blocks if isinstance(one, Photograph) and one.file)
            for file in files:
                yield from (f"![Images beside their heat maps]({file}.png)", "")
        case Text():
            yield from (_text(block.text), "")
        case Code():
            yield from (*(f"    {line}" for line in terminal_text(block.text).splitlines()), "")
        case Heading():
            yield from (f"### {_text(block.text)}", "")
        case Drawing():
            alts = [_text(panel.description) for panel in block.panels]
            if len(alts) != len(block.files):
                alts = ["; ".join(alts)] * len(block.files)
            for alt, file in zip(alts, block.files, strict=True):
                yield from (f"![{alt}]({file}.png)", "")
            yield from (f"*{_text(block.caption)}*", "")
        case Photograph():
            yield from (f"- {_text(block.caption)}", "")


def _table(block: Table) -> Iterator[str]:
    yield from (f"**{_text(block.caption)}**", "")
    rows = [[_cell(cell) for cell in line] for line in block.rows]
    first_number = [i for i, column in enumerate(block.columns) if column.is_number]
    yield from _rows([column.title for column in block.columns], rows, None, first_number)
    if block.note:
        yield from (_text(block.note), "")


def _cell(cell: Cell) -> str:
    text = " ".join(filter(None, (cell.text, f"({cell.below})" if cell.below and cell.text else cell.below)))
    if cell.bars:
        text = ", ".join(f"{bar.name} {bar.fraction:.2f}" for bar in cell.bars)
    return text


def _rows(
    header: Sequence[str], rows: Sequence[Sequence[str]], numbers_from: int | None, numbers: Sequence[int] = ()
) -> list[str]:
    at_right = range(numbers_from, len(header)) if numbers_from is not None else numbers
    rule = "|" + "".join("---:|" if i in at_right else "---|" for i in range(len(header)))
    lines = [" | ".join(map(_text, line)) for line in (header, *rows)]
    return [f"| {lines[0]} |", rule, *(f"| {line} |" for line in lines[1:]), ""]

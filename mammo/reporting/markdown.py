"""A report as Markdown: the same content as the page, with the figures beside it."""

from __future__ import annotations

from collections.abc import Iterator

from mammo.reporting.document import Block, Code, Details, Drawing, Group, Heading, Photograph, Report, Text
from mammo.support.plain_text import markdown_text, terminal_text
from mammo.support.table import Table, columns, markdown_lines, row


def markdown(report: Report) -> str:
    """The whole page; every text of the report is escaped."""
    lines = [f"# {_text(report.title)}", "", _text(report.subtitle), ""]
    for sentence in report.finding:
        lines += [_text(sentence), ""]
    if report.warnings:
        lines += [*(f"> - {_text(warning)}" for warning in report.warnings), ""]
    if report.tiles:
        tiles = tuple(row(tile.label, tile.value, tile.interval) for tile in report.tiles)
        lines += markdown_lines(Table("", columns("metric", numbers=("value", "95% interval")), tiles))
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
            yield from markdown_lines(block)
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

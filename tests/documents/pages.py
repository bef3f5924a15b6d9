"""What README.md and docs/ hold: blocks of code, commands, headings, links."""

from __future__ import annotations

import dataclasses
import re
import shlex

from tests.conftest import REPOSITORY

PAGES = {
    str(file.relative_to(REPOSITORY)): file.read_text(encoding="utf-8")
    for file in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md")))
}
BLOCK = re.compile(
    r"(?:<!-- (?P<note>[^\n]*) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
SPAN = re.compile(r"`([^`\n]+)`")
# How a command in the middle of a sentence begins.
COMMAND = re.compile(r"python -m \w|python \S+\.py|make \w|(pip|pip-audit|sha256sum|source|srun|git) ")
RECIPE = re.compile(
    r"<!-- recipe (?P<name>\w+): (?P<how>append to|new file) (?P<file>\S+) -->\n"
    r"```\w+\n(?P<code>.*?)```\n\n```sh\n(?P<command>python -m mammo\.train [^\n]*)\n```",
    re.DOTALL,
)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe: which file it appends to or makes, and the command that uses it."""

    name: str
    how: str
    file: str
    code: str
    command: str


RECIPES = {match["name"]: Recipe(**match.groupdict()) for match in RECIPE.finditer(PAGES["docs/extend.md"])}


@dataclasses.dataclass(frozen=True)
class Block:
    """A block of code; `note` is the comment before it, `file NAME` or `recipe ...`, or empty."""

    page: str
    note: str
    language: str
    text: str


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page in order."""
    return [Block(page, match["note"] or "", match["language"], match["text"]) for match in BLOCK.finditer(PAGES[page])]


def prose(page: str) -> str:
    """A page without its blocks."""
    return BLOCK.sub("", PAGES[page])


def lines_of(script: str) -> list[str]:
    """The lines of a script of the shell that do something; comments are left out, continued lines are joined."""
    lines = [line.strip() for line in script.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def words_of(command: str) -> list[str]:
    """The words of a command, without a comment behind it; Python is `python`, whatever it does with warnings."""
    words = shlex.split(command.replace("python -W ignore", "python"), comments=True)
    return ["python" if word == ".venv/bin/python" else word for word in words]


def commands_of(page: str) -> list[str]:
    """Every line of the scripts of a page, and every command in its prose, none twice."""
    found = [line for block in blocks_of(page) if block.language == "sh" for line in lines_of(block.text)]
    found += [span for span in SPAN.findall(prose(page)) if COMMAND.match(span)]
    return list(dict.fromkeys(found))


def headings(page: str) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}

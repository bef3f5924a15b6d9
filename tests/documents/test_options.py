"""The groups, choices and keys that README.md and docs/ name exist, and the tables of groups are complete."""

from __future__ import annotations

import re

import pytest

from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.prepare import PrepareConfig
from mammo.config.tree import Config
from mammo.support.dotted_keys import flatten
from mammo.support.option_registry import registered
from mammo.support.schema import key_tree
from tests.documents.commands import TOOLS
from tests.documents.pages import PAGES, SPAN, prose

GROUPS = {
    folder.name: {file.stem for file in folder.glob("*.yaml")} | set(registered(folder.name))
    for folder in CONFIG_FOLDER.iterdir()
    if folder.is_dir()
}
KEYS = {*flatten(key_tree(Config)), *flatten(key_tree(PrepareConfig))}
OF_TOOLS = {key for tool in TOOLS.values() for key in flatten(key_tree(tool.options))}
SECTIONS = tuple({f"{key.partition('.')[0]}." for key in KEYS if "." in key})
# Options of Hydra, a key of evaluation.json, the first line of a table, an option of the doctor; and names of files.
OTHERS = ("hydra.run.dir", "hydra.launcher.account", "data.num_trained_on", "sep", "json")
NAMES_OF_FILES = (".json", ".log", ".py", ".html", ".csv", ".pth")
# The earlier names in the first cells of docs/migration.md have a test of their own.
PAGES_OF_OPTIONS = [page for page in PAGES if page != "docs/migration.md"]


def table_after(heading: str, page: str) -> list[list[str]]:
    """Cells of the first table after a text; header and rule left out."""
    lines = PAGES[page][PAGES[page].index(heading) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_the_table_of_groups_names_every_choice():
    rows = {row[0].strip("`"): row[1] for row in table_after("## Groups", "docs/options.md")}
    assert set(rows) == set(GROUPS)
    for group, named in rows.items():
        assert [choice for choice in GROUPS[group] if f"`{choice}`" not in named] == [], group


def test_the_table_of_data_names_every_choice():
    named = {name for row in table_after("# Data", "docs/data.md") for name in SPAN.findall(row[0])}
    assert named == GROUPS["data"]


def test_the_table_of_keys_names_keys_that_exist():
    keys = [key for row in table_after("## Keys", "docs/options.md") for key in SPAN.findall(row[0])]
    assert len(keys) > 15
    assert [key for key in keys if key not in KEYS] == []


@pytest.mark.parametrize("page", PAGES_OF_OPTIONS)
def test_an_option_in_the_prose_exists(page):
    for word in (word for span in SPAN.findall(prose(page)) for word in span.split()):
        key, is_set, value = word.strip("'").partition("=")
        if is_set and key in GROUPS and value:
            is_name = value.isupper() or value.endswith((".yaml", ".json"))
            assert is_name or set(value.split(",")) <= GROUPS[key] | {"best_config"}, word
        elif re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", key) and (
            is_set or ("." in key and key.partition(".")[0] in SECTIONS)
        ):
            is_of_mapping = any(key.startswith(f"{known}.") for known in KEYS)
            is_other = key.endswith(NAMES_OF_FILES) or key in (*GROUPS, *OTHERS)
            assert key in KEYS | OF_TOOLS or is_of_mapping or is_other, word

"""Links between the pages lead somewhere, and the files that they name are there."""

from __future__ import annotations

import os
import re

import pytest

from tests.conftest import REPOSITORY
from tests.documents.pages import PAGES, RECIPES, SPAN, headings, prose


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_exists(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        file, _, anchor = target.partition("#")
        if "://" in target:
            continue
        path = (REPOSITORY / page).parent / file if file else REPOSITORY / page
        assert path.exists(), target
        if anchor:
            assert anchor in headings(os.path.relpath(path, REPOSITORY)), target


@pytest.mark.parametrize("page", PAGES)
def test_the_code_that_a_page_names_exists(page):
    new = [recipe.file for recipe in RECIPES.values()]
    for span in SPAN.findall(prose(page)):
        if re.fullmatch(r"(mammo|conf|tests|benchmarks|docs)/[\w/.*-]+", span) and span not in new:
            assert list(REPOSITORY.glob(span)), span
        elif re.fullmatch(r"\w+\.py", span) and page == "docs/house.md":
            assert list((REPOSITORY / "mammo").rglob(span)), span

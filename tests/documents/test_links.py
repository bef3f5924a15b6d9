"""Links between the pages lead somewhere, and options in their prose exist."""

from __future__ import annotations

import os
import re

import pytest

from tests.conftest import REPOSITORY
from tests.documents.pages import PAGES, headings, prose


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

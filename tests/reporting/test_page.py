"""The page of a report: well-formed, self-contained, and as a real browser shows it."""

from __future__ import annotations

import base64
import re
from pathlib import Path

import pytest

from mammo.support.files import read_json
from tests.reporting.browser import chromium_or_skip, measured, visit
from tests.reporting.pages import Page

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def html(reported: Path) -> Path:
    return reported / "report" / "report.html"


def test_it_is_well_formed(html):
    page = Page(html.read_text())
    assert page.faults == []
    assert page.headings[0] == 1
    assert page.headings.count(1) == 1
    assert all(after <= before + 1 for before, after in zip(page.headings, page.headings[1:], strict=False))
    targets = {value[1:] for value in page.values("a", "href") if value}
    assert targets <= page.ids
    assert {"main", "nav", "header", "footer"} <= {tag for tag, _ in page.tags}
    assert all(scope in ("col", "row", "colgroup") for scope in page.values("th", "scope"))
    assert page.values("html", "lang") == ["en"]


def test_nothing_is_loaded_from_elsewhere(html):
    text = html.read_text()
    addresses = [
        value for name in ("src", "href") for _, attributes in Page(text).tags if (value := attributes.get(name))
    ]
    assert [one for one in addresses if not one.startswith(("#", "data:"))] == []
    assert not re.search(r"https?://", text)
    assert "url(http" not in text


def test_figures_can_be_read_on_a_dark_page(html):
    """Each is a picture with a ground of its own."""
    figures = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', html.read_text())
    assert len(figures) > 5
    for content in figures:
        assert b"fill: #ffffff" in base64.b64decode(content).split(b"</path>")[0]


def test_a_browser_finds_no_fault_and_asks_for_nothing(chromium, html, tmp_path):
    found = visit(chromium, html, tmp_path)
    assert found.console == []
    assert found.requests == []
    # The script ran: without it the button stays hidden.
    assert re.search(r'<button type="button" id="theme">Dark colours</button>', found.dom)


def test_the_browser_would_have_told(chromium, tmp_path):
    page = tmp_path / "bad.html"
    page.write_text(
        "<!DOCTYPE html><title>bad</title><img src='http://127.0.0.1:9/x.png' alt=''>"
        "<script>console.error('trouble'); missing();</script>"
    )
    found = visit(chromium, page, tmp_path)
    assert found.requests == ["http://127.0.0.1:9/x.png"]
    assert len(found.console) == 2
    assert "trouble" in found.console[0]
    assert "missing is not defined" in found.console[1]


@pytest.mark.parametrize("width_px", [320, 390, 1280])
def test_the_page_never_scrolls_sideways(chromium, html, tmp_path, width_px):
    wide = (
        "[page.documentElement.scrollWidth, page.defaultView.innerWidth, page.querySelectorAll('.panels img').length]"
    )
    width, room, figures = map(int, measured(chromium, html, tmp_path, width_px, wide).split(","))
    assert room == width_px
    assert width <= room
    assert figures > 5


def test_the_button_changes_the_colours(chromium, html, tmp_path):
    script = """[1, 2].map(() => { page.getElementById("theme").click();
        return page.defaultView.getComputedStyle(page.body).backgroundColor; }).join(" ")"""
    assert measured(chromium, html, tmp_path, 800, script) == "rgb(20, 23, 26) rgb(255, 255, 255)"


def test_a_browser_that_is_required_is_no_reason_to_skip(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("MAMMO_REQUIRE_CHROMIUM", raising=False)
    with pytest.raises(pytest.skip.Exception):
        chromium_or_skip()
    monkeypatch.setenv("MAMMO_REQUIRE_CHROMIUM", "1")
    with pytest.raises(pytest.fail.Exception):
        chromium_or_skip()


def test_figures_are_listed_and_there(html):
    names = read_json(html.parent / "report.json")["figures"]
    assert {path.name for path in html.parent.glob("density_*")} == set(names)
    wanted = ("density_train_seed42_fold0", "density_confusion_seed42_fold1", "density_roc_seed42", "density_train")
    for stem in wanted:
        assert (html.parent / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (html.parent / f"{stem}.pdf").read_bytes().startswith(b"%PDF")

"""The page of a report: well-formed, self-contained, and as a real browser shows it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mammo.support.files import read_json
from tests.reporting.browser import chromium_or_skip, measured, visit
from tests.reporting.pages import Page

pytestmark = pytest.mark.slow

CONTRAST = """[...page.querySelectorAll("svg.figure text, td, th, p, a, small, figcaption")].map((one) => {
  const parts = (colour) => { const canvas = page.canvas ??=
      page.createElement("canvas").getContext("2d", {willReadFrequently: true});
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (rgb) => rgb.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const view = page.defaultView, style = view.getComputedStyle(one);
  let behind = one, ground = [0, 0, 0, 0];
  while (behind && ground[3] < 255) { ground = parts(view.getComputedStyle(behind).backgroundColor);
    behind = behind.parentElement; }
  const ink = light(parts(one.tagName === "text" ? style.fill : style.color)), paper = light(ground);
  return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
}).reduce((least, one) => Math.min(least, one), 21)"""


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
    namespaces = {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= namespaces
    assert "url(http" not in text


def test_references_within_a_figure_stay_in_it(html):
    for number, figure in enumerate(re.findall(r"<svg.*?</svg>", html.read_text(), re.DOTALL)):
        ids = set(re.findall(r'\bid="([^"]+)"', figure))
        used = set(re.findall(r'href="#([^"]+)"', figure)) | set(re.findall(r"url\(#([^)]+)\)", figure))
        assert used == ids
        assert all(one.startswith(f"f{number}-") for one in ids)


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
    wide = "[page.documentElement.scrollWidth, page.defaultView.innerWidth, page.querySelectorAll('svg.figure').length]"
    width, room, figures = map(int, measured(chromium, html, tmp_path, width_px, wide).split(","))
    assert room == width_px
    assert width <= room
    assert figures > 5


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read(chromium, html, tmp_path, theme):
    page = tmp_path / "page.html"
    page.write_text(html.read_text().replace('<html lang="en">', f'<html lang="en" data-theme="{theme}">'))
    assert float(measured(chromium, page, tmp_path, 1280, CONTRAST)) >= 4.5


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


def test_the_table_of_runs_fits_a_laptop(chromium, html, tmp_path):
    script = """(() => { const one = page.querySelector("#runs .scroll");
        return [one.scrollWidth, one.clientWidth]; })()"""
    width, room = map(int, measured(chromium, html, tmp_path, 1200, script).split(","))
    assert 0 < width <= room


def test_small_print_has_one_size(chromium, html, tmp_path):
    script = """[...new Set([...page.querySelectorAll("p.note, p.muted, figcaption")].map(
        (one) => page.defaultView.getComputedStyle(one).fontSize))].join(" ")"""
    assert measured(chromium, html, tmp_path, 1200, script) == "14px"


def test_figures_are_listed_and_there(html):
    names = read_json(html.parent / "report.json")["figures"]
    assert {path.name for path in html.parent.glob("density_*")} == set(names)
    wanted = ("density_train_seed42_fold0", "density_confusion_seed42_fold1", "density_roc_seed42", "density_train")
    for stem in wanted:
        assert (html.parent / f"{stem}.png").read_bytes().startswith(b"\x89PNG")
        assert (html.parent / f"{stem}.pdf").read_bytes().startswith(b"%PDF")

"""A report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib
import itertools

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from mammo.plain_text import terminal_text
from mammo.reporting.document import Report
from mammo.reporting.svg import inline_svg


def html(report: Report) -> str:
    """The page. Every text of the report is escaped; the page's own policy allows no script but its own."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mammo.reporting"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    number = itertools.count()

    def svg(panel: tuple[str, Figure]) -> Markup:
        description, figure = panel
        return Markup(inline_svg(figure, f"f{next(number)}", terminal_text(description)))  # noqa: S704  (made here)

    environment.filters |= {"plain": terminal_text, "svg": svg, "base64": _base64, "breakable": _breakable}
    script, style = (_source(environment, name) for name in ("report.js", "report.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        report=report, style=Markup(style), script=Markup(script), script_hash=digest  # noqa: S704  (files of the package)
    )


def _source(environment: jinja2.Environment, name: str) -> str:
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].rstrip("\n")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _breakable(text: str) -> Markup:
    """A name that may be broken at its hyphens and underscores."""
    return Markup(str(escape(text)).replace("-", "-<wbr>").replace("_", "_<wbr>"))  # noqa: S704  (escaped)

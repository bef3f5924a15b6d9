"""A report as one HTML file that needs nothing else: no network, no other file."""

from __future__ import annotations

import base64
import hashlib

import jinja2
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from mammo.reporting.document import Block, Report
from mammo.support.figures import figure_bytes
from mammo.support.plain_text import terminal_text


def html(report: Report) -> str:
    """The page. Every text of the report is escaped; the page's own policy allows no script but its own."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mammo.reporting"), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"plain": _plain, "svg": _svg, "base64": _base64, "breakable": _breakable, "kind": _kind}
    script, style = (_source(environment, name) for name in ("report.js", "report.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html.j2").render(
        report=report,
        style=style,
        script=script,
        script_hash=digest,
    )


def _source(environment: jinja2.Environment, name: str) -> Markup:
    """A file of the package, to be put into the page as it is."""
    assert environment.loader is not None
    return Markup(environment.loader.get_source(environment, name)[0].rstrip("\n"))  # noqa: S704  (no text of a report)


def _plain(text: str) -> str:
    return terminal_text(text).replace(" +- ", " \u00b1 ")


def _kind(block: Block) -> str:
    return type(block).__name__


def _svg(figure: Figure) -> bytes:
    return figure_bytes(figure, "figure.svg")


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _breakable(text: str) -> Markup:
    """A name that may be broken at its hyphens and underscores."""
    return Markup(str(escape(text)).replace("-", "-<wbr>").replace("_", "_<wbr>"))  # noqa: S704  (escaped)

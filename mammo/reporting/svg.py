"""A figure as SVG inside of an HTML page: text stays text, and colours follow those of the page."""

from __future__ import annotations

import colorsys
import io
import re
import xml.etree.ElementTree as ElementTree

import matplotlib
from matplotlib.figure import Figure

from mammo.support.figures import STYLE

_SVG = "http://www.w3.org/2000/svg"
_LINK = "{http://www.w3.org/1999/xlink}href"
_STYLE = {**STYLE, "svg.fonttype": "none", "svg.hashsalt": "mammo"}
# Colours of the figures and the custom properties of the page that they become; the page has them for light and dark.
_VARIABLES = {
    "#000000": "currentColor",
    "#ffffff": "var(--surface)",
    "#666666": "var(--muted)",
    "#dddddd": "var(--line)",
    "#eeeeee": "var(--line)",
    "#cccccc": "var(--line)",
    "#b0b0b0": "var(--rule)",
    "#e8e8e8": "var(--line)",
    "#0072b2": "var(--blue)",
    "#d55e00": "var(--orange)",
    "#009e73": "var(--green)",
    "#cc79a7": "var(--pink)",
    "#56b4e9": "var(--sky)",
    "#e69f00": "var(--amber)",
}
# Lightness of other colours on dark pages: the least, and how much of its own is added.
DARK_LIGHTNESS = (0.6, 0.25)
# Wider figures become illegible on a phone, where they may be scrolled instead.
NARROW_POINTS = 300
_COLOUR = re.compile(r"#[0-9a-fA-F]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")


def inline_svg(figure: Figure, prefix: str, description: str) -> str:
    """The figure as an `<svg>` element to put into HTML.

    Ids begin with `prefix`, so that those of two figures on a page differ; `description` is what a screen reader
    says. There are no dates, and equal figures give equal text. Text without a colour of its own, and everything
    black, takes the colour of the text around it.
    """
    buffer = io.BytesIO()
    with matplotlib.style.context(_STYLE, after_reset=True):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ElementTree.fromstring(buffer.getvalue())  # noqa: S314  (made in the lines above)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.endswith("}metadata") or child.tag.endswith("}title"):
                parent.remove(child)
    used = _used_ids(root)
    for element in root.iter():
        _own_ids(element, used, prefix)
        for name in ("style", "fill", "stroke"):
            if name in element.attrib:
                element.set(name, _with_variables(element.get(name, "")))
        if element.tag == f"{{{_SVG}}}text":
            _inherit(element)
    for name in ("width", "height", "version"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-label", description)
    width_points = float(root.get("viewBox", "0 0 504 0").split()[2])
    root.set("class", "figure" if width_points <= NARROW_POINTS else "figure broad")
    root.set("style", f"--natural: {width_points:.0f}")
    ElementTree.register_namespace("", _SVG)
    return ElementTree.tostring(root, encoding="unicode")


def _used_ids(root: ElementTree.Element) -> set[str]:
    """Ids that something refers to; the others are names of groups."""
    used = set()
    for element in root.iter():
        for name, value in element.attrib.items():
            used |= set(_REFERENCE.findall(value))
            if name in (_LINK, "href") and value.startswith("#"):
                used.add(value[1:])
    return used


def _own_ids(element: ElementTree.Element, used: set[str], prefix: str) -> None:
    if "id" in element.attrib:
        if element.get("id") in used:
            element.set("id", f"{prefix}-{element.get('id')}")
        else:
            del element.attrib["id"]
    for name, value in list(element.attrib.items()):
        if name in (_LINK, "href") and value.startswith("#"):
            del element.attrib[name]
            element.set("href", f"#{prefix}-{value[1:]}")
        elif "url(#" in value:
            element.set(name, _REFERENCE.sub(lambda match: f"url(#{prefix}-{match[1]})", value))


def _with_variables(style: str) -> str:
    return _COLOUR.sub(lambda match: _VARIABLES.get(match[0].lower()) or _for_both(match[0]), style)


def _for_both(colour: str) -> str:
    """A colour with a lighter one of the same hue for dark pages."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    lighter = colorsys.hls_to_rgb(hue, DARK_LIGHTNESS[0] + DARK_LIGHTNESS[1] * lightness, saturation * 0.8)
    return f"light-dark({colour}, #{''.join(f'{round(255 * part):02x}' for part in lighter)})"


def _inherit(element: ElementTree.Element) -> None:
    """Text takes the font of the page, and its colour where it has none."""
    style = re.sub(r"font:\s*([^;]*?)(\d[\d.]*px)[^;]*", r"font-size: \2;\1", element.get("style", ""))
    size = re.search(r"font-size: [^;]*", style)
    is_bold = "bold" in style.split("font-size", 1)[-1] or re.search(r"\b(700|bold)\b", style) is not None
    others = [part.strip() for part in style.split(";") if re.match(r"\s*(text-anchor|fill|opacity)", part)]
    if not any(part.startswith("fill") for part in others):
        others.append("fill: currentColor")
    parts = [*([size[0]] if size else []), *(["font-weight: 600"] if is_bold else []), *others]
    element.set("style", "; ".join(parts))

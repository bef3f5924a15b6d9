"""Reading YAML that somebody else may have written: plain values only, and never more than fits into memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mammo.support.files import read_text

# With libyaml a configuration is read ten times as fast.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# A configuration has a few kilobytes and a few hundred values.
MAX_BYTES = 4 * 2**20
MAX_VALUES = 200_000
MAX_DEPTH = 100


def read_yaml(path: Path) -> Any:
    """The plain values of a YAML file: mappings, lists, text, numbers.

    Raises what `bounded_text` does, and yaml.YAMLError for what names a Python object.
    """
    return yaml.load(bounded_text(path), Loader=_LOADER)  # noqa: S506  (a safe loader)


def bounded_text(path: Path) -> str:
    """The text of a YAML file that is safe to parse.

    Raises OSError; yaml.YAMLError for what is no YAML; ValueError for what is no text, too large or too deeply nested,
    or repeats itself by references (`*name`) beyond that.
    """
    text = read_text(path, MAX_BYTES)
    _require_shallow(text)
    # Ten lines with references can stand for 10**10 values: they are counted before anybody copies them.
    if _num_values(yaml.compose(text, Loader=_LOADER), {}, 0) > MAX_VALUES:
        raise ValueError(f"its references (*name) stand for more than {MAX_VALUES} values")
    return text


def _require_shallow(text: str) -> None:
    """Raises ValueError for deep nesting, at which libyaml overflows its stack and takes the process down."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _num_values(node: yaml.Node | None, known: dict[int, int], depth: int) -> int:
    """How many values a node stands for, references written out."""
    if depth > MAX_DEPTH:
        raise ValueError("a reference (*name) leads to itself")
    if not isinstance(node, yaml.CollectionNode):
        return 1
    if id(node) not in known:
        parts = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        known[id(node)] = 1 + sum(_num_values(part, known, depth + 1) for part in parts)
    return known[id(node)]

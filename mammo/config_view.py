"""The resolved configuration as a tree on the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree


def print_config(config: Mapping[str, Any], console: Console) -> None:
    """Print a configuration as a tree; what is switched off (null, an empty list) is left out to keep it short."""
    tree = Tree("configuration", guide_style="dim")
    for key, value in config.items():
        if key == "data" and value["format"] != "phantom":
            value = {name: option for name, option in value.items() if name != "phantom"}
        _add(tree, key, value)
    console.print(tree)


def _add(tree: Tree, key: str, value: Any) -> None:
    if isinstance(value, Mapping):
        shown = {k: v for k, v in value.items() if v is not None and v != [] and v != {}}
        plain = [f"{k}={_text(v)}" for k, v in shown.items() if not isinstance(v, Mapping)]
        branch = tree.add(f"[bold]{key}[/bold] " + escape("  ".join(plain)))
        for name, nested in shown.items():
            if isinstance(nested, Mapping) and any(nested.values()):
                _add(branch, name, nested)
    elif value is not None:
        tree.add(f"[bold]{key}[/bold] {escape(_text(value))}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_text(item) for item in value)}]"
    return f"{value:g}" if isinstance(value, float) else str(value)

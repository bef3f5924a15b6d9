"""What of a configuration differs from the defaults, as a tree on the terminal."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.tree import Tree

from mammo.config.tree import Config, config_tree
from mammo.support.option_registry import defaults_of
from mammo.support.plain_text import as_typed


def print_config(config: Config, console: Console) -> None:
    """Print the choices of a configuration, and the options that are not as by default."""
    tree = Tree("configuration; the rest is as by default, --cfg job shows all", guide_style="dim")
    for key, value in _differing(config, config_tree(config)).items():
        _add(tree, key, value)
    console.print(tree)


def _differing(options: Any, tree: Mapping[str, Any]) -> dict[str, Any]:
    """Those values of `tree`, that of a dataclass, which are not its defaults; names are kept."""
    found = {"name": tree["name"]} if tree.get("name") else {}
    defaults = defaults_of(type(options))
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if dataclasses.is_dataclass(value):
            if nested := _differing(value, tree[field.name]):
                found[field.name] = nested
        elif value != defaults[field.name]:
            found[field.name] = tree[field.name]
    return found


def _add(tree: Tree, key: str, value: Any) -> None:
    if isinstance(value, Mapping):
        plain = [f"{k}={as_typed(v, ', ')}" for k, v in value.items() if not isinstance(v, Mapping)]
        branch = tree.add(f"[bold]{key}[/bold] " + escape("  ".join(plain)))
        for name, nested in value.items():
            if isinstance(nested, Mapping):
                _add(branch, name, nested)
    else:
        tree.add(f"[bold]{key}[/bold] {escape(as_typed(value, ', '))}")

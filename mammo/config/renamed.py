"""Options that had another name in an earlier version.

What was stored under the earlier name is read under the present one: configurations of runs and checkpoints, sweeps,
studies, experiment files. On a command line it is taken with a hint. Run ids, names of sweeps and studies go by the
first name that an option had, so that no finished run is trained again because of a word.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

# Earlier name -> present name, of an option or of a whole section; the first name comes first where there were several.
RENAMED = {"augment.num_views": "augment.num_variants"}

# An override of Hydra: what is done, the key, what is behind it (`=VALUE`, `@PACKAGE`).
_OVERRIDE = re.compile(r"(?P<sign>\+{0,2}|~)(?P<key>[\w./]+)(?P<rest>.*)", re.DOTALL)


def current_key(key: str) -> str:
    """The present name of a dotted key that may be of an earlier version."""
    return _translated(key, RENAMED)


def original_key(key: str) -> str:
    """The first name that the option with this dotted key had."""
    return _translated(key, _first_names())


def with_current_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A stored configuration under present names; where both names are there, nothing is changed."""
    return _moved(tree, RENAMED)


def with_original_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration under the first names of all its options."""
    return _moved(tree, _first_names())


def current_override(override: str) -> str:
    """An override of a command line under present names."""
    return _override(override, RENAMED)


def original_override(override: str) -> str:
    """An override of a command line under the first names of all options."""
    return _override(override, _first_names())


def _first_names() -> dict[str, str]:
    return {current: earlier for earlier, current in reversed(RENAMED.items())}


def _translated(key: str, names: Mapping[str, str]) -> str:
    for name, other in names.items():
        if key == name or key.startswith(f"{name}."):
            return other + key[len(name) :]
    return key


def _override(override: str, names: Mapping[str, str]) -> str:
    found = _OVERRIDE.fullmatch(override)
    return found["sign"] + _translated(found["key"], names) + found["rest"] if found else override


def _moved(tree: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    moved = copy.deepcopy(dict(tree))
    for name, other in names.items():
        holder, leaf = _holder(moved, name)
        target, new_leaf = _holder(moved, other)
        if holder is not None and target is not None and leaf in holder and new_leaf not in target:
            target[new_leaf] = holder.pop(leaf)
    return moved


def _holder(tree: dict[str, Any], key: str) -> tuple[dict[str, Any] | None, str]:
    """The mapping of a tree in which the last part of a dotted key stands; None without one."""
    *path, leaf = key.split(".")
    node: Any = tree
    for part in path:
        node = node.get(part)
        if not isinstance(node, dict):
            return None, leaf
    return node, leaf

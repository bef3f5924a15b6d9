"""Values in files of JSON that may hold anything: of the expected kind, or none."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from mammo.evaluation.intervals import NO_SPREAD


def number_or_none(value: Any) -> float | None:
    """A finite number of a JSON file; None for whatever else is there."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) <= sys.float_info.max else None


def look(tree: Any, *path: str) -> Any:
    """What is below a path of keys; None where something on the way is missing or no mapping."""
    for key in path:
        tree = tree.get(key) if isinstance(tree, Mapping) else None
    return tree


def number(tree: Any, *path: str) -> float | None:
    """A finite number below a path of keys, None for whatever else is there."""
    return number_or_none(look(tree, *path))


def count(tree: Any, *path: str) -> str:
    """A whole number below a path of keys, with thousands apart; a dash for whatever else is there."""
    value = look(tree, *path)
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else "-"


def interval(tree: Any, *path: str) -> tuple[float, float] | None:
    """Two limits below a path of keys, None for whatever else is there.

    Limits that are equal are none: earlier versions wrote such where resampling has no spread.
    """
    value = look(tree, *path)
    if not isinstance(value, list) or len(value) != 2:
        return None
    low, high = map(number_or_none, value)
    return None if low is None or high is None or high - low < NO_SPREAD else (low, high)


def numbers(tree: Any, *path: str) -> list[float | None]:
    """A list of numbers below a path of keys; None for what in it is none."""
    value = look(tree, *path)
    return list(map(number_or_none, value)) if isinstance(value, list) else []


def texts(tree: Any, *path: str) -> list[str]:
    """A list below a path of keys, each item as text; empty for whatever else is there."""
    value = look(tree, *path)
    return [str(item) for item in value] if isinstance(value, list) else []


def mapping(tree: Any, *path: str) -> dict[str, Any]:
    """A mapping below a path of keys; empty for whatever else is there."""
    value = look(tree, *path)
    return dict(value) if isinstance(value, Mapping) else {}


def text(tree: Any, *path: str) -> str:
    """A text below a path of keys; empty for whatever else is there."""
    value = look(tree, *path)
    return value if isinstance(value, str) else ""

"""The configuration that others are compared with, as somebody has named it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mammo.support.errors import ConfigError, nearest


def position_of(named: str, labels: Sequence[str]) -> int:
    """Which label is meant: `head_only, lr 1e-3`, some of its parts, or their values alone: `head_only`, `1e-3`.

    `lr=1e-3` and `optimizer.lr=1e-3` mean `lr 1e-3`. Raises ConfigError where none is meant, or several are.
    """
    wanted = [_words(part) for part in named.split(",")]
    found = [i for i, label in enumerate(labels) if all(_is_part(one, label) for one in wanted)]
    exact = [i for i in found if _words(labels[i]) == _words(named)]
    if len(exact or found) == 1:
        return (exact or found)[0]
    which = "is no configuration" if not found else f"is {len(found)} configurations: {_listed(labels, found)}"
    raise ConfigError(
        f"reference={named!r} {which}",
        f"one of {_listed(labels, range(len(labels)))}",
        nearest(named, labels) if not found else "name more of what tells it from the others, with commas",
    )


def _is_part(wanted: Sequence[str], label: str) -> bool:
    parts = [_words(part) for part in label.split(",")]
    # A key may be written whole; a value may stand alone, here or there.
    key, *value = wanted
    return any(part in (wanted, [key.split(".")[-1], *value], value) or part[-1:] == wanted for part in parts)


def _words(text: str) -> list[str]:
    return re.split(r"[\s=,]+", text.strip().lower())


def _listed(labels: Sequence[str], positions: Sequence[int]) -> str:
    return "; ".join(labels[i] for i in positions)

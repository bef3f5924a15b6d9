"""The configuration that others are compared with, as somebody has named it."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mammo.support.errors import ConfigError, nearest


def position_of(named: str, labels: Sequence[str]) -> int:
    """Which label is meant: `head_only, lr 1e-3`, or words of it that no other has: `head_only`, `1e-3`.

    `lr=1e-3` and `optimizer.lr=1e-3` mean 1e-3. Raises ConfigError where none is meant, or several are.
    """
    # The key before a value says nothing more: it varies, or the value would not be there.
    wanted = {_number(word.split("=")[-1]) for word in _words(named)}
    of_labels = [{_number(word) for word in _words(label)} for label in labels]
    found = [i for i, words in enumerate(of_labels) if wanted <= words]
    exact = [i for i in found if wanted == of_labels[i]]
    if len(exact or found) == 1:
        return (exact or found)[0]
    which = "is no configuration" if not found else f"is {len(found)} configurations: {_listed(labels, found)}"
    raise ConfigError(
        f"reference={named!r} {which}",
        "what tells one configuration from the others",
        nearest(named, labels) if not found else "name more of what tells it from the others",
    )


def _words(text: str) -> list[str]:
    return [word for word in re.split(r"[\s,]+", text.lower()) if word]


def _number(word: str) -> str:
    """Numbers in one way of writing: 1e-3 is 0.001."""
    try:
        return repr(float(word))
    except ValueError:
        return word


def _listed(labels: Sequence[str], positions: Sequence[int]) -> str:
    return "; ".join(labels[i] for i in positions)

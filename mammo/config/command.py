"""What tells one command that Hydra composes from another."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Command:
    """What tells one command of the project from another.

    `options` is the dataclass that a composed tree must fit and `check` turns the tree into it, as
    `mammo.config.check.check` does. `groups` are the folders of conf/ to choose from, None for all; `about` says in
    a sentence what the command does, and `examples` are lines at the end of its help. `run_name` names the
    folder of a run, for commands that have one.
    """

    program: str
    options: type
    check: Callable[[Mapping[str, Any], Callable[[str], str] | None], Any]
    about: str
    groups: tuple[str, ...] | None = None
    examples: tuple[tuple[str, str], ...] = ()
    run_name: Callable[[Any], str] | None = None

    @property
    def sections(self) -> list[str] | None:
        """What it takes of a study that is written for training; None for all."""
        return None if self.groups is None else [field.name for field in dataclasses.fields(self.options)]

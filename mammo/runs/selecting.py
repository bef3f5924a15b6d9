"""Runs chosen by what they were trained with: `where=optimizer.lr=1e-3`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mammo.config.renamed import current_key, current_override
from mammo.config.tree import config_tree
from mammo.runs.json_access import number, texts
from mammo.runs.reading import RunReader
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError, nearest
from mammo.support.files import read_json
from mammo.support.plain_text import as_typed

TRIAL_FILE = "optuna_trial.json"
MAX_LISTED = 12


@dataclasses.dataclass(frozen=True)
class Condition:
    """An option with a value, by present names; `text` is what was typed."""

    key: str
    value: str
    text: str


def conditions_of(where: Sequence[str]) -> list[Condition]:
    """What was typed, `KEY=VALUE` each; raises ConfigError for anything else."""
    found = []
    for text in where:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError(
                f"where={text}: no option and value", "KEY=VALUE, such as optimizer.lr=1e-3",
                "several: where=[strategy=head_only,seed=42]",
            )  # fmt: skip
        found.append(Condition(current_key(key.strip()), _canonical(value.strip()), text))
    return found


def chosen(folders: Sequence[Path], where: Sequence[str]) -> list[Path]:
    """Those run directories that fulfil all conditions; raises ConfigError where none does, or a key is unknown.

    A condition is about the configuration with dotted keys, or about what was typed: `augment=strong`, `trial=5`.
    """
    conditions = conditions_of(where)
    facts = {folder: _facts(RunReader(folder)) for folder in folders}
    kept = folders
    for condition in conditions:
        known = {key for folder in folders for key in facts[folder]}
        if condition.key not in known:
            raise ConfigError(
                f"where={condition.text}: the runs have no option {condition.key}",
                to_do=nearest(condition.key, sorted(known)),
            )
        matching = [folder for folder in kept if condition.value in facts[folder].get(condition.key, {})]
        if not matching:
            values = {shown for folder in kept for shown in facts[folder].get(condition.key, {}).values()}
            listed = ", ".join(sorted(values)[:MAX_LISTED])
            raise ConfigError(f"where={condition.text}: no run has it", f"{condition.key} is one of {listed}")
        kept = matching
    return list(kept)


def _facts(files: RunReader) -> dict[str, dict[str, str]]:
    """Key to values of a run, each in one way of writing and as it is shown: as it was typed, and as it came out."""
    found: dict[str, dict[str, str]] = {}

    def add(key: str, value: Any) -> None:
        found.setdefault(key, {})[_canonical(as_typed(value))] = as_typed(value)

    for override in texts(files.summary or {}, "overrides"):
        key, _, value = current_override(override).lstrip("+~").partition("=")
        add(key, value)
    try:
        config = files.checked_config()
    except ConfigError:  # of another version: what was typed is all that is known
        config = None
    for key, value in flatten(config_tree(config) if config is not None else {}).items():
        add(key, value)
        if key.endswith(".name"):
            add(key.removesuffix(".name"), value)
    trial = _trial_of(files.folder)
    if trial is not None:
        add("trial", trial)
    return found


def _trial_of(folder: Path) -> int | None:
    try:
        found = number(_mapping(read_json(folder / TRIAL_FILE)), "number")
    except (OSError, ValueError):
        return None
    return None if found is None else int(found)


def _mapping(tree: Any) -> Mapping[str, Any]:
    return tree if isinstance(tree, Mapping) else {}


def _canonical(text: str) -> str:
    """A value in one way of writing: 1e-3 is 0.001."""
    try:
        return repr(float(text))
    except ValueError:
        return text

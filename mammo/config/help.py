"""The text of `--help`: groups with their choices, and every option with its default and meaning."""

from __future__ import annotations

import dataclasses
import textwrap
from pathlib import Path
from typing import Any

from mammo.config.command import Command
from mammo.support.option_registry import defaults_of, registered
from mammo.support.plain_text import WIDTH
from mammo.support.schema import describe, types_of


def help_text(command: Command, config_folder: Path) -> str:
    """Help of a command, 80 columns wide."""
    lines = [
        f"usage: python -m {command.program} [GROUP=CHOICE ...] [KEY=VALUE ...]",
        "",
        *textwrap.wrap(command.about, WIDTH),
        "",
        "Groups and their choices",
    ]
    for group, choices in _choices(config_folder).items():
        if command.groups is None or group in command.groups:
            lines += _wrapped(f"  {group:<12}", ", ".join(choices))
    lines += ["", "Options (key=default: meaning)"]
    lines += option_lines(command.options)
    examples = (*command.examples, ("Show what would run:", "--cfg job"), ("Hydra's own help:", "--hydra-help"))
    lines += ["", *(f"{what:<29} {how}" for what, how in examples)]
    return "\n".join(lines)


def _choices(config_folder: Path) -> dict[str, list[str]]:
    groups: dict[str, list[str]] = {}
    for folder in sorted(path for path in config_folder.iterdir() if path.is_dir()):
        groups[folder.name] = sorted({file.stem for file in folder.glob("*.yaml")} | set(registered(folder.name)))
    return groups


def _wrapped(first: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, WIDTH, initial_indent=first, subsequent_indent=" " * min(len(first), 14), break_on_hyphens=False
    ) or [first]


def command_lines(command: str) -> list[str]:
    """A command as lines of 80 columns at most that a shell takes for one."""
    lines = textwrap.wrap(command, WIDTH - 4, subsequent_indent=" " * 4, break_long_words=False, break_on_hyphens=False)
    return ["  " + line + " \\" for line in lines[:-1]] + ["  " + line for line in lines[-1:]]


def option_lines(options_class: type, path: str = "", note: str = "") -> list[str]:
    """Key, default, meaning and range of each option of a class, as lines of a help text."""
    lines: list[str] = []
    defaults = defaults_of(options_class)
    for field in dataclasses.fields(options_class):
        key, annotation = f"{path}{field.name}", types_of(options_class)[field.name]
        if "group" in field.metadata:
            for name, choice in registered(field.metadata["group"]).items():
                lines += option_lines(choice, f"{key}.", f" [{field.metadata['group']}={name}]")
        elif dataclasses.is_dataclass(annotation):
            lines += option_lines(annotation, f"{key}.")  # type: ignore[arg-type]
        else:
            lines += [f"  {key}={_shown(defaults[field.name])}{note}"]
            meaning = f"{field.metadata['doc']} - {describe(annotation, {**field.metadata, 'doc': ''})}"
            lines += _wrapped(" " * 6, meaning)
    return lines


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)

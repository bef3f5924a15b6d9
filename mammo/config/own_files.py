"""Study files of the user: `experiment=path/to/mine.yaml`, read as data and named after their content.

Hydra takes the last `/` of such a value for that of a group, so the argument is rewritten before it sees it. By such
names a sweep over files is the same sweep wherever they lie, and another one when they change.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

import yaml

from mammo.support.errors import ConfigError, nearest
from mammo.support.yaml_files import bounded_text

GROUP = "experiment"
SUFFIXES = (".yaml", ".yml", ".json")
HEADER = "# @package _global_\n"
# Values of a sweep, which commas divide; within quotes they do not.
_VALUE = re.compile(r"""\s*('[^']*'|"[^"]*"|[^,'"]+)\s*(?:,|$)""")


@dataclasses.dataclass(frozen=True)
class OwnFile:
    """A study file: its name in the group, where it was found, and its text as Hydra takes it."""

    name: str
    path: str
    text: str


def with_own_files(arguments: Sequence[str]) -> tuple[list[str], dict[str, OwnFile]]:
    """The arguments with names in the place of study files, and these files by name.

    Raises ConfigError for a file that is not there or cannot be read.
    """
    found: dict[str, OwnFile] = {}
    rewritten = []
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if equals and key.lstrip("+") == GROUP:
            names = []
            for name in _values(value):
                if _is_path(name):
                    own = _read(name)
                    found[own.name], name = own, own.name
                names.append(name)
            argument = f"{key}={','.join(names)}"
        rewritten.append(argument)
    return rewritten, found


def _values(value: str) -> list[str]:
    """The values of an override: one where all of it is a file, else those between commas, without quotes."""
    whole = value.strip().strip("'\"")
    if Path(whole).expanduser().is_file():
        return [whole]
    parts = _VALUE.findall(value)
    return [part.strip().strip("'\"") for part in parts] if parts else [value]


def _is_path(value: str) -> bool:
    return value.lower().endswith(SUFFIXES) or ("/" in value and Path(value).expanduser().is_file())


def _read(path: str) -> OwnFile:
    file = Path(path).expanduser()
    if not file.is_file():
        folder = file.parent
        there = [str(folder / other.name) for other in folder.iterdir()] if folder.is_dir() else []
        near = nearest(path, [name for name in there if name.lower().endswith(SUFFIXES)])
        where = "" if file.is_absolute() else f" in {folder.resolve()}"
        raise ConfigError(
            f"{GROUP}={path}: there is no such file{where}",
            "a file of options, or the name of one in conf/experiment or in --config-dir",
            near or "a path with blanks or commas needs quotes: \"experiment='my files/a.yaml'\"",
        )
    try:
        text = bounded_text(file)
    except yaml.YAMLError as error:
        raise ConfigError(f"{GROUP}={path}: not valid YAML: {' '.join(str(error).split())}") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{GROUP}={path}: the file cannot be read: {error}") from error
    if not re.match(r"\s*#\s*@package\b", text):
        text = HEADER + text
    stem = re.sub(r"\W+", "_", file.stem, flags=re.ASCII).strip("_") or "mine"
    return OwnFile(f"{stem}-{hashlib.sha256(text.encode()).hexdigest()[:8]}", path, text)

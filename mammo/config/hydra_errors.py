"""Messages for mistakes that Hydra finds, with the nearest valid names and the options that do it here."""

from __future__ import annotations

import dataclasses
import os
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import yaml
from hydra.conf import HydraConf
from hydra.errors import (
    ConfigCompositionException,
    HydraException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import OmegaConfBaseException

from mammo.config.command import Command
from mammo.config.foreign import CONFIG_FOLDER
from mammo.support.dotted_keys import flatten
from mammo.support.errors import UserError, mistake_of, nearest, nearest_key
from mammo.support.option_registry import registered, registered_groups
from mammo.support.schema import key_tree
from mammo.support.tracebacks import traceback_text


def readable(error: BaseException, command: Command) -> str | None:
    """The message for a mistake of the user, or None when the error is not one."""
    for cause in _chain(error):
        if isinstance(cause, UserError):
            return str(cause)
        if (mistake := mistake_of(cause)) is not None:
            return str(mistake)
        if isinstance(cause, RuntimeError) and "home directory" in str(cause):  # of Path.expanduser
            return "a path begins with ~, and there is no such home: HOME is not set, or there is no such user"
        if isinstance(cause, RecursionError) and "_create_defaults_tree_impl" in traceback_text(cause):
            return "configurations choose each other in a circle; leave one of their defaults out"
        if isinstance(cause, ValueError) and str(cause).startswith("Config group override"):
            return "a group is chosen by name, not by null: ~debug leaves a group out, launcher=basic runs one by one"
        if isinstance(cause, yaml.YAMLError):
            return f"a configuration file is not valid YAML: {_relative(' '.join(str(cause).split()))}"
    if isinstance(error, MissingConfigException):
        return _unknown_choice(error)
    if isinstance(error, OverrideParseException):
        return f"{first_lines(str(error))}\n  {_quoted(error)}"
    if isinstance(error, ConfigCompositionException):
        return _unknown_override(error, command)
    if isinstance(error, HydraException | OmegaConfBaseException):
        return first_lines(str(error))
    return None


def unknown_flag(flag: str, command: Command) -> str:
    """The message for an option that is written with dashes."""
    near = nearest_key(flag.strip("-").replace("-", "_"), [], flatten(key_tree(command.options)))
    lines = ("options are written KEY=VALUE, without dashes", near, "docs/migration.md has a table of flags")
    return f"{flag}: " + "\n  ".join(line for line in lines if line)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def first_lines(text: str) -> str:
    """What Hydra says, without its advice to set variables and its addresses."""
    return "\n".join(line for line in text.splitlines()[:4] if line.strip() and "hydra.cc" not in line)


def _relative(text: str) -> str:
    return text.replace(str(CONFIG_FOLDER.parent) + os.sep, "")


def _unknown_choice(error: MissingConfigException) -> str:
    missing = error.missing_cfg_file or ""
    group, _, name = str(missing).rpartition("/")
    options = [option for option in error.options or [] if option]
    if not options:
        return first_lines(str(error))
    return f"{group}={name}: there is no such option in the group {group}\n  {nearest(name, options)}"


# What Hydra's own sweepers and launchers call something that is an option here.
_INSTEAD_OF_HYDRA = {
    "hydra.sweeper.n_trials": "hpo.trials",
    "hydra.sweeper.study_name": "sweep.name",
    "hydra.sweeper.storage": "hpo.storage",
    "hydra.sweeper.direction": "train.monitor",
    "hydra.sweeper.n_jobs": "launcher=local_parallel sweep.jobs_at_once",
    "hydra.launcher.n_jobs": "launcher=local_parallel sweep.jobs_at_once",
    "hydra.launcher.partition": "launcher=slurm sweep.partition",
    "hydra.launcher.timeout_min": "launcher=slurm sweep.time_minutes",
    "hydra.launcher.mem_gb": "launcher=slurm sweep.memory_gb",
    "hydra.launcher.gpus_per_node": "launcher=slurm sweep.gpus_per_job",
    "hydra.launcher.cpus_per_task": "launcher=slurm sweep.cores_per_job",
}


def _unknown_key_of_hydra(key: str) -> str:
    """What to do about a key below `hydra` that is not there."""
    for old, new in _INSTEAD_OF_HYDRA.items():
        if key == old or key.startswith(f"{old}."):
            value = next((word.partition("=")[2] for word in sys.argv if word.startswith(f"{key}=")), "")
            return f"{key}: there is no such key here   [command line]\n  {new}={value} does it"
    if key.startswith("hydra.launcher."):
        return (
            f"{key}: the launcher in use has no such key   [command line]\n"
            "  launcher=local_parallel or launcher=slurm choose one; --cfg hydra shows its keys"
        )
    keys = [f"hydra.{field.name}" for field in dataclasses.fields(HydraConf)]
    near = nearest(".".join(key.split(".")[:2]), keys)
    return f"{key}: Hydra has no such key here   [command line]\n  {near}; --cfg hydra shows all"


def _quoted(error: OverrideParseException) -> str:
    """How an override that Hydra cannot parse is written."""
    key, equals, value = str(error.override).partition("=")
    if not equals:
        return "options are KEY=VALUE; a value with blanks needs quotes: \"KEY='VALUE'\""
    escaped = value.strip("'\"").replace("'", "\\'")
    return f"a value with ( ) = [ ] # ' , or blanks needs quotes within those of the shell:\n  \"{key}='{escaped}'\""


def _unknown_override(error: ConfigCompositionException, command: Command) -> str:
    """Hydra's complaint about an override, with the nearest valid key."""
    text = first_lines(str(error))
    found = re.search(r"Could not override '([^']+)'", text)
    if found is None:
        return text
    key = found.group(1)
    if key.startswith("hydra."):
        return _unknown_key_of_hydra(key)
    keys = key_tree(command.options)
    tree: Any = keys | {"experiment": None} | ({"debug": None} if command.groups is None else {})
    path: list[str] = []
    for part in key.split("."):
        if not isinstance(tree, Mapping):
            return f"{key}: {'.'.join(path)} has no keys below it   [command line]"
        if part not in tree:
            place = f" in {'.'.join(path)}" if path else ""
            near = nearest_key(".".join([*path, part]), tree, flatten(keys))
            return f"{key}: there is no key {part!r}{place}   [command line]\n  {near}"
        path.append(part)
        tree = tree[part]
    if path[0] not in registered_groups():
        return f"{text}   [command line]"
    owners = [name for name, options in registered(path[0]).items() if path[-1] in key_tree(options)]
    return f"{key}: belongs to {' or '.join(f'{path[0]}={name}' for name in owners)}   [command line]"

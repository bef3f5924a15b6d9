"""Between Hydra and the project: what Hydra composes is checked here.

Hydra lets typos inside YAML files and behind `+` pass, and claims the run directory before the job starts. Here
they are mistakes that say in which file or on which command line, and the directory is named after what the run
computes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mammo.config.check import check
from mammo.config.command import Command
from mammo.config.foreign import CONFIG_FOLDER, stated_in_conf
from mammo.config.hydra_errors import first_lines
from mammo.config.tree import Config, run_name
from mammo.data.data_options import DataOptions
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError
from mammo.support.option_registry import defaults_of, registered, registered_groups
from mammo.support.yaml_files import read_yaml

TRAIN = Command(
    program="mammo.train",
    options=Config,
    check=check,
    about="Composes a configuration, trains, and leaves a run directory in outputs/.",
    examples=(("Several values make a sweep:", "-m seed=42,43,44"),),
    run_name=run_name,
)

# Mappings whose keys are the user's: Hydra must not refuse new ones.
FREE_MAPPINGS = ("data.table.columns", "data.table.label_map", "data.table.split_map", "hpo.space")


def prepare_hydra(command: Command = TRAIN) -> None:
    """Tell Hydra the default of every option, every registered choice, and how a run is named."""
    store = ConfigStore.instance()
    defaults = OmegaConf.create(defaults_of(command.options))
    for key in FREE_MAPPINGS:
        if (mapping := OmegaConf.select(defaults, key)) is not None:
            OmegaConf.set_struct(mapping, False)
    store.store(name="options", node=defaults)
    for group in registered_groups():
        for name, options in registered(group).items():
            store.store(group=f"options/{group}", name=name, node=defaults_of(options))
            if not Path(CONFIG_FOLDER, group, f"{name}.yaml").exists():
                store.store(group=group, name=name, node={"name": name})
    OmegaConf.register_new_resolver("first", _first_that_is_set, replace=True)
    if command.run_name is not None:
        name_of = command.run_name
        OmegaConf.register_new_resolver(
            "run_name", lambda *, _root_: _run_name(_root_, command, name_of), replace=True, use_cache=False
        )


def _run_name(tree: DictConfig, command: Command, name_of: Callable[[Any], str]) -> str:
    # `--cfg hydra --resolve` shows Hydra's part alone: there is no run to name.
    return name_of(checked_config(tree, command)) if set(tree) - {"hydra"} else "NAME"


def _first_that_is_set(*values: Any) -> Any:
    """For `${first:${a.b},2}` in conf/."""
    return next((value for value in values if value is not None), None)


def checked_config(tree: DictConfig, command: Command = TRAIN) -> Any:
    """The checked configuration of what Hydra composed; raises ConfigError."""
    # Without Hydra's own part: resolving it would ask for the run name, which asks for this.
    own = OmegaConf.masked_copy(tree, [str(key) for key in tree if key != "hydra"])
    try:
        plain = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        raise ConfigError(first_lines(str(error))) from error
    config = command.check(plain, lambda key: _where(tree, key))  # type: ignore[arg-type]
    _require_public_ids(tree, config.data)
    return config


def _require_public_ids(tree: DictConfig, data: DataOptions) -> None:
    """Raises ConfigError when ids would be written because conf/ says so of a dataset that is read in another way.

    A file from elsewhere cannot say `data.pseudonymize=false`, but it could choose public data in words and have
    other data read.
    """
    hydra = OmegaConf.select(tree, "hydra")
    if data.pseudonymize or hydra is None:
        return
    typed = [_key_of(line) for line in hydra.overrides.task]
    sources = [Path(source.path).resolve() for source in hydra.runtime.config_sources if source.schema == "file"]
    if "data.pseudonymize" in typed or all(folder == CONFIG_FOLDER for folder in sources):
        return
    dataset = str(hydra.runtime.choices.get("data"))
    stated = stated_in_conf(dataset)
    own = [key for key in typed if "." in key]
    read_as = flatten({"data": {"format": data.format, "table": dataclasses.asdict(data.table)}})
    usual = flatten({"data": {"format": DataOptions.format, "table": dataclasses.asdict(DataOptions().table)}})
    changed = [
        key
        for key, value in read_as.items()
        if value != stated.get(key, usual.get(key)) and not any(f"{key}.".startswith(f"{other}.") for other in own)
    ]
    if changed or stated.get("data.pseudonymize") is not False:
        raise ConfigError(
            f"data.pseudonymize=false, but not for data={dataset} as conf/ has it"
            + (f": {', '.join(changed)} differ" if changed else ""),
            "a configuration from elsewhere does not decide whether ids of patients are written",
            "data.pseudonymize=true or data.pseudonymize=false on the command line",
        )


def _where(tree: DictConfig, key: str) -> str:
    """Where a dotted key was set: the override on the command line, or the file."""
    hydra = OmegaConf.select(tree, "hydra")
    if hydra is None:
        return ""
    named = {_key_of(override): str(override) for override in hydra.overrides.task}
    # The override of the key itself, then of what is below it (a section as a whole is found wrong), then of
    # what is above it; a choice of a group (data=mias) is looked up in its file.
    below = [name for name in named if name.startswith(f"{key}.")]
    above = [name for name in named if key.startswith(f"{name}.") and name not in hydra.runtime.choices]
    for name in ([key] if key in named else []) + below + sorted(above, key=len, reverse=True):
        return f"command line: {named[name]}"
    choices = {str(group): str(choice) for group, choice in hydra.runtime.choices.items() if choice}
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    section = key.split(".")[0]
    for group in ("debug", "experiment", section, ""):
        file = f"{group}/{choices[group]}.yaml" if group in choices else f"{hydra.job.config_name}.yaml"
        within = key.removeprefix(f"{section}.") if group == section else key
        for folder in folders:
            if (group in choices or not group) and _states(folder / file, within):
                return f"{folder.name}/{file}"
    return ""


def _key_of(override: object) -> str:
    return str(override).lstrip("+~").split("=")[0].split("@")[0]


def _states(file: Path, key: str) -> bool:
    """Whether a YAML file has a dotted key."""
    tree = read_yaml(file) if file.is_file() else None
    return isinstance(tree, Mapping) and any(f"{name}.".startswith(f"{key}.") for name in flatten(tree))

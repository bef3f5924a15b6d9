"""What a configuration file from elsewhere may say: options of the project, and choices of its groups.

Hydra makes objects of what a configuration names, and starts programs for it. So this is a list of what is allowed,
checked on the values of the file itself before Hydra sees them: what is not known here is refused.
"""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mammo.config.renamed import with_current_keys
from mammo.config.tree import Config
from mammo.data.data_options import PrepareOptions
from mammo.support.dotted_keys import flatten
from mammo.support.errors import nearest, nearest_key
from mammo.support.schema import guarded_keys, key_tree
from mammo.support.yaml_files import read_yaml

CONFIG_FOLDER = (Path(__file__).resolve().parents[2] / "conf").resolve()
# `${train.epochs}` refers to another option; everything else between braces calls a function (`${oc.env:NAME}`).
_REFERENCE = re.compile(r"\$\{([^\W\d]\w*(?:\.\w+)*)\}")
# A configuration that is written for the whole tree says so in its first line.
WHOLE = "_global_"


def more_than_data(tree: Any, config_path: str, package: str | None, typed: Container[str]) -> Iterator[str]:
    """What of a configuration from elsewhere is not allowed, in words.

    `tree` are the values of the file, `config_path` its name as Hydra has it (`experiment/mine`), `package` what its
    header says, and `typed` the keys that the command line sets, which may be any.
    """
    place, section = config_path.split("/")[:-1], _section(config_path, package)
    if "hydra" in [*config_path.removesuffix(".yaml").split("/"), *section]:
        yield "it is meant for Hydra"
        return
    if config_path.split("/")[0] == "options":
        yield "it takes the place of the defaults of all options, which are declared in code"
        return
    known: Any = _options()
    for part in section:
        known = known.get(part) if isinstance(known, Mapping) else None
    if tree is None:
        return
    if not isinstance(known, Mapping):
        yield f"it sets {'.'.join(section)}, which is no section of options; is '# @package {WHOLE}' its first line?"
    elif not isinstance(tree, Mapping):
        yield f"it holds a {type(tree).__name__} and no options"
    else:
        entries = tree.get("defaults", [])
        yield from _defaults_problems(entries, place)
        own = {key: value for key, value in tree.items() if key != "defaults"}
        yield from _option_problems(own, known, section, typed, _stated_by_dataset(entries))


@functools.cache
def _options() -> dict[str, Any]:
    """The keys of all options that are composed, as a tree."""
    return {**key_tree(Config), "prepare": key_tree(PrepareOptions)}


def _groups() -> list[str]:
    return sorted(folder.name for folder in CONFIG_FOLDER.iterdir() if folder.is_dir())


@functools.cache
def _guarded() -> dict[str, Any]:
    return guarded_keys(Config)


def with_present_names(tree: Any, config_path: str, package: str | None) -> Any:
    """The values of a file of an earlier version under the names that its options have now."""
    if not isinstance(tree, Mapping):
        return tree
    section = _section(config_path, package)
    whole = with_current_keys(functools.reduce(lambda inner, part: {part: inner}, reversed(section), tree))
    return functools.reduce(lambda outer, part: outer.get(part, {}), section, whole)


def _section(config_path: str, package: str | None) -> list[str]:
    """Where the values of a file go, as the names of sections."""
    parts = config_path.split("/")[:-1] if package is None else package.split(".")
    return parts[1:] if parts[:1] == [WHOLE] else parts


def _option_problems(
    tree: Mapping[Any, Any], known: Mapping[str, Any], path: Sequence[str], typed: Container[str], stated: Mapping
) -> Iterator[str]:
    guarded = _guarded()
    for key, value in tree.items():
        name = ".".join([*path, str(key)])
        if key == "_target_":
            yield f"{name} names code to call"
        elif key == "hydra" and not path:
            yield f"{name} is a setting of Hydra, which can start programs"
        elif not isinstance(key, str) or key not in known:
            yield f"{name}: there is no such option\n  {nearest_key(name, known, flatten(_options()))}".rstrip()
        elif isinstance(known[key], Mapping):
            if isinstance(value, Mapping):
                yield from _option_problems(value, known[key], [*path, key], typed, stated)
            else:
                yield f"{name} is a section with the keys {', '.join(known[key])}"
        elif (
            name in guarded
            and name not in typed
            and not any(
                value == harmless and type(value) is type(harmless) for harmless in (guarded[name], stated.get(name))
            )
        ):
            yield f"{name} can weaken a protection, remove results or send data elsewhere, so a file does not decide it"
        else:
            yield from _value_problems(value, name)
            if name == "hpo.space" and isinstance(value, Mapping):
                yield from _space_problems(value, typed)


def _space_problems(space: Mapping[Any, Any], typed: Container[str]) -> Iterator[str]:
    """What of the ranges of a search is no range of an option that a file may set."""
    known = [*flatten(_options()), *_groups()]
    for key in map(str, flatten(space)):
        if key not in known:
            yield f"hpo.space: {key}: there is no such option\n  {nearest(key, known)}"
        elif key in _guarded() and key not in typed:
            yield f"hpo.space: {key} can weaken a protection or send data elsewhere, so a file does not decide it"


def _value_problems(value: Any, name: str) -> Iterator[str]:
    """What of the value of an option is no plain data, references to other options aside."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "_target_":
                yield f"{name}.{key} names code to call"
            elif isinstance(key, bool) or not isinstance(key, str | int | float):
                yield f"{name}.{key}: the key is neither text nor number; in quotes it is text"
            yield from _value_problems(inner, f"{name}.{key}")
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _value_problems(inner, f"{name}[{number}]")
    elif isinstance(value, str):
        yield from _reference_problems(value, name)
    elif not isinstance(value, bool | int | float | None):
        yield f"{name} is a {type(value).__name__}, which no option takes"


def _reference_problems(text: str, name: str) -> Iterator[str]:
    if "${" in _REFERENCE.sub("", text):
        yield f"{name} calls a resolver ({text[:40]})"
    for key in _REFERENCE.findall(text):
        if flatten(_options()).get(key, "") is not None or key in _guarded():
            yield f"{name} refers to {key}, which is no option that a file may read"


def _defaults_problems(entries: Any, place: Sequence[str]) -> Iterator[str]:
    """What of a defaults list does more than choose from the groups of conf/; `place` is the group of its file."""
    if not isinstance(entries, list):
        yield "its defaults are no list"
        return
    for entry in entries:
        is_choice = isinstance(entry, Mapping) and len(entry) == 1
        key, value = next(iter(entry.items())) if is_choice else (entry, None)
        names = value if isinstance(value, list) and value else [value]
        if not isinstance(key, str) or not all(isinstance(name, str | None) for name in names):
            yield f"its defaults have an entry that is neither a name nor GROUP: NAME ({str(entry)[:40]})"
            continue
        *keywords, group = key.split(" ") if is_choice else [key]
        paths = [f"{group}/{name}" for name in names] if is_choice else [group]
        for path in paths if paths != ["_self_"] else []:
            yield from _path_problems(path, place)
        if not set(keywords) <= {"optional", "override"}:
            yield f"its defaults have {key!r}, which is no group"


def _path_problems(path: str, place: Sequence[str]) -> Iterator[str]:
    """What is wrong with a name in a defaults list, as Hydra takes it: from `/`, or from the group of the file."""
    parts = path[1:].split("/") if path.startswith("/") else [*place, *path.split("/")]
    groups = _groups()
    if "hydra" in re.split(r"\W+", path.lower()):
        yield f"its defaults choose settings of Hydra, which can start programs ({path})"
    elif "${" in path or "@" in path:
        yield f"its defaults have {path!r}; a file chooses by name, and for the place that the group has"
    elif not is_plain_path("/".join(parts)):
        yield f"its defaults leave the folders of configurations ({path})"
    elif parts[0] not in groups if len(parts) > 1 else bool(place):
        yield f"its defaults choose from {parts[0]!r}, which is no group of conf/\n  {nearest(parts[0], groups)}"


def is_plain_path(config_path: str) -> bool:
    """Whether the name of a configuration stays in the folders where it is looked up."""
    return "\\" not in config_path and not {"", ".", ".."} & set(config_path.split("/"))


def _stated_by_dataset(entries: Any) -> dict[str, Any]:
    """What conf/ says about the dataset that a defaults list chooses: ids of public data are nobody's."""
    for entry in entries if isinstance(entries, list) else []:
        for key, name in entry.items() if isinstance(entry, Mapping) else []:
            if str(key).split(" ")[-1] in ("data", "/data") and isinstance(name, str):
                return stated_in_conf(name)
    return {}


def stated_in_conf(dataset: str) -> dict[str, Any]:
    """The options that conf/data/ has for a dataset, with dotted keys; empty for one that it does not know."""
    file = CONFIG_FOLDER / "data" / f"{dataset}.yaml"
    return flatten({"data": read_yaml(file)}) if is_plain_path(dataset) and os.path.isfile(file) else {}

"""Commands that start from runs or networks: KEY=VALUE on the command line, checked before anything heavy.

Training composes a configuration from groups; these commands have a handful of options of their own, and the
data of the run unless data=... names another dataset, which is then composed as for training.
"""

from __future__ import annotations

import dataclasses
import sys
import textwrap
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser

from mammo.cli.entry import end_with, under_current_names
from mammo.config.composition import checked_config, prepare_hydra
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.help import command_lines, option_lines
from mammo.config.prepare import PREPARE
from mammo.config.untrusted import check_config_files
from mammo.inference.command_options import DataChoice
from mammo.runs.folders import results_near
from mammo.support.errors import ConfigError, nearest
from mammo.support.interruption import INTERRUPTED_STATUS, listen
from mammo.support.plain_text import WIDTH
from mammo.support.schema import build, types_of

# Options of the data that a checkpoint answers.
FIXED_BY_NETWORK = ("image_size", "crop", "orient", "decode", "mean", "std")
DATA_HELP = (
    "data=NAME data.KEY=VALUE ...",
    "another dataset than that of the run, with the options of mammo.train; data.root=DIR alone: the data of the "
    "run, which has moved. Size and preprocessing of the images are those of the network.",
)


@dataclasses.dataclass(frozen=True)
class Tool:
    """One command: its options, what it does in a sentence or two, examples, whether it reads a dataset."""

    program: str
    options: type
    about: str
    examples: tuple[str, ...]
    takes_data: bool = True


@dataclasses.dataclass(frozen=True)
class CommandLine:
    """Checked options of a command, and what it says about the data, as typed."""

    options: Any
    data: DataChoice


def run_tool(tool: Tool, work: Callable[[CommandLine], None], words: Sequence[str]) -> None:
    """Check a command line and do the work; a mistake of the user ends the process with status 2."""
    if {"-h", "--help"} & set(words):
        print(tool_help(tool))
        return
    listen()
    try:
        work(parse(tool, words))
    except KeyboardInterrupt:
        print("interrupted; the same command does it again", file=sys.stderr)
        sys.exit(INTERRUPTED_STATUS)
    except Exception as error:  # a mistake or a failure, which ends with its message and status
        end_with(error, PREPARE)


def parse(tool: Tool, words: Sequence[str]) -> CommandLine:
    """The options that a command line gives; raises ConfigError that lists every mistake.

    A list is written `key=[a,b]`, or by naming the key again. What has no `=` and exists is a value of `run`.
    """
    tree: dict[str, Any] = {}
    data, wrong = [], []
    types = types_of(tool.options)
    for word in under_current_names(words):
        key, equals, text = word.partition("=")
        if "run" in types and (not equals or key not in types) and Path(word).exists():
            key, equals, text = "run", "=", word
        if word.startswith("-"):
            name = key.lstrip("-").replace("-", "_")
            instead = f": {name}={'true' if types[name] is bool else 'VALUE'}" if name in types else ""
            wrong.append(f"{word}: options are written KEY=VALUE, without dashes{instead}")
        elif tool.takes_data and (key == "data" or key.startswith("data.")) and equals:
            data.append(word)
        elif not equals:
            near = nearest(word, [*types, *results_near(Path(word))])
            wrong.append(f"{word}: neither KEY=VALUE nor something that exists\n  {near}")
        elif typing.get_origin(types.get(key)) is list:
            tree.setdefault(key, []).extend(_items(text))
        else:
            tree[key] = _value(text, types.get(key, str))
    problems: list[Any] = []
    options: Any = build(tool.options, tree, problems)
    wrong += [f"{p.key}: {p.found}" + (f"\n  {p.expected}" if p.expected else "") for p in problems]
    if wrong:
        raise ConfigError("\n".join(wrong), to_do=f"python -m {tool.program} --help lists the options")
    return CommandLine(options, _data_choice(data))


def _data_choice(words: Sequence[str]) -> DataChoice:
    """What `data=...` and `data.KEY=VALUE` mean; raises ConfigError, and what Hydra raises for a mistake."""
    fixed = [word for word in words if word.partition("=")[0].removeprefix("data.") in FIXED_BY_NETWORK]
    if fixed:
        raise ConfigError(
            f"{', '.join(fixed)}: the preprocessing of images belongs to the network, which was trained with it",
            to_do="leave it out",
        )
    if any(word.startswith("data=") for word in words):
        prepare_hydra(PREPARE)
        check_config_files(words)
        with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
            tree = hydra.compose("prepare", overrides=list(words))
        return DataChoice(checked_config(tree, PREPARE).data)
    overrides = OverridesParser.create().parse_overrides(list(words))
    return DataChoice(changes={o.key_or_group.removeprefix("data."): o.value() for o in overrides})


def _items(text: str) -> list[str]:
    if text.startswith("[") and text.endswith("]"):
        return [item.strip() for item in text[1:-1].split(",") if item.strip()]
    return [text]


def _value(text: str, annotation: Any) -> Any:
    """The value of an option: text where it takes text, else what YAML makes of it."""
    if text == "null":
        return None
    if str in (annotation, *typing.get_args(annotation)):
        return text
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def tool_help(tool: Tool) -> str:
    """Help of a command, 80 columns wide."""
    lines = [f"usage: python -m {tool.program} [KEY=VALUE ...]", "", *textwrap.wrap(tool.about, WIDTH)]
    lines += ["", "Options (key=default: meaning)", *option_lines(tool.options)]
    if tool.takes_data:
        indent = " " * 6
        lines += [f"  {DATA_HELP[0]}"]
        lines += textwrap.wrap(DATA_HELP[1], WIDTH, initial_indent=indent, subsequent_indent=indent)
    lines += ["", "Examples"]
    for example in tool.examples:
        lines += command_lines(f"python -m {tool.program} {example}")
    return "\n".join(lines)

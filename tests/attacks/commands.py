"""The commands, run in this process as `python -m` would run them; each returns its exit status."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import sys
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import mammo
from mammo import doctor, embed, evaluate, explain, export, predict, report, train
from mammo.cli.entry import run_command
from mammo.cli.tool import run_tool
from mammo.config.composition import TRAIN
from mammo.data.data_options import DataOptions
from mammo.data.formats import read_manifest
from mammo.data.labels import apply_task
from mammo.support.errors import BadFile, UserError
from mammo.support.plain_text import terminal_text
from mammo.support.schema import build
from mammo.support.tracebacks import error_text
from mammo.support.yaml_files import read_yaml

_TOOLS = {"predict": predict, "evaluate": evaluate, "export": export, "embed": embed, "explain": explain,
          "report": report}  # fmt: skip
_LATE = ("pytorch_grad_cam", "sklearn.manifold", "sqlalchemy.dialects.sqlite", "alembic.command", "timm.models")
_CONF = train.CONFIG_FOLDER


def import_everything() -> None:
    """Import what the commands import when they need it: a process for each case must not."""
    for module in pkgutil.walk_packages(mammo.__path__, "mammo."):
        importlib.import_module(module.name)
    for name in _LATE:
        importlib.import_module(name)


def import_all(names: Iterable[str]) -> bool:
    """Import modules that a process for a case has imported late; whether there was one that can be."""
    found = False
    for name in names:
        with contextlib.suppress(Exception):
            importlib.import_module(name)
            found = True
    return found


def status_of(work: Callable[[], object]) -> int:
    """The exit status of a process that does this; a traceback is printed where Python would print one."""
    try:
        work()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run_train(words: Sequence[str]) -> int:
    """`python -m mammo.train`."""
    sys.argv = ["mammo.train", *words]
    return status_of(lambda: run_command(train.job, TRAIN))


def run_words(command: str, words: Sequence[str]) -> int:
    """Any other command."""
    sys.argv = [f"mammo.{command}", *words]
    if command == "doctor":
        return status_of(lambda: doctor.main(list(words)))
    tool = _TOOLS[command]
    return status_of(lambda: run_tool(tool.TOOL, tool.work, list(words)))


def read_labels(name: str, root: Path) -> int:
    """Read the labels in a folder as `data=NAME` does; a refusal is printed as a run would write it."""

    def work() -> None:
        problems: list[Any] = []
        options = build(DataOptions, read_yaml(_CONF / "data" / f"{name}.yaml"), problems)
        try:
            apply_task(read_manifest(options, root), options.task)
        except (BadFile, UserError) as error:
            print(terminal_text(f"error: {error_text(error)}"), file=sys.stderr)
            sys.exit(2)

    return status_of(work)

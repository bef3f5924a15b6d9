"""Command lines of the commands that start from a trained network."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from typing import Literal

import pytest

from mammo.cli.tool import Tool, parse
from mammo.inference.command_options import TrainedOptions
from mammo.support.errors import ConfigError
from mammo.support.option_registry import option
from tests.conftest import REPOSITORY
from tests.processes import run_module

COMMANDS = ("evaluate", "predict", "explain", "embed", "export", "report")


@dataclasses.dataclass(frozen=True)
class Options(TrainedOptions):
    """Options of each kind."""

    image: list[str] = option([], "ids")
    limit: int = option(8, "how many", at_least=1)
    method: Literal["one", "two"] = option("one", "which")
    output: str | None = option(None, "folder")
    force: bool = option(False, "or not")


TOOL = Tool("mammo.tool", Options, "Does.", ("outputs/NAME",))


def test_words_become_options(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a=b").mkdir()
    line = parse(
        TOOL, ["run=x", "a=b", "image=[1,2]", "image=007", "limit=3", "method=two", "output=1", "force=true",
               "data.root=/d", "data.views=[CC]"],
    )  # fmt: skip
    assert line.options == Options(
        run=["x", "a=b"], image=["1", "2", "007"], limit=3, method="two", output="1", force=True
    )
    assert line.data.composed is None
    assert line.data.changes == {"root": "/d", "views": ["CC"]}
    assert parse(TOOL, ["output=null"]).data.says_nothing


def test_another_dataset_is_composed_as_for_training():
    composed = parse(TOOL, ["data=mias", "data.root=/d"]).data.composed
    assert composed is not None
    assert (composed.name, composed.root, composed.pseudonymize) == ("mias", "/d", False)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("limits=3", r"limits: there is no such key\n  did you mean limit\?"),
        ("limit=0", "at least 1"),
        ("limit=many", "found 'many'"),
        ("method=three", "one of one, two"),
        ("force=1", "true or false"),
        ("--limit=3", "without dashes"),
        ("nothing", "neither KEY=VALUE nor something that exists"),
        ("data.crop=false", "belongs to the network"),
    ],
)
def test_mistakes_name_what_would_be_right(word, message):
    with pytest.raises(ConfigError, match=message):
        parse(TOOL, [word])


def test_all_mistakes_are_named_at_once():
    with pytest.raises(ConfigError) as caught:
        parse(TOOL, ["limit=0", "method=three", "x"])
    assert all(part in str(caught.value) for part in ("limit", "method", "x: neither", "mammo.tool --help"))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal_and_needs_nothing_heavy(name):
    code = (
        f"import runpy, sys; sys.argv = ['mammo.{name}', '--help']; runpy.run_module('mammo.{name}', "
        "run_name='__main__'); print({'torch', 'sklearn', 'pandas', 'matplotlib'} & set(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr.strip() == "set()"
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert f"usage: python -m mammo.{name}" in done.stdout
    assert "run=[]" in done.stdout
    assert done.stdout.count(f"python -m mammo.{name}") > 2  # examples


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistake_ends_with_status_2_and_no_traceback(name):
    done = run_module(f"mammo.{name}", "run=outputs/gone", folder=REPOSITORY)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr

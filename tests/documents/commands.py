"""Whether a command of the documents works: it is composed or parsed as it parses itself, and nothing is trained."""

from __future__ import annotations

import dataclasses
import glob
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from benchmarks import __main__ as benchmarks
from mammo import embed, evaluate, explain, export, predict, report
from mammo.cli.tool import parse
from mammo.config.composition import TRAIN, checked_config, prepare_hydra
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.own_files import with_own_files
from mammo.config.prepare import PREPARE
from mammo.config.untrusted import check_config_files
from mammo.prepare import with_num_shards, with_weights
from mammo.sweeps.plan import combinations, key_of, parse_arguments
from tests.conftest import REPOSITORY
from tests.documents.pages import words_of
from tests.processes import run_module

COMPOSED = {TRAIN.program: TRAIN, PREPARE.program: PREPARE}
TOOLS = {module.TOOL.program: module.TOOL for module in (evaluate, predict, explain, embed, export, report)}
# Nothing in them can be wrong but their own name, or another test runs them.
OTHERS = (
    "source .venv/bin/activate",
    "pip-audit -r constraints.txt --no-deps --disable-pip",
    "sha256sum --check SHA256SUMS",
    "status=$?",
    'if [ $status -eq 85 ]; then scontrol requeue "$SLURM_JOB_ID"; fi',
    "exit $status",
)


def check_command(command: str) -> None:
    """Fails for a command with a wrong option or file, and for one of a kind that is not known."""
    if command in OTHERS:
        return
    words = [found for word in words_of(command.removeprefix("srun ")) for found in glob.glob(word) or [word]]
    match words:
        case ["python", "-m", program, "--help"] if program in COMPOSED | TOOLS:
            pass
        case ["python", "-m", program, *words] if program in COMPOSED:
            check_composed(program, words)
        case ["python", "-m", program, *words] if program in TOOLS:
            line = parse(TOOLS[program], words)
            if program == embed.TOOL.program and words:
                embed.check(line.options, line.data)
        case ["python", "-m", "mammo.doctor", *words]:
            check_doctor(words)
        case ["python", "-m", "benchmarks", *words]:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["benchmarks", *words])
                benchmarks.parse()
        case ["python", "-m", module, *words]:
            check_script(REPOSITORY / module.replace(".", "/"), words)
        case ["python", script, *words] if script.endswith(".py"):
            check_script((REPOSITORY / script).with_suffix(""), words)
        case ["make", *words]:
            check_make(words)
        case ["pip", "install", "-e", target]:
            check_extra(target)
        case _:
            pytest.fail(f"no check is known for: {command}")


def check_composed(program: str, words: list[str]) -> None:
    """Compose a run or all runs of a sweep; raises ConfigError for what makes no sense."""
    command = COMPOSED[program]
    if "--config-dir" in words or "--cfg" in words:
        shown = run_module(program, *words, *(() if "--cfg" in words else ("--cfg", "job")), folder=Path.cwd())
        assert shown.returncode == 0, shown.stderr
        return
    prepare_hydra(command)
    words = with_num_shards(with_weights(words)) if command is PREPARE else words
    words, studies = with_own_files(words)
    check_config_files(words, studies, command.sections)
    overrides = [word for word in words if word != "-m"]
    runs = [overrides]
    if "-m" in words:
        num_folds = next((int(o.split("=")[1]) for o in overrides if o.startswith("data.num_folds=")), None)
        sweep = parse_arguments(overrides, num_folds)
        is_search = any(word.startswith("hpo=") for word in overrides)
        ranges = [o for o in sweep.varied if is_search and not o.is_discrete_sweep()]
        fixed = [str(o.input_line) for o in sweep.fixed] + [f"{key_of(o)}={o.value().start}" for o in ranges]
        values = dataclasses.replace(sweep, varied=tuple(o for o in sweep.varied if o not in ranges))
        first, *others = combinations(values)
        runs = [[*fixed, *one] for one in (first, *others) if len(set(one) - set(first)) <= 1]  # each value once
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        for run in runs:
            checked_config(compose(program.removeprefix("mammo."), run, return_hydra_config=True), command)


def check_doctor(words: list[str]) -> None:
    """Options are those of training; folders exist."""
    options = [word for word in words if "=" in word and word != "json=true"]
    for word in set(words) - set(options) - {"json=true", "--help", "cache"}:
        assert Path(word).exists(), word
    if options:
        check_composed(TRAIN.program, options)


def check_script(path: Path, words: list[str]) -> None:
    """A module or script of the repository that parses its flags by argparse."""
    file = path / "__main__.py" if path.is_dir() else path.with_suffix(".py")
    flags = [word for word in words if word.startswith("--")]
    source = file.read_text(encoding="utf-8")
    assert [flag for flag in flags if f'"{flag}"' not in source] == []


def check_make(words: list[str]) -> None:
    """Targets exist, variables are known, and what would be trained composes."""
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    for name in (word.partition("=")[0] for word in words if "=" in word):
        assert re.search(rf"^{name} \?=", makefile, re.MULTILINE), name
    shown = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", *words], cwd=REPOSITORY, text=True, capture_output=True
    )
    assert shown.returncode == 0, shown.stderr
    if "-m mammo.train" in shown.stdout:
        words = shlex.split(shown.stdout.splitlines()[-1])
        check_composed(TRAIN.program, words[words.index(TRAIN.program) + 1 :])


def check_extra(target: str) -> None:
    """`.[NAME]`, where NAME is an extra of the project."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extra = re.fullmatch(r"\.\[(\w+)\]", target)
    assert extra is not None, target
    assert extra[1] in project["optional-dependencies"]

"""Every command of README.md and docs/ works; those that a newcomer types first are run as they stand there."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hydra.errors import HydraException

from mammo.support.errors import UserError
from mammo.support.schema import types_of
from tests.documents.commands import OTHERS, TOOLS, check_command
from tests.documents.pages import PAGES, RECIPES, blocks_of, commands_of, lines_of, words_of
from tests.processes import run_module

OF_RECIPES = {recipe.command for recipe in RECIPES.values()}  # they work where the recipe was followed
COMMANDS = [(page, command) for page in PAGES for command in commands_of(page) if command not in OF_RECIPES]
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
# What the commands of the documents name; what is `.../` is a folder.
NAMED = (
    "DIR/", "FOLDER/", "FILE", "outputs/NAME/", "outputs/NEW/", "outputs/OLD/", "outputs/A/", "outputs/B/",
    "multirun/NAME/", "best_model.pth", "density.safetensors", "image.dcm",
)  # fmt: skip
STUDIES = {
    "multirun/NAME/experiment/best_config.yaml": "# @package _global_\nseed: 43",
    "outputs/NAME/.hydra/experiment/mine-1a2b3c4d.yaml": "# @package _global_\nseed: 43",
} | {block.note.removeprefix("file "): block.text for block in BLOCKS if block.note.startswith("file ")}
OF_RUNS = (*TOOLS, "mammo.doctor")
# In the README, without those that are about a dataset of the reader's.
RUN_AS_THEY_STAND = [
    command for command in commands_of("README.md") if words_of(command)[2:3] and words_of(command)[2] in OF_RUNS
    and "outputs/" in command
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch) -> Path:
    """The working directory, with everything that the commands of the documents name."""
    for name in NAMED:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if name.endswith("/") else path.touch()
    for name, text in STUDIES.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("page", "command"), COMMANDS)
def test_every_command_of_the_documents(page, command, folder):
    check_command(command)


@pytest.mark.parametrize(
    "command",
    [
        "python -m mammo.train data=miasma", "python -m mammo.train -m strategy=head_only,full", "make trian",
        "python -m mammo.train optimizer.rate=1", "python -m mammo.prepare data=mias train.epochs=1",
        "python -m mammo.evaluate outputs/NAME splt=test", "python -m mammo.predict outputs/NOWHERE input=DIR",
        "python -m mammo.embed model=resnet50", "python -m mammo.doctor data=arhive data.root=DIR",
        "python -m mammo.report outputs/NAME otput=DIR", "python -m mammo.retrain", "make reproduce-cv DATE=archive",
        "python benchmarks/mias_quality.py --rot DIR", "python -m benchmarks --only decodng", "ls outputs",
        "pip install -e '.[slurmm]'", "python -m mammo.train experiment=path/to/yours.yaml",
    ],
)  # fmt: skip
def test_a_wrong_command_would_be_noticed(command, folder):
    with pytest.raises((UserError, HydraException, AssertionError, pytest.fail.Exception, SystemExit, OSError)):
        check_command(command)


def test_every_block_of_code_has_a_check():
    for block in BLOCKS:
        is_known = {
            "sh": True,
            "": not any(line.startswith(("python", "make", "pip")) for line in lines_of(block.text)),
            "yaml": block.note.startswith(("file ", "recipe ")),
            "python": block.note.startswith("recipe ") or block.page == "docs/export.md",
        }.get(block.language, False)
        assert is_known, f"{block.page}: {block.text}"


@pytest.fixture(scope="module")
def with_a_run(tiny_run, tmp_path_factory) -> Path:
    """A folder with a finished run in `outputs/NAME`."""
    folder = tmp_path_factory.mktemp("documents")
    shutil.copytree(tiny_run, folder / "outputs" / "NAME")
    return folder


@pytest.mark.parametrize("command", RUN_AS_THEY_STAND)
def test_what_the_readme_makes_of_a_run(command, with_a_run, class_folders, session_cache):
    _, _, module, *words = words_of(command)
    words = [{"input=DIR": f"input={class_folders}", "outputs/*": "outputs/NAME"}.get(word, word) for word in words]
    reads_images = module in TOOLS and "cache_dir" in types_of(TOOLS[module].options)
    further = [f"cache_dir={session_cache}"] if reads_images else []
    done = run_module(module, *words, *further, folder=with_a_run)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_checksums_of_a_run_are_read_by_sha256sum(tiny_run):
    (command,) = [command for command in OTHERS if command.startswith("sha256sum")]
    assert subprocess.run(words_of(command), cwd=tiny_run / "checkpoints", capture_output=True).returncode == 0


@pytest.mark.parametrize(("status", "is_queued_again"), [(0, False), (1, False), (85, True)])
def test_the_batch_script_queues_itself_again_where_a_run_has_saved(status, is_queued_again, tmp_path):
    (script,) = [block.text for block in blocks_of("docs/clusters.md") if "#SBATCH" in block.text]
    for name, body in {"srun": f"exit {status}", "scontrol": 'echo "$@" > queued.txt'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_JOB_ID": "17"}
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment)
    assert done.returncode == status
    queued = tmp_path / "queued.txt"
    assert (queued.read_text() if queued.exists() else None) == ("requeue 17\n" if is_queued_again else None)


def test_a_run_leaves_what_the_page_about_runs_lists(tiny_run):
    (tree,) = [block for block in blocks_of("docs/runs.md") if block.text.startswith("outputs/")]
    for line in tree.text.splitlines()[1:]:
        names = line.strip().split("  ")[0].split(", ")
        for name in names:
            file = Path(names[0]).with_suffix(name) if name in (".csv", ".json") else Path(name)
            assert (tiny_run / file).exists() or file.name == "error.json", file


def test_there_is_a_page_for_everything_and_the_readme_is_short():
    text = PAGES["README.md"]
    assert len(text.splitlines()) <= 250
    assert [page for page in PAGES if page != "README.md" and f"({page})" not in text] == []

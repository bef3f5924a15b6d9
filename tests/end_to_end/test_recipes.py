"""What README.md and docs/ say is true: each recipe trains as it stands there, each command composes."""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from PIL import Image

from mammo.config.composition import TRAIN, checked_config, prepare_hydra
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.own_files import with_own_files
from mammo.config.prepare import PREPARE
from mammo.config.tree import Config
from mammo.config.untrusted import check_config_files
from mammo.prepare import with_num_shards, with_weights
from mammo.support.dotted_keys import flatten
from mammo.support.options import registered
from mammo.support.schema import key_tree
from mammo.sweeps.plan import combinations, parse_arguments
from tests.conftest import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DOCUMENTS = {"README.md": README} | {
    f"docs/{file.name}": file.read_text(encoding="utf-8") for file in sorted((REPOSITORY / "docs").glob("*.md"))
}

RECIPE = re.compile(
    r"<!-- recipe (?P<name>\w+): (?P<how>append to|new file) (?P<file>\S+) -->\n"
    r"```\w+\n(?P<code>.*?)```\n\n```sh\n(?P<command>python -m mammo\.train [^\n]*)\n```",
    re.DOTALL,
)
COMMAND = re.compile(r"python -m mammo\.(?:train|prepare)[^`\n]*")

SMALL = ("data.image_size=64", "data.batch_size=8", "data.val_fraction=0.4", "train.epochs=2", "train.threads=1")
BUNDLED_WEIGHTS = "model=efficientnet_lite0"
DENSITIES = {"A": "fatty", "B": "scattered", "C": "heterogeneous", "D": "extreme"}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A recipe of the README: which file it appends to or makes, and the command that uses it."""

    name: str
    how: str
    file: str
    code: str
    command: str


RECIPES = {match["name"]: Recipe(**match.groupdict()) for match in RECIPE.finditer(README)}


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the project that a recipe may change."""
    copy = tmp_path / "checkout"
    for folder in ("mammo", "conf"):
        shutil.copytree(REPOSITORY / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def follow(recipe: Recipe, checkout: Path) -> None:
    """Do what the recipe says."""
    file = checkout / recipe.file
    if recipe.how == "append to":
        file.write_text(f"{file.read_text(encoding='utf-8')}\n\n{recipe.code}", encoding="utf-8")
    else:
        assert not file.exists(), f"{recipe.file} is not new"
        file.write_text(recipe.code, encoding="utf-8")


def run(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mammo.train", *arguments], cwd=checkout, text=True, capture_output=True, check=False,
        env={**os.environ, "PYTHONPATH": str(checkout)}, timeout=300,
    )  # fmt: skip


def train_with(recipe: Recipe, checkout: Path, root: Path, cache: Path, *further: str) -> Path:
    """Run the recipe's command on small images; returns the run directory."""
    follow(recipe, checkout)
    arguments = [a for a in shlex.split(recipe.command)[3:] if not a.startswith("data.root=")]
    done = run(checkout, *arguments, f"data.root={root}", f"cache_dir={cache}", *SMALL, *further)
    assert done.returncode == 0, done.stderr + done.stdout
    (directory,) = (checkout / "outputs").iterdir()
    assert json.loads((directory / "summary.json").read_text())["status"] == "completed"
    return directory


def test_there_is_a_recipe_for_each_part():
    assert set(RECIPES) == {"loss", "scheduler", "model", "dataset", "reader"}


FOLDERS = ("data=folders", "data.group_by=image")


def test_loss(checkout, class_folders, session_cache):
    recipe = RECIPES["loss"]
    weighted_loss = "sampler=uniform"  # which leaves the balancing to class weights
    directory = train_with(recipe, checkout, class_folders, session_cache, *FOLDERS, BUNDLED_WEIGHTS, weighted_loss)
    assert yaml.safe_load((directory / "config.yaml").read_text())["loss"] == {
        "name": "focal", "class_weights": "auto", "gamma": 1.5,
    }  # fmt: skip
    # About as uncertain as guessing at the start: (1 - 1/4) ** 1.5 of the cross-entropy log(4), not all of it.
    first = json.loads((directory / "train_history.json").read_text())[0]
    assert 0.4 < first["train_loss"] < 1.2
    assert "loss.gamma=2.0 [loss=focal]" in run(checkout, "--help").stdout
    refused = run(checkout, "loss=focal", "loss.gamma=-1")
    assert refused.returncode == 2
    assert "at least 0" in refused.stderr


def test_scheduler(checkout, class_folders, session_cache):
    recipe, rate = RECIPES["scheduler"], "optimizer.lr=1e-3"
    directory = train_with(recipe, checkout, class_folders, session_cache, *FOLDERS, BUNDLED_WEIGHTS, rate)
    rates = [record["lr"] for record in json.loads((directory / "train_history.json").read_text())]
    assert rates == pytest.approx([1e-3, 1e-4])


@pytest.mark.long
def test_model(checkout, class_folders, session_cache):
    recipe = RECIPES["model"]
    directory = train_with(recipe, checkout, class_folders, session_cache, *FOLDERS, "model.weights=none")
    model = json.loads((directory / "summary.json").read_text())["model"]
    assert model["name"] == "convnext_tiny"
    assert 0 < model["parameters_trainable"] < model["parameters_total"]


def women(class_folders: Path) -> list[tuple[str, str, str, Path]]:
    """Patient, side, class and picture of the tiny dataset: two pictures, left and right, for each woman."""
    return [
        (f"{number // 2:04d}", "LR"[number % 2], file.parent.name, file)
        for number, file in enumerate(sorted(class_folders.glob("*/*.png")))
    ]


def predictions(directory: Path) -> list[dict[str, str]]:
    with (directory / "val_predictions.csv").open() as file:
        return list(csv.DictReader(file))


def test_dataset_with_a_table(checkout, class_folders, session_cache, tmp_path):
    recipe, root = RECIPES["dataset"], tmp_path / "hospital"
    columns = re.search(r"`(case_number,[^`]*)`", README)
    assert columns is not None
    lines = [columns[1]]
    for number, (patient, side, name, file) in enumerate(women(class_folders)):
        lines.append(f"{patient},S{patient},{number},{side},CC,{DENSITIES[name]}")
        (root / f"S{patient}").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / f"S{patient}" / f"{number}.png")
    (root / "studies.csv").write_text("\n".join(lines))
    directory = train_with(recipe, checkout, root, session_cache, BUNDLED_WEIGHTS)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["data"]["class_counts"] == {"A": 8, "B": 8, "C": 8, "D": 8}
    assert (summary["data"]["num_patients"], summary["data"]["group_by"]) == (16, "patient")
    rows = predictions(directory)
    assert {(row["laterality"], row["view"]) for row in rows} == {("L", "CC"), ("R", "CC")}
    assert not any(patient in row["patient_id"] for row in rows for patient in ("0000", "0015"))


@pytest.mark.long
def test_dataset_without_a_table(checkout, class_folders, session_cache, tmp_path):
    root = tmp_path / "named"
    root.mkdir()
    for patient, side, name, file in women(class_folders):
        with Image.open(file) as picture:
            picture.save(root / f"{patient}_{side}_CC_{name}.png")
    directory = train_with(RECIPES["reader"], checkout, root, session_cache, BUNDLED_WEIGHTS)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["data"]["class_counts"] == {"A": 8, "B": 8, "C": 8, "D": 8}
    assert summary["data"]["num_patients"] == 16
    assert summary["data"]["name"] == "named"


def commands() -> list[str]:
    """Every command of the documents that is not part of a recipe, nor about a sweep that is there already."""
    of_recipes = {recipe.command for recipe in RECIPES.values()}
    found = {match[0].strip() for text in DOCUMENTS.values() for match in COMMAND.finditer(text)}
    return sorted(command for command in found - of_recipes if "<sweep>" not in command)


@pytest.mark.parametrize("command", commands())
def test_every_command_of_the_documents_composes(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "path/to").mkdir(parents=True)
    (tmp_path / "path/to/mine.yaml").write_text("seed: 43")  # for `experiment=path/to/mine.yaml`
    _, _, program, *arguments = shlex.split(command)
    options = {TRAIN.program: TRAIN, PREPARE.program: PREPARE}[program]
    prepare_hydra(options)
    if options is PREPARE:
        arguments = with_num_shards(with_weights(arguments))
    arguments, studies = with_own_files(arguments)
    check_config_files(arguments, studies, options.sections)
    overrides = [argument for argument in arguments if not argument.startswith("-")]
    if "-m" in arguments:  # the first run of the sweep
        num_folds = next((int(o.split("=")[1]) for o in overrides if o.startswith("data.num_folds=")), None)
        sweep = parse_arguments(overrides, num_folds)
        overrides = [*(override.input_line for override in sweep.fixed), *combinations(sweep)[0]]
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        checked_config(compose(program.removeprefix("mammo."), overrides, return_hydra_config=True), options)


def table_after(heading: str, text: str = README) -> list[list[str]]:
    """Cells of the first table after a text; header and rule left out."""
    lines = text[text.index(heading) :].splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("|"))
    rows = []
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split(" | ")])
    return rows


def test_the_table_of_groups_names_every_choice():
    folders = [folder for folder in CONFIG_FOLDER.iterdir() if folder.is_dir()]
    choices = {f.name: {file.stem for file in f.glob("*.yaml")} | set(registered(f.name)) for f in folders}
    rows = {row[0].strip("`"): row[1] for row in table_after("Groups, the default first")}
    assert set(rows) == set(choices)
    for group, named in rows.items():
        missing = [choice for choice in choices[group] if f"`{choice}`" not in named]
        assert missing == [], f"{group} in README.md lacks {missing}"


def test_the_table_of_keys_names_keys_that_exist():
    known = flatten(key_tree(Config))
    keys = [key for row in table_after("The keys that are used most") for key in re.findall(r"`([^`]+)`", row[0])]
    assert len(keys) > 15
    assert [key for key in keys if key not in known] == []


def test_what_the_documents_link_to_exists():
    for name, text in DOCUMENTS.items():
        folder = (REPOSITORY / name).parent
        for target in re.findall(r"\]\(([^)#]+)\)", text):
            if "://" not in target:
                assert (folder / target).exists(), f"{name}: {target}"

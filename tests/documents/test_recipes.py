"""Each recipe of docs/extend.md trains as it stands there."""

from __future__ import annotations

import csv
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
from PIL import Image

from tests.conftest import REPOSITORY, SMALL_NETWORK
from tests.documents.pages import PAGES, RECIPES, Recipe

SMALL = ("data.image_size=64", "data.batch_size=8", "data.val_fraction=0.4", "train.epochs=2", "train.threads=1")
DENSITIES = {"A": "fatty", "B": "scattered", "C": "heterogeneous", "D": "extreme"}


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
    assert set(RECIPES) == {"loss", "scheduler", "optimizer", "model", "dataset", "reader"}


FOLDERS = ("data=folders", "data.group_by=image")


def test_loss(checkout, class_folders, session_cache):
    recipe = RECIPES["loss"]
    weighted_loss = "sampler=uniform"  # which leaves the balancing to class weights
    directory = train_with(recipe, checkout, class_folders, session_cache, *FOLDERS, *SMALL_NETWORK, weighted_loss)
    assert yaml.safe_load((directory / "config.yaml").read_text())["loss"] == {
        "name": "focal", "class_weights": "auto", "class_weights_alpha": 1.0, "gamma": 1.5,
    }  # fmt: skip
    # About as uncertain as guessing at the start: (1 - 1/4) ** 1.5 of the cross-entropy log(4), not all of it.
    first = json.loads((directory / "train_history.json").read_text())[0]
    assert 0.4 < first["train_loss"] < 1.2
    assert "loss.gamma=2.0 [loss=focal]" in run(checkout, "--help").stdout
    refused = run(checkout, "loss=focal", "loss.gamma=-1")
    assert refused.returncode == 2
    assert "at least 0" in refused.stderr


def test_scheduler_and_optimizer(checkout, class_folders, session_cache):
    optimizer, scheduler = RECIPES["optimizer"], RECIPES["scheduler"]
    follow(optimizer, checkout)
    further = (*FOLDERS, *SMALL_NETWORK, "optimizer.lr=1e-3", *shlex.split(optimizer.command)[3:])
    directory = train_with(scheduler, checkout, class_folders, session_cache, *further)
    rates = [record["lr"] for record in json.loads((directory / "train_history.json").read_text())]
    assert rates == pytest.approx([1e-3, 1e-4])
    assert yaml.safe_load((directory / "config.yaml").read_text())["optimizer"] == {
        "name": "nadam", "lr": 1e-3, "backbone_lr": 1e-4, "weight_decay": 0.05,
    }  # fmt: skip


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
    columns = re.search(r"`(case_number,[^`]*)`", PAGES["docs/extend.md"])
    assert columns is not None
    lines = [columns[1]]
    for number, (patient, side, name, file) in enumerate(women(class_folders)):
        lines.append(f"{patient},S{patient},{number},{side},CC,{DENSITIES[name]}")
        (root / f"S{patient}").mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / f"S{patient}" / f"{number}.png")
    (root / "studies.csv").write_text("\n".join(lines))
    directory = train_with(recipe, checkout, root, session_cache, *SMALL_NETWORK)
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
    directory = train_with(RECIPES["reader"], checkout, root, session_cache, *SMALL_NETWORK)
    summary = json.loads((directory / "summary.json").read_text())
    assert summary["data"]["class_counts"] == {"A": 8, "B": 8, "C": 8, "D": 8}
    assert summary["data"]["num_patients"] == 16
    assert summary["data"]["name"] == "named"

"""The run directory: strict files, and whose it is."""

from __future__ import annotations

import csv
import json

import pytest

from mammo.config.tree import config_tree
from mammo.runs.directory import HydraFiles, RunDirectory
from mammo.support.errors import RunDirectoryError
from mammo.support.outputs import Outputs
from tests.config.test_config import composed

HYDRA = HydraFiles("a: 1\n", "hydra: {}\n", ["a=1"])


@pytest.fixture
def directory(tmp_path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def test_json_is_strict_and_whole(directory):
    directory.write_json("summary.json", {"loss": float("nan"), "best": [float("inf"), 0.5], "none": None})
    text = (directory.path / "summary.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail) == {"loss": None, "best": [None, 0.5], "none": None}
    assert [path.name for path in directory.path.iterdir()] == ["summary.json"]


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@cmd", "\tx"])
def test_a_cell_cannot_start_a_formula(directory, cell):
    directory.write_csv("t.csv", ["id", "value"], [[cell, -0.5]])
    (row,) = csv.DictReader((directory.path / "t.csv").open())
    assert row == {"id": f"'{cell}", "value": "-0.5"}


def test_identity(directory):
    directory.check_identity(composed("seed=1"))
    directory.claim(config_tree(composed("seed=1", "device=cpu", "data.root=here")), HYDRA)
    directory.check_identity(composed("seed=1", "data.root=there"))
    with pytest.raises(RunDirectoryError, match="seed: 1 there, 2 here"):
        directory.check_identity(composed("seed=2"))
    with pytest.raises(RunDirectoryError, match=r"optimizer\.momentum: nothing there, 0\.9 here"):
        directory.check_identity(composed("seed=1", "optimizer=sgd"))


def test_a_configuration_of_another_version(directory):
    tree = config_tree(composed())
    tree["train"]["of_tomorrow"] = 1
    directory.write_yaml("config.yaml", tree)
    with pytest.raises(RunDirectoryError, match=r"not one of this version: train\.of_tomorrow"):
        directory.check_identity(composed())


def test_results_without_a_configuration_are_not_touched(directory):
    directory.write_json("summary.json", {})
    with pytest.raises(RunDirectoryError, match=r"summary\.json but no config\.yaml"):
        directory.check_identity(composed())


def test_changed_data(directory):
    directory.check_data("d1", "s1")
    directory.write_json("summary.json", {"data": {"fingerprint": "d1"}, "split": {"fingerprint": "s1"}})
    directory.check_data("d1", "s1")
    with pytest.raises(RunDirectoryError, match="fingerprint of data and split differs"):
        directory.check_data("d2", "s2")
    with pytest.raises(RunDirectoryError, match="fingerprint of split differs"):
        directory.check_data("d1", "s2")


def test_clear_removes_what_a_run_writes_and_nothing_else(directory):
    directory.claim({"seed": 1}, HYDRA)
    directory.write_json("summary.json", {})
    directory.write_text("splits/train.csv", "")
    directory.write_text("notes of mine.txt", "keep")
    directory.clear()
    assert [path.name for path in directory.path.iterdir()] == ["notes of mine.txt"]


@pytest.mark.parametrize("name", ["report/mine.md", "checkpoints/mine.pth", "exports/x/mine.bin", "metrics/sub/notes"])
def test_restarting_removes_nothing_of_others(directory, name):
    directory.claim({"seed": 1}, HYDRA)
    directory.write_text("checkpoints/best_model.pth", "")
    Outputs(directory.path / "report", "report").write_text("report.md", "of the report")
    directory.write_text(name, "mine")
    with pytest.raises(RunDirectoryError, match=f"has not written: .*{name.split('/')[-1]}"):
        directory.clear()
    assert (directory.path / name).read_text() == "mine"
    assert (directory.path / "checkpoints" / "best_model.pth").exists()
    (directory.path / name).unlink()
    directory.clear()
    assert not any(directory.path.iterdir())


@pytest.mark.parametrize("name", ["report", "checkpoints", "config.yaml", "run.log"])
def test_a_link_in_a_run_is_not_followed(directory, name, tmp_path):
    directory.path.mkdir()
    (directory.path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunDirectoryError, match=f"{name} in .*: a link"):
        directory.check_identity({"seed": 1})


def test_an_empty_folder_is_taken_away_again(directory):
    directory.path.mkdir()
    directory.remove_if_empty()
    assert not directory.path.exists()
    with directory.lock():
        directory.remove_if_empty()
        assert directory.path.exists(), "another process has just begun here"
    directory.write_text("a", "b")
    directory.remove_if_empty()
    assert directory.path.exists()


@pytest.mark.parametrize("text", ["", "{", "[]"])
def test_a_summary_that_cannot_be_read_counts_as_none(directory, text):
    directory.write_text("summary.json", text)
    assert directory.summary() is None

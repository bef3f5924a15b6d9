"""Options come and get other names; what was trained before stays the same run."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mammo.cli.entry import under_current_names
from mammo.config import renamed
from mammo.config.check import check_stored
from mammo.config.renamed import RENAMED, current_key, original_key, with_current_keys, with_original_keys
from mammo.config.tree import Config, config_tree, identity_tree, run_id
from mammo.data.sampler import Uniform, Weighted
from mammo.support.dotted_keys import flatten
from mammo.support.option_registry import choice, option, section
from mammo.support.schema import build, key_tree, to_tree
from tests.config.test_config import composed
from tests.conftest import REPOSITORY

# As commit 5a690a5 computes them. Nothing that changes no result may change one of them.
GOLDEN = {
    "": "6925ffc8",
    "seed=43 data.num_folds=3 data.fold=1": "39db829f",
    "experiment=density_seed42": "1cf2062e",
    "experiment=resnet50_frozen data=archive": "5975b9d8",
    "experiment=efficientnetb0_binary data=mias": "8eb695b1",
    "experiment=reproduce_seeds": "1cf2062e",
    "experiment=reproduce_cv": "81293677",
    "experiment=reproduce_binary": "4af091b2",
    "experiment=reproduce_strategies": "b7380f49",
    "model=timm model.name=vit_small_patch16_224 strategy=linear_probe": "105a0db5",
    "model=resnet50 strategy=full_finetune optimizer=sgd scheduler=plateau sampler=uniform": "831d3228",
    "strategy=head_only optimizer=adam scheduler=step augment=strong": "fe18b0b9",
    "scheduler=constant augment=none loss.class_weights=none sampler=uniform": "962bcd70",
    "model=efficientnet_lite0 data=vindr data.image_size=224": "50c9063a",
    "data=rsna": "8cea1fcc",
    "data=inbreast": "e519c997",
    "data=cbis_ddsm": "c88c2cf9",
    "data=table data.table.columns={path:file,label:birads}": "f66c0e3b",
    "data=folders data.group_by=image": "0a6a62c7",
    "data=auto": "e08988f0",
    "augment.num_variants=4": "7bfbbc81",
    "debug=overfit": "f41adde8",
    "debug=one_batch": "590bfe5c",
    "data=patches": "af725dd8",
    "data=mamografias": "e98bcf60",
}


@pytest.mark.parametrize("overrides", GOLDEN)
def test_golden_run_ids(overrides):
    assert run_id(composed(*overrides.split())) == GOLDEN[overrides]


@dataclasses.dataclass(frozen=True)
class _LaterSection:
    size: int = option(3, "came with its section", since_default=3)


@dataclasses.dataclass(frozen=True)
class _Options:
    group: Any = choice("sampler", since_default="uniform")  # as if the choice of a sampler came later
    rate: float = option(0.1, "was always there")
    later: float = option(0.0, "changes nothing at 0", since_default=0.0)
    better: str = option("new", "the default is not what was before", since_default="old")
    listed: list[str] = option([], "changes nothing when empty", since_default=[])
    part: _LaterSection = section(_LaterSection)


def stored(tree: dict[str, Any]) -> _Options:
    problems: list[Any] = []
    options = build(_Options, tree, problems, is_stored=True)
    assert problems == []
    return options


def test_an_option_that_comes_later_has_its_earlier_value_in_what_was_stored_before_it():
    options = stored({"rate": 0.2})
    assert options == _Options(Uniform(), 0.2, 0.0, "old", [], _LaterSection(3))
    assert to_tree(options, only_run_id=True, as_before=True) == {"rate": 0.2}
    # Whatever is stored now is read as it is.
    assert stored(to_tree(options)) == options
    changed = dataclasses.replace(options, better="new", group=Weighted(alpha=0.5))
    assert stored(to_tree(changed)) == changed


@pytest.mark.parametrize(
    ("change", "more"),
    [({"later": 0.1}, {"later": 0.1}), ({"better": "new"}, {"better": "new"}), ({"listed": ["a"]}, {"listed": ["a"]}),
     ({"part": {"size": 4}}, {"part": {"size": 4}}),
     ({"group": {"name": "weighted"}}, {"group": to_tree(Weighted())})],
)  # fmt: skip
def test_an_option_that_comes_later_is_hashed_where_it_changes_something(change, more):
    assert to_tree(stored({"rate": 0.2} | change), only_run_id=True, as_before=True) == {"rate": 0.2} | more


def test_a_composed_configuration_has_the_present_default():
    problems: list[Any] = []
    options = build(_Options, {"group": {"name": "weighted"}}, problems)
    assert (options.better, problems) == ("new", [])


ADDED = """
    new_one: float = option(0.0, "an option of a later version", since_default=0.0)
    improved: float = option(0.5, "one whose default is not what was before", since_default=0.0)
    forgotten: float = option(0.0, "one that does not say what was before")
"""
PROGRAM = """
import sys, yaml
from pathlib import Path
from hydra import compose, initialize_config_dir
import mammo.config.composition as c
from mammo.config.check import check_stored
from mammo.config.tree import run_id
from mammo.runs.directory import RunDirectory
c.prepare_hydra()
with initialize_config_dir(str(c.CONFIG_FOLDER), version_base="1.3"):
    for words in ([], ["loss.improved=0"], ["loss.improved=0", "loss.new_one=0.1"]):
        print(run_id(c.checked_config(compose("train", overrides=words))))
folder = Path(sys.argv[1])
config = check_stored(yaml.safe_load((folder / "config.yaml").read_text()))
RunDirectory(folder).check_identity(config)
print(run_id(config), config.loss.new_one, config.loss.improved)
"""


@pytest.mark.parametrize("with_forgotten", [False, True])
def test_a_version_with_more_options_knows_the_runs_of_this_one(with_forgotten, tmp_path):
    for name in ("mammo", "conf", "hydra_plugins"):
        shutil.copytree(REPOSITORY / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    losses = tmp_path / "mammo" / "training" / "losses.py"
    added = ADDED if with_forgotten else ADDED.rpartition("    forgotten")[0]
    text = losses.read_text()
    place = text.index("    label_smoothing")
    losses.write_text(text[:place] + added.strip("\n") + "\n" + text[place:])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text(yaml.safe_dump(config_tree(composed())))
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "run"], cwd=tmp_path, env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    default, as_before, changed, *of_stored = done.stdout.split()
    assert len({default, as_before, changed}) == 3
    assert (as_before == GOLDEN[""]) is not with_forgotten
    assert of_stored == [as_before, "0.0", "0.0"]


def keys() -> set[str]:
    return set(flatten(key_tree(Config)))


def test_the_table_of_names_leads_from_keys_that_are_gone_to_keys_that_are_there():
    there = keys() | {key.rpartition(".")[0] for key in keys()}
    assert set(RENAMED.values()) <= there
    assert not set(RENAMED) & there
    assert {current_key(key) for key in RENAMED} == set(RENAMED.values())


@pytest.fixture
def further_names(monkeypatch):
    """A table with a whole section, and with an option that had three names."""
    monkeypatch.setattr(renamed, "RENAMED", {"old.a": "new.a", "x": "z", "y": "z", "group": "kind"})


def test_sections_and_several_names(further_names):
    assert [current_key(key) for key in ("x", "y", "group.name", "group_by", "old.a", "old.b")] == [
        "z", "z", "kind.name", "group_by", "new.a", "old.b",
    ]  # fmt: skip
    assert [original_key(key) for key in ("z", "kind.name.b", "new.a", "new.b")] == [
        "x",
        "group.name.b",
        "old.a",
        "new.b",
    ]
    tree = {"old": {"a": 1, "b": 2}, "new": {"c": 3}, "x": 4, "group": {"name": "k"}}
    current = {"old": {"b": 2}, "new": {"c": 3, "a": 1}, "z": 4, "kind": {"name": "k"}}
    assert with_current_keys(tree) == current
    assert with_original_keys(current) == tree
    # A mistake stays one, for the check to find.
    assert with_current_keys({"x": 1, "z": 2}) == {"x": 1, "z": 2}
    assert with_current_keys({"old": 3}) == {"old": 3}


@pytest.mark.parametrize(
    ("typed", "understood"),
    [("augment.num_views=4", "augment.num_variants=4"), ("++augment.num_views=4,8", "++augment.num_variants=4,8"),
     ("~augment.num_views", "~augment.num_variants"), ("augment.num_views_=4", "augment.num_views_=4"),
     ("run.name='augment.num_views=4'", "run.name='augment.num_views=4'"), ("--cfg", "--cfg"), ("", "")],
)  # fmt: skip
def test_an_earlier_name_on_the_command_line_is_taken_with_a_hint(typed, understood, capsys):
    assert under_current_names([typed]) == [understood]
    said = capsys.readouterr().err
    assert ("augment.num_views is now called" in said) == (typed != understood)


def test_a_stored_configuration_with_an_earlier_name_is_the_same_run():
    config = composed("augment.num_variants=4")
    tree = config_tree(config)
    tree["augment"]["num_views"] = tree["augment"].pop("num_variants")
    assert check_stored(tree) == config
    assert flatten(identity_tree(check_stored(tree)))["augment.num_variants"] == 4
    assert run_id(check_stored(tree)) == GOLDEN["augment.num_variants=4"]


def test_the_whole_way_of_an_earlier_name(train, tmp_path: Path):
    done = train("--cfg", "job", "augment.num_views=4")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["augment"]["num_variants"] == 4
    assert "note: augment.num_views is now called augment.num_variants" in done.stderr

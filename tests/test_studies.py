"""The documented studies: what their make targets run composes, and the published values belong to what is run."""

from __future__ import annotations

import shlex
import shutil
import subprocess

import pytest

from mammo.config.tree import Config, identity_tree
from mammo.support.dotted_keys import flatten
from tests.config.test_config import composed
from tests.conftest import REPOSITORY

PUBLISHED = {"reproduce-seeds": 1, "reproduce-cv": 1, "reproduce-strategies": 2, "reproduce-binary": 1}
# What is compared with published values; all are in val_metrics.json.
METRICS = {"acc", "kappa", "kappa_quadratic", "macro_f1", "auc_ovr"}


def command(target: str, *variables: str) -> list[str]:
    """The arguments that `make TARGET` would give to `python -m mammo.train`."""
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    shown = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", target, *variables],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    words = shlex.split(shown.stdout.splitlines()[-1])
    return words[words.index("mammo.train") + 1 :]


def jobs(target: str, *variables: str) -> list[Config]:
    """The configuration of each job, for targets that sweep one key."""
    flag, *overrides = command(target, *variables)
    assert flag == "-m"
    overrides = [override.replace("data.fold=all", "data.fold=0,1,2") for override in overrides]
    (swept,) = [override for override in overrides if "," in override]
    key, values = swept.split("=")
    fixed = [override for override in overrides if override != swept]
    return [composed(*fixed, f"{key}={value}") for value in values.split(",")]


def matching(config: Config) -> list[dict]:
    identity = flatten(identity_tree(config))
    return [
        entry
        for entry in config.sweep.published
        if all(identity.get(key) == value for key, value in entry["where"].items())
    ]


@pytest.mark.parametrize("variables", [(), ("DATA=archive", "ROOT=/data")], ids=["generated", "own data"])
@pytest.mark.parametrize("target", PUBLISHED)
def test_published_values_stand_beside_the_runs_that_they_are_compared_with(target, variables):
    configs = jobs(target, *variables)
    assert len(configs) == 3
    assert len({config.sweep.name for config in configs}) == 1
    described = [entry for config in configs for entry in matching(config)]
    assert len({str(entry) for entry in described}) == PUBLISHED[target]
    for entry in described:
        assert set(entry["metrics"]) <= METRICS
        assert entry["metrics"]


def test_own_data_is_studied_as_documented():
    (full, frozen, head) = jobs(
        "reproduce-strategies", "DATA=archive", "ROOT=/data/of mine", "ARGS=data.csv=labels.csv"
    )
    assert [config.strategy.name for config in (full, frozen, head)] == [
        "full_finetune",
        "frozen_last_block",
        "head_only",
    ]
    assert {config.model.name for config in (full, frozen, head)} == {"resnet50"}
    assert (full.data.root, full.data.csv, full.sweep.name) == (
        "/data/of mine",
        "labels.csv",
        "reproduce-strategies-archive",
    )
    assert full.optimizer.backbone_lr == frozen.optimizer.backbone_lr == pytest.approx(1e-4)
    seeds = jobs("reproduce-seeds", "DATA=archive", "ROOT=/data")
    assert [config.seed for config in seeds] == [42, 43, 44]
    assert {(config.model.name, config.data.image_size, config.train.epochs) for config in seeds} == {
        ("efficientnet_b0", 512, 20)
    }
    folds = jobs("reproduce-cv", "DATA=archive", "ROOT=/data")
    assert {(config.data.num_folds, config.train.epochs) for config in folds} == {(3, 12)}


def test_generated_exams_are_small_and_need_no_download():
    for target in PUBLISHED:
        assert {(one.model.name, one.data.image_size) for one in jobs(target)} == {("efficientnet_lite0", 224)}


def test_further_options_win_over_those_of_the_study():
    assert jobs("reproduce-cv", "ARGS=train.epochs=2 data.image_size=64")[0].train.epochs == 2


def test_the_search_averages_over_folds():
    assert {"hpo=density", "hpo.trials=12", "hpo.folds=3"} <= set(command("reproduce-hpo"))

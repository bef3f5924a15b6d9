"""Which runs a sweep has, and the name of its folder."""

from __future__ import annotations

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from mammo.config.composition import prepare_hydra
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.tree import Config
from mammo.support.errors import ConfigError
from mammo.sweeps.plan import (
    combinations,
    make_job,
    of_an_earlier_sweep,
    parse_arguments,
    require_distinct,
    sweep_name,
)


def composed(overrides: list[str]) -> DictConfig:
    prepare_hydra()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return compose("train", overrides=overrides)


def jobs_of(*command: str, num_folds: int | None = None):
    arguments = parse_arguments(command, num_folds)
    return [make_job(composed, arguments.fixed, swept) for swept in combinations(arguments)]


def name_of(*command: str) -> str:
    arguments = parse_arguments(command, None)
    config: Config = make_job(composed, arguments.fixed, combinations(arguments)[0]).config
    return sweep_name(arguments, config)


def test_every_combination_is_one_job_the_last_key_fastest():
    jobs = jobs_of("seed=1,2", "strategy=head_only,full_finetune", "train.epochs=3")
    assert [job.swept for job in jobs] == [
        ("seed=1", "strategy=head_only"), ("seed=1", "strategy=full_finetune"),
        ("seed=2", "strategy=head_only"), ("seed=2", "strategy=full_finetune"),
    ]  # fmt: skip
    assert [(job.config.seed, job.config.strategy.name, job.config.train.epochs) for job in jobs] == [
        (1, "head_only", 3), (1, "full_finetune", 3), (2, "head_only", 3), (2, "full_finetune", 3),
    ]  # fmt: skip


def test_all_folds_are_those_of_their_number():
    arguments = parse_arguments(["data.fold=all", "seed=1"], num_folds=3)
    assert combinations(arguments) == [("data.fold=0",), ("data.fold=1",), ("data.fold=2",)]
    with pytest.raises(ConfigError, match="of how many"):
        parse_arguments(["data.fold=all"], num_folds=None)


def test_of_two_overrides_of_one_key_the_later_wins():
    arguments = parse_arguments(["seed=1,2,3", "train.epochs=2", "seed=4,5"], None)
    assert combinations(arguments) == [("seed=4",), ("seed=5",)]


@pytest.mark.parametrize("key", ["seed=1,1", "train.threads=1,2"])
def test_one_run_twice_in_a_sweep_is_a_mistake(key):
    with pytest.raises(ConfigError, match="are the same run"):
        require_distinct(jobs_of(key))


def test_a_sweep_is_found_again_with_more_values_on_another_machine_and_in_another_order():
    name = name_of("seed=42,43", "train.epochs=3", "model=resnet50")
    assert name.startswith("resnet50-frozen_last_block-phantom-seed-")
    assert name == name_of("model=resnet50", "seed=42,43,44", "train.epochs=3")
    assert name == name_of(
        "model=resnet50", "seed=1,2", "train.epochs=3", "train.threads=1", "cache_dir=x", "device=cpu"
    )
    assert name == name_of("model=resnet50", "seed=1,2", "train.epochs=3", "data.num_workers=3")


@pytest.mark.parametrize(
    "other",
    [
        ["seed=42,43", "train.epochs=4"],
        ["seed=42,43", "train.epochs=3", "augment=strong"],
        ["optimizer.lr=1e-3,1e-4", "train.epochs=3"],
        ["seed=42,43", "train.epochs=3", "experiment=resnet50_frozen"],
    ],
)
def test_another_sweep_has_another_folder(other):
    assert name_of(*other) != name_of("seed=42,43", "train.epochs=3")


@pytest.mark.parametrize(
    ("before", "now", "keys"),
    [
        (["seed=1,2,3", "train.epochs=3"], ["train.epochs=3", "seed=2"], ("seed",)),
        (["seed=1,2", "data.batch_size=8,16"], ["data.batch_size=8", "seed=1"], ("data.batch_size", "seed")),
        (["seed=1,2", "data.batch_size=8,16"], ["data.batch_size=8,32", "seed=1"], ("data.batch_size", "seed")),
    ],
)
def test_single_values_are_those_of_the_sweep_that_holds_the_run(tmp_path, before, now, keys):
    arguments = parse_arguments(now, None)
    job = make_job(composed, arguments.fixed, combinations(arguments)[0])
    assert of_an_earlier_sweep(arguments, job, tmp_path) is None
    sweep = tmp_path / name_of(*before)
    sweep.mkdir()
    assert of_an_earlier_sweep(arguments, job, tmp_path) is None, "it does not hold the run"
    for earlier in jobs_of(*before):
        (sweep / earlier.name).mkdir()
    there, name = of_an_earlier_sweep(arguments, job, tmp_path)
    assert name == sweep.name
    assert there.keys == keys
    assert job.name in {make_job(composed, there.fixed, swept).name for swept in combinations(there)}
    other = parse_arguments([*now, "optimizer.lr=1e-5"], None)
    assert of_an_earlier_sweep(other, job, tmp_path) is None


def test_a_sweep_can_be_named():
    assert name_of("seed=42,43", "sweep.name=three seeds/1") == "three_seeds_1"


def test_the_address_of_a_database_is_in_no_job():
    (job, _) = jobs_of("seed=1,2", "hpo.storage='postgresql://me:secret@host/studies'")
    assert "secret" not in repr(job)

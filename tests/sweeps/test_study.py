"""A study is data, whoever wrote it: nothing in it becomes an option but the parameters of the search that asks."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    DiscreteUniformDistribution,
    IntLogUniformDistribution,
    IntUniformDistribution,
    LogUniformDistribution,
    UniformDistribution,
    distribution_to_json,
)

from mammo.support.errors import ConfigError
from mammo.sweeps.study import open_study, parameters_of, study_file_url
from tests.config.test_config import composed
from tests.conftest import SHARED_DATA
from tests.earlier.study import SEARCH, load, unpack
from tests.processes import run_module

SPACE: dict[str, BaseDistribution] = {
    "optimizer.lr": LogUniformDistribution(1e-4, 1e-2),
    "loss.label_smoothing": UniformDistribution(0.0, 0.2),
    "sampler.alpha": DiscreteUniformDistribution(0.0, 1.0, 0.25),
    "strategy.blocks": IntUniformDistribution(1, 5, 2),
    "scheduler.warmup_epochs": IntLogUniformDistribution(1, 8),
    "augment": CategoricalDistribution(["none", "standard", 1]),
}
LR, AUGMENT = SPACE["optimizer.lr"], SPACE["augment"]
HOSTILE = "{version: 1, handlers: {x: {\\(\\): os.mkdir, path: MARKER}}, root: {handlers: [x]}}"


def opened(folder: Path) -> optuna.Study:
    return open_study(study_file_url(folder), "mine", SPACE, composed())


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    """A study with one finished trial and one that has half of its parameters."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = opened(tmp_path)
    for names in (list(SPACE), ["optimizer.lr", "augment"]):
        trial = study.ask()
        for name in names:
            trial._suggest(name, SPACE[name])
    study.tell(0, 0.5)
    return study


def execute(folder: Path, *statements: str, values: tuple = ()) -> None:
    database = sqlite3.connect(folder / "study.db")
    for statement in statements:
        database.execute(statement, values)
    database.commit()
    database.close()


def put(folder: Path, number: int, name: str, value: float, distribution: BaseDistribution | str) -> None:
    """A parameter in the file of a study, as somebody would write it who knows the format."""
    text = distribution if isinstance(distribution, str) else distribution_to_json(distribution)
    statement = "delete from trial_params where trial_id = ? and param_name = ?"
    execute(folder, statement, values=(number + 1, name))
    statement = "insert into trial_params (trial_id, param_name, param_value, distribution_json) values (?, ?, ?, ?)"
    execute(folder, statement, values=(number + 1, name, value, text))


PARAMETERS: dict[str, tuple[str, float, BaseDistribution | str]] = {
    "option of Hydra": ("++hydra.job_logging", 0, CategoricalDistribution([HOSTILE])),
    "callback": ("+hydra.callbacks.x", 0, CategoricalDistribution(["{_target_: os.mkdir, path: MARKER}"])),
    "option that is not searched": ("data.pseudonymize", 0, CategoricalDistribution([False])),
    "other spelling": ("++optimizer.lr", 1e-3, LR),
    "with a value in its name": ("optimizer.lr=1 hydra.run.dir", 1e-3, LR),
    "empty name": ("", 1e-3, LR),
    "other choices": ("augment", 0, CategoricalDistribution(["none,strong", "standard", 1])),
    "other choices that look equal": ("augment", 2, CategoricalDistribution(["none", "standard", 2])),
    "text for a number": ("optimizer.lr", 0, CategoricalDistribution(["1e-3 hydra.run.dir=/"])),
    "above": ("optimizer.lr", 1.0, LR),
    "below": ("optimizer.lr", 1e-9, LR),
    "above, with a range of its own": ("optimizer.lr", 1.0, LogUniformDistribution(1e-4, 2.0)),
    "between the steps": ("strategy.blocks", 2, SPACE["strategy.blocks"]),
    "not finite": ("optimizer.lr", float("inf"), LR),
}


@pytest.mark.parametrize("kind", PARAMETERS)
def test_what_the_search_cannot_have_begun_is_not_taken(kind, study, tmp_path):
    name, value, distribution = PARAMETERS[kind]
    put(tmp_path, 1, name, value, distribution)
    trial = opened(tmp_path).trials[1]
    with pytest.raises(ConfigError, match="trial 1 of the study has"):
        parameters_of(trial, SPACE)


@pytest.mark.parametrize("kind", PARAMETERS)
def test_results_that_the_search_cannot_have_are_refused(kind, study, tmp_path):
    put(tmp_path, 0, *PARAMETERS[kind])
    with pytest.raises(ConfigError, match="trial 0 of the study has"):
        opened(tmp_path)


# What is written over rows of the file.
DAMAGES = {
    "no value": "delete from trial_values where trial_id = 1",
    "infinite value": "update trial_values set value = 9e999 where trial_id = 1",
    "unknown state": "update trials set state = 'EVIL' where trial_id = 1",
    "unknown distribution": """update trial_params set distribution_json = '{"name": "os.system", "attributes": {}}'""",
    "arguments of a distribution": (
        """update trial_params set distribution_json = '{"name": "UniformDistribution", "attributes": {"x": 1}}'"""
    ),
    "no JSON": "update trial_params set distribution_json = 'x'",
    "deep JSON": f"update trial_params set distribution_json = '{'[' * 100_000}'",
    "index beyond the choices": "update trial_params set param_value = 77 where param_name = 'augment'",
    "attribute that is no JSON": "update study_user_attributes set value_json = '{'",
    "other direction": "update study_directions set direction = 'MINIMIZE'",
    "two directions": "insert into study_directions (direction, study_id, objective) values ('MAXIMIZE', 1, 1)",
    "no date": "update trials set datetime_start = 'x'",
    "no table": "drop table trial_params",
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_damaged_study_is_an_error_that_says_so(kind, study, tmp_path):
    execute(tmp_path, DAMAGES[kind])
    with pytest.raises(ConfigError, match=r"study|begun with"):
        opened(tmp_path)


def test_a_choice_is_that_of_the_command(study, tmp_path):
    """1, 1.0 and true are equal, and text to Hydra."""
    put(tmp_path, 1, "augment", 2, CategoricalDistribution(["none", "standard", True]))
    found = parameters_of(opened(tmp_path).trials[1], SPACE)["augment"]
    assert (found, type(found)) == (1, int)


def test_what_the_search_has_proposed_is_taken(study, tmp_path):
    finished, begun = opened(tmp_path).trials
    assert parameters_of(finished, SPACE) == finished.params
    assert set(finished.params) == set(SPACE)
    assert parameters_of(begun, SPACE) == begun.params
    assert sorted(begun.params) == ["augment", "optimizer.lr"]


def search(folder: Path) -> subprocess.CompletedProcess[str]:
    return run_module("mammo.train", *SEARCH, "hpo.trials=5", folder=folder)


@pytest.mark.slow
def test_a_hostile_trial_is_not_run_and_the_search_goes_on(tmp_path):
    """The killed search of an earlier version, with a parameter that ran code; the half-done trial is taken up."""
    attack = SHARED_DATA / "attacks" / "study_db.py"
    if not attack.is_file():
        pytest.skip("the attacks are not here")
    folder, marker = unpack(tmp_path), tmp_path / "PAYLOAD-RAN"
    script = tmp_path / "study_db.py"
    script.write_text(attack.read_text().replace("/tmp/mammo-attack-ran", str(marker)))
    sweep = folder / "multirun" / "search"
    subprocess.run([sys.executable, script, sweep / "study.db"], check=True)
    execute(
        sweep,
        """insert into trial_system_attributes (trial_id, "key", value_json)
        select max(trial_id), 'fixed_params', '{"optimizer.lr": "x"}' from trials""",
    )
    done = search(folder)
    assert not marker.exists()
    assert done.returncode == 1, done.stderr
    assert "has '++hydra.job_logging', which is not searched: it is not run, and counts as failed" in done.stdout
    assert "Traceback" not in done.stderr
    finished = load(sweep / "sweep.json")["search"]["finished"]
    assert [bool(trial["failed"]) for trial in finished] == [False, False, False, False, True]
    assert finished[-1]["params"] == {}
    assert (sweep / "best_config.yaml").exists()
    # Again: nothing is left to do, and nothing is in the way.
    again = search(folder)
    assert (again.returncode, "Epoch" in again.stdout) == (1, False)
    assert not marker.exists()


@pytest.mark.parametrize("exists", [True, False])
def test_a_study_that_is_a_link_is_not_followed(tmp_path, exists):
    elsewhere = tmp_path / "elsewhere.db"
    if exists:
        elsewhere.write_bytes(b"")
    sweep = tmp_path / "sweep"
    sweep.mkdir()
    (sweep / "study.db").symlink_to(elsewhere)
    with pytest.raises(ConfigError, match="is a link"):
        study_file_url(sweep)
    assert elsewhere.exists() == exists

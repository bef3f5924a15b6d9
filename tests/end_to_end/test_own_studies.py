"""Study files of the user, from any folder: in each command, in sweeps, and kept with the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from mammo.config.composition import prepare_hydra
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.own_files import with_own_files
from mammo.config.untrusted import check_config_files
from mammo.support.errors import ConfigError
from tests.conftest import run_command

STUDY = """\
defaults:
  - override /model: timm
  - override /strategy: head_only
model:
  name: test_efficientnet
  weights: none
data:
  image_size: 64
  phantom: {num_patients: 12}
train:
  epochs: 1
"""


@pytest.fixture(scope="session")
def session_cache(cache_with_exams: Path) -> Path:
    """The studies here are of generated exams."""
    return cache_with_exams


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A folder with a study in YAML and another in JSON, whose names need quotes."""
    folder = tmp_path / "my studies"
    folder.mkdir()
    (folder / "one (1), new.yaml").write_text(STUDY)
    (folder / "two.json").write_text(json.dumps(yaml.safe_load(STUDY.replace("head_only", "linear_probe"))))
    return folder


def test_a_study_trains_and_is_kept_with_the_run(train, studies, tmp_path, session_cache):
    study = studies / "one (1), new.yaml"
    done = train(f"experiment={study}")
    assert done.returncode == 0, done.stderr
    [run] = (tmp_path / "outputs").iterdir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert (config["strategy"]["name"], config["train"]["epochs"]) == ("head_only", 1)
    [kept] = (run / ".hydra" / "experiment").iterdir()
    assert STUDY in kept.read_text()
    # With the copy in the run the same run is named again, also where the file has gone.
    study.unlink()
    done = train("--config-dir", str(run / ".hydra"), f"experiment={kept.stem}")
    assert "nothing is trained" in done.stdout, done.stderr
    assert "0 problems" in run_command(tmp_path, "mammo.doctor", str(run))
    done = train("--config-dir", str(run / ".hydra"), f"experiment={kept.stem}", "run.restart=true")
    assert done.returncode == 0, done.stderr


def test_other_commands_take_what_they_know_of_a_study(studies, tmp_path, session_cache):
    study, cache = f"experiment={studies / 'two.json'}", f"cache_dir={session_cache}"
    assert "48 images in the store" in run_command(tmp_path, "mammo.prepare", study, cache)
    assert "0 problems" in run_command(tmp_path, "mammo.doctor", study, cache)


def test_a_sweep_over_studies_names_them_by_content(train, studies, tmp_path):
    files = f"'{studies / 'one (1), new.yaml'}','{studies / 'two.json'}'"
    done = train("-m", f"experiment={files}")
    assert done.returncode == 0, done.stderr
    [sweep] = (tmp_path / "multirun").iterdir()
    strategies = {yaml.safe_load(file.read_text())["strategy"]["name"] for file in sweep.glob("*/config.yaml")}
    assert strategies == {"head_only", "linear_probe"}
    # Elsewhere the same files are the same sweep.
    moved = studies.rename(tmp_path / "moved")
    done = train("-m", f"experiment={files}".replace(str(studies), str(moved)))
    assert done.returncode == 0, done.stderr
    assert [*(tmp_path / "multirun").iterdir()] == [sweep]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {epoch: 3}\n", "did you mean epochs?"),
        ("hydra: {run: {dir: x}}\n", "a setting of Hydra"),
        ("data: {pseudonymize: false}\n", "weaken a protection"),
        ("train: [3\n", "not valid YAML"),
        ("- 1\n", "holds a list"),
    ],
)
def test_a_study_is_data(train, tmp_path, text, message):
    (tmp_path / "mine.yaml").write_text(text)
    done = train("experiment=mine.yaml")
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "mine.yaml" in done.stderr


def test_arguments_are_rewritten(studies, monkeypatch):
    monkeypatch.chdir(studies)
    words, own = with_own_files(["seed=1,2", "experiment=reproduce_cv", "+experiment=two.json"])
    [name] = own
    assert words == ["seed=1,2", "experiment=reproduce_cv", f"+experiment={name}"]
    assert name.startswith("two-")
    one, _ = with_own_files(["experiment=one (1), new.yaml"])
    quoted, _ = with_own_files(["experiment='one (1), new.yaml',reproduce_cv"])
    assert quoted == [f"{one[0]},reproduce_cv"]
    with pytest.raises(ConfigError, match=r"there is no such file") as caught:
        with_own_files(["experiment=tow.json"])
    assert "two.json" in caught.value.to_do


SEARCH = """\
defaults:
  - override /model: timm
  - override /launcher: local_parallel
model: {name: test_efficientnet, weights: none}
data: {image_size: 64, val_fraction: 0.4, phantom: {num_patients: 12}}
train: {epochs: 1, threads: 1}
sweep: {jobs_at_once: 2, partition: gpu, time_minutes: 30, memory_gb: 4, gpus_per_job: 1, cores_per_job: 3}
hpo:
  trials: 2
  space:
    optimizer.lr: tag(log, interval(1e-4, 1e-2))
    augment: [none, strong]
    loss: {label_smoothing: "interval(0.0, 0.2)"}
"""


@pytest.fixture
def search(tmp_path: Path) -> str:
    (tmp_path / "search.yaml").write_text(SEARCH)
    return f"experiment={tmp_path / 'search.yaml'}"


def test_a_study_says_what_is_searched_and_how_many_run_at_once(train, search, tmp_path):
    done = train("-m", search, "launcher=basic")  # one after the other is quicker here
    assert done.returncode == 0, done.stderr
    [study] = (tmp_path / "multirun").glob("*-search-*")
    trials = json.loads((study / "sweep.json").read_text())["search"]["finished"]
    assert [sorted(trial["params"]) for trial in trials] == [["augment", "loss.label_smoothing", "optimizer.lr"]] * 2
    for run, trial in zip(trials[0]["runs"] + trials[1]["runs"], trials, strict=True):
        config = yaml.safe_load((study / run / "config.yaml").read_text())
        assert config["optimizer"]["lr"] == trial["params"]["optimizer.lr"]
        assert config["loss"]["label_smoothing"] == trial["params"]["loss.label_smoothing"]
    alone = train(search)
    assert alone.returncode == 2
    assert "add -m" in alone.stderr
    # The same study without its search.
    done = train("-m", search, "launcher=basic", "hpo.space=null", "seed=1,2")
    assert "All 2 jobs of the sweep are finished" in done.stdout, done.stderr


@pytest.mark.parametrize(
    ("launcher", "expected"),
    [
        ("local_parallel", {"n_jobs": 2}),
        ("slurm", {"array_parallelism": 2, "partition": "gpu", "timeout_min": 30, "mem_gb": 4, "gpus_per_node": 1,
                   "cpus_per_task": 3, "setup": None}),
    ],
)  # fmt: skip
def test_launchers_take_the_plain_values_of_a_study(search, launcher, expected):
    arguments, studies = with_own_files([search, f"launcher={launcher}"])
    prepare_hydra()
    check_config_files(arguments, studies)
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        tree = compose("train", arguments, return_hydra_config=True)
    found = OmegaConf.to_container(tree.hydra.launcher, resolve=True)
    assert {key: found[key] for key in expected} == expected


@pytest.mark.parametrize("ranges", ["optimizer.lr: 1e-3", "optimizer.lr: 'interval(1e-4'", "augment: strong"])
def test_what_is_no_range_is_refused(train, tmp_path, ranges):
    (tmp_path / "fixed.yaml").write_text(f"hpo: {{space: {{{ranges}}}}}")
    done = train("-m", f"experiment={tmp_path / 'fixed.yaml'}")
    assert done.returncode == 2
    assert "is no range" in done.stderr


@pytest.mark.parametrize("range_", ["interval(1e-2, 1e-4)", "tag(log, interval(0, 1))", "glob(*)"])
@pytest.mark.parametrize("place", ["study", "command line"])
def test_a_range_that_nothing_can_be_drawn_from_is_refused(train, tmp_path, range_, place):
    (tmp_path / "search.yaml").write_text(f"hpo: {{space: {{optimizer.lr: '{range_}'}}}}")
    typed = [f"optimizer.lr={range_}", "hydra/sweeper/sampler=tpe"]
    done = train("-m", *([f"experiment={tmp_path / 'search.yaml'}"] if place == "study" else typed))
    assert done.returncode == 2
    assert "or a list of values" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_partition_is_no_line_of_a_script(train, tmp_path):
    (tmp_path / "evil.yaml").write_text('sweep: {partition: "short\\n#SBATCH --wrap=evil"}')
    done = train("-m", f"experiment={tmp_path / 'evil.yaml'}", "seed=1,2")
    assert done.returncode == 2
    assert "is no name of a partition" in done.stderr

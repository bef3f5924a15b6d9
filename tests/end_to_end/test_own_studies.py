"""Study files of the user, from any folder: in each command, in sweeps, and kept with the run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from mammo.errors import ConfigError
from mammo.own_files import with_own_files
from tests.conftest import run_command

STUDY = """\
defaults:
  - override /model: efficientnet_lite0
  - override /strategy: head_only
data:
  image_size: 64
  phantom: {num_patients: 12}
train:
  epochs: 1
"""


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

"""Files of somebody else are data: none of them runs anything, and a hostile one ends in an error that says so."""

from __future__ import annotations

import collections
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mammo.data.content_hashes import ContentHashes
from mammo.data.pseudonyms import renamer, write_lookup
from mammo.models.weights import read_state_dict
from mammo.runs.directory import RunDirectory
from mammo.support.errors import RunDirectoryError, WeightsError
from mammo.support.files import read_json
from mammo.support.keyed_rows import KeyedRows
from mammo.support.yaml_files import read_yaml
from mammo.sweeps.reading import read_sweep
from mammo.training.checkpoint import load_checkpoint
from tests.config.test_config import composed


class Payload:
    """Pickled, it makes a file when it is read."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path):
    """What a payload would make; the test fails when it is there at the end."""
    path = tmp_path / "PAYLOAD-RAN"
    yield path
    assert not path.exists()


def hostile_torch_files(folder: Path, marker: Path) -> dict[str, Path]:
    files = {name: folder / f"{name}.pth" for name in ("object", "pickle", "legacy", "array", "text", "cut", "empty")}
    state = {"model_state_dict": {"w": torch.zeros(2)}, "schema_version": 1}
    torch.save({**state, "x": Payload(marker)}, files["object"])
    files["pickle"].write_bytes(pickle.dumps(Payload(marker)))
    torch.save({**state, "x": Payload(marker)}, files["legacy"], _use_new_zipfile_serialization=False)
    files["array"].write_bytes(_array_of_objects(folder, marker))
    files["text"].write_text("[" * 100_000)
    torch.save(state, files["cut"])
    files["cut"].write_bytes(files["cut"].read_bytes()[:-200])
    files["empty"].write_bytes(b"")
    return files


def _array_of_objects(folder: Path, marker: Path) -> bytes:
    np.save(folder / "objects.npy", np.array([Payload(marker)], dtype=object), allow_pickle=True)
    return (folder / "objects.npy").read_bytes()


def test_checkpoints_and_weights_run_nothing(tmp_path, marker):
    for name, file in hostile_torch_files(tmp_path, marker).items():
        with pytest.raises(RunDirectoryError):
            load_checkpoint(file)
        with pytest.raises(WeightsError):
            read_state_dict(file)
        renamed = file.rename(tmp_path / f"{name}.safetensors")
        with pytest.raises(WeightsError):
            read_state_dict(renamed)


def test_a_checkpoint_that_unpacks_to_more_than_it_is_is_refused(tmp_path):
    torch.save({"w": torch.zeros(2**20)}, tmp_path / "honest.pth")
    with zipfile.ZipFile(tmp_path / "honest.pth") as honest, zipfile.ZipFile(
        tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED
    ) as bomb:  # fmt: skip
        for name in honest.namelist():
            bomb.writestr(name, honest.read(name))
    assert (tmp_path / "bomb.pth").stat().st_size < 20_000
    assert read_state_dict(tmp_path / "honest.pth")
    with pytest.raises(WeightsError, match="unpack to more than its size"):
        read_state_dict(tmp_path / "bomb.pth")


def test_a_checkpoint_names_no_code(tmp_path):
    """What a configuration in a checkpoint says is text to whoever reads it."""
    content = {"schema_version": 1, "config": {"_target_": "os.system", "model": collections.OrderedDict(name="x")}}
    torch.save(content, tmp_path / "named.pth")
    assert load_checkpoint(tmp_path / "named.pth")["config"]["_target_"] == "os.system"


HOSTILE_YAML = {
    "object": "a: !!python/object/apply:os.mkdir [MARKER]\n",
    "name": "a: !!python/name:os.system\n",
    "deep flow": "[" * 30_000 + "]" * 30_000,
    "deep blocks": "- " * 30_000 + "x",
    "references": "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)),
    "within itself": "a: &a [*a]\n",
    "bytes": "a: \x00\n",
}


@pytest.mark.parametrize("kind", HOSTILE_YAML)
def test_a_configuration_of_a_run_is_plain_data(kind, tmp_path, marker):
    run = tmp_path / "sweep" / "run"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(HOSTILE_YAML[kind].replace("MARKER", str(marker)))
    with pytest.raises((ValueError, yaml.YAMLError)):
        read_yaml(run / "config.yaml")
    with pytest.raises(RunDirectoryError):
        RunDirectory(run).check_identity(composed())
    assert any("cannot be read" in problem for problem in read_sweep(run.parent).problems)


def test_deep_json_is_a_file_that_cannot_be_read(tmp_path):
    (tmp_path / "summary.json").write_text('{"a":' * 100_000 + "1" + "}" * 100_000)
    with pytest.raises(ValueError, match="too deeply nested"):
        read_json(tmp_path / "summary.json")
    assert RunDirectory(tmp_path).summary() is None


def test_pickles_of_hydra_and_optuna_are_not_read(train, tmp_path, marker):
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Payload(marker)))
    done = train("--experimental-rerun", "config.pickle")
    assert (done.returncode, done.stderr.startswith("error: --experimental-rerun")) == (2, True)
    done = train("-m", "hpo=density", "hydra/sweeper/sampler=cmaes", "data=mias", "data.root=.")
    assert done.returncode == 2
    assert "CmaEsSampler is not used here" in done.stderr
    done = train("-m", "hpo=density", "hpo.storage=redis://nowhere:1/0", "data=mias", "data.root=.")
    assert done.returncode == 2
    assert "pickles" in done.stderr


@pytest.mark.parametrize("keys", [b"\xff\xfe\n", b"../../etc/passwd\n" * 3, b"a" * 10_000 + b"\n", b"\n\n\n", b"\0\n"])
def test_keys_of_a_store_are_never_names_of_files(keys, tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    (folder / "keys.bin").write_bytes(keys)
    (folder / "rows.bin").write_bytes(b"")
    before = sorted(tmp_path.rglob("*"))
    try:
        rows = KeyedRows(folder, (4,), "uint8")
        rows.append(["new"], np.zeros((1, 4), np.uint8))
    except (OSError, ValueError):
        pass  # damaged, and said to be
    assert set(tmp_path.rglob("*")) - set(before) <= {folder / "write.lock"}


def test_manipulated_content_hashes_are_passed_over(tmp_path):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"x")
    lines = [
        "[]",
        "7",
        '{"file": 1}',
        '{"file": "a", "hash": null}',
        "[" * 100_000,
        "\xff",
        '{"hash": [1, 2, 3, 4, 5]}',
    ]
    (tmp_path / "content_hashes.jsonl").write_text("\n".join(lines), encoding="latin-1")
    assert ContentHashes(tmp_path).known_hash(picture) is None


def test_a_link_in_the_cache_is_not_written_through(tmp_path):
    victim = tmp_path / "victim.txt"
    victim.write_text("mine")
    rename = renamer(tmp_path / "cache")
    lookup = tmp_path / "cache" / "pseudonyms" / "x.csv"
    lookup.parent.mkdir(parents=True)
    lookup.symlink_to(victim)
    write_lookup(lookup, rename, ["=cmd|' /C calc'!A0", "caf\u00e9"])
    assert victim.read_text() == "mine"
    assert "'=cmd" in lookup.read_text()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "summary.json").symlink_to(victim)
    RunDirectory(tmp_path / "run").write_json("summary.json", {})
    assert victim.read_text() == "mine"
    assert json.loads((tmp_path / "run" / "summary.json").read_text()) == {}

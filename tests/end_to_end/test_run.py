"""One run from the command line to its directory, on tiny images: what it leaves, and that it can be trusted."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn import metrics as sk

from tests.end_to_end.runs import TINY, TINY_DATA, history, only_run


@pytest.fixture(scope="module")
def finished(tiny_run):
    """A finished run and what its command printed."""
    return tiny_run, (tiny_run.parents[1] / "printed.txt").read_text()


FILES = [
    "config.yaml", ".hydra/config.yaml", ".hydra/hydra.yaml", ".hydra/overrides.yaml", "summary.json",
    "train_history.json", "train_history.csv", "run.log", "checkpoints/best_model.pth", "checkpoints/last_model.pth",
    "metrics/val_metrics.json", "metrics/history.png", "metrics/confusion_matrix.png", "val_predictions.csv",
    "splits/train.csv", "splits/val.csv", "splits/manifest.json", "quarantine.csv", "SHA256SUMS",
]  # fmt: skip

SUMMARY_KEYS = {
    "": "schema_version status run_id name seed started_at finished_at seconds command overrides git environment data "
    "split model strategy balance epochs_planned epochs_run best_epoch monitor objective metrics throughput collapse",
    "git": "commit branch dirty diff_sha256",
    "environment": "python torch torchvision timm hydra platform device device_name threads amp_dtype deterministic",
    "data": "name root_basename num_images num_patients num_exams class_counts num_quarantined fingerprint group_by",
    "split": "fingerprint train val",
    "model": "name weights parameters_total parameters_trainable",
    "balance": "sampler class_weights",
    "monitor": "name value",
    "throughput": "train_images_per_second val_images_per_second seconds_loading seconds_feature_bank",
    "collapse": "detected reason",
}
METRIC_KEYS = (
    "loss per_class_loss acc bal_acc bal_acc_adj kappa kappa_quadratic macro_f1 auc_ovr auc_ovo mae "
    "per_class_precision per_class_recall per_class_f1 confusion_matrix true_counts pred_counts pred_unique ece "
    "num_images num_patients class_names ci95"
)
HISTORY_KEYS = (
    "epoch train_loss train_acc val_loss val_acc val_bal_acc val_bal_acc_adj val_kappa val_kappa_quadratic "
    "val_macro_f1 val_auc_ovr val_auc_ovo val_pred_counts lr lr_groups seconds images_per_second skipped_steps is_best"
)
CHECKPOINT_KEYS = (
    "schema_version model_state_dict optimizer_state_dict scheduler_state_dict scaler_state_dict ema_state_dict epoch "
    "unfinished_epoch global_step best_metrics monitor_state early_stopping_state rng history config class_names "
    "preprocessing run_id data_fingerprint split_fingerprint git_commit weights_source"
)


def test_everything_is_there(finished):
    run, _ = finished
    assert [name for name in FILES if not (run / name).is_file()] == []
    summary = json.loads((run / "summary.json").read_text())
    for section, keys in SUMMARY_KEYS.items():
        assert set(keys.split()) <= set(summary[section] if section else summary), section
    assert summary["status"] == "completed"
    assert run.name == summary["name"]
    assert run.name.endswith(f"-s42-{summary['run_id']}")
    assert set(METRIC_KEYS.split()) == set(json.loads((run / "metrics/val_metrics.json").read_text()))
    assert set(HISTORY_KEYS.split()) == set(json.loads((run / "train_history.json").read_text())[0])
    checkpoint = torch.load(run / "checkpoints/best_model.pth", weights_only=True)
    assert set(CHECKPOINT_KEYS.split()) == set(checkpoint)
    for file in run.rglob("*.json"):
        json.loads(file.read_text(), parse_constant=lambda constant: pytest.fail(f"{constant} is no JSON"))


def test_metrics_history_predictions_and_checkpoint_speak_of_the_same_epoch(finished):
    run, _ = finished
    summary = json.loads((run / "summary.json").read_text())
    stated = json.loads((run / "metrics/val_metrics.json").read_text())
    best = json.loads((run / "train_history.json").read_text())[summary["best_epoch"] - 1]
    for name in ("loss", "acc", "bal_acc_adj", "kappa", "kappa_quadratic", "macro_f1", "auc_ovr", "auc_ovo"):
        assert stated[name] == pytest.approx(best[f"val_{name}"], abs=1e-9), name
        assert summary["metrics"][name] == stated[name]
    assert torch.load(run / "checkpoints/best_model.pth", weights_only=True)["epoch"] == summary["best_epoch"]
    assert summary["objective"] == stated["bal_acc_adj"]

    rows = list(csv.DictReader((run / "val_predictions.csv").open()))
    names = stated["class_names"]
    true, predicted = [row["y_true"] for row in rows], [row["y_pred"] for row in rows]
    probabilities = np.array([[float(row[f"p_{name}"]) for name in names] for row in rows])
    assert stated["acc"] == pytest.approx(sk.accuracy_score(true, predicted))
    assert stated["bal_acc_adj"] == pytest.approx(sk.balanced_accuracy_score(true, predicted, adjusted=True))
    weighted = sk.cohen_kappa_score(true, predicted, labels=names, weights="quadratic")
    assert stated["kappa_quadratic"] == pytest.approx(weighted)
    assert stated["auc_ovr"] == pytest.approx(sk.roc_auc_score(true, probabilities, multi_class="ovr", labels=names))
    assert stated["loss"] == pytest.approx(sk.log_loss(true, probabilities, labels=names))
    assert stated["confusion_matrix"] == sk.confusion_matrix(true, predicted, labels=names).tolist()
    with (run / "splits/val.csv").open() as file:
        assert [row["image_id"] for row in csv.DictReader(file)] == [row["image_id"] for row in rows]


def test_the_last_lines_say_where_the_results_are(finished):
    run, output = finished
    last = output.splitlines()[-20:]
    assert any(line == f"Results: {run}" for line in last)
    assert any("quadratic kappa" in line and "1 perfect" in line for line in last)
    epochs = [line for line in output.splitlines() if line.startswith("Epoch ")]
    assert len(epochs) == 3
    assert "BalAccAdj:" in epochs[0]
    assert "PredDist: [" in epochs[0]


def test_figures_are_pictures(finished):
    run, _ = finished
    for name in ("history", "confusion_matrix"):
        with Image.open(run / "metrics" / f"{name}.png") as picture:
            assert min(picture.size) > 500


def test_a_checkpoint_alone_predicts_what_the_run_did(finished, class_folders):
    from mammo.data.preprocess import prepare
    from mammo.models.build import build_model
    from mammo.models.model_options import ModelOptions
    from mammo.models.strategy import FrozenLastBlock
    from tests.data.reading import read_image

    run, _ = finished
    checkpoint = torch.load(run / "checkpoints/best_model.pth", weights_only=True)
    row = next(csv.DictReader((run / "val_predictions.csv").open()))
    how = checkpoint["preprocessing"]
    options = ModelOptions(**{**checkpoint["config"]["model"], "weights": "none"})
    classes = checkpoint["class_names"]
    network = build_model(options, FrozenLastBlock(), len(classes), how["image_size_px"], seed=1).network.eval()
    network.load_state_dict(checkpoint["model_state_dict"])
    grey, _ = read_image(class_folders / row["image_id"], ())
    pixels = prepare(grey, "", how["image_size_px"], how["crop"], how["orient"])
    normalised = [(torch.from_numpy(pixels) / 255 - m) / s for m, s in zip(how["mean"], how["std"], strict=True)]
    with torch.inference_mode():
        probabilities = network(torch.stack(normalised)[None]).softmax(dim=1)[0]
    assert probabilities.tolist() == pytest.approx([float(row[f"p_{name}"]) for name in classes], abs=1e-4)


def test_a_checkpoint_does_not_say_where_things_are(finished, class_folders):
    run, _ = finished
    assert str(class_folders).encode() not in (run / "checkpoints/best_model.pth").read_bytes()


def test_the_same_command_again_trains_nothing(finished, class_folders, train):
    run, _ = finished
    before = {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()}
    done = train(*TINY, f"data.root={class_folders}", folder=run.parents[1])
    assert done.returncode == 0
    assert "this run is finished; nothing is trained" in done.stdout
    assert f"Results: {run}" in done.stdout
    assert {file: file.stat().st_mtime_ns for file in run.rglob("*") if file.is_file()} == before


@pytest.mark.parametrize("changes", [["data.num_workers=0"], ["data.num_workers=2", "run.log_level=warning"]])
def test_two_folders_give_identical_histories_whatever_the_workers(finished, class_folders, train, tmp_path, changes):
    done = train(*TINY, f"data.root={class_folders}", *changes)
    assert done.returncode == 0, done.stderr
    run = only_run(tmp_path)
    assert run.name == finished[0].name
    assert history(run) == history(finished[0])
    assert (run / "val_predictions.csv").read_bytes() == (finished[0] / "val_predictions.csv").read_bytes()


@pytest.mark.parametrize(
    "changes", [["seed=0"], ["data.split_seed=1"], ["strategy=head_only"], ["augment=none"], ["augment.seed=1"],
                ["loss.label_smoothing=0.1"], ["model.dropout=0.5"], ["sampler=uniform"]],
)  # fmt: skip
def test_every_option_that_should_matter_does(finished, class_folders, train, tmp_path, changes):
    done = train(*TINY, f"data.root={class_folders}", *changes)
    assert done.returncode == 0, done.stderr
    assert only_run(tmp_path).name != finished[0].name
    assert history(only_run(tmp_path)) != history(finished[0])


def test_a_folder_of_another_run_is_never_touched(finished, class_folders, train, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(finished[0], run)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    for restart in ("false", "true"):
        done = train(
            *TINY, f"data.root={class_folders}", "seed=7", f"hydra.run.dir={run}", f"run.restart={restart}"
        )  # fmt: skip
        assert done.returncode == 2
        assert "seed: 42 there, 7 here" in done.stderr
        assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_an_explicit_folder_is_honoured_and_changed_data_is_noticed(class_folders, train, tmp_path):
    root, run = tmp_path / "data", tmp_path / "here"
    shutil.copytree(class_folders, root)
    command = [*TINY, "train.epochs=1", f"data.root={root}", f"hydra.run.dir={run}"]
    assert train(*command).returncode == 0
    assert (run / "summary.json").is_file()
    (root / "A" / "A0.png").rename(root / "B" / "A0.png")
    done = train(*command)
    assert done.returncode == 2
    assert "run.restart=true" in done.stderr
    assert "run.name=NAME" in done.stderr
    assert train(*command, "run.restart=true").returncode == 0
    assert json.loads((run / "summary.json").read_text())["data"]["class_counts"]["B"] == 9


def test_a_loss_that_is_not_finite_stops_the_run_with_the_images(class_folders, train, tmp_path):
    import timm

    state = timm.create_model("resnet18").state_dict()
    state["layer4.1.conv2.weight"].fill_(3e38)  # a number still; what is computed with it is none
    torch.save(state, tmp_path / "huge.pth")
    done = train(
        *TINY, f"data.root={class_folders}", "model=timm", "model.name=resnet18", "model.weights=huge.pth",
    )  # fmt: skip
    assert done.returncode == 1
    assert "is not finite" in done.stderr
    run = only_run(tmp_path)
    error = json.loads((run / "error.json").read_text())
    assert error["type"] == "NonFiniteLossError"
    assert ".png" in error["message"]
    assert json.loads((run / "summary.json").read_text())["status"] == "failed"


def test_debug_presets(class_folders, train, tmp_path):
    shared = (*TINY_DATA, "model=efficientnet_lite0", f"data.root={class_folders}", "train.threads=1")
    quick = train(*shared, "debug=one_batch", "run.name=quick")
    assert quick.returncode == 0, quick.stderr
    learning = train(
        *shared, "data.batch_size=4", "debug=overfit", "run.name=overfit", "optimizer.backbone_lr=1e-3",
    )  # fmt: skip
    assert learning.returncode == 0, learning.stderr
    runs = {run.name.split("-")[0]: history(run) for run in (tmp_path / "outputs").iterdir()}
    assert len(runs["quick"]) == 1
    assert runs["overfit"][-1]["val_acc"] == 1.0
    assert runs["overfit"][-1]["train_loss"] < 0.3


@pytest.mark.parametrize("tracker", ["tensorboard", "mlflow"])
def test_trackers_record_the_history(class_folders, train, tmp_path, tracker):
    pytest.importorskip(tracker)
    done = train(*TINY, "train.epochs=2", f"data.root={class_folders}", f"tracker={tracker}")
    assert done.returncode == 0, done.stderr
    expected = [record["val_kappa_quadratic"] for record in history(only_run(tmp_path))]
    if tracker == "tensorboard":
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(only_run(tmp_path) / "tensorboard"))
        events.Reload()
        found = [event.value for event in events.Scalars("val_kappa_quadratic")]
    else:
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'mlruns' / 'mlflow.db'}")
        (experiment,) = [e for e in client.search_experiments() if e.name == "mammo"]
        (run,) = client.search_runs([experiment.experiment_id])
        found = [m.value for m in client.get_metric_history(run.info.run_id, "val_kappa_quadratic")]
    assert found == pytest.approx(expected, abs=1e-6)


def test_a_restart_that_cannot_start_leaves_the_old_results(finished, class_folders, train, tmp_path):
    run = tmp_path / "copy"
    shutil.copytree(finished[0], run)
    before = {file: file.read_bytes() for file in run.rglob("*") if file.is_file()}
    done = train(
        *TINY, f"data.root={tmp_path / 'nowhere'}", f"hydra.run.dir={run}", "run.restart=true"
    )  # fmt: skip
    assert done.returncode == 2
    assert {file: file.read_bytes() for file in run.rglob("*") if file.is_file()} == before


def test_on_collapse_stop(class_folders, train, tmp_path):
    done = train(*TINY, f"data.root={class_folders}", "train.on_collapse=stop", "optimizer.lr=1e-9",
                 "optimizer.backbone_lr=1e-9", "model.weights=none", "sampler=uniform")  # fmt: skip
    assert done.returncode == 1
    assert "train.on_collapse=stop" in done.stderr
    assert "sampler=weighted" in done.stdout, "the remedies are named"
    assert "strategy=frozen_last_block (" not in done.stdout, "one that is set already is none"
    summary = json.loads((only_run(tmp_path) / "summary.json").read_text())
    assert summary["status"] == "failed"
    assert summary["collapse"]["detected"]


def test_sums_are_those_of_all_files_that_do_not_change_any_more(finished):
    run, _ = finished
    lines = (run / "SHA256SUMS").read_text().splitlines()
    sums = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    assert {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in sums} == sums
    assert {name for name in FILES if not name.endswith(".pth")} - sums.keys() == {"run.log", "SHA256SUMS"}

"""Ways to damage a run directory, and what the doctor must say about each."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import torch
import yaml

from tests.sweeps.sweeps import change, load, rows_of, write_rows

BEST, LAST = "checkpoints/best_model.pth", "checkpoints/last_model.pth"
METRICS = "metrics/val_metrics.json"


def write_hashes(run: Path) -> None:
    """The hashes of the checkpoints as sha256sum writes them."""
    files = sorted((run / "checkpoints").glob("*.pth"))
    lines = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (run / "checkpoints" / "SHA256SUMS").write_text("".join(lines))


def change_nested(file: Path, section: str, **values: object) -> None:
    change(file, **{section: load(file)[section] | values})


def change_rows(file: Path, edit: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    write_rows(file, edit(rows_of(file)))


def first_row_with(**values: str) -> Callable[[list[dict[str, str]]], list[dict[str, str]]]:
    return lambda rows: [rows[0] | values, *rows[1:]]


def with_another_prediction(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return first_row_with(y_pred="B" if rows[0]["y_pred"] == "A" else "A")(rows)


def change_checkpoint(file: Path, **values: object) -> None:
    """A checkpoint with other content and a fitting hash: only its meaning is wrong."""
    torch.save(torch.load(file, weights_only=True) | values, file)
    write_hashes(file.parents[1])


def change_history(run: Path, number: int, **values: object) -> None:
    """Change a record of the history in both of its files."""
    records = json.loads((run / "train_history.json").read_text())
    records[number].update(values)
    (run / "train_history.json").write_text(json.dumps(records))
    with (run / "train_history.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [key for key in records[0] if key != "lr_groups"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(records)


def change_config(run: Path, section: str, **values: object) -> None:
    config = yaml.safe_load((run / "config.yaml").read_text())
    config[section].update(values)
    (run / "config.yaml").write_text(yaml.safe_dump(config))


def move_patient(run: Path, spelt: Callable[[str], str] = str) -> None:
    """Let a training patient have an image in the validation set too."""
    leaked = rows_of(run / "splits" / "train.csv")[0] | {"image_id": "leaked"}
    leaked["patient_id"] = spelt(leaked["patient_id"])
    change_rows(run / "splits" / "val.csv", lambda rows: [leaked, *rows[1:]])


def move_exam(run: Path) -> None:
    """Let an image of a training patient be of an exam in the validation set."""
    exam = "an exam of two"
    change(run / "splits" / "manifest.json", group_by="patient")
    for part in ("train", "val"):
        change_rows(run / "splits" / f"{part}.csv", first_row_with(exam_id=exam))


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1000])


def flip_bit(file: Path) -> None:
    """Change a weight a little: the checkpoint can still be read."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def spoil_weights(run: Path) -> None:
    weights = torch.load(run / BEST, weights_only=True)["model_state_dict"]
    name = next(name for name, tensor in weights.items() if tensor.is_floating_point())
    weights[name].fill_(float("nan"))
    change_checkpoint(run / BEST, model_state_dict=weights)


def text_after(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def changed(file: str) -> str:
    """What is said of a file that was changed after its run."""
    return f"{file}: is not what the run has written"


# What is done to a run, what the doctor must name.
DAMAGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "a probability": (
        lambda run: change_rows(
            run / "val_predictions.csv", first_row_with(p_A="0.9", p_B="0.05", p_C="0.03", p_D="0.02")
        ),
        ["val_metrics.json: loss is stated as"],
    ),
    "a predicted class": (
        lambda run: change_rows(run / "val_predictions.csv", with_another_prediction),
        ["val_predictions.csv: y_pred is not the class", "val_metrics.json: "],
    ),
    "a true class": (
        lambda run: change_rows(run / "val_predictions.csv", first_row_with(y_true="D")),
        ["predictions: y_true is not the label", "val_metrics.json: "],
    ),
    "a class that is none": (
        lambda run: change_rows(run / "val_predictions.csv", first_row_with(y_true="E")),
        ["val_predictions.csv: cannot be read: a true class is none of the classes"],
    ),
    "a lost prediction": (
        lambda run: change_rows(run / "val_predictions.csv", lambda rows: rows[1:]),
        ["predictions: 1 validation image without a prediction"],
    ),
    "a repeated prediction": (
        lambda run: change_rows(run / "val_predictions.csv", lambda rows: [*rows, rows[0]]),
        ["predictions: 1 image predicted twice"],
    ),
    "a better accuracy": (
        lambda run: change(run / METRICS, acc=0.99),
        ["val_metrics.json: acc is stated as 0.99, computed"],
    ),
    "a better accuracy everywhere": (
        lambda run: [change(run / METRICS, acc=0.99), change_nested(run / "summary.json", "metrics", acc=0.99)],
        ["val_metrics.json: acc is stated as 0.99, computed"],
    ),
    "another confusion matrix": (
        lambda run: change(run / METRICS, confusion_matrix=[[13, 0, 0, 0], *[[0] * 4] * 3]),
        ["confusion_matrix is stated"],
    ),
    "another AUC": (lambda run: change(run / METRICS, auc_ovo=0.5 + 1e-5), ["auc_ovo is stated as 0.50001"]),
    "reversed limits": (
        lambda run: change_nested(run / METRICS, "ci95", acc=[0.9, 0.1]),
        [changed("metrics/val_metrics.json")],
    ),
    "another objective": (lambda run: change(run / "summary.json", objective=0.9), ["objective is stated as 0.9"]),
    "best epoch in the summary": (
        lambda run: change(run / "summary.json", best_epoch=99),
        ["best_epoch is stated as 99"],
    ),
    "epochs in the summary": (lambda run: change(run / "summary.json", epochs_run=2), ["epochs_run is stated as 2"]),
    "best epoch in the history": (
        lambda run: change_history(run, 0, is_best=False),  # the first epoch is the best so far on any machine
        ["best epoch: is_best marks epoch"],
    ),
    "a record of the history": (
        lambda run: change_history(run, 0, train_loss=9.0),
        [changed("train_history.json")],
    ),
    "the table of the history": (
        lambda run: text_after(run / "train_history.csv", "epoch", "epochs"),
        [changed("train_history.csv")],
    ),
    "an epoch of the history": (
        lambda run: change_history(run, 1, epoch=7),
        [changed("train_history.json")],
    ),
    "a truncated checkpoint": (
        lambda run: truncate(run / BEST),
        ["best_model.pth is damaged"],
    ),
    "a flipped bit": (lambda run: flip_bit(run / BEST), ["best_model.pth is damaged: its SHA-256 is not the one"]),
    "another hash": (
        lambda run: (run / "checkpoints" / "SHA256SUMS").write_text(f"{'0' * 64}  {Path(LAST).name}\n"),
        ["last_model.pth is damaged: its SHA-256"],
    ),
    "a checkpoint of another epoch": (
        lambda run: change_checkpoint(run / BEST, epoch=1),
        ["it is of epoch 1, the best epoch"],
    ),
    "a checkpoint of another run": (
        lambda run: change_checkpoint(run / LAST, run_id="00000000"),
        ["its run_id is another one"],
    ),
    "a checkpoint of other data": (
        lambda run: change_checkpoint(run / LAST, data_fingerprint="0"),
        ["its data_fingerprint is another one"],
    ),
    "a checkpoint without its classes": (
        lambda run: change_checkpoint(run / BEST, class_names=["A", "B"]),
        ["its classes are A, B"],
    ),
    "weights that are no numbers": (spoil_weights, ["best_model.pth: the weights in best_model.pth are none"]),
    "a patient in both parts": (move_patient, ["splits: 1 patient in both train and val"]),
    "a patient in both parts, spelt differently": (
        lambda run: move_patient(run, lambda patient: f"\u200b{patient.upper()} "),
        ["splits: 1 patient in both train and val"],
    ),
    "an exam of two patients in both parts": (move_exam, ["1 exam in more than one part, under different patients"]),
    "a lost training image": (
        lambda run: change_rows(run / "splits" / "train.csv", lambda rows: rows[1:]),
        [changed("splits/train.csv")],
    ),
    "another label of an image": (
        lambda run: change_rows(run / "splits" / "train.csv", first_row_with(label="D")),
        [changed("splits/train.csv")],
    ),
    "another image in training": (
        lambda run: change_rows(run / "splits" / "train.csv", first_row_with(image_id="new", patient_id="new")),
        [changed("splits/train.csv")],
    ),
    "a left-out file": (
        lambda run: (run / "quarantine.csv").write_text("image_id,stage,reason\nx,file,cut off\n"),
        [changed("quarantine.csv")],
    ),
    "a number of the last epoch": (
        lambda run: change_nested(run / "summary.json", "last_metrics", acc=0.99),
        [changed("summary.json")],
    ),
    "another seed": (lambda run: change(run / "summary.json", seed=7), [changed("summary.json")]),
    "another class count": (
        lambda run: change_nested(run / "summary.json", "data", class_counts={"A": 32}),
        [changed("summary.json")],
    ),
    "another side of a predicted image": (
        lambda run: change_rows(run / "val_predictions.csv", first_row_with(laterality="L")),
        [changed("val_predictions.csv")],
    ),
    "another option": (
        lambda run: change_config(run, "optimizer", lr=0.5),
        ["run id: ", "optimizer.lr than config.yaml"],
    ),
    "an unknown option": (lambda run: change_config(run, "train", speed=2), ["config.yaml: does not fit this version"]),
    "a configuration of code": (
        lambda run: (run / "config.yaml").write_text("!!python/object/apply:os.getcwd []\n"),
        ["config.yaml: cannot be read"],
    ),
    "another run id": (lambda run: change(run / "summary.json", run_id="00000000"), ["summary.json says 00000000"]),
    "no configuration": (lambda run: (run / "config.yaml").unlink(), ["config.yaml: is missing"]),
    "no summary": (lambda run: (run / "summary.json").unlink(), ["summary.json: is missing"]),
    "no command": (lambda run: change(run / "summary.json", command=" "), ["command: is empty"]),
    "no figure": (lambda run: (run / "metrics" / "history.png").unlink(), ["metrics/history.png: is missing"]),
    "no overrides": (lambda run: shutil.rmtree(run / ".hydra"), [".hydra/overrides.yaml: is missing"]),
    "an error": (lambda run: (run / "error.json").write_text("{}"), ["error.json: is there although"]),
    "NaN": (
        lambda run: text_after(run / METRICS, '"loss": ', '"loss": NaN, "x": '),
        ["metrics/val_metrics.json: cannot be read: NaN"],
    ),
    "a repeated key": (lambda run: text_after(run / METRICS, "{", '{"loss": 0,'), ["a key is there twice"]),
    "a key that is missing": (
        lambda run: text_after(run / "summary.json", '"torch"', '"tensorflow"'),
        ["summary.json: environment.torch is missing"],
    ),
    "text for a number": (
        lambda run: change(run / METRICS, kappa="0.5"),
        ["metrics/val_metrics.json: cannot be read: kappa is text, expected a number or null"],
    ),
    "another version": (
        lambda run: change(run / "summary.json", schema_version=7),
        ["schema_version is another than 1"],
    ),
    "an unknown status": (
        lambda run: change(run / "summary.json", status="done"),
        ["summary.json: cannot be read: status is text, expected one of running"],
    ),
}

"""What a finished run leaves beside its checkpoint: the card, the temperature, the features."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from mammo.evaluation.predictions import read_predictions
from mammo.inference.command_options import DataChoice
from mammo.inference.datasets import load_shown
from mammo.inference.find import find_checkpoints
from mammo.inference.trained import load_trained, predict_images, resolved_hardware
from tests.inference.conftest import run_of


def test_the_card_states_what_the_files_of_the_run_state(sweep):
    run = run_of(sweep)
    card = (run / "checkpoints" / "MODEL_CARD.md").read_text()
    metrics = json.loads((run / "metrics" / "val_metrics.json").read_text())
    low, high = metrics["ci95"]["kappa_quadratic"]
    assert f"| quadratic kappa | {metrics['kappa_quadratic']:.3f} | {low:.3f} to {high:.3f} |" in card
    for name, n, row in zip("ABCD", metrics["true_counts"], metrics["confusion_matrix"], strict=True):
        assert f"| {name} | {n} |" in card
        assert f"| {' | '.join(map(str, row))} |" in card
    temperature = json.loads((run / "metrics" / "calibration.json").read_text())["temperature"]
    assert f"Dividing the logits by {temperature:.3f}" in card
    for words in (
        "Research use only. Not a medical device", "nothing pretrained was used", "Patients are not known",
        "| test | 8 | 8 |", f"Only {metrics['num_images']} images validate it",
    ):  # fmt: skip
        assert words in card
    assert str(sweep.parent) not in card
    rows = enumerate(metrics["confusion_matrix"])
    weak = [f"{'ABCD'[c]} ({row[c]} of {sum(row)})" for c, row in rows if row[c] < sum(row) / 4]
    assert weak
    assert f"- Recall below 1/4 on {metrics['num_images']} validation images: {', '.join(weak)}." in card


def test_the_card_names_the_licence_of_the_weights(pretrained_run):
    assert "Apache-2.0" in (pretrained_run / "checkpoints" / "MODEL_CARD.md").read_text()


def test_the_temperature_is_the_best_of_many(sweep):
    run = run_of(sweep)
    stored = json.loads((run / "metrics" / "calibration.json").read_text())["temperature"]
    predictions = read_predictions(run / "val_predictions.csv")
    log_p, targets = torch.tensor(predictions.probabilities).log(), torch.tensor(predictions.targets)

    def loss(temperature):
        return float(torch.nn.functional.cross_entropy(log_p / temperature, targets))

    assert loss(stored) <= min(loss(temperature) for temperature in np.geomspace(0.05, 20, 400)) + 1e-9


@pytest.mark.parametrize("strategy", ["frozen_last_block", "full_finetune"])
def test_features_of_the_run_are_those_of_its_checkpoint(strategy, sweep, session_cache):
    run = run_of(sweep, strategy)
    trained = load_trained(find_checkpoints([str(run)])[0], resolved_hardware("cpu", 1))
    shown = load_shown(trained, DataChoice(), None, str(session_cache))
    found = predict_images(trained, shown.dataset.part(shown.rows), keep_features=True)
    stored = np.load(run / "embeddings_val.npy", allow_pickle=False)
    assert stored.dtype == np.float32
    np.testing.assert_allclose(stored, found.features, atol=1e-5)
    head = trained.network.head
    logits = stored @ head.weight.detach().numpy().T + head.bias.detach().numpy()
    np.testing.assert_allclose(logits, found.outputs, atol=1e-4)
    assert trained.network.training is False

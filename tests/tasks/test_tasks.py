"""Tasks and output spaces by hand: targets, strata, decisions, probabilities, temperatures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mammo.tasks.multiclass import DENSITY, DENSITY2, DENSITY4, LABELS
from mammo.tasks.outputs import SOFTMAX
from mammo.tasks.task import TASKS

PROBABILITIES = np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.4, 0.1, 0.1]])


def test_the_tasks_that_a_configuration_can_choose():
    assert {name: task.class_names for name, task in TASKS.items()} == {
        "density4": DENSITY,
        "density2": ("AB", "CD"),
        "labels": None,
    }


def test_from_labels_to_targets_and_back():
    assert [DENSITY2.label_for(name) for name in DENSITY] == ["AB", "AB", "CD", "CD"]
    assert LABELS.class_names_for(("F", "G", "D")) == ("F", "G", "D")
    targets = DENSITY4.targets(["D", "A", "D"], DENSITY)
    assert targets.tolist() == DENSITY4.strata(targets).tolist() == [3, 0, 3]
    assert DENSITY4.texts(targets, DENSITY) == ["D", "A", "D"]
    assert DENSITY4.class_counts(targets, 4) == [1, 0, 0, 2]
    with pytest.raises(ValueError, match="none of the classes"):
        DENSITY4.targets(["E"], DENSITY)


@pytest.mark.parametrize("array", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_the_likeliest_class_is_the_decision_and_of_equals_the_first(array):
    decisions = DENSITY4.decide(array(PROBABILITIES))
    assert decisions.tolist() == [3, 0]
    assert DENSITY4.is_right(decisions, array(np.array([3, 1]))).tolist() == [True, False]


def test_the_loss_of_a_probability_of_zero_is_finite():
    losses = DENSITY4.losses(np.array([[0.25, 0.75], [1.0, 0.0]]), np.array([1, 1]))
    assert losses[0] == pytest.approx(-np.log(0.75))
    assert 700 < losses[1] < 710


def test_outputs_are_logits_in_numpy_and_torch():
    outputs = np.log(PROBABILITIES) + 3
    assert SOFTMAX.num_outputs(4) == 4
    assert SOFTMAX.probabilities(outputs) == pytest.approx(PROBABILITIES)
    assert SOFTMAX.probabilities(torch.tensor(outputs)).numpy() == pytest.approx(PROBABILITIES)
    assert SOFTMAX.probabilities(SOFTMAX.outputs_of(PROBABILITIES)) == pytest.approx(PROBABILITIES)


def test_a_temperature_divides_the_logits():
    expected = np.sqrt(PROBABILITIES) / np.sqrt(PROBABILITIES).sum(axis=1, keepdims=True)
    assert SOFTMAX.with_temperature(PROBABILITIES, 2.0) == pytest.approx(expected)

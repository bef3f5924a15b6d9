"""The choice of the best epoch, early stopping and the detection of a collapse."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from mammo.evaluation.metrics import compute_metrics
from mammo.evaluation.selection import (
    COLLAPSE_REMEDIES,
    MONITORS,
    EarlyStopping,
    ModelSelection,
    Scores,
    collapse_remedies,
    detect_collapse,
    worst_objective,
)


def auto(bal, kappa, auc, f1=0.5, acc=0.5, loss=1.0):
    return Scores(bal_acc_adj=bal, kappa_quadratic=kappa, auc_ovr=auc, macro_f1=f1, acc=acc, loss=loss)


BEST = auto(0.6, 0.5, 0.8)


@pytest.mark.parametrize(
    ("candidate", "best", "wins"),
    [
        (auto(0.4, 0.5, 0.9), BEST, False),  # the case of the decisions
        (auto(0.61, 0.1, 0.1, loss=9.0), BEST, True),
        (auto(0.6, 0.51, 0.1), BEST, True),
        (auto(0.6, 0.5, 0.81), BEST, True),
        (auto(0.6, 0.5, 0.8, f1=0.51, acc=0.1), BEST, True),
        (auto(0.6, 0.5, 0.8, acc=0.51), BEST, True),
        (auto(0.6, 0.5, 0.8, loss=0.9), BEST, True),  # a full tie: the lower loss
        (BEST, BEST, False),  # equal in everything: the earlier epoch stays
        (auto(0.6, 0.5, 0.8, loss=1.1), BEST, False),
        (auto(0.6, None, 0.9), BEST, False),  # undefined = -inf
        (auto(0.6, -0.9, 0.1), auto(0.6, None, 0.9), True),
        (auto(0.6, None, 0.9), auto(0.6, None, 0.8), True),
        (auto(0.6, float("nan"), 0.9), BEST, False),
        (Scores(), None, True),  # any first epoch
    ],
)
def test_auto_compares_lexicographically(candidate, best, wins):
    assert ModelSelection("auto").is_better(candidate, best) is wins


@pytest.mark.parametrize("monitor", [m for m in MONITORS if m != "auto"])
def test_a_single_monitor(monitor):
    low, high = Scores(**{"loss": 1.0, monitor: 0.2}), Scores(**{"loss": 1.0, monitor: 0.3})
    minimised = monitor in ("loss", "mae", "ece")
    selection = ModelSelection(monitor)
    assert selection.minimised is minimised
    assert selection.is_better(low, high) is minimised
    assert selection.is_better(high, low) is not minimised
    undefined = Scores(**{"loss": 0.0, monitor: None})
    assert not selection.is_better(undefined, low)
    assert selection.is_better(low, undefined)
    if monitor != "loss":
        assert selection.is_better(Scores(**{"loss": 0.9, monitor: 0.2}), low)


@pytest.mark.parametrize(
    ("monitor", "num_classes", "worst"),
    [
        ("auto", 4, -1 / 3),
        ("bal_acc_adj", 2, -1.0),
        ("kappa", 4, -1.0),
        ("kappa_quadratic", 4, -1.0),
        ("auc_ovr", 4, 0.0),
        ("acc", 4, 0.0),
        ("loss", 4, 1e6),
        ("mae", 4, 3.0),
        ("ece", 4, 1.0),
    ],
)
def test_worst_objective(monitor, num_classes, worst):
    assert worst_objective(monitor, num_classes) == pytest.approx(worst)


def test_objective():
    assert ModelSelection("auto").objective(BEST) == 0.6
    assert ModelSelection("auc_ovr").objective(BEST) == 0.8
    assert ModelSelection("loss").objective(BEST) == 1.0
    assert ModelSelection("auc_ovo").objective(BEST) == 0.0
    assert ModelSelection("kappa").objective(BEST) == -1.0


def test_unknown_monitor():
    with pytest.raises(ValueError, match="accuracy"):
        ModelSelection("accuracy")


def test_names_are_read_without_heavy_imports():
    code = (
        "import sys; from mammo.evaluation.selection import MONITORS; assert MONITORS[0] == 'auto'; "
        "print([m for m in ('numpy', 'sklearn', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("patience", "is_best", "stops"),
    [
        (0, [True] + [False] * 50, False),
        (2, [], False),
        (2, [True], False),
        (2, [True, False], False),
        (2, [True, False, False], True),
        (2, [True, False, True, False], False),
        (2, [True, False, True, False, False], True),
        (1, [True, True, False], True),
    ],
)
def test_early_stopping(patience, is_best, stops):
    assert EarlyStopping(patience).should_stop(is_best) is stops


def metrics_of(targets, predicted, num_classes=4):
    probabilities = np.eye(num_classes)[predicted]
    names = "ABCD"[:num_classes]
    return compute_metrics(probabilities, np.array(targets), tuple(names), [str(i) for i in range(len(targets))])


EVEN = [0] * 10 + [1] * 10 + [2] * 10 + [3] * 10


@pytest.mark.parametrize(
    ("targets", "predicted", "said"),
    [
        (EVEN, EVEN, None),
        (EVEN, [1] * 40, "A, C, D never predicted"),
        (EVEN, [0] * 10 + [1] * 9 + [0] + [2] * 20, "D never predicted"),
        (EVEN, [1] * 10 + [1] * 9 + [0] + EVEN[20:], "recall 0 for A"),
        ([0] * 4 + EVEN[10:], [1] * 4 + [1] * 9 + [0] + EVEN[20:], None),  # only four images of A
        ([0] * 5 + EVEN[10:], [1] * 5 + [1] * 9 + [0] + EVEN[20:], "recall 0 for A"),
        (EVEN, [0, 1, 2, 3] * 10, "kappa_quadratic"),
    ],
)
def test_detect_collapse(targets, predicted, said):
    reason = detect_collapse(metrics_of(targets, predicted))
    if said is None:
        assert reason is None
    else:
        assert said in reason


def test_a_collapse_shows_the_distribution_of_predictions():
    reason = detect_collapse(metrics_of(EVEN, [1] * 40))
    assert "predicted A: 0, B: 40, C: 0, D: 0" in reason
    assert "true A: 10, B: 10, C: 10, D: 10" in reason


def test_remedies_are_those_that_are_not_set():
    assert "strategy=frozen_last_block (train less of the network)" in collapse_remedies([])
    left = collapse_remedies(["strategy=frozen_last_block", "scheduler=cosine"])
    assert "strategy" not in left
    assert "scheduler" not in left
    assert "sampler=weighted (balanced classes), optimizer.lr=1e-5" in left
    assert "more data" in collapse_remedies(list(COLLAPSE_REMEDIES))

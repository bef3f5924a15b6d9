"""Which epoch is the best, when to stop, and when a model has collapsed.

Selection works on `Scores`, a handful of numbers that fit into a checkpoint, so a resumed run decides
as an uninterrupted one. This module imports nothing heavy: the configuration check reads `MONITORS`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

from mammo.evaluation.scores import BY_NAME, MULTICLASS, SCORE_NAMES, names_in

# The scores of one epoch by their names, None where undefined; a score that is not there is undefined too.
Scores = dict[str, float | None]
MONITORS: tuple[str, ...] = ("auto", *SCORE_NAMES)
Select = Literal["best", "last"]

MIN_KAPPA_QUADRATIC = 0.1
MIN_IMAGES_FOR_ZERO_RECALL = 5

COLLAPSE_REMEDIES = {
    "strategy=frozen_last_block": "train less of the network",
    "sampler=weighted": "balanced classes",
    "scheduler=cosine": "smoother steps",
    "optimizer.lr=1e-5": "smaller steps",
    "data.val_fraction=0.3": "steadier validation",
}


def collapse_remedies(is_set: Collection[str]) -> str:
    """What helps against a collapse, without what is set already: of `COLLAPSE_REMEDIES`."""
    left = [f"{option} ({why})" for option, why in COLLAPSE_REMEDIES.items() if option not in is_set]
    return f"what can help against a collapse: {', '.join(left)}" if left else "more data or another model may help"


@dataclasses.dataclass(frozen=True)
class ModelSelection:
    """How two epochs are compared: `auto`, or one score by name.

    `auto` compares (bal_acc_adj, kappa_quadratic, auc_ovr, macro_f1, acc) lexicographically; a single
    score is maximised, `loss`, `mae` and `ece` minimised. An undefined score is worse than any number.
    With `select` last nothing is compared: each epoch replaces the one before. Raises `ValueError` for a name that is
    not in `MONITORS`.
    """

    monitor: str = "auto"
    kind: str = MULTICLASS  # of the task
    select: Select = "best"

    def __post_init__(self) -> None:
        if self.monitor not in MONITORS:
            raise ValueError(f"unknown monitor {self.monitor!r}, valid: {', '.join(MONITORS)}")

    @property
    def name(self) -> str:
        """The score that stands for the run: bal_acc_adj under `auto`, else the monitored one."""
        return self._order[0]

    @property
    def minimised(self) -> bool:
        """Whether a lower objective is a better one (the direction of a search)."""
        return BY_NAME[self.name].lower_is_better

    @property
    def direction(self) -> Literal["minimize", "maximize"]:
        """`minimised` in Optuna's words."""
        return "minimize" if self.minimised else "maximize"

    def is_better(self, candidate: Scores, best: Scores | None) -> bool:
        """Whether a later epoch replaces the best one so far; ties go to the lower loss, then to the earlier epoch."""
        return self.select == "last" or best is None or self._rank(candidate) > self._rank(best)

    def objective(self, scores: Scores) -> float:
        """The number a run returns to a search; an undefined score gives its worst value."""
        value = scores.get(self.name)
        if value is None or not math.isfinite(value):
            # The number of classes matters to bal_acc_adj and mae only, and those are never undefined.
            return BY_NAME[self.name].worst(2)
        return float(value)

    def _rank(self, scores: Scores) -> tuple[float, ...]:
        return tuple(_goodness(scores, name) for name in (*self._order, "loss"))

    @property
    def _order(self) -> tuple[str, ...]:
        return names_in("auto", self.kind) if self.monitor == "auto" else (self.monitor,)


def _goodness(scores: Scores, name: str) -> float:
    value = scores.get(name)
    if value is None or math.isnan(value):
        return -math.inf
    return -value if BY_NAME[name].lower_is_better else value


def worst_objective(monitor: str, num_classes: int) -> float:
    """What a failed or diverged run returns: the worst value its objective can take with K classes.

    -1/(K-1) for bal_acc_adj (what 0 balanced accuracy gives); a loss has none, and counts as 1e6.
    """
    return BY_NAME[ModelSelection(monitor).name].worst(num_classes)


@dataclasses.dataclass(frozen=True)
class EarlyStopping:
    """Stops a run when `patience` epochs have passed since the last best one (0 = off).

    It keeps no state: the flags of the history are all it needs, so nothing has to be restored.
    """

    patience: int

    def epochs_since_best(self, is_best: Sequence[bool]) -> int:
        """Epochs after the last best one; all of them if there was none."""
        best_epochs = [epoch for epoch, flag in enumerate(is_best, start=1) if flag]
        return len(is_best) - (best_epochs[-1] if best_epochs else 0)

    def should_stop(self, is_best: Sequence[bool]) -> bool:
        """Whether to stop after these epochs (one flag each, in order)."""
        return self.patience > 0 and self.epochs_since_best(is_best) >= self.patience


class Predicted(Protocol):
    """What `detect_collapse` reads of the metrics of an epoch; `mammo.evaluation.metrics.Metrics` has it."""

    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def true_counts(self) -> tuple[int, ...]: ...
    @property
    def pred_counts(self) -> tuple[int, ...]: ...
    @property
    def per_class(self) -> Mapping[str, tuple[float | None, ...]]: ...
    @property
    def scores(self) -> Scores: ...


def detect_collapse(metrics: Predicted) -> str | None:
    """One sentence that says why an epoch counts as collapsed, or None.

    Collapsed is: a class that is never predicted, a recall of 0 for a class with at least 5 images, or
    a quadratic kappa below 0.1. A class without images counts as never predicted too; the sentence
    shows the true counts, so the reader can tell.
    """
    names = metrics.class_names
    never = [name for name, count in zip(names, metrics.pred_counts, strict=True) if count == 0]
    per_class = zip(names, metrics.per_class["recall"], metrics.true_counts, strict=True)
    missed = [name for name, recall, n in per_class if recall == 0 and n >= MIN_IMAGES_FOR_ZERO_RECALL]
    findings = []
    if never:
        findings.append(f"{', '.join(never)} never predicted")
    if missed := [name for name in missed if name not in never]:
        findings.append(f"recall 0 for {', '.join(missed)}")
    kappa = metrics.scores.get("kappa_quadratic")
    if kappa is not None and kappa < MIN_KAPPA_QUADRATIC:
        findings.append(f"kappa_quadratic {kappa:.3f} is below {MIN_KAPPA_QUADRATIC}")
    if not findings:
        return None
    return (
        f"{'; '.join(findings)} (predicted {_counts(names, metrics.pred_counts)}; "
        f"true {_counts(names, metrics.true_counts)})"
    )


def _counts(names: Sequence[str], counts: Sequence[int]) -> str:
    return ", ".join(f"{name}: {count}" for name, count in zip(names, counts, strict=True))

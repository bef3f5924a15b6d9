"""What is recorded of an epoch, by type: in the history of a run, and in its checkpoints.

Apart from the rest of a checkpoint, whose types need torch: a mistake on a command line is answered without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, NotRequired, TypedDict

from mammo.evaluation.scores import SCORES, Score
from mammo.support.type_checks import AtLeast, Number, Whole


def _fields(scores: Iterable[Score], prefix: str = "") -> dict[str, Any]:
    """A key for each score, null where it is undefined; scores that not every kind of task has may lack."""
    every_kind = frozenset[str]().union(*(score.kinds for score in SCORES))
    shapes = ((score, Number | None) for score in scores)
    return {prefix + score.name: shape if score.kinds == every_kind else NotRequired[shape] for score, shape in shapes}


HISTORY = [score for score in SCORES if "history" in score.shown_in]
# The scores of an epoch, in checkpoints, and those of them that the history has.
ScoreTree = TypedDict("ScoreTree", _fields(SCORES))  # type: ignore[misc]
ValidationTree = TypedDict("ValidationTree", _fields(HISTORY, "val_"))  # type: ignore[misc]


class Record(ValidationTree):
    """An epoch of the history."""

    epoch: Annotated[int, AtLeast(1)]
    train_loss: Number
    train_acc: Number
    val_pred_counts: list[Whole]
    lr: Number
    lr_groups: dict[str, Number]
    seconds: Number
    images_per_second: Number
    skipped_steps: Whole
    is_best: bool

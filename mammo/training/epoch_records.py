"""What is recorded of an epoch, by type: in the history of a run, and in its checkpoints.

Apart from the rest of a checkpoint, whose types need torch: a mistake on a command line is answered without it.
"""

from __future__ import annotations

from typing import Annotated, TypedDict

from mammo.support.type_checks import AtLeast, Number, Whole


class ScoreTree(TypedDict):
    """The scores of an epoch; null where one is undefined."""

    loss: Number | None
    acc: Number | None
    bal_acc: Number | None
    bal_acc_adj: Number | None
    kappa: Number | None
    kappa_quadratic: Number | None
    macro_f1: Number | None
    auc_ovr: Number | None
    auc_ovo: Number | None
    mae: Number | None
    ece: Number | None


class Record(TypedDict):
    """An epoch of the history."""

    epoch: Annotated[int, AtLeast(1)]
    train_loss: Number
    train_acc: Number
    val_loss: Number | None
    val_acc: Number | None
    val_bal_acc: Number | None
    val_bal_acc_adj: Number | None
    val_kappa: Number | None
    val_kappa_quadratic: Number | None
    val_macro_f1: Number | None
    val_auc_ovr: Number | None
    val_auc_ovo: Number | None
    val_pred_counts: list[Whole]
    lr: Number
    lr_groups: dict[str, Number]
    seconds: Number
    images_per_second: Number
    skipped_steps: Whole
    is_best: bool

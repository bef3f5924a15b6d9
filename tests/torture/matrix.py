"""Which runs are tried: every strategy with every scheduler and sampler, and the other options drawn for each."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

STRATEGIES = ("frozen_last_block", "full_finetune", "head_only", "linear_probe")
SCHEDULERS = ("cosine", "plateau", "step", "constant")
SAMPLERS = ("weighted", "uniform")
# A part set aside for validation, or inside of an outer fold that the run scores at its end.
PARTS = (("data.val_fraction=0.4",), ("data.num_folds=3", "data.fold=0", "data.inner_folds=2"))
# Which epoch is kept; the last one is not chosen by early stopping.
RULES = (("train.early_stopping.patience=0",), ("train.early_stopping.patience=1",), ("train.select=last",))

# 19 training and 13 validation images in batches of 4 are 5 and 4 batches an epoch.
COMMON = (
    "data=folders", "data.group_by=image", "data.pseudonymize=false", "data.image_size=64", "data.batch_size=4",
    "model=timm", "model.name=test_resnet", "model.weights=none", "train.threads=1",
    "train.epochs=3", "optimizer.lr=1e-3",
)  # fmt: skip


def combinations(seed: int) -> list[list[str]]:
    """The arguments of all runs in an order that is a function of the seed."""
    draw = random.Random(seed)
    combinations = list(itertools.product(STRATEGIES, SCHEDULERS, SAMPLERS))
    draw.shuffle(combinations)
    return [_run(draw, *combination) for combination in combinations]


def _run(draw: random.Random, strategy: str, scheduler: str, sampler: str) -> list[str]:
    arguments = [*COMMON, f"strategy={strategy}", f"scheduler={scheduler}", f"sampler={sampler}"]
    if strategy != "full_finetune":
        arguments.append(f"strategy.feature_bank={draw.choice(('on', 'off'))}")
    if strategy in ("frozen_last_block", "full_finetune"):
        arguments.append(f"strategy.head_only_epochs={draw.choice((0, 1))}")
    if scheduler == "cosine":
        arguments.append(f"scheduler.per_step={draw.choice(('true', 'false'))}")
    if scheduler == "plateau":
        arguments.append("scheduler.patience=0")
    arguments += [
        f"train.accumulate={draw.choice((1, 2, 3))}",
        *draw.choice(RULES),
        *draw.choice(PARTS),
        # In every step, or in none.
        f"train.checkpoint_every_seconds={draw.choice((1e-6, 1e-6, 0))}",
        f"data.num_workers={draw.choice((0, 2))}",
        f"optimizer={draw.choice(('adamw', 'sgd'))}",
        f"train.amp={draw.choice(('auto', 'off'))}",
        f"train.keep_checkpoint_every_epochs={draw.choice((0, 2))}",
        f"train.max_batches={draw.choice(('null', 'null', 3))}",
        f"model.dropout={draw.choice((0.2, 0.5))}",
    ]
    return arguments


def shown(arguments: list[str], data: Path) -> str:
    """A command line that repeats one of them."""
    return " ".join(["python -m mammo.train", *arguments, f"data.root={data}"])

"""The configuration of a run: every option, the tree of plain values that is stored, the run id.

`run_id` is a hash of what can change a result. No heavy imports: all of this happens before data is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any, Literal

from mammo.config.renamed import with_original_keys
from mammo.config.sweep_options import SearchOptions, SweepOptions
from mammo.data import sampler
from mammo.data.augment import AugmentOptions
from mammo.data.data_options import DataOptions
from mammo.evaluation.selection import MONITORS, Select
from mammo.models import strategy
from mammo.models.model_options import ModelOptions
from mammo.support.files import safe_name
from mammo.support.option_registry import choice, option, section
from mammo.support.schema import to_tree
from mammo.tasks.task import TASKS
from mammo.training import losses, optimizers, schedulers, tracker


@dataclasses.dataclass(frozen=True)
class EarlyStoppingOptions:
    """When to stop before the last epoch."""

    patience: int = option(0, "stop after this many epochs without a new best; 0: never", at_least=0)


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """The training loop."""

    epochs: int = option(20, "epochs to train", at_least=1, at_most=100000)
    amp: Literal["auto", "bf16", "fp16", "off"] = option("auto", "mixed precision; auto: what the hardware is good at")
    monitor: Literal[MONITORS] = option("auto", "what makes an epoch the best; auto: bal_acc_adj first")  # type: ignore[valid-type]
    select: Select = option(
        "best",
        "which epoch is kept as best_model.pth and evaluated; best: by train.monitor on the validation images, which "
        "flatters small sets; last: the last one, nothing is chosen",
        since_default="best",
    )
    early_stopping: EarlyStoppingOptions = section(EarlyStoppingOptions)
    accumulate: int = option(1, "batches whose gradients make one step", at_least=1, at_most=1024)
    clip_norm: float = option(1.0, "largest norm of the gradient; 0: no clipping", at_least=0)
    on_collapse: Literal["warn", "stop"] = option("warn", "what to do when the model predicts too few classes")
    keep_checkpoint_every_epochs: int = option(0, "keep checkpoint_epoch_N.pth every N epochs; 0: none", at_least=0)
    checkpoint_every_seconds: float = option(
        300.0, "save a checkpoint within an epoch when the last is this old; 0: none", at_least=0, in_run_id=False
    )
    compile: bool = option(False, "compile the network: slow to start, faster steps; other dropout")
    deterministic: bool | None = option(None, "deterministic kernels; null: on CPU yes, on CUDA no")
    max_batches: int | None = option(None, "end every epoch and validation after N batches (debugging)", at_least=1)
    overfit_batches: int | None = option(None, "train on N batches and validate on the same (debugging)", at_least=1)
    threads: int | None = option(None, "CPU threads; null: physical cores", at_least=1, in_run_id=False)


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """Where the results go."""

    name: str | None = option(None, "instead of <model>-<strategy>-<data>-s<seed>; the run id is appended")
    restart: bool = option(False, "start over in a run directory that exists", guarded=True)
    log_level: Literal["debug", "info", "warning"] = option("info", "what the log shows")


@dataclasses.dataclass(frozen=True)
class Config:
    """One run, completely described."""

    strategy: strategy.Strategy = choice("strategy")
    optimizer: optimizers.OptimizerOptions = choice("optimizer")
    scheduler: schedulers.Schedule = choice("scheduler")
    sampler: sampler.Sampler = choice("sampler")
    loss: losses.Loss = choice("loss")
    tracker: tracker.Tracker = choice("tracker", in_run_id=False)
    seed: int = option(42, "seed of new weights, order of images and dropout", at_least=0, at_most=2**31 - 1)
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute", in_run_id=False)
    cache_dir: str | None = option(
        None, "stores and generated data; null: the user's cache folder", in_run_id=False, guarded=True
    )
    data: DataOptions = section(DataOptions)
    model: ModelOptions = section(ModelOptions)
    augment: AugmentOptions = section(AugmentOptions)
    train: TrainOptions = section(TrainOptions)
    run: RunOptions = section(RunOptions, in_run_id=False)
    sweep: SweepOptions = section(SweepOptions, in_run_id=False)
    hpo: SearchOptions = section(SearchOptions, in_run_id=False)

    @property
    def num_classes(self) -> int | None:
        """Classes of the task; None where only the labels tell."""
        return len(TASKS[self.data.task].class_names or self.data.classes or ()) or None


def image_size_px(config: Config) -> int:
    """The size that `with_presets` has filled in."""
    if config.data.image_size is None:
        raise ValueError("the configuration has not been through `check`")
    return config.data.image_size


def config_tree(config: Config) -> dict[str, Any]:
    """The whole configuration as plain values, for `config.yaml` and checkpoints.

    Without the address of a study, which may hold a password and is nothing that a run needs.
    """
    return to_tree(dataclasses.replace(config, hpo=dataclasses.replace(config.hpo, storage=None)))


def identity_tree(config: Config) -> dict[str, Any]:
    """What can change a result: the configuration without device, threads, paths, tracker and run options."""
    return to_tree(config, only_run_id=True)


def original_identity_tree(config: Config) -> dict[str, Any]:
    """`identity_tree` as the first release would have had it: what is hashed does not change when options come.

    Options go by their first names, and those that came later are left out where they change nothing.
    """
    return with_original_keys(to_tree(config, only_run_id=True, as_before=True))


def run_id(config: Config) -> str:
    """First 8 hex digits of the SHA-256 of `original_identity_tree` as canonical JSON."""
    canonical = json.dumps(original_identity_tree(config), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:8]


def run_name(config: Config) -> str:
    """Name of the run directory: <model>-<strategy>-<data>-s<seed>[-f<fold>]-<run id>, or <run.name>-<run id>."""
    model = config.model.name or config.model.family
    fold = "" if config.data.fold is None else f"-f{config.data.fold}"
    name = config.run.name or f"{model}-{config.strategy.name}-{config.data.name}-s{config.seed}{fold}"
    return f"{safe_name(name)}-{run_id(config)}"

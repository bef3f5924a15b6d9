"""What a valid configuration is, and the errors when it is not.

`check` turns a composed tree into a `Config`, collecting every problem before it raises, with presets
filled in; `run_id` is a hash of what can change a result. No heavy imports: all of this happens before
data is read, and a mistake is answered at once.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeVar

from mammo import losses, optimizers, schedulers, tracker
from mammo.config_rules import fixed_size_px, impossible_combinations, impossible_labels
from mammo.data import sampler
from mammo.data.augment import AugmentOptions
from mammo.data.options import DEFAULT_IMAGE_SIZE_PX, DataOptions
from mammo.errors import ConfigError
from mammo.files import safe_name
from mammo.models import strategy
from mammo.models.options import ModelOptions
from mammo.options import choice, option, section
from mammo.renamed import with_current_keys, with_original_keys
from mammo.schema import Problem, build, to_tree
from mammo.selection import MONITORS
from mammo.sweeps.options import SearchOptions, SweepOptions

T = TypeVar("T")

# Generated exams have no finer detail, and a first run should end soon.
PHANTOM_IMAGE_SIZE_PX = 256
# Learning rates of full fine-tuning by the beginning of a timm name, and of everything else.
TRANSFORMER_RATES = {"vit": 5e-5, "deit": 5e-5, "convnext": 5e-5, "swin": 3e-5}
CNN_RATE = 1e-3


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
        return {"density4": 4, "density2": 2}.get(self.data.task) or len(self.data.classes or []) or None


def check(tree: Mapping[str, Any], where: Callable[[str], str] | None = None) -> Config:
    """The configuration of a composed tree of plain dicts, lists and scalars, presets filled in.

    `where` tells for a dotted key in which file or on which command line it was set. Raises
    ConfigError that lists every unknown key, wrong type, value out of range and impossible
    combination, with the nearest valid names.
    """
    return with_presets(build_checked(Config, tree, _problems_of_new, where))


def _problems_of_new(config: Config) -> list[Problem]:
    return [*impossible_combinations(config), *impossible_labels(config.data)]


def check_stored(tree: Any) -> Config:
    """The configuration that this version or an earlier one has written into a run directory or a checkpoint.

    Raises ConfigError as `check` does.
    """
    current = with_current_keys(tree) if isinstance(tree, Mapping) else {}
    return with_presets(build_checked(Config, current, impossible_combinations, None, is_stored=True))


def build_checked(
    options_class: type[T],
    tree: Mapping[str, Any],
    rules: Callable[[T], list[Problem]],
    where: Callable[[str], str] | None,
    *,
    is_stored: bool = False,
) -> T:
    """The options of a composed tree, or of a stored one; raises ConfigError with every problem, see `check`."""
    problems: list[Problem] = []
    options = build(options_class, tree, problems, is_stored=is_stored)
    if not problems:
        problems = rules(options)
    if problems:
        raise ConfigError("\n".join(_describe(problem, where) for problem in problems))
    return options


def _describe(problem: Problem, where: Callable[[str], str] | None) -> str:
    place = where(problem.key) if where is not None else ""
    first = f"{problem.key}: {problem.found}" + (f"   [{place}]" if place else "")
    return f"{first}\n  {problem.expected}" if problem.expected else first


def with_presets(config: Config) -> Config:
    """The configuration with every null that a preset stands for replaced by its value."""
    data, model, optimizer = config.data, config.model, config.optimizer
    data = with_image_size(data, model)
    if config.strategy.name == "full_finetune" and model.full_finetune_lr is None:
        model = dataclasses.replace(model, full_finetune_lr=_family_rate(model.name or ""))
    rate = optimizer.lr
    if rate is None:
        uses_preset = config.strategy.name == "full_finetune" and optimizer.name != "sgd"
        rate = model.full_finetune_lr if uses_preset and model.full_finetune_lr else optimizer.default_lr
    backbone_rate = optimizer.backbone_lr
    if backbone_rate is None and config.strategy.trains_backbone:
        backbone_rate = rate / 10
    optimizer = dataclasses.replace(optimizer, lr=rate, backbone_lr=backbone_rate)  # type: ignore[type-var]
    return dataclasses.replace(config, data=data, model=model, optimizer=optimizer)


def with_image_size(data: DataOptions, model: ModelOptions) -> DataOptions:
    """The data options with the size of the images filled in, which may depend on the network."""
    if data.image_size is not None:
        return data
    usual_size_px = PHANTOM_IMAGE_SIZE_PX if data.format == "phantom" else DEFAULT_IMAGE_SIZE_PX
    return dataclasses.replace(data, image_size=fixed_size_px(model.name or "") or usual_size_px)


def _family_rate(model_name: str) -> float:
    return next((rate for family, rate in TRANSFORMER_RATES.items() if model_name.startswith(family)), CNN_RATE)


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

"""What a run trains with and records by, made from its configuration."""

from __future__ import annotations

from pathlib import Path

import torch

from mammo.config.tree import Config, config_tree, run_id
from mammo.data.batches import Preparation
from mammo.data.dataset import Dataset
from mammo.evaluation.selection import EarlyStopping, ModelSelection, collapse_remedies
from mammo.models.network import Network
from mammo.models.weights import is_file
from mammo.runs.directory import RunDirectory
from mammo.runs.recorder import Recorder
from mammo.runs.stored import Summary
from mammo.support.hardware import Hardware
from mammo.support.progress import track
from mammo.tasks.task import Task
from mammo.training.engine import LoopSettings, Trainer
from mammo.training.schedulers import starts_with_warmup


def make_recorder(
    config: Config,
    directory: RunDirectory,
    dataset: Dataset,
    preparation: Preparation,
    summary: Summary,
    batches_per_epoch: int,
) -> Recorder:
    """The recorder of a run."""
    shareable = config_tree(config)
    # A checkpoint travels: it does not say where things are on this machine.
    shareable["data"] |= {"root": None, "csv": None}
    shareable |= {"cache_dir": None, "tracker": {"name": config.tracker.name}}
    if is_file(config.model.weights):
        shareable["model"]["weights"] = Path(config.model.weights).name
    constants = {
        "config": shareable,
        "class_names": list(dataset.manifest.class_names),
        "preprocessing": {
            "image_size_px": config.data.image_size,
            "crop": config.data.crop,
            "orient": config.data.orient,
            "mean": list(preparation.mean),
            "std": list(preparation.std),
            "pixels_key": dataset.pixels_key,
        },
        "run_id": run_id(config),
        "data_fingerprint": dataset.fingerprint,
        "split_fingerprint": dataset.split_fingerprint,
        "git_commit": summary["git"]["commit"],
        "weights_source": summary["model"]["weights"]["source"],
    }
    return Recorder(
        directory=directory,
        selection=ModelSelection(config.train.monitor, dataset.manifest.task.kind, config.train.select),
        early_stopping=EarlyStopping(config.train.early_stopping.patience),
        task=dataset.manifest.task,
        class_names=dataset.manifest.class_names,
        patient_ids=dataset.table["patient_id"].iloc[dataset.split.val].tolist(),
        epochs=config.train.epochs,
        batches_per_epoch=batches_per_epoch,
        keep_every_epochs=config.train.keep_checkpoint_every_epochs,
        constants=constants,
        remedies=collapse_remedies(_options_against_collapse(config)),
        has_warmup=starts_with_warmup(config.scheduler, config.train.epochs),
    )


def _options_against_collapse(config: Config) -> list[str]:
    """Those of `COLLAPSE_REMEDIES` that a configuration has already, or goes beyond."""
    found = [f"{group}={getattr(config, group).name}" for group in ("strategy", "sampler", "scheduler")]
    if (config.optimizer.lr or 1) <= 1e-5:
        found.append("optimizer.lr=1e-5")
    if config.data.fold is not None or config.data.val_fraction >= 0.3:
        found.append("data.val_fraction=0.3")
    return found


def make_trainer(
    config: Config, network: Network, task: Task, class_weights: list[float] | None, hardware: Hardware
) -> Trainer:
    """The trainer of a run; the network is moved to its device."""
    device = hardware.device
    network = network.to(device)
    return Trainer(
        network=network,
        loss=config.loss,
        task=task,
        class_weights=torch.tensor(class_weights, device=device) if class_weights is not None else None,
        optimizer=config.optimizer.build(config.optimizer.groups(network.layers())),
        scaler=hardware.gradient_scaler(),
        schedule=config.scheduler,
        settings=LoopSettings(
            epochs=config.train.epochs,
            accumulate=config.train.accumulate,
            clip_norm=config.train.clip_norm,
            head_only_epochs=config.strategy.head_only_epochs,
            seed=config.seed,
        ),
        hardware=hardware,
        track=track,
        compiled=config.train.compile,
    )

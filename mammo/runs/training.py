"""One training run, step by step: from a checked configuration to a finished run directory."""

from __future__ import annotations

import dataclasses
import logging
import shlex
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mammo.checkpoint import load_checkpoint
from mammo.config import Config, config_tree, identity_tree, run_id
from mammo.config_view import print_config
from mammo.data.batches import EvaluationBatches, Preparation, TrainingBatches
from mammo.data.dataset import Dataset, load_dataset, reasons_summary, user_cache_folder
from mammo.engine import LoopSettings, NonFiniteLossError, Predictions, Trainer, predict
from mammo.errors import ConfigError, TrainingError
from mammo.hardware import Hardware, prepare_process, resolve_hardware
from mammo.intervals import bootstrap_ci95
from mammo.losses import effective_class_weights
from mammo.models.build import BuiltModel, build_model
from mammo.optimizers import parameter_groups
from mammo.progress import console, counting, log_to_file, start_logging, track
from mammo.runs.closing import closing_lines
from mammo.runs.directory import HydraFiles, RunDirectory
from mammo.runs.provenance import environment, utc_now
from mammo.runs.recorder import Recorder
from mammo.runs.results import write_data_files, write_metrics, write_predictions
from mammo.runs.summary import first_summary, outcome
from mammo.selection import Criterion, EarlyStopping
from mammo.tracker import OpenTracker, numbers_of
from mammo.trees import flatten

log = logging.getLogger(__name__)

# On a GPU batches are read ahead by threads; on a CPU they would only take time from the network.
CUDA_LOADER_THREADS = 2


def run_training(config: Config, folder: str, hydra_files: HydraFiles) -> float:
    """Train, continue, or report a finished run; returns the objective of the best epoch.

    Raises UserError before anything in the folder is touched when it belongs to another run or when
    the data cannot be used. A failure while training is recorded in the folder and raised again.
    """
    start_logging(config.run.log_level)
    directory = RunDirectory(Path(folder))
    directory.check_identity(flatten(identity_tree(config)))
    print_config(config_tree(config), console)
    hardware = resolve_hardware(config.device, config.train.amp, config.train.threads, config.train.deterministic)
    prepare_process(hardware)
    workers = hardware.threads if config.data.num_workers is None else config.data.num_workers
    dataset = load_dataset(config.data, user_cache_folder(config.cache_dir), workers, counting)
    if config.run.restart:
        directory.clear()
    directory.check_data(dataset.fingerprint, dataset.split_fingerprint)
    stored = directory.summary()
    if stored is not None and stored.get("status") == "completed":
        log.info("this run is finished; nothing is trained (run.restart=true starts over)")
        _show(closing_lines(directory.path, stored))
        return float(stored["objective"])
    dataset = _for_debugging(config, dataset)
    class_weights, balance_note = _class_weights(config, dataset)
    model = build_model(
        config.model, config.strategy, len(dataset.manifest.class_names), config.data.image_size or 512, config.seed
    )
    tracker = config.tracker.open(directory.path, directory.path.name, config_tree(config))

    directory.claim(config_tree(config), hydra_files)
    log_to_file(directory.file("run.log"))
    summary = first_summary(
        config, directory.path.name, shlex.join(["python", *sys.orig_argv[1:]]), hydra_files.overrides,
        hardware, dataset, model, class_weights,
    )  # fmt: skip
    if stored is not None:
        summary |= {"started_at": stored["started_at"], "resumed": stored.get("resumed", [])}
    directory.write_json("summary.json", summary)
    write_data_files(directory, dataset, config.data.val_fraction, config.data.split_seed)
    _describe(config, dataset, model, hardware, balance_note)
    try:
        return _Run(config, directory, dataset, model, hardware, class_weights, summary, tracker).train()
    finally:
        if tracker is not None:
            tracker.close()


def _class_weights(config: Config, dataset: Dataset) -> tuple[list[float] | None, str]:
    """The effective class weights and a note for the log."""
    counts = dataset.class_counts(dataset.split.train)
    weights, note = effective_class_weights(config.loss.class_weights, config.sampler.name, counts)
    if weights is not None and len(weights) != len(counts):
        raise ConfigError(
            f"loss.class_weights has {len(weights)} numbers", f"{len(counts)}, one for each of "
            f"{', '.join(dataset.manifest.class_names)}"
        )  # fmt: skip
    return weights, note


def _for_debugging(config: Config, dataset: Dataset) -> Dataset:
    """With train.overfit_batches the same few training images are trained on and validated on."""
    if config.train.overfit_batches is None:
        return dataset
    order = np.random.default_rng(config.data.split_seed).permutation(dataset.split.train)
    few = np.sort(order[: config.train.overfit_batches * config.data.batch_size])
    note = f"train.overfit_batches: the same {len(few)} images for training and validation"
    log.warning("%s; the results say nothing about new images", note)
    split = dataclasses.replace(dataset.split, train=few, val=few, notes=[*dataset.split.notes, note])
    return dataclasses.replace(dataset, split=split)


def _describe(config: Config, dataset: Dataset, model: BuiltModel, hardware: Hardware, balance_note: str) -> None:
    """What the run works with, in the log."""
    names, split = dataset.manifest.class_names, dataset.split
    for what, rows in (("training", split.train), ("validation", split.val), ("test (set aside)", split.test)):
        if len(rows):
            patients = dataset.table["patient_id"].iloc[rows].nunique()
            counts = ", ".join(f"{n} {c}" for n, c in zip(names, dataset.class_counts(rows), strict=True))
            unit = {"patient": "patients", "exam": "exams", "image": "groups"}[dataset.manifest.group_by]
            log.info("%s: %d images of %d %s (%s)", what, len(rows), patients, unit, counts)
    for note in (*dataset.manifest.notes, *split.notes):
        log.info("%s", note)
    if dataset.manifest.left_out:
        log.warning("left out, see quarantine.csv:\n%s", reasons_summary(dataset.manifest.left_out))
    total, trainable = model.network.count_parameters()
    log.info(
        "%s: %s of %s parameters learn (%s)", config.model.name, f"{trainable:,}", f"{total:,}", config.strategy.name
    )
    if model.weights.is_random:
        log.warning("RANDOM WEIGHTS, nothing pretrained: %s", model.weights.reason)
    else:
        log.info("weights: %s", model.weights.source)
    log.info("%s", balance_note)
    log.info("%s (%s), %s, %d threads", hardware.device.type, hardware.device_name, hardware.amp, hardware.threads)


def _show(lines: list[str]) -> None:
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


class _Run:
    """The part of a run in which something is computed: training, the final evaluation, failures."""

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        dataset: Dataset,
        model: BuiltModel,
        hardware: Hardware,
        class_weights: list[float] | None,
        summary: dict[str, Any],
        tracker: OpenTracker | None,
    ) -> None:
        self.config, self.directory, self.dataset, self.summary = config, directory, dataset, summary
        self.hardware, self.tracker = hardware, tracker
        self.started = time.perf_counter()
        data, loop, split = config.data, config.train, dataset.split
        threads = CUDA_LOADER_THREADS if hardware.device.type == "cuda" else 0
        loader_threads = threads if data.num_workers is None else data.num_workers
        self.train_batches = TrainingBatches(
            dataset.part(split.train),
            config.sampler,
            config.augment,
            config.augment.num_views if config.strategy.has_frozen_trunk else None,
            data.batch_size,
            config.seed,
            loader_threads,
            loop.max_batches,
        )
        self.val_batches = EvaluationBatches(dataset.part(split.val), data.batch_size, loader_threads, loop.max_batches)
        mean = (data.mean,) * 3 if data.mean is not None else model.mean
        std = (data.std,) * 3 if data.std is not None else model.std
        self.preparation = Preparation(mean, std, hardware.device)
        self.recorder = self._make_recorder()
        self.trainer = self._make_trainer(model, class_weights)
        self.train_seconds = self.loading_seconds = self.validation_seconds = 0.0
        self.epochs_here = 0

    def _make_recorder(self) -> Recorder:
        config, dataset = self.config, self.dataset
        shareable = config_tree(config)
        # A checkpoint travels: it does not say where things are on this machine.
        shareable["data"] |= {"root": None, "csv": None}
        shareable["cache_dir"] = None
        constants = {
            "config": shareable,
            "class_names": list(dataset.manifest.class_names),
            "preprocessing": {
                "image_size_px": config.data.image_size,
                "crop": config.data.crop,
                "orient": config.data.orient,
                "mean": list(self.preparation.mean),
                "std": list(self.preparation.std),
                "pixels_key": dataset.pixels_key,
            },
            "run_id": run_id(config),
            "data_fingerprint": dataset.fingerprint,
            "split_fingerprint": dataset.split_fingerprint,
            "git_commit": self.summary["git"]["commit"],
        }
        return Recorder(
            directory=self.directory,
            criterion=Criterion(config.train.monitor),
            early_stopping=EarlyStopping(config.train.early_stopping.patience),
            class_names=dataset.manifest.class_names,
            patient_ids=dataset.table["patient_id"].iloc[dataset.split.val].tolist(),
            epochs=config.train.epochs,
            keep_every_epochs=config.train.keep_checkpoint_every_epochs,
            constants=constants,
        )

    def _make_trainer(self, model: BuiltModel, class_weights: list[float] | None) -> Trainer:
        config, device = self.config, self.hardware.device
        network = model.network.to(device)
        rates = {"head": config.optimizer.lr, "backbone": config.optimizer.backbone_lr}
        parts = {"head": network.head.parameters(), "backbone": network.backbone_parameters()}
        groups = parameter_groups(parts, {part: rate for part, rate in rates.items() if rate is not None})
        return Trainer(
            network=network,
            loss=config.loss,
            class_weights=torch.tensor(class_weights, device=device) if class_weights is not None else None,
            optimizer=config.optimizer.build(groups),
            scaler=self.hardware.gradient_scaler(),
            schedule=config.scheduler,
            settings=LoopSettings(
                epochs=config.train.epochs,
                accumulate=config.train.accumulate,
                clip_norm=config.train.clip_norm,
                head_only_epochs=config.strategy.head_only_epochs,
                seed=config.seed,
            ),
            hardware=self.hardware,
            prepare=self.preparation,
            track=track,
        )

    def train(self) -> float:
        """Train to the end and write the results; what goes wrong is recorded and raised again."""
        try:
            first_epoch = self._resume()
            steps = -(-len(self.train_batches.plan) // self.config.train.accumulate)
            if not (first_epoch and self._is_over()):
                for result in self.trainer.fit(
                    self.train_batches, self.val_batches, first_epoch, self.recorder.validation_losses,
                    lambda predictions: self.recorder.metrics_of(predictions).loss,
                ):  # fmt: skip
                    self.train_seconds += result.train_seconds
                    self.loading_seconds += result.loading_seconds
                    self.validation_seconds += result.validation_seconds
                    self.epochs_here += 1
                    self.recorder.record(result, self.trainer, steps)
                    if self.tracker is not None:
                        self.tracker.log(numbers_of(self.recorder.history[-1]), result.epoch + 1)
                    if self._is_over():
                        break
            return self._finish()
        except KeyboardInterrupt:
            self._stop("interrupted")
            raise
        except Exception as error:
            self._fail(error)
            raise

    def _resume(self) -> int:
        """Go back to the last checkpoint, if there is one; returns the epoch (0-based) to train first."""
        if not self.directory.last_checkpoint.exists():
            return 0
        checkpoint = load_checkpoint(self.directory.last_checkpoint)
        self.trainer.network.load_state_dict(checkpoint["model_state_dict"])
        self.trainer.optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        self.trainer.scaler.load_state_dict(checkpoint["scaler_state_dict"])
        self.recorder.restore(checkpoint)
        log.info("resuming after epoch %d", checkpoint["epoch"])
        self.summary["resumed"].append(
            {"at": utc_now(), "after_epoch": checkpoint["epoch"]} | environment(self.hardware)
        )
        self._warn_of_other_hardware()
        self.directory.write_json("summary.json", self.summary)
        return int(checkpoint["epoch"])

    def _warn_of_other_hardware(self) -> None:
        """Bit-identical results need the same device, number format and number of threads."""
        now, before = self.summary["environment"], self.directory.summary() or {}
        for key in ("device", "amp_dtype", "threads", "torch"):
            earlier = (before.get("environment") or {}).get(key)
            if earlier not in (None, now[key]):
                log.warning("resumed with %s=%s instead of %s: results can differ slightly", key, now[key], earlier)

    def _is_over(self) -> bool:
        """Whether the run ends before its last epoch, for a reason that is said."""
        if self.recorder.should_stop_early:
            log.info("early stopping: no new best in %d epochs", self.config.train.early_stopping.patience)
            return True
        if self.recorder.collapse_reason is not None and self.config.train.on_collapse == "stop":
            raise TrainingError(f"stopped because of train.on_collapse=stop: {self.recorder.collapse_reason}")
        return False

    def _finish(self) -> float:
        """Evaluate the best checkpoint and write everything that a finished run leaves."""
        best = load_checkpoint(self.directory.best_checkpoint)
        self.trainer.network.load_state_dict(best["model_state_dict"])
        predictions = predict(self.trainer.network, self.val_batches, self.preparation, track, "Best epoch [val]")
        metrics = dataclasses.replace(self.recorder.metrics_of(predictions), ci95=self._intervals(predictions))
        rows = self.dataset.split.val[: len(predictions.targets)]
        write_predictions(self.directory, self.dataset, rows, predictions.probabilities)
        write_metrics(self.directory, metrics, self.recorder.history, self.recorder.best_epoch)
        seconds = time.perf_counter() - self.started
        self.summary |= outcome(self.recorder, metrics, seconds)
        self.summary["throughput"] = self._throughput()
        self.summary["status"] = "completed"
        self.directory.write_json("summary.json", self.summary)
        _show(closing_lines(self.directory.path, self.summary))
        return float(self.summary["objective"])

    def _intervals(self, predictions: Predictions) -> dict[str, list[float] | None]:
        patients = self.recorder.patient_ids[: len(predictions.targets)]
        return bootstrap_ci95(predictions.probabilities, predictions.targets, self.recorder.class_names, patients, None)

    def _throughput(self) -> dict[str, Any]:
        """Rates over the epochs that this process has trained; null where it has trained none."""
        trained = self.epochs_here * sum(self.train_batches.sizes)
        validated = self.epochs_here * self.val_batches.num_images
        return {
            "train_images_per_second": round(trained / self.train_seconds, 2) if trained else None,
            "val_images_per_second": round(validated / self.validation_seconds, 2) if validated else None,
            "seconds_loading": round(self.loading_seconds, 3),
            "seconds_feature_bank": None,
        }

    def _stop(self, status: str) -> None:
        self.summary |= outcome(self.recorder, None, time.perf_counter() - self.started)
        self.summary["status"] = status
        self.directory.write_json("summary.json", self.summary)

    def _fail(self, error: Exception) -> None:
        """`error.json` and the status `failed`; the images of a non-finite loss are named."""
        message = str(error)
        if isinstance(error, NonFiniteLossError):
            ids = [self.dataset.rename(self.train_batches.data.image_ids[i]) for i in error.positions]
            message = f"{message}: {', '.join(ids)}"
        log.error("%s", message)
        content = {"type": type(error).__name__, "message": message, "traceback": traceback.format_exc()}
        self.directory.write_json("error.json", content)
        self._stop("failed")

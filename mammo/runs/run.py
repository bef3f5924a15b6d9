"""The part of a run in which something is computed: epochs, the final evaluation, failures."""

from __future__ import annotations

import dataclasses
import logging
import math
import time
from contextlib import suppress
from functools import partial
from typing import Any, Literal

import numpy as np
import torch

from mammo.config.tree import Config, config_tree
from mammo.data.batches import EvaluationBatches, Preparation, TrainingBatches
from mammo.data.dataset import Dataset
from mammo.evaluation.intervals import bootstrap_ci95
from mammo.evaluation.metrics import Metrics
from mammo.models.build import BuiltModel
from mammo.models.feature_bank import BANKS
from mammo.models.strategy import FrozenTrunkOptions
from mammo.models.trunk import FrozenTrunk
from mammo.runs.directory import RunDirectory
from mammo.runs.model_card import FILE as MODEL_CARD
from mammo.runs.model_card import model_card
from mammo.runs.outer_fold import write_outer_fold
from mammo.runs.provenance import environment
from mammo.runs.result_files import write_metrics, write_predictions
from mammo.runs.run_parts import make_recorder, make_trainer
from mammo.runs.stored import CompletedSummary, Summary
from mammo.runs.summary import completed, resumed, stopped
from mammo.support.cache import user_cache_folder
from mammo.support.errors import OwnershipLost, RunDirectoryError, TrainingError, UserError
from mammo.support.hardware import Hardware
from mammo.support.interruption import is_asked_to_stop, stop_if_asked
from mammo.support.progress import counting, track
from mammo.support.tracebacks import error_text
from mammo.support.type_checks import lacking
from mammo.training.checkpoint import load_checkpoint, load_newest, remove_previous
from mammo.training.checkpoint_content import KEYS, wrong_progress
from mammo.training.engine import EpochState, Inputs, Predictions
from mammo.training.finite_guard import NonFiniteError
from mammo.training.inputs import Source, through
from mammo.training.tracker import OpenTracker, numbers_of

log = logging.getLogger(__name__)

# Figures take half a second: with these pauses less than a hundredth of the time of a run.
SECONDS_BETWEEN_FIGURES = 60.0
NON_FINITE_REMEDIES = "what can help: a lower optimizer.lr; train.amp=off; train.clip_norm above 0"


class Run:
    """The part of a run in which something is computed: training, the final evaluation, failures."""

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        dataset: Dataset,
        model: BuiltModel,
        hardware: Hardware,
        class_weights: list[float] | None,
        summary: Summary,
    ) -> None:
        self.config, self.directory, self.dataset, self.summary = config, directory, dataset, summary
        self.model, self.hardware, self.class_weights = model, hardware, class_weights
        self.tracker: OpenTracker | None = None
        self.source: Source | None = None
        self.started = time.perf_counter()
        data, loop, split = config.data, config.train, dataset.split
        loader_threads = hardware.loader_threads if data.num_workers is None else data.num_workers
        self.train_batches = TrainingBatches(
            dataset.part(split.train),
            config.sampler,
            config.augment,
            config.augment.num_variants if config.strategy.has_frozen_trunk else None,
            data.batch_size,
            config.seed,
            loader_threads,
            loop.max_batches,
        )
        self.val_batches = EvaluationBatches(dataset.part(split.val), data.batch_size, loader_threads, loop.max_batches)
        mean = (data.mean,) * 3 if data.mean is not None else model.mean
        std = (data.std,) * 3 if data.std is not None else model.std
        self.preparation = Preparation(mean, std, hardware.device)
        self.recorder = make_recorder(
            config, directory, dataset, self.preparation, self.summary, len(self.train_batches.plan)
        )
        self.train_seconds = self.loading_seconds = self.validation_seconds = 0.0
        self.epochs_here = 0
        self.next_figures_at = time.monotonic() + SECONDS_BETWEEN_FIGURES
        self.earlier_seconds = 0.0

    def _make_inputs(self, epochs: range) -> Inputs:
        """Inputs of the epochs that are to be trained; a feature bank is filled now."""
        config, dtype = self.config, self.hardware.dtype
        make_trunk = partial(FrozenTrunk, self.trainer.network, batch_size=config.data.batch_size)
        trunk = make_trunk(dtype=dtype, compiled=config.train.compile)
        exact = dtype == torch.float32 and not config.train.compile
        self.source = Source(
            self.train_batches,
            self.val_batches,
            self.preparation,
            trunk,
            trunk if exact else make_trunk(dtype=torch.float32),
        )
        strategy = config.strategy
        if not epochs or not isinstance(strategy, FrozenTrunkOptions):
            return self.source.streamed()
        pixels = {"dataset": config.data.name, "key": self.dataset.pixels_key, "size_px": config.data.image_size}
        return self.source.with_bank(
            strategy.feature_bank,
            strategy.feature_bank_budget_gb,
            user_cache_folder(config.cache_dir) / BANKS,
            pixels,
            epochs,
            counting,
        )

    def train(self) -> CompletedSummary:
        """Train to the end, write the results and return the summary; what goes wrong is recorded and raised again.

        To be called in `deferred()`: a signal is looked for where work can be left.
        """
        is_completed = False
        try:
            stop_if_asked()
            folder, tree = self.directory.path, config_tree(self.config)
            self.tracker = self.config.tracker.open(folder, tree)
            self.trainer = make_trainer(
                self.config, self.model.network, self.dataset.manifest.task, self.class_weights, self.hardware
            )
            start = self._resume()
            epochs = range(start.epoch, self.config.train.epochs)
            is_over = (start.epoch > 0 and start.batches_done == 0 and self._is_over()) or not epochs
            inputs = self._make_inputs(range(0) if is_over else epochs)
            self._postpone_checkpoint()
            if not is_over:
                for result in self.trainer.fit(inputs, lambda: self.recorder.validation_losses, self._at_rest):
                    self.train_seconds += result.train_seconds
                    self.loading_seconds += result.loading_seconds
                    self.validation_seconds += result.validation_seconds
                    self.epochs_here += 1
                    self._show_best_so_far(self.recorder.record(result, self.trainer))
                    self._postpone_checkpoint()
                    if self.tracker is not None:
                        self.tracker.log(numbers_of(self.recorder.history[-1]), result.epoch + 1)
                    if self._is_over():
                        break
            finished = self._finish(inputs)
            is_completed = True
            return finished
        except KeyboardInterrupt:
            self._stop("interrupted")
            raise
        except Exception as error:
            self._fail(error)
            raise
        finally:
            if self.tracker is not None:
                self.tracker.close(is_completed)

    def _at_rest(self) -> None:
        """Save within an epoch when the last checkpoint is old, or when the process is asked to end."""
        is_asked = is_asked_to_stop()
        if is_asked or time.monotonic() >= self.next_checkpoint_at:
            self.recorder.save(self.trainer)
            self._postpone_checkpoint()
        if is_asked:
            stop_if_asked()

    def _postpone_checkpoint(self) -> None:
        self.next_checkpoint_at = time.monotonic() + (self.config.train.checkpoint_every_seconds or math.inf)

    def _resume(self) -> EpochState:
        """Go back to the newest whole checkpoint, if there is one; returns where training goes on."""
        checkpoint = load_newest(self.directory.last_checkpoint, self.directory.best_checkpoint)
        if checkpoint is None:
            return self.trainer.position
        self._require_own(checkpoint)
        now = environment(self.hardware)
        stored = self.summary.get("environment", {})
        for key in ("device", "amp_dtype", "threads", "torch"):
            # Bit-identical results need the same device, number format, threads and library.
            earlier = stored.get(key)
            if earlier not in (None, now[key]):
                log.warning("resumed with %s=%s instead of %s: results can differ slightly", key, now[key], earlier)
        self._put_back(checkpoint)
        self.recorder.restore(checkpoint)
        start = self.trainer.position
        place = f" and batch {start.batches_done} of {len(self.train_batches.plan)} of the next"
        log.info("resuming after epoch %d%s", start.epoch, place if start.batches_done else "")
        seconds = sum(record["seconds"] for record in self.recorder.history)
        self.earlier_seconds = seconds + start.train_seconds
        self.summary = resumed(self.summary, start.epoch, start.batches_done, now)
        self.directory.write_summary(self.summary)
        return start

    def _put_back(self, checkpoint: dict[str, Any]) -> None:
        """The state of the trainer; raises RunDirectoryError for that of another."""
        lacks = [*lacking(checkpoint, KEYS), *wrong_progress(checkpoint, self.config.train.epochs)]
        if lacks:
            raise _unfit(self.directory, "; ".join(lacks[:4]))
        try:
            self.trainer.load_state_dict(checkpoint)
        except (RuntimeError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise _unfit(self.directory, "the state of the network or of the optimizer is another's") from error

    def _require_own(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of other data: without a summary nothing else has noticed."""
        other = [
            key
            for key in ("run_id", "data_fingerprint", "split_fingerprint")
            if checkpoint.get(key) != self.recorder.constants[key]
        ]
        if other:
            raise RunDirectoryError(
                f"the checkpoint in {self.directory.path.name} is of another run or of other data: {', '.join(other)}",
                to_do="start over here with run.restart=true, or keep both with another run.name=NAME",
            )

    def _show_best_so_far(self, metrics: Metrics) -> None:
        """Metrics and figures of a new best epoch, for who looks at a long run; the end writes them again."""
        if self.recorder.history[-1]["is_best"] and time.monotonic() >= self.next_figures_at:
            self._write_metrics(metrics)
            self.next_figures_at = time.monotonic() + SECONDS_BETWEEN_FIGURES

    def _write_metrics(self, metrics: Metrics) -> None:
        epoch, select = self.recorder.best_epoch, self.config.train.select
        write_metrics(self.directory, metrics, self.recorder.history, epoch, select)

    def _is_over(self) -> bool:
        """Whether the run ends before its last epoch, for a reason that is said."""
        if self.recorder.should_stop_early:
            log.info("early stopping: no new best in %d epochs", self.config.train.early_stopping.patience)
            return True
        if self.recorder.collapse_reason is not None and self.config.train.on_collapse == "stop":
            raise TrainingError(f"stopped because of train.on_collapse=stop: {self.recorder.collapse_reason}")
        return False

    def _finish(self, inputs: Inputs) -> CompletedSummary:
        """Evaluate the best checkpoint and write everything that a finished run leaves."""
        best = load_checkpoint(self.directory.best_checkpoint, ("epoch", "model_state_dict"))
        if best["epoch"] != self.recorder.best_epoch:
            raise RunDirectoryError(
                f"best_model.pth is of epoch {best['epoch']}, the best epoch is {self.recorder.best_epoch}",
                to_do="start over with run.restart=true",
            )
        try:
            self.trainer.load_weights(best)
        except RuntimeError as error:
            raise _unfit(self.directory, "best_model.pth has the weights of another network") from error
        which = self.config.train.select.capitalize()
        batches = track(inputs.validation, f"{which} epoch [val]", len(self.val_batches))
        predictions = self.trainer.predict(batches, inputs.prepare_validation, stop_if_asked, keep_features=True)
        metrics = dataclasses.replace(self.recorder.metrics_of(predictions), ci95=self._intervals(predictions))
        rows = self.dataset.split.val[: len(predictions.targets)]
        temperature = write_predictions(self.directory, self.dataset, rows, predictions)
        self._write_metrics(metrics)
        if self.config.data.inner_folds is not None:
            self._score_outer_fold(temperature, best["epoch"])
        self.directory.require_ownership()
        remove_previous(self.directory.last_checkpoint)
        summary = completed(self.summary, self.recorder, metrics, self._seconds(), self._throughput())
        self.directory.write_text(MODEL_CARD, model_card(summary, self.config, metrics, temperature))
        self.directory.write_summary(summary)
        return summary

    def _score_outer_fold(self, temperature: float, epoch: int) -> None:
        """What the epoch that was chosen says of the fold that no choice has seen."""
        rows = self.dataset.split.test
        batches = EvaluationBatches(self.dataset.part(rows), self.config.data.batch_size, self.val_batches.num_workers)
        trunk = FrozenTrunk(self.trainer.network, torch.float32, self.config.data.batch_size)
        shown = track(batches, "Outer fold [test]", len(batches))
        predictions = self.trainer.predict(shown, through(self.preparation, trunk), stop_if_asked)
        facts = {"run_id": self.recorder.constants["run_id"], "epoch": epoch}
        write_outer_fold(self.directory, self.dataset, rows, predictions, temperature, self.hardware, facts)

    def _intervals(self, predictions: Predictions) -> dict[str, list[float] | None]:
        patients = self.recorder.patient_ids[: len(predictions.targets)]
        arguments = predictions.probabilities, predictions.targets, self.recorder.class_names, patients
        return bootstrap_ci95(*arguments, task=self.recorder.task)

    def _seconds(self) -> float:
        """Duration of this process and of the epochs of earlier ones; a feature bank serves other runs as well."""
        of_bank = 0.0 if self.source is None else self.source.seconds_feature_bank or 0.0
        return time.perf_counter() - self.started - of_bank + self.earlier_seconds

    def _throughput(self) -> dict[str, Any]:
        """Rates over the epochs that this process has trained; null where it has trained none."""
        trained = self.epochs_here * sum(self.train_batches.sizes)
        validated = self.epochs_here * self.val_batches.num_samples
        seconds = None if self.source is None else self.source.seconds_feature_bank
        return {
            "train_images_per_second": round(trained / self.train_seconds, 2) if trained else None,
            "val_images_per_second": round(validated / self.validation_seconds, 2) if validated else None,
            "seconds_loading": round(self.loading_seconds, 3),
            "seconds_feature_bank": None if seconds is None else round(seconds, 3),
        }

    def _stop(self, status: Literal["interrupted", "failed"]) -> None:
        self.summary = stopped(self.summary, status, self.recorder, self._seconds())
        self.directory.write_summary(self.summary)
        if status == "interrupted" and self.config.run.restart:
            log.warning("run.restart=true would start over again: without it the same command goes on from here")

    def _fail(self, error: Exception) -> None:
        """`error.json` and the status `failed`; images that led to infinity or NaN are named."""
        message = error_text(error)
        if isinstance(error, NonFiniteError):
            data, samples = self.train_batches.data, np.array(list(dict.fromkeys(error.positions)), dtype=np.intp)
            ids = [self.dataset.rename(data.image_ids[i]) for i in data.images_of(samples)[0]]
            message = f"{message}{': ' if ids else ''}{', '.join(ids)}\n  {NON_FINITE_REMEDIES}"
        log.error("%s", message, exc_info=None if isinstance(error, UserError) else error)
        if isinstance(error, OwnershipLost):
            return  # the folder is somebody else's now, and so is what it says of failures
        # On a full disk the failure cannot be written down either; it is the error itself that must be seen.
        with suppress(OSError):
            self.directory.write_error(error, message)
        with suppress(OSError):
            self._stop("failed")


def _unfit(directory: RunDirectory, found: str) -> RunDirectoryError:
    return RunDirectoryError(
        f"training cannot go on from the checkpoint in {directory.path.name}: {found}",
        "a checkpoint of this run",
        "start over here with run.restart=true",
    )

"""What happens after each epoch: metrics, the best epoch, checkpoints, history, log line.

The recorder is all that a resumed run has to restore besides network and optimizer, and it restores it
from the last checkpoint alone.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mammo.evaluation.metrics import Metrics, compute_metrics
from mammo.evaluation.scores import BY_NAME, SCORES, Score, scores_of
from mammo.evaluation.selection import EarlyStopping, ModelSelection, Scores, detect_collapse
from mammo.runs.directory import RunDirectory
from mammo.support.torch_files import fault_of_weights
from mammo.tasks.task import Task
from mammo.training.checkpoint import SCHEMA_VERSION, save_checkpoint
from mammo.training.engine import EpochResult, Predictions, Trainer
from mammo.training.finite_guard import NonFiniteError

log = logging.getLogger(__name__)


@dataclasses.dataclass
class Recorder:
    """Keeps the history of a run and writes it down after every epoch.

    `patient_ids` are those of the validation images in order; `constants` are the entries of a
    checkpoint that do not change (config, classes, preprocessing, fingerprints, ...). `remedies` is said of a
    collapse; after the first epoch of a warm-up, `has_warmup`, hardly anything is learnt yet, and that is none.
    """

    directory: RunDirectory
    selection: ModelSelection
    early_stopping: EarlyStopping
    task: Task
    class_names: Sequence[str]
    patient_ids: Sequence[str]
    epochs: int
    batches_per_epoch: int
    keep_every_epochs: int
    constants: Mapping[str, Any]
    remedies: str
    has_warmup: bool
    history: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    best: Scores | None = None
    collapse_reason: str | None = None
    _collapsed_since: int | None = None

    def restore(self, checkpoint: Mapping[str, Any]) -> None:
        """Continue where a checkpoint was saved."""
        self.history = [dict(record) for record in checkpoint["history"]]
        best = checkpoint["best_metrics"]
        # What a later version scores besides is not compared.
        self.best = None if best is None else {score.name: best.get(score.name) for score in scores_of(self.task.kind)}
        self.collapse_reason = checkpoint["monitor_state"]["collapse_reason"]
        if self.collapse_reason is not None:
            self._collapsed_since = len(self.history)
        if self.history:
            self._write_history()

    @property
    def best_epoch(self) -> int:
        """Number of the best epoch, 1-based; 0 before the first."""
        return max((record["epoch"] for record in self.history if record["is_best"]), default=0)

    @property
    def validation_losses(self) -> list[float]:
        """Validation loss of every epoch so far."""
        return [record["val_loss"] for record in self.history]

    @property
    def should_stop_early(self) -> bool:
        """Whether early stopping ends the run now."""
        return self.early_stopping.should_stop([record["is_best"] for record in self.history])

    def metrics_of(self, predictions: Predictions) -> Metrics:
        """Metrics of a pass over the validation images (the first of them, when debugging cut it short).

        Raises NonFiniteError where a prediction is not finite.
        """
        not_finite = int((~predictions.is_finite).sum())
        if not_finite:
            raise NonFiniteError(f"the predictions of {not_finite} validation images are not finite")
        patients = self.patient_ids[: len(predictions.targets)]
        arguments = predictions.probabilities, predictions.targets, self.class_names, patients
        return compute_metrics(*arguments, task=self.task)

    def record(self, result: EpochResult, trainer: Trainer) -> Metrics:
        """Take in the result of an epoch, save the checkpoint, write the history, log the line."""
        metrics = self.metrics_of(result.validation)
        is_best = self.selection.is_better(metrics.scores, self.best)
        if is_best:
            self.best = metrics.scores
        if self.selection.select == "last":
            for record in self.history:
                record["is_best"] = False
        self.history.append(history_record(result, metrics, is_best))
        is_warming_up = self.has_warmup and len(self.history) == 1
        self.collapse_reason = None if is_warming_up else detect_collapse(metrics)
        also_as = [self.directory.best_checkpoint] if is_best else []
        if self.keep_every_epochs and len(self.history) % self.keep_every_epochs == 0:
            also_as.append(self.directory.file(f"checkpoints/checkpoint_epoch_{len(self.history)}.pth"))
        self.save(trainer, also_as)
        self._write_history()
        shown = self.history[-1] | {"is_best": is_best and self.selection.select == "best"}
        line, short = epoch_line(shown, self.epochs), short_epoch_line(shown, self.epochs)
        log.info(line, extra={"short": short})
        if result.skipped_steps:
            steps = trainer.steps(self.batches_per_epoch)
            level = logging.WARNING if result.skipped_steps == steps else logging.INFO
            log.log(level, "%d of %d steps were skipped because fp16 overflowed", result.skipped_steps, steps)
        self._tell_of_collapse()
        return metrics

    def _tell_of_collapse(self) -> None:
        """Say that a collapse begins, what it is and what can help, and that it ends."""
        epoch, since = len(self.history), self._collapsed_since
        if self.collapse_reason is not None and since is None:
            log.warning("collapsed since epoch %d: %s", epoch, self.collapse_reason)
            log.warning("%s", self.remedies)
            self._collapsed_since = epoch
        elif self.collapse_reason is None and since is not None:
            log.info("no longer collapsed, as in epochs %d to %d", since, epoch - 1)
            self._collapsed_since = None

    def save(self, trainer: Trainer, also_as: Sequence[Path] = ()) -> None:
        """Save a checkpoint where training is at rest.

        Raises NonFiniteError, with the checkpoints as they were, for weights that no command would read.
        """
        content = {
            "schema_version": SCHEMA_VERSION,
            **trainer.state_dict(self.batches_per_epoch),
            "best_metrics": self.best,
            "monitor_state": {"best_epoch": self.best_epoch, "collapse_reason": self.collapse_reason},
            "early_stopping_state": {
                "epochs_since_best": self.early_stopping.epochs_since_best([r["is_best"] for r in self.history])
            },
            "history": self.history,
            **self.constants,
        }
        if fault := fault_of_weights(content["model_state_dict"]):
            raise NonFiniteError(f"the last step has led to weights that are none: {fault}")
        directory = self.directory
        save_checkpoint(directory.last_checkpoint, content, also_as, directory.require_ownership)

    def _write_history(self) -> None:
        self.directory.write_json("train_history.json", self.history)
        columns = [key for key in self.history[0] if key != "lr_groups"]
        stream = io.StringIO()
        writer = csv.DictWriter(stream, columns, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.history)
        self.directory.write_text("train_history.csv", stream.getvalue())


def history_record(result: EpochResult, metrics: Metrics, is_best: bool) -> dict[str, Any]:
    """One entry of `train_history.json`."""
    values = metrics.to_dict()
    return {
        "epoch": result.epoch + 1,
        "train_loss": result.train_loss,
        "train_acc": result.train_acc,
        **{f"val_{name}": value for name, value in metrics.scores.items() if "history" in BY_NAME[name].shown_in},
        "val_pred_counts": values["pred_counts"],
        "lr": result.learning_rates["head"],
        "lr_groups": result.learning_rates,
        "seconds": round(result.train_seconds + result.validation_seconds, 3),
        "images_per_second": round(result.train_images / result.train_seconds, 2),
        "skipped_steps": result.skipped_steps,
        "is_best": is_best,
    }


def short_epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    """What fits a terminal of 80 columns of `epoch_line`."""
    losses = f"loss {record['train_loss']:.3f}, validation {record['val_loss']:.3f}"
    first = sorted(_logged(record), key=lambda score: score.rank)[:2]
    scores = " ".join(f"{score.log} {_number(record[f'val_{score.name}'])}" for score in first)
    return f"Epoch {record['epoch']}/{epochs} {losses} {scores}{' best' if record['is_best'] else ''}"


def epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    """The line of the log for one epoch."""
    scores = " ".join(
        f"{score.log}: {_number(record[f'val_{score.name}'], score.log_digits)}" for score in _logged(record)
    )
    return (
        f"Epoch {record['epoch']}/{epochs} | Train Loss: {_number(record['train_loss'], 4)} "
        f"Acc: {_number(record['train_acc'], 4)} | Val {scores} PredDist: {record['val_pred_counts']} | "
        f"lr {record['lr']:.1e} | {record['images_per_second']:.0f} img/s" + (" | best" if record["is_best"] else "")
    )


def _logged(record: Mapping[str, Any]) -> list[Score]:
    return [score for score in SCORES if score.log and f"val_{score.name}" in record]


def _number(value: float | None, digits: int = 3) -> str:
    # Rounded before it is printed, and without the sign of a zero.
    return "n/a" if value is None else f"{round(value, digits) + 0.0:.{digits}f}"

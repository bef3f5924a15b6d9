"""What a run has stored of one training: its predictions of images that it has not learnt from, and its split."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.trainings import Training
from mammo.runs.json_access import look, mapping, number
from mammo.runs.layout import BEST
from mammo.runs.reading import RunReader
from mammo.support.errors import ConfigError
from mammo.support.files import file_sha256

VAL, TEST = "val", "test"


def training_of(files: RunReader, part: str = VAL) -> Training | None:
    """What a finished run says of its validation images, or of the patients set aside (`test`); None where it does not.

    A file that cannot be read is named in `files.damaged`.
    """
    predictions = files.predictions if part == VAL else tested(files)
    try:
        config = files.checked_config()
    except ConfigError:  # of another version
        return None
    if not files.is_completed or predictions is None or config is None or not len(predictions):
        return None
    # Folds leave out what they validate on; patients that all of them set aside say nothing of how much that is.
    held_out, learnt = (number(files.summary or {}, "split", name, "patients") for name in ("val", "train"))
    return Training(
        seed=config.seed,
        split_seed=config.data.split_seed,
        fold=config.data.fold,
        predictions=predictions,
        test_per_train=held_out / learnt if held_out and learnt else None,
    )


def tested(files: RunReader) -> PredictionTable | None:
    """The predictions of the best checkpoint for the patients set aside, as `mammo.evaluate` has left them."""
    for name, evaluation in files.evaluations.items():
        if is_test(evaluation) and is_of_best_checkpoint(files, evaluation):
            return files.evaluated(name)
    return None


def is_test(evaluation: Mapping[str, Any]) -> bool:
    """Whether an evaluation is of patients set aside, none of whose images were learnt from."""
    is_own = look(evaluation, "data", "is_own") is True and look(evaluation, "data", "split") == TEST
    return is_own and not number(evaluation, "data", "num_trained_on") and bool(mapping(evaluation, "metrics"))


def is_of_best_checkpoint(files: RunReader, evaluation: Mapping[str, Any]) -> bool:
    """Whether an evaluation is of the best checkpoint of the run as it is, and of no other network."""
    networks = evaluation.get("networks")
    evaluated = [mapping(one).get("checkpoint_sha256") for one in networks] if isinstance(networks, list) else []
    try:
        return evaluated == [file_sha256(files.folder / BEST)]
    except OSError:
        return False

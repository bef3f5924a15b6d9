"""What a run has stored of one training: its predictions of images that it has not learnt from, and its split."""

from __future__ import annotations

import dataclasses

from mammo.evaluation.predictions import ATTRIBUTES, PredictionTable
from mammo.evaluation.trainings import Training
from mammo.runs.json_access import number
from mammo.runs.layout import BEST
from mammo.runs.reading import PREDICTIONS_FILE, RunReader
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
    if predictions.table["image_id"].duplicated().any():
        return None  # damaged: no run predicts an image twice
    data = config.data
    return Training(
        seed=config.seed if data.inner_folds is None else (config.seed, data.inner_fold),
        split_seed=config.data.split_seed,
        fold=config.data.fold,
        predictions=predictions,
        test_per_train=held_out_ratio(files),
    )


def held_out_ratio(files: RunReader) -> float | None:
    """The number of patients validated on, over that of those trained on; None where it is not known.

    Folds leave out what they validate on; patients that all of them set aside say nothing of how much that is.
    """
    held_out, learnt = (number(files.summary or {}, "split", name, "patients") for name in ("val", "train"))
    return held_out / learnt if held_out and learnt else None


def tested(files: RunReader) -> PredictionTable | None:
    """The predictions of the best checkpoint for the patients set aside, as `mammo.evaluate` has left them."""
    found = files.test
    return None if found is None else files.evaluated(found[0])


def with_attributes(files: RunReader, predictions: PredictionTable) -> PredictionTable:
    """The validation predictions of a run, with vendor and age band where an evaluation has looked them up."""
    evaluated = files.evaluated(VAL)
    if evaluated is None or evaluated.table["image_id"].tolist() != predictions.table["image_id"].tolist():
        return predictions
    known = {name: evaluated.table[name] for name in ATTRIBUTES if name in evaluated.table}
    return dataclasses.replace(predictions, table=predictions.table.assign(**known))


def are_of_checkpoint(files: RunReader) -> bool:
    """Whether best checkpoint and validation predictions of a finished run are those that it has written.

    Of a run of an earlier version, which lists no sums of its results, the checkpoint alone is looked at.
    """
    if not files.is_completed:
        return False
    listed = [(f"checkpoints/{name}", digest) for name, digest in (files.checkpoint_sums or {}).items()]
    of_results = (files.sums or {}).get(PREDICTIONS_FILE)
    wanted = {name: digest for name, digest in listed if name == BEST}
    wanted |= {PREDICTIONS_FILE: of_results} if of_results else {}
    try:
        return BEST in wanted and all(file_sha256(files.folder / name) == digest for name, digest in wanted.items())
    except OSError:
        return False

"""Predictions that runs have stored of their own images: to look at them again takes seconds instead of minutes."""

from __future__ import annotations

from collections.abc import Sequence

from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.trainings import Training
from mammo.inference.command_options import DataChoice
from mammo.inference.ensemble import Ensemble
from mammo.inference.labelled import LabelledPredictions, averaged
from mammo.inference.trained import Trained
from mammo.runs.json_access import number, text
from mammo.runs.reading import RunReader
from mammo.runs.trainings import TEST, VAL, are_of_checkpoint, held_out_ratio, tested, with_attributes


def stored_labelled(ensemble: Ensemble, choice: DataChoice, split: str | None) -> LabelledPredictions | None:
    """What the runs have written of their validation images, or `mammo.evaluate` of those set aside.

    None unless it is there of every network, of just its checkpoint, and the data is that of the runs. Vendor and age
    band are known where an evaluation of the run has looked them up.
    """
    part = split or VAL
    if not choice.says_nothing or part not in (VAL, TEST):
        return None
    readers, parts = [], []
    for member in ensemble.members:
        predictions = _stored(member, part)
        if predictions is None or member.run_folder is None or predictions.class_names != ensemble.class_names:
            return None
        readers.append(RunReader(member.run_folder))
        parts.append(predictions)
    summaries = [files.summary or {} for files in readers]
    left_out = [number(summary, "data", "num_quarantined") or 0 for summary in summaries]
    return LabelledPredictions(
        predictions=averaged(parts, ensemble),
        data_name=ensemble.members[0].config.data.name,
        split=part,
        is_own=True,
        num_trained_on=max(map(_num_trained_on, readers, parts)),
        num_of_other_views=0,
        num_left_out=int(max(left_out)),
        group_by=text(summaries[0], "data", "group_by"),
        fingerprints=tuple(dict.fromkeys(text(summary, "data", "fingerprint") for summary in summaries)),
        parts=tuple(parts),
        is_stored=True,
    )


def _stored(member: Trained, part: str) -> PredictionTable | None:
    if member.run_folder is None or not member.is_best:
        return None
    files = RunReader(member.run_folder)
    if part == TEST:
        return tested(files)
    if not are_of_checkpoint(files) or files.predictions is None:
        return None
    return with_attributes(files, files.predictions)


def _num_trained_on(files: RunReader, predictions: PredictionTable) -> int:
    learnt = files.parts["train"].column("image_id") if "train" in files.parts else []
    return len(set(learnt) & set(predictions.table["image_id"]))


def trainings_of(ensemble: Ensemble, shown: LabelledPredictions) -> list[Training]:
    """The networks one by one, each with what it says of the images that it was shown."""
    return [_training(member, table) for member, table in zip(ensemble.members, shown.parts, strict=True)]


def _training(member: Trained, predictions: PredictionTable) -> Training:
    config = member.config
    ratio = None if member.run_folder is None else held_out_ratio(RunReader(member.run_folder))
    seed = config.seed if config.data.inner_folds is None else (config.seed, config.data.inner_fold)
    return Training(seed, config.data.split_seed, config.data.fold, predictions, ratio)


def are_several(ensembles: Sequence[Ensemble | None]) -> bool:
    """Whether one of them has several networks."""
    return any(one is not None and len(one.members) > 1 for one in ensembles)

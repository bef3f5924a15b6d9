"""Predictions for images whose class is known, by one network or several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mammo.data.dataset import Dataset
from mammo.data.vendors_and_ages import attributes_of
from mammo.evaluation.predictions import ATTRIBUTES, DESCRIPTION, PredictionTable, make_predictions
from mammo.inference.command_options import DataChoice
from mammo.inference.datasets import ShownImages, load_shown
from mammo.inference.ensemble import Ensemble
from mammo.inference.trained import Trained, predict_images
from mammo.runs.reading import RunReader
from mammo.support.errors import DataError
from mammo.support.progress import counting


@dataclasses.dataclass(frozen=True)
class LabelledPredictions:
    """Predictions of images and what they are of.

    `split` is val, test or all; `is_own` whether these are the data that every network was trained on;
    `num_trained_on` how many of the images one of the networks has learnt from, None where that is not known;
    `num_of_other_views` how many are of a view that one has not seen; `group_by` is what stands for a patient.
    `parts` are the predictions of each network, `is_stored` whether they were read and not computed.
    """

    predictions: PredictionTable
    data_name: str
    split: str
    is_own: bool
    num_trained_on: int | None
    num_of_other_views: int
    num_left_out: int
    group_by: str
    fingerprints: tuple[str, ...]
    parts: tuple[PredictionTable, ...]
    is_stored: bool = False


def predict_labelled(
    ensemble: Ensemble, choice: DataChoice, split: str | None, cache_dir: str | None
) -> LabelledPredictions:
    """What an ensemble says of labelled images, one row an image.

    The probabilities of an image are the mean over those networks that are shown it: of the validation sets of
    folds it is one, and of networks for different views each has images of its own. Raises UserError where the
    data cannot be used, or where two networks have learnt different classes for an image.
    """
    shown = [load_shown(member, choice, split, cache_dir) for member in ensemble.members]
    parts = [_of_member(member, images) for member, images in zip(ensemble.members, shown, strict=True)]
    datasets = [images.dataset for images in shown]
    return LabelledPredictions(
        predictions=averaged(parts, ensemble),
        data_name=datasets[0].manifest.name,
        split=shown[0].split,
        is_own=all(images.is_own for images in shown),
        num_trained_on=_most([images.num_trained_on for images in shown]),
        num_of_other_views=max(images.num_of_other_views for images in shown),
        num_left_out=max(len(dataset.manifest.left_out) for dataset in datasets),
        group_by=datasets[0].manifest.group_by,
        fingerprints=tuple(dict.fromkeys(dataset.fingerprint for dataset in datasets)),
        parts=tuple(parts),
    )


def _most(counts: Sequence[int | None]) -> int | None:
    """The largest count; None where none is above 0 and one is not known."""
    known = [count for count in counts if count is not None]
    return max(known) if known and (len(known) == len(counts) or max(known) > 0) else None


def stored_for(trained: Trained, shown: ShownImages) -> PredictionTable | None:
    """What the run of a network has written of just these images; None where they are others, or it has not."""
    if not shown.is_own or shown.split != "val":
        return None
    stored = stored_predictions(trained)
    image_ids = shown.dataset.described(shown.rows)["image_id"].tolist()
    return stored if stored is not None and stored.table["image_id"].tolist() == image_ids else None


def stored_predictions(trained: Trained) -> PredictionTable | None:
    """`val_predictions.csv` of the run of a network of the best epoch, None where there is none."""
    if trained.run_folder is None or not trained.is_best:
        return None
    stored = RunReader(trained.run_folder).predictions
    return stored if stored is not None and stored.class_names == trained.class_names else None


def predictions_for(
    trained: Trained, dataset: Dataset, rows: np.ndarray, label: str, known: pd.DataFrame | None = None
) -> PredictionTable:
    """What a network says of some rows of a dataset, in their order.

    `label` is for the progress bar; `known` are further columns for the rows.
    """
    described = dataset.described(rows)
    targets = described.pop("label").tolist()
    if known is not None:
        described[known.columns.tolist()] = known.to_numpy()
    predictions = predict_images(trained, dataset.part(rows), label)
    return make_predictions(
        described, targets, predictions.probabilities, trained.class_names, trained.task, trained.config.loss
    )


def _of_member(member: Trained, shown: ShownImages) -> PredictionTable:
    """The predictions of one network, before its temperature, with what is known of the images."""
    dataset, rows = shown.dataset, shown.rows
    known = attributes_of(dataset.table.iloc[rows], member.hardware.threads, counting)
    return predictions_for(member, dataset, rows, f"Predicting {shown.split}", known)


def averaged(parts: Sequence[PredictionTable], ensemble: Ensemble) -> PredictionTable:
    """The predictions of the members, of each image the weighted mean over those that have it.

    Raises DataError where an image has another class in one than in another.
    """
    if len(parts) == 1:
        return parts[0]
    weighted = [part.table.assign(weight=weight) for part, weight in zip(parts, ensemble.weights, strict=True)]
    table = pd.concat(weighted, ignore_index=True)
    by_image = table.groupby("image_id", sort=True)
    disagreeing = int((by_image["y_true"].nunique() > 1).sum())
    if disagreeing:
        raise DataError(
            f"{disagreeing} images have another class in one run than in another",
            "runs of the same labels",
            "evaluate the runs one by one",
        )
    names = [f"p_{name}" for name in ensemble.class_names]
    # Where only networks without weight have seen an image, they count alike.
    weights = table["weight"].where(by_image["weight"].transform("sum") > 0, 1.0)
    sums = table[names].mul(weights, axis=0).groupby(table["image_id"], sort=True).sum()
    probabilities = sums.div(weights.groupby(table["image_id"], sort=True).sum(), axis=0).to_numpy()
    known = [name for name in (*DESCRIPTION, *ATTRIBUTES, "y_true") if name in table]
    described = by_image[[name for name in known if name != "image_id"]].first().reset_index()[known]
    targets = described.pop("y_true").tolist()
    return make_predictions(
        described, targets, np.asarray(probabilities), ensemble.class_names, ensemble.task, ensemble.space
    )

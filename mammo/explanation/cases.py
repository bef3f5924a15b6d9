"""From ids of images to cases: the original image, what the network says of it, and where it finds that."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mammo.data.batches import EvaluationBatches
from mammo.data.crop_placement import Placement
from mammo.data.images import ALL_KINDS
from mammo.data.pixels import PixelSettings, image_and_placement
from mammo.evaluation.predictions import PredictionTable
from mammo.explanation.cam import chosen_layer, heat_maps
from mammo.explanation.choice import positions_of
from mammo.explanation.explain_options import PREDICTED, TRUE, Method
from mammo.inference.datasets import ShownImages
from mammo.inference.labelled import predictions_for, stored_for
from mammo.inference.trained import Trained
from mammo.support.errors import BadFile, ConfigError, DataError, nearest
from mammo.support.interruption import stop_if_asked

# Long side of the copy of an image that is shown: at half a page width a printer resolves no more.
PICTURE_SIDE_PX = 900
# Gradients of early layers of large images take gigabytes.
IMAGES_AT_ONCE = 8


@dataclasses.dataclass(frozen=True)
class Case:
    """An image with its heat map, in the proportions and orientation of the original.

    Attributes:
        image_id: as it may be written.
        y_true, y_pred: names of classes.
        probabilities: of each class by name.
        target: name of the class that the map is about.
        method, layer: how it was made, see `heat_maps`.
        picture: float32 [R, C], grey levels in 0..1 of a copy of the image.
        heat: float32 [R, C] in 0..1, scaled to its own maximum and 0 beside the box; all 0 where nothing speaks for
            the class.
        box_px: (top, bottom, left, right) of what the network saw, in pixels of the picture.
        fraction_on_black: of the sum of the map over what the network saw, the part on black pixels (background and
            what the cropping blackens); None where the map is 0.
    """

    image_id: str
    y_true: str
    y_pred: str
    probabilities: dict[str, float]
    target: str
    method: Method
    layer: int
    picture: np.ndarray
    heat: np.ndarray
    box_px: tuple[int, int, int, int]
    fraction_on_black: float | None

    @property
    def is_right(self) -> bool:
        """Whether the predicted class is the true one."""
        return self.y_true == self.y_pred

    @property
    def confidence(self) -> float:
        """Probability of the predicted class."""
        return self.probabilities[self.y_pred]


def predictions_of(trained: Trained, shown: ShownImages, positions: np.ndarray | None = None) -> PredictionTable:
    """What a network says of the images of a part of the data, in their order, or of those at some positions.

    For the validation images of its own run that is in `val_predictions.csv` already.
    """
    positions = np.arange(len(shown.rows)) if positions is None else positions
    stored = stored_for(trained, shown)
    if stored is not None:
        return stored.rows(positions)
    return predictions_for(trained, shown.dataset, shown.rows[positions], "Predicting")


def explain_images(
    trained: Trained,
    shown: ShownImages,
    image_ids: Sequence[str],
    *,
    method: Method = "gradcam",
    layer: int | None = None,
    target: str = PREDICTED,
    predictions: PredictionTable | None = None,
) -> Iterator[Case]:
    """A case for each of some images, in their order.

    Arguments:
        image_ids: as they are written (pseudonyms where the data asks for them).
        target: class that the maps are about: `predicted`, `true`, or the name of one.
        predictions: of all images of `shown`, in their order, where they are known already.

    Raises DataError for an unknown image or one that cannot be read any more, ConfigError for an unknown class and
    as `heat_maps`.
    """
    layer = chosen_layer(trained.network, layer)
    check_target(target, trained.class_names)
    dataset = shown.dataset
    known = dataset.described(shown.rows)["image_id"].tolist()
    everything = np.arange(len(dataset.table))
    where = f"split={shown.split} of {dataset.manifest.name}"
    positions = positions_of(image_ids, known, where, dataset.described(everything)["image_id"].tolist())
    table = predictions_of(trained, shown, positions) if predictions is None else predictions.rows(positions)
    names = _target_names(table, target)
    images = dataset.part(shown.rows[positions])
    for batch in EvaluationBatches(images, IMAGES_AT_ONCE, trained.hardware.loader_threads):
        inputs = trained.preparation(batch).inputs
        classes = [trained.class_names.index(names[i]) for i in batch.positions]
        maps = heat_maps(trained.network, inputs, classes, method, layer, trained.config.loss)
        for i, square, values in zip(batch.positions.tolist(), batch.images.numpy(), maps, strict=True):
            stop_if_asked()
            record, row = table.table.iloc[i], shown.rows[positions[i]]
            picture, placement, whole_shape = _original(dataset.table.iloc[row], trained.settings, record["image_id"])
            scaled = values / values.max() if values.max() > 0 else values
            yield Case(
                image_id=record["image_id"],
                y_true=record["y_true"],
                y_pred=record["y_pred"],
                probabilities={name: float(record[f"p_{name}"]) for name in trained.class_names},
                target=names[i],
                method=method,
                layer=layer,
                picture=picture,
                heat=placement.back(scaled, picture.shape, whole_shape),
                box_px=placement.box_in(picture.shape, whole_shape),
                fraction_on_black=_fraction_on_black(scaled, square),
            )


def check_target(target: str, class_names: Sequence[str]) -> None:
    """Raise ConfigError for what is neither `predicted` nor `true` nor a class."""
    valid = (PREDICTED, TRUE, *class_names)
    if target not in valid:
        raise ConfigError(f"target={target} is no class of this network", nearest(target, valid))


def _target_names(predictions: PredictionTable, target: str) -> list[str]:
    """The class that the map of each image is about."""
    columns = {PREDICTED: "y_pred", TRUE: "y_true"}
    if target in columns:
        return predictions.table[columns[target]].tolist()
    return [target] * len(predictions)


def _original(row: Any, settings: PixelSettings, image_id: str) -> tuple[np.ndarray, Placement, tuple[int, int]]:
    """A copy of an image for people, where the square lies in it, and rows and columns of the whole image."""
    try:
        content = Path(row["path"]).read_bytes()
        # The dataset has accepted the image already; which kinds it takes is its own option.
        settings = dataclasses.replace(settings, accept=(*settings.accept, *ALL_KINDS))
        grey, placement = image_and_placement(content, row["laterality"], settings, PICTURE_SIDE_PX)
    except (OSError, BadFile) as error:
        reason = error.reason if isinstance(error, BadFile) else type(error).__name__
        raise DataError(f"image {image_id} cannot be read any more ({reason})", "the file of then") from error
    levels = grey.levels()
    scale = PICTURE_SIDE_PX / max(levels.shape)
    if scale < 1:
        rows, columns = (max(1, round(length * scale)) for length in levels.shape)
        levels = np.asarray(Image.fromarray(levels).resize((columns, rows), Image.Resampling.BILINEAR))
    return np.clip(levels, 0, 1), placement, grey.whole_shape


def _fraction_on_black(values: np.ndarray, square: np.ndarray) -> float | None:
    """The part of the sum of a map that is on black pixels of the square uint8 [S, S] that the network saw."""
    side = square.shape[0]
    spread = np.asarray(Image.fromarray(values).resize((side, side), Image.Resampling.BILINEAR), dtype=np.float64)
    total = float(spread.sum())
    return float(spread[square == 0].sum()) / total if total > 0 else None

"""Which images are worth a look: for each class those that a network is surest of, rightly and wrongly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from mammo.evaluation.predictions import PredictionTable
from mammo.support.errors import DataError, nearest


def most_confident(predictions: PredictionTable, limit: int) -> np.ndarray:
    """Positions of at most `limit` images: of each true class the most confident right and wrong predictions.

    They are dealt out in turn, to every class one before any gets a second, right and wrong ones alternating; what a
    class does not have goes to the others. Sorted by class, right before wrong, then by falling probability of the
    predicted class and by id.
    """
    predicted, num_classes = predictions.decisions, len(predictions.class_names)
    cases = pd.DataFrame({"label": predictions.targets, "is_wrong": predicted != predictions.targets})
    cases["doubt"], cases["image_id"] = -predictions.probabilities.max(axis=1), predictions.table["image_id"].to_numpy()
    cases = cases.sort_values(["label", "is_wrong", "doubt", "image_id"])
    rank = cases.groupby(["label", "is_wrong"]).cumcount()
    # Each class begins with a right or with a wrong one in turn.
    cases["turn"] = (2 * rank + (cases["label"] + cases["is_wrong"]) % 2) * num_classes + cases["label"]
    return cases.index[cases["turn"].rank() <= limit].to_numpy(np.intp)


def positions_of(image_ids: Sequence[str], known: Sequence[str], where: str, elsewhere: Sequence[str]) -> np.ndarray:
    """Positions of some ids among those that are known; raises DataError with the nearest ones.

    `where` says of what part of the data the known ones are, `elsewhere` are the ids of all of it.
    """
    positions = {image_id: position for position, image_id in enumerate(known)}
    for image_id in image_ids:
        if image_id in positions:
            continue
        if image_id in set(elsewhere):
            raise DataError(f"image={image_id} is not in {where}", to_do="add split=all")
        raise DataError(f"image={image_id} is no image of {where}", nearest(image_id, known), "see val_predictions.csv")
    return np.array([positions[image_id] for image_id in dict.fromkeys(image_ids)], dtype=np.intp)

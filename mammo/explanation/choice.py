"""Which images are worth a look: for each class those that a network is surest of, rightly and wrongly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mammo.evaluation.predictions import PredictionTable
from mammo.support.errors import DataError, nearest


def most_confident(predictions: PredictionTable, limit: int) -> np.ndarray:
    """Positions of at most `limit` images: of each true class the most confident right and wrong predictions.

    They are dealt out in turn, to every class one before any gets a second, right and wrong ones alternating; what a
    class does not have goes to the others. Sorted by class, right before wrong, then by falling probability of the
    predicted class and by id.
    """
    table, targets = predictions.table, predictions.targets
    confidence, predicted = predictions.probabilities.max(axis=1), predictions.probabilities.argmax(axis=1)
    order = sorted(range(len(table)), key=lambda i: (-confidence[i], table["image_id"].iloc[i]))
    num_classes = len(predictions.class_names)
    queues = {
        (label, is_wrong): [i for i in order if targets[i] == label and (predicted[i] != label) == is_wrong]
        for label in range(num_classes)
        for is_wrong in (False, True)
    }
    chosen: list[int] = []
    turn = 0
    while len(chosen) < limit and any(queues.values()):
        label = turn % num_classes
        is_wrong = (label + turn // num_classes) % 2 == 1
        if queues[label, is_wrong]:
            chosen.append(queues[label, is_wrong].pop(0))
        turn += 1
    chosen.sort(key=lambda i: (targets[i], predicted[i] != targets[i], order.index(i)))
    return np.array(chosen, dtype=np.intp)


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

"""What the mean of several trainings says of other patients: trainings repeated on the same images say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mammo.evaluation.intervals import bootstrap, interval_of_mean, score_intervals
from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.scores import SCORE_NAMES
from mammo.evaluation.subgroups import cases_of
from mammo.evaluation.trainings import DRAWS, SEED
from mammo.support.errors import TrainingError


def mean_intervals(tables: Sequence[PredictionTable | None]) -> Mapping[str, list[float] | None]:
    """95 % percentile intervals of the mean of each score over trainings, from a bootstrap over patients.

    The n-th draw is of the same patients for all trainings. Where the mean is the same in all draws, the limits are the
    means of those of the trainings, for scores that have such (`score_intervals`). Empty unless all of
    them have predicted the same images of the same patients with the same true classes.
    """
    known = [_sorted(table) for table in tables if table is not None and len(table)]
    if not known or len(known) < len(tables):
        return {}
    first = known[0]
    facts = ["image_id", "patient_id", "y_true"]
    if any(
        one.class_names != first.class_names or not np.array_equal(one.table[facts].values, first.table[facts].values)
        for one in known[1:]
    ):
        return {}
    try:
        cases = [cases_of(one) for one in known]
        drawn = [bootstrap(one, DRAWS, SEED) for one in cases]
    except (ValueError, TrainingError):  # probabilities that are none
        return {}
    alone = [score_intervals(*pair) for pair in zip(drawn, cases, strict=True)]
    return {name: interval_of_mean([one[name] for one in drawn], [one[name] for one in alone]) for name in SCORE_NAMES}


def _sorted(table: PredictionTable) -> PredictionTable:
    return table.rows(np.argsort(table.table["image_id"].to_numpy(dtype=str), kind="stable"))

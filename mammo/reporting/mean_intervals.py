"""What the mean of several trainings says of other patients: trainings repeated on the same images say nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.trainings import Pool, Resampling, Training, mean_scores
from mammo.support.errors import TrainingError


def mean_intervals(tables: Sequence[PredictionTable | None]) -> Mapping[str, list[float] | None]:
    """95 % intervals of the mean of each score over trainings, see `mean_scores`.

    Empty unless all of them have predicted the same images of the same patients with the same true classes.
    """
    known = [table for table in tables if table is not None and len(table)]
    if not known or len(known) < len(tables) or len({_facts(table) for table in known}) > 1:
        return {}
    pools = [Pool((Training(i, None, None, table),)) for i, table in enumerate(known)]
    try:
        return {name: one.ci95 for name, one in mean_scores(pools, Resampling()).items()}
    except (ValueError, TrainingError):  # probabilities that are none
        return {}


def _facts(table: PredictionTable) -> tuple[tuple[str, ...], frozenset[tuple[str, ...]]]:
    """The classes, and who is shown on which image."""
    columns = (table.table[name] for name in ("image_id", "patient_id", "y_true"))
    return table.class_names, frozenset(zip(*columns, strict=True))

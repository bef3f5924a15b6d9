"""Which images are chosen, and which message a wrong id gets."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mammo.evaluation.predictions import PredictionTable, make_predictions
from mammo.explanation.choice import most_confident, positions_of
from mammo.support.errors import DataError


def predictions(*rows: tuple[str, str, tuple[float, float, float]]) -> PredictionTable:
    """Of rows of image id, true class and probabilities of A, B and C."""
    described = pd.DataFrame({"image_id": [row[0] for row in rows]})
    return make_predictions(described, [row[1] for row in rows], np.array([row[2] for row in rows]), "ABC")


TABLE = predictions(
    ("a1", "A", (0.9, 0.1, 0.0)),
    ("a2", "A", (0.8, 0.1, 0.1)),
    ("a3", "A", (0.1, 0.7, 0.2)),
    ("a4", "A", (0.1, 0.0, 0.9)),
    ("b2", "B", (0.2, 0.6, 0.2)),
    ("b1", "B", (0.2, 0.6, 0.2)),
    ("c1", "C", (0.5, 0.4, 0.1)),
    ("c2", "C", (0.1, 0.8, 0.1)),
)


def chosen(limit: int, table: PredictionTable = TABLE) -> list[str]:
    return table.rows(most_confident(table, limit)).table["image_id"].tolist()


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (1, ["a1"]),
        # A right, B wrong (there is none), C right (none); then A wrong, B right: of two equal ones the first id.
        (3, ["a1", "a4", "b1"]),
        (4, ["a1", "a4", "b1", "c2"]),
        (5, ["a1", "a2", "a4", "b1", "c2"]),
        (8, ["a1", "a2", "a4", "a3", "b1", "b2", "c2", "c1"]),
        (99, ["a1", "a2", "a4", "a3", "b1", "b2", "c2", "c1"]),
    ],
)
def test_classes_take_turns_and_the_most_confident_come_first(limit, expected):
    assert chosen(limit) == expected


def test_the_choice_does_not_depend_on_the_order_of_the_table():
    order = np.random.default_rng(3).permutation(len(TABLE))
    assert chosen(5, TABLE.rows(order)) == chosen(5)


def test_unknown_ids_are_answered_with_near_ones():
    known, everything = ["p01_L", "p01_R"], ["p01_L", "p01_R", "p02_L"]
    assert positions_of(["p01_R", "p01_L", "p01_R"], known, "split=val of x", everything).tolist() == [1, 0]
    with pytest.raises(DataError, match=r"did you mean p01_R or p01_L\?"):
        positions_of(["p01_l"], known, "split=val of x", everything)
    with pytest.raises(DataError, match=r"p02_L is not in split=val of x\n.*split=all"):
        positions_of(["p02_L"], known, "split=val of x", everything)

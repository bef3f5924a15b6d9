"""How many pairs of runs favour which of two configurations: what is alike in a pair cannot be the reason."""

from __future__ import annotations

from typing import NamedTuple

from mammo.evaluation.scores import BY_NAME
from mammo.reporting.report_data import ReportData, ReportedRun
from mammo.sweeps.findings import EQUAL
from mammo.sweeps.findings import score as score_of


class Pairs(NamedTuple):
    """How many pairs favour the one, the other, and neither."""

    one: int
    other: int
    neither: int

    @property
    def total(self) -> int:
        """All of them."""
        return sum(self)


def count_pairs(data: ReportData, one: int, other: int, score: str) -> Pairs:
    """Runs of two configurations with equal seed, fold and validation images, by who has the better score.

    Pairs in which a score is undefined are left out.
    """
    sign = -1.0 if BY_NAME[score].lower_is_better else 1.0
    of_other = {_key(run): run for run in data.of(other)}
    gains = []
    for run in data.of(one):
        paired = of_other.get(_key(run))
        if paired is None or not _images(run) or _images(run) != _images(paired):
            continue
        values = score_of(run.result, score), score_of(paired.result, score)
        if values[0] is not None and values[1] is not None:
            gains.append(sign * (values[0] - values[1]))
    ahead, behind = sum(gain >= EQUAL for gain in gains), sum(gain <= -EQUAL for gain in gains)
    return Pairs(ahead, behind, len(gains) - ahead - behind)


def _key(run: ReportedRun) -> tuple[int | None, int | None]:
    return run.result.seed, run.result.fold


def _images(run: ReportedRun) -> frozenset[str]:
    """The validation images of a run; empty where they are not known."""
    return frozenset() if run.predictions is None else frozenset(run.predictions.table["image_id"])

"""Is one model better than another? Both judged on the same images, patients drawn for both at once."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import binomtest, chi2

from mammo.evaluation.intervals import bootstrap, percentile_interval
from mammo.evaluation.metrics import metrics_of
from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.subgroups import cases_of
from mammo.support.errors import ComparisonError

EXACT_BELOW = 25  # discordant pairs from which the chi-squared distribution is near enough


@dataclasses.dataclass(frozen=True)
class Difference:
    """A score of both, second - first, and its 95 % interval.

    None is undefined; the interval is None too where every resampling gives the same difference: that says nothing of
    other patients.
    """

    first: float | None
    second: float | None
    difference: float | None
    ci95: list[float] | None


@dataclasses.dataclass(frozen=True)
class McNemar:
    """McNemar's test of who is right more often, from the 2x2 counts of right and wrong.

    It counts on independent pairs. With fewer than 25 discordant pairs `method` is "exact binomial" (two-sided) and
    `statistic` None, otherwise "chi-squared with continuity correction", (|b - c| - 1)^2 / (b + c) with one degree
    of freedom (McNemar 1947, Edwards 1948). Without a discordant pair p is 1.
    """

    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    method: str
    statistic: float | None
    p_value: float


@dataclasses.dataclass(frozen=True)
class SignTest:
    """In how many patients which one has more images right, and the exact two-sided sign test of it.

    It counts on independent patients only, and says nothing of how many images more. With one image a patient it is
    McNemar's exact test.
    """

    first_better: int
    second_better: int
    equal: int
    p_value: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two models on the same images.

    `differences` has every score of `Scores`; their intervals are from a bootstrap over patients that draws
    the same ones for both. `mcnemar` takes images as independent, which those of one patient are not:
    its p is too small where patients have several images. `patients` is free of that.
    """

    num_images: int
    num_patients: int
    only_in_first: int
    only_in_second: int
    differences: dict[str, Difference]
    mcnemar: McNemar
    patients: SignTest

    def to_dict(self, first: str, second: str) -> dict[str, Any]:
        """Plain Python numbers, text, lists and None: strict JSON, in which both have their names.

        A reader cannot tell which of two is the first.
        """

        def named(of_first: Any, of_second: Any) -> dict[str, Any]:
            return {first: of_first, second: of_second}

        test, patients = self.mcnemar, self.patients
        return {
            "num_images": self.num_images,
            "num_patients": self.num_patients,
            "only_in": named(self.only_in_first, self.only_in_second),
            "differences": {
                name: {"values": named(one.first, one.second), "difference": one.difference, "ci95": one.ci95}
                for name, one in self.differences.items()
            },
            "mcnemar": {
                "both_right": test.both_right,
                "only_right": named(test.only_first_right, test.only_second_right),
                "both_wrong": test.both_wrong,
                "method": test.method,
                "statistic": test.statistic,
                "p_value": test.p_value,
            },
            "patients": {
                "better": named(patients.first_better, patients.second_better),
                "equal": patients.equal,
                "p_value": patients.p_value,
            },
        }


def compare(first: PredictionTable, second: PredictionTable, draws: int = 2000, seed: int = 0) -> Comparison:
    """Compare on the images that both have, matched by image_id.

    Raises `ComparisonError` when the classes differ, there is no common image, or both do not agree on the true
    class or the patient of one; `ValueError` when an image is twice in one of them.
    """
    if first.class_names != second.class_names:
        raise ComparisonError(
            f"the classes differ: {', '.join(first.class_names)} and {', '.join(second.class_names)}",
            expected="predictions of the same classes in the same order",
        )
    of_first, of_second = (pd.Index(each.table["image_id"]) for each in (first, second))
    if not (of_first.is_unique and of_second.is_unique):
        raise ValueError("an image is twice in a table of predictions")
    common = of_first.intersection(of_second).sort_values()
    if common.empty:
        raise ComparisonError(
            f"no image is in both: {len(first)} images and {len(second)} images, none with the same image_id",
            expected="predictions of the same images",
            to_do="compare runs of the same data and split, or evaluate both on the same images",
        )
    a, b = first.rows(of_first.get_indexer(common)), second.rows(of_second.get_indexer(common))
    for column, words in (("y_true", "true class"), ("patient_id", "patient")):
        differing = int((a.table[column].to_numpy() != b.table[column].to_numpy()).sum())
        if differing:
            raise ComparisonError(
                f"the {words} differs for {differing} of the {len(common)} common images",
                expected="one truth that both are judged by",
                to_do="evaluate both with the same labels and the same data.group_by",
            )
    of_image = a.is_right, b.is_right
    patients = pd.DataFrame({"gain": of_image[1].astype(int) - of_image[0]}).groupby(a.table["patient_id"].to_numpy())
    return Comparison(
        num_images=len(common),
        num_patients=patients.ngroups,
        only_in_first=len(first) - len(common),
        only_in_second=len(second) - len(common),
        differences=_differences(a, b, draws, seed),
        mcnemar=mcnemar(*of_image),
        patients=_sign_test(patients["gain"].sum().to_numpy()),
    )


def _differences(first: PredictionTable, second: PredictionTable, draws: int, seed: int) -> dict[str, Difference]:
    # Seed and patients are the same, so the n-th draw of both is of the same patients.
    cases = cases_of(first), cases_of(second)
    drawn_first, drawn_second = (bootstrap(each, draws, seed) for each in cases)
    of_first, of_second = (metrics_of(each, warn=False).scores for each in cases)
    differences = {}
    for name, one in of_first.items():
        other = of_second[name]
        if one is None or other is None:
            differences[name] = Difference(one, other, None, None)
        else:
            interval = percentile_interval(drawn_second[name] - drawn_first[name])
            differences[name] = Difference(one, other, other - one, interval)
    return differences


def mcnemar(first_right: np.ndarray, second_right: np.ndarray) -> McNemar:
    """The test of two masks [N] of the images that each got right."""
    only_first = int((first_right & ~second_right).sum())
    only_second = int((~first_right & second_right).sum())
    discordant = only_first + only_second
    statistic, method = None, "exact binomial"
    if discordant >= EXACT_BELOW:
        method = "chi-squared with continuity correction"
        # A difference of zero has nothing to correct: without the maximum the statistic would exceed zero.
        statistic = max(abs(only_first - only_second) - 1, 0) ** 2 / discordant
    return McNemar(
        both_right=int((first_right & second_right).sum()),
        only_first_right=only_first,
        only_second_right=only_second,
        both_wrong=int((~first_right & ~second_right).sum()),
        method=method,
        statistic=statistic,
        p_value=_exact(only_first, only_second) if statistic is None else float(chi2.sf(statistic, df=1)),
    )


def _sign_test(gains: np.ndarray) -> SignTest:
    """From how many images more the second has right, of each patient."""
    first_better, second_better = int((gains < 0).sum()), int((gains > 0).sum())
    return SignTest(first_better, second_better, int((gains == 0).sum()), _exact(first_better, second_better))


def _exact(first: int, second: int) -> float:
    return float(binomtest(first, first + second).pvalue) if first + second else 1.0

"""A paired comparison of trainings in words, wherever it is shown: what was found, and by which test."""

from __future__ import annotations

from mammo.evaluation.paired import PairedDifference, ScoreDifference
from mammo.evaluation.scores import BY_NAME
from mammo.support.table import limits, three_decimals

TEST_WORDS = {
    "splits": "corrected resampled t test over {splits} splits, seeds averaged within each (Nadeau and Bengio 2003; "
    "approximate for folds)",
    "trainings": "t test of the difference with the variances over patients and over trainings (Cochran and Cox 1950)",
}


def p_words(p: float | None) -> str:
    """`p = 0.028`, `p < 0.001`; `no p` where there is no test."""
    return "no p" if p is None else f"p {short_p(p, equals='= ')}"


def short_p(p: float | None, equals: str = "") -> str:
    """`0.028`, `< 0.001`, or a dash."""
    return "-" if p is None else "< 0.001" if p < 0.0005 else f"{equals}{p:.3f}"


def outcome(pair: PairedDifference, score: str, first: str, second: str) -> str:
    """Which of two is better in a score, or that they cannot be told apart, with the numbers, in a sentence."""
    one, named = pair.scores[score], BY_NAME[score].sentence
    if one.difference is None:
        return f"{second} and {first} cannot be compared: {named} is not defined for both."
    numbers = f"{named} {three_decimals(one.difference, sign='+')} {limits(one.ci95, '+')}"
    if pair.test is None:
        return f"{second} minus {first}: {numbers}. No conclusion about the two: {pair.why_no_test}."
    numbers += f", {p_words(one.p_adjusted)}{_ahead(one)}"
    if one.better is None:
        return f"{second} and {first} cannot be told apart: {numbers}."
    better, worse = (second, first) if one.better == "second" else (first, second)
    turned = "" if better == second else f" ({second} minus {first})"
    return f"{better} is better than {worse}: {numbers}{turned}."


def _ahead(one: ScoreDifference) -> str:
    wins = one.wins
    return "" if wins is None or wins.total < 2 else f", ahead in {wins.second} of {wins.total} splits"


def how_compared(pair: PairedDifference, unit: str, num_compared: int) -> str:
    """On what two configurations were compared, and what interval and p are, in sentences."""
    n, other = pair.num_trainings
    trainings = f"{n} training{'s' if n > 1 else ''} each" if n == other else f"{n} and {other} trainings"
    splits = "1 split" if pair.num_splits == 1 else f"the same {pair.num_splits} splits"
    patients = f"{pair.num_patients} {unit}{'' if pair.num_patients == 1 else 's'}"
    words = (
        f"In pairs: {trainings} on {splits} and the same {pair.num_images} images of {patients}. The "
        f"difference is the mean over trainings [95% interval over {unit}s, resampled for both sides at once]."
    )
    if pair.test is None:
        return words
    holm = f", adjusted for {num_compared} comparisons (Holm)" if num_compared > 1 else ""
    if pair.test == "splits" and pair.num_trainings == (pair.num_splits, pair.num_splits):
        words += " With one seed each nothing is known of other initial weights: several seeds tell."
    return (
        f"{words} p: {TEST_WORDS[pair.test].format(splits=pair.num_splits)}{holm}. Better is said where p is below "
        "0.05 and the interval is without 0."
    )

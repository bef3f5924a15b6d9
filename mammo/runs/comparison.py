"""What a comparison of two networks, or of two configurations, leaves: a file, its figure, lines."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mammo.evaluation.comparison import Comparison
from mammo.evaluation.figures import comparison_figure
from mammo.evaluation.paired import PairedDifference
from mammo.evaluation.scores import shown_in
from mammo.runs.paired_words import how_compared, outcome, short_p
from mammo.support.figures import figure_bytes
from mammo.support.outputs import Outputs
from mammo.support.plain_text import wrapped
from mammo.support.table import Table, columns, estimate, row, terminal_lines

COMPARISON_FILE, PAIRED_FILE = "comparison.json", "paired_comparison.json"
PAIRED_SCHEMA_VERSION = 1
SCHEMA_VERSION = 2
_RUN_ID = re.compile(r"[0-9a-f]{8}")
_LETTER = re.compile(r"[^\W\d_]")


class Side(NamedTuple):
    """One of two networks: its name, the part of it that tells it from the other, how many images it has learnt from.

    `num_trained_on` is None where that is not known.
    """

    name: str
    short: str
    num_trained_on: int | None


Sides = tuple[Side, Side]


def sides(
    names: tuple[str, str], num_trained_on: tuple[int | None, int | None], called: tuple[str, str] = ("", "")
) -> Sides:
    """The other network and the one that is evaluated, in this order, as differences are the second minus the first.

    Where both are `called` something, that is what tells them apart.
    """
    short = called if all(called) and len(set(called)) == 2 else short_names(*names)
    other, this = zip(names, short, num_trained_on, strict=True)
    return Side(*other), Side(*this)


def short_names(other: str, this: str) -> tuple[str, str]:
    """What tells two names of runs apart: `head_only` and `full_finetune`, or their ids; never the same.

    Parts between hyphens that both have are left out, and ids where anything else differs; names of another build stay
    as they are. What is called alike is told apart by the option that has named it.
    """
    if other == this:
        return f"{other} (compare=)", this
    differing = [pair for pair in zip(other.split("-"), this.split("-"), strict=False) if pair[0] != pair[1]]
    if other.count("-") != this.count("-"):
        return other, this
    if len(differing) > 1 and all(map(_RUN_ID.fullmatch, differing[-1])):
        differing.pop()
    short_other, short_this = ("-".join(parts) for parts in zip(*differing, strict=True))
    tells = all(map(_LETTER.search, (short_other, short_this)))  # 2 and 3 of two ensembles say nothing
    return (short_other, short_this) if tells else (other, this)


def write_comparison(outputs: Outputs, comparison: Comparison, of: Sides) -> None:
    """`comparison.json` and its figure."""
    other, this = of
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "names": [other.short, this.short],
        "runs": {side.short: side.name for side in of},
        "difference": f"{this.short} minus {other.short}",
        "num_trained_on": {side.short: side.num_trained_on for side in of},
    }
    outputs.write_json(COMPARISON_FILE, content | comparison.to_dict(other.short, this.short))
    figure = comparison_figure(comparison.differences, other.short, this.short)
    outputs.write_bytes("comparison.png", figure_bytes(figure, "comparison.png"))


def write_paired(outputs: Outputs, found: PairedDifference, of: Sides, unit: str) -> None:
    """What is known of the trainings of two configurations, and its figure."""
    other, this = of
    content = {
        "schema_version": PAIRED_SCHEMA_VERSION,
        "runs": {side.short: side.name for side in of},
        "num_trained_on": {side.short: side.num_trained_on for side in of},
        "unit": unit,
        **found.to_dict(other.short, this.short),
    }
    outputs.write_json(PAIRED_FILE, content)
    figure = comparison_figure(found.scores, other.short, this.short)
    outputs.write_bytes("comparison.png", figure_bytes(figure, "comparison.png"))


def paired_lines(found: PairedDifference, of: Sides, unit: str, score: str) -> list[str]:
    """Which of two configurations is better, for a terminal."""
    other, this = of
    lines = ["", *wrapped(outcome(found, score, other.short, this.short)), ""]
    scores = [(score.short, found.scores[score.name]) for score in shown_in("headline")]
    rows = tuple(
        row(short, estimate(one.difference, one.ci95, sign="+"), short_p(one.p_value)) for short, one in scores
    )
    heads = columns("", numbers=("difference", "p"))
    lines += terminal_lines(Table("", heads, rows), indent=2)
    lines += ["", *wrapped(how_compared(found, unit, 1))]
    for side in of:
        if side.num_trained_on:
            lines += wrapped(f"WARNING: {side.short} was trained on {side.num_trained_on} of its images: no fair one")
    return lines


def as_written_now(content: Mapping[str, Any]) -> dict[str, Any]:
    """The content of a `comparison.json`; earlier versions called the sides `first` and `second` everywhere in it."""
    if "names" in content:
        return dict(content)
    first, second = (str(content.get(key) or key) for key in ("first", "second"))
    names = short_names(first, second)

    def of_sides(tree: Any, before: str = "", after: str = "") -> dict[str, Any]:
        known = tree if isinstance(tree, Mapping) else {}
        keys = (f"{before}first{after}", f"{before}second{after}")
        return {name: known.get(key) for name, key in zip(names, keys, strict=True)}

    def without_sides(tree: Any) -> dict[str, Any]:
        known = tree if isinstance(tree, Mapping) else {}
        return {key: value for key, value in known.items() if not re.search("first|second", key)}

    found, differences = content.get("mcnemar"), content.get("differences")
    patients = content.get("patients")
    return without_sides(content) | {
        "names": list(names),
        "runs": dict(zip(names, (first, second), strict=True)),
        "num_trained_on": of_sides(content, after="_num_trained_on"),
        "only_in": of_sides(content, before="only_in_"),
        "differences": {
            score: without_sides(one) | {"values": of_sides(one)}
            for score, one in (differences.items() if isinstance(differences, Mapping) else ())
        },
        "mcnemar": without_sides(found) | {"only_right": of_sides(found, "only_", "_right")},
        "patients": without_sides(patients) | {"better": of_sides(patients, after="_better")},
    }


def comparison_lines(comparison: Comparison, of: Sides) -> list[str]:
    """The differences for a terminal."""
    other, this = of
    lines = ["", this.name, f"minus {other.name},", f"on {comparison.num_images} images in both:"]
    for side in of:
        if side.num_trained_on:
            lines += wrapped(f"  WARNING: {side.short} was trained on {side.num_trained_on} of its images:")
            lines.append("    this is no fair comparison")
    found = [(score.short, comparison.differences[score.name]) for score in shown_in("headline")]
    rows = tuple(row(short, estimate(one.difference, one.ci95, sign="+")) for short, one in found)
    lines += terminal_lines(Table("", columns("", numbers=("",)), rows), indent=2)
    if any(one.ci95 is None for _, one in found):
        lines += wrapped("  -: no interval: half of the resamplings lack a class, or all give the same difference")
    test, patients = comparison.mcnemar, comparison.patients
    return [
        *lines,
        f"  McNemar's test ({test.method}): p = {test.p_value:.3g}",
        *wrapped(f"    right alone: {this.short} in {_images(test.only_second_right)}, {other.short} in "
                 f"{_images(test.only_first_right)}"),
        f"  sign test over patients: p = {patients.p_value:.3g}",
        *wrapped(f"    more images right: {this.short} in {_patients(patients.second_better)}, {other.short} in "
                 f"{_patients(patients.first_better)}; equal in {_patients(patients.equal)}"),
    ]  # fmt: skip


def _images(n: int) -> str:
    return f"{n} image{'' if n == 1 else 's'}"


def _patients(n: int) -> str:
    return f"{n} patient{'' if n == 1 else 's'}"

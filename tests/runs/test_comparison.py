"""The names of two runs that are compared, and comparisons that earlier versions have written."""

from __future__ import annotations

import dataclasses
import json

import pytest

from mammo.evaluation.comparison import compare
from mammo.runs.comparison import as_written_now, comparison_lines, short_names, sides, write_comparison
from mammo.support.outputs import Outputs
from tests.evaluation.tables import table

NAME = "resnet50-{}-mias-s{}-f0-{}"


@pytest.mark.parametrize(
    ("other", "this", "expected"),
    [
        (NAME.format("head_only", 42, "0123abcd"), NAME.format("full", 42, "89abcdef"), ("head_only", "full")),
        (NAME.format("full", 1, "0123abcd"), NAME.format("full", 2, "89abcdef"), ("s1", "s2")),
        (NAME.format("a", 1, "0123abcd"), NAME.format("b", 2, "89abcdef"), ("a-s1", "b-s2")),
        (NAME.format("full", 1, "0123abcd"), NAME.format("full", 1, "89abcdef"), ("0123abcd", "89abcdef")),
        ("old", "new", ("old", "new")),
        ("mine", "mine-again", ("mine", "mine-again")),
        ("mine-", "mine-x", ("mine-", "mine-x")),
        ("same", "same", ("same (compare=)", "same")),
        ("ensemble-of-2-0123abcd", "ensemble-of-3-89abcdef", ("ensemble-of-2-0123abcd", "ensemble-of-3-89abcdef")),
    ],
)
def test_names_are_what_tells_the_runs_apart(other, this, expected):
    assert short_names(other, this) == expected


def both():
    """Of five images the old network alone has one right, the new one two."""
    right, wrong = [0.9, 0.1], [0.1, 0.9]
    old = table([right, wrong, wrong, right, wrong], "AAAAA")
    new = table([wrong, right, right, right, wrong], "AAAAA")
    return compare(old, new, draws=100)


def test_the_screen_says_what_the_file_says(tmp_path):
    of = sides(("old", "new"), (0, 3))
    write_comparison(Outputs(tmp_path, "evaluate"), both(), of)
    found = json.loads((tmp_path / "comparison.json").read_text())
    assert found["mcnemar"]["only_right"] == found["patients"]["better"] == {"old": 1, "new": 2}
    assert found["differences"]["acc"]["values"] == {"old": 0.4, "new": 0.6}
    assert found["differences"]["acc"]["difference"] == pytest.approx(0.2)
    assert found["num_trained_on"] == {"old": 0, "new": 3}
    lines = comparison_lines(both(), of)
    assert "    right alone: new in 2 images, old in 1 image" in lines
    assert "    more images right: new in 2 patients, old in 1 patient; equal in 2 patients" in lines
    warning = lines.index("  WARNING: new was trained on 3 of its images:")
    assert lines[warning + 1].strip() == "this is no fair comparison"
    assert max(map(len, lines)) <= 80


def test_what_earlier_versions_have_written_is_read_the_same(tmp_path):
    found = both()
    earlier = {"schema_version": 1, "first": "old", "second": "new", "first_num_trained_on": 0,
               "second_num_trained_on": 3, **dataclasses.asdict(found)}  # fmt: skip
    write_comparison(Outputs(tmp_path, "evaluate"), found, sides(("old", "new"), (0, 3)))
    now = json.loads((tmp_path / "comparison.json").read_text())
    read = as_written_now(json.loads(json.dumps(earlier)))
    of_both = {key: value for key, value in now.items() if key not in ("schema_version", "difference")}
    assert {key: read[key] for key in of_both} == of_both
    assert as_written_now(now) == now


@pytest.mark.parametrize("value", [None, 1, "x", [], {}, {"acc": 1}])
def test_values_of_other_types_are_no_obstacle(value):
    earlier = dict.fromkeys(("first", "second", "differences", "mcnemar", "patients"), value)
    assert set(as_written_now(earlier)["mcnemar"]["only_right"].values()) == {None}

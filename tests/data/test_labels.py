"""Label conventions, tasks and quick looks."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammo.data.labels import apply_task, limit_patients, parse_labels, plain_numbers
from mammo.data.manifest import Manifest, make_table
from mammo.support.errors import DataError

ABCD = ("A", "B", "C", "D")
BAD = "none of A, B, C, D (or 1-4)"
ZERO_BASED = {"0": "A", "1": "B", "2": "C", "3": "D"}
CASES = [
    # values, classes, label map -> names (None: bad), label set
    (["A", "b", " C ", "d"], None, {}, ["A", "B", "C", "D"], ABCD),
    (["1", "2", "3", "4"], None, {}, ["A", "B", "C", "D"], ABCD),
    (["1 ", "", "  ", "4"], None, {}, ["A", "", "", "D"], ABCD),
    (["1", "0", "5", "2.0", "4"], None, {}, ["A", None, None, None, "D"], ABCD),
    (["0", "1", "3", "4"], None, ZERO_BASED, ["A", "B", "D", None], ABCD),
    (["0", "4"], None, {"0": "", "4": "D"}, ["", "D"], ("D",)),
    (["density a", "DENSITY B", "E"], None, {"DENSITY A": "A", "DENSITY B": "B"}, ["A", "B", None], ("A", "B")),
    (["A", "2"], None, {"A": "A", "2": "B"}, ["A", "B"], ("A", "B")),
    (["F", "g", "D", "X"], ["F", "G", "D"], {}, ["F", "G", "D", None], ("F", "G", "D")),
    (["A", "C"], ["A", "B"], {}, ["A", None], ("A", "B")),
    (["benign", "malignant", ""], None, {}, ["benign", "malignant", ""], ("benign", "malignant")),
    (["benign", "Malignant", "Benign"], None, {}, ["Benign", "Malignant", "Benign"], ("Benign", "Malignant")),
    (["", ""], None, {}, ["", ""], ABCD),
]


@pytest.mark.parametrize(("values", "classes", "label_map", "expected", "class_names"), CASES)
def test_conventions(values, classes, label_map, expected, class_names):
    parsed = parse_labels(values, classes=classes, label_map=label_map)
    assert [None if problem else name for name, problem in zip(parsed.names, parsed.problems, strict=True)] == expected
    assert parsed.class_names == class_names


def test_a_column_that_mixes_letters_and_digits_shows_the_rows():
    values = ["1", "2", "B", "3", "d "]
    with pytest.raises(DataError) as caught:
        parse_labels(values, [f"x.csv row {number}" for number in range(2, 7)])
    assert "x.csv row 4: 'B'; x.csv row 6: 'd'" in str(caught.value)
    assert "label_map" in str(caught.value)
    assert "row 2" not in str(caught.value)


@pytest.mark.parametrize("odd", ["nan", "NA", "?", "1.5", "7", "1.0.0", "-1"])
def test_an_odd_cell_costs_itself_alone(odd):
    parsed = parse_labels(plain_numbers(["1.0", odd, "2,00", "03", " 4.0 ", "", "1", "2."]))
    assert parsed.names == ["A", "", "B", "C", "D", "", "A", "B"]
    assert [bool(problem) for problem in parsed.problems] == [False, True, *[False] * 6]
    assert parsed.class_names == ABCD


@pytest.mark.parametrize("values", [["A", "2.0", "C", "4.0"], ["1.0", "02", "b"], ["A", "B", "03"]])
def test_letters_and_numbers_are_a_mixture_however_the_numbers_are_written(values):
    with pytest.raises(DataError, match="mix letters and digits"):
        parse_labels(plain_numbers(values))
    with pytest.raises(DataError, match="mix letters and digits"):
        parse_labels(values)


def test_numbers_from_zero_are_refused_however_they_are_written():
    with pytest.raises(DataError, match="count from 0"):
        parse_labels(plain_numbers(["0.0", "01", "2", "3.0"]))


def test_a_letter_beside_a_digit_map_is_a_mixture():
    with pytest.raises(DataError, match="row 2: 'B'"):
        parse_labels(["0", "B", "3"], label_map=ZERO_BASED)


def test_a_long_value_is_never_repeated_in_a_reason():
    parsed = parse_labels(["1", "7", "Silva^Maria"])
    assert parsed.problems == ["", f"label '7' is {BAD}", f"the label is {BAD}"]


def manifest_of(labels: dict[str, str], class_names: tuple[str, ...] = ABCD) -> Manifest:
    """Image 'p1/x' belongs to patient 'p1'."""
    rows = [
        {"image_id": image, "path": image, "patient_id": image.split("/")[0], "label": name}
        for image, name in labels.items()
    ]
    return Manifest("set", Path("."), make_table(rows), class_names)


def test_tasks():
    manifest = manifest_of({"p1/a": "A", "p1/b": "B", "p2/a": "C", "p3/a": "D", "p4/a": ""})
    four, two, own = (apply_task(manifest, task) for task in ("density4", "density2", "labels"))
    assert four.class_names == own.class_names == ABCD
    assert list(four.table["label"]) == ["A", "B", "C", "D"]
    assert two.class_names == ("AB", "CD")
    assert list(two.table["label"]) == ["AB", "AB", "CD", "CD"]
    for result in (four, two, own):
        assert [(item.image_id, item.stage, item.reason) for item in result.left_out] == [
            ("p4/a", "excluded", "no label")
        ]
    assert list(manifest.table["label"]) == ["A", "B", "C", "D", ""]


def test_density4_has_four_classes_even_if_fewer_occur():
    assert apply_task(manifest_of({"p/a": "A"}, ("A", "B")), "density4").class_names == ABCD


@pytest.mark.parametrize(
    ("class_names", "task", "message"),
    [
        (("F", "G", "D"), "density4", "wrong task.*data.task=labels"),
        (("F", "G", "D"), "density2", "wrong task.*data.task=labels"),
        (ABCD, "density5", "one of density4, density2, labels"),
    ],
)
def test_wrong_tasks(class_names, task, message):
    with pytest.raises(DataError, match=f"(?s){message}"):
        apply_task(manifest_of({"p/a": "D"}, class_names), task)


def test_nothing_labelled():
    with pytest.raises(DataError, match="no image of set has a label"):
        apply_task(manifest_of({"p/a": ""}), "density4")


@pytest.mark.parametrize(
    ("limit", "patients"),
    [
        (2, ["p1", "p2"]),  # the first A and the first B
        (3, ["p1", "p2", "p5"]),  # p5 has C and D equally often and counts as D
        (4, ["p1", "p2", "p3", "p5"]),  # second turn: the second A
        (9, ["p1", "p2", "p3", "p4", "p5"]),
        (None, ["p1", "p2", "p3", "p4", "p5"]),
    ],
)
def test_limit_takes_patients_in_turn_from_each_class(limit, patients):
    labels = {"p4/a": "A", "p3/a": "A", "p1/a": "A", "p2/a": "B", "p2/b": "B", "p2/c": "D", "p5/a": "C", "p5/b": "D"}
    limited = limit_patients(manifest_of(labels), limit)
    assert sorted(set(limited.table["patient_id"])) == patients
    assert len(limited.table) == sum(image.split("/")[0] in patients for image in labels)


@pytest.mark.parametrize("values", [["0", "1", "2", "3"], ["2", "3", "0"]])
def test_a_column_that_counts_from_zero_is_never_shifted_silently(values):
    with pytest.raises(DataError, match=r"count from 0.*row"):
        parse_labels(values)
    mapped = parse_labels(values, label_map={"0": "A", "1": "B", "2": "C", "3": "D"})
    assert mapped.names == ["ABCD"[int(value)] for value in values]

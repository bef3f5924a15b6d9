"""Ratios, tables and the document are right for given samples."""

import json

import pytest

from benchmarks.ceiling import shares
from benchmarks.growth import Point, growth_table
from benchmarks.machine import slug
from benchmarks.report import BEGIN, END, comparison_table, markdown, replace_generated, store_part, write_report
from benchmarks.samples import Comparison, PartResult, Table, number
from benchmarks.startup import import_seconds

RATES = Comparison("network", "images/s", True, [200.0, 90.0, 180.0], [50.0, 60.0, 40.0], target=3.0)
TIMES = Comparison("file", "ms", False, [10.0, 20.0, 30.0], [80.0, 60.0, 100.0], target=5.0)
MACHINE = {
    "cpu": "AMD EPYC", "cores": 2, "gpu": None, "fast_bf16": True, "threads": 2, "versions": {"torch": "2.9.0"},
}  # fmt: skip
ORIGIN = {
    "measured_at": "2026-01-02T03:04:05+00:00",
    "git_commit": "0123456789abcdef",
    "git_dirty": False,
    "load_before": 0.25,
}


def test_ratio_of_medians_and_range_of_the_rounds():
    # medians 180 and 50; rounds 200/50, 90/60, 180/40
    assert RATES.ratio == pytest.approx(3.6)
    assert RATES.ratio_range == pytest.approx((1.5, 4.5))
    assert RATES.reached is True


def test_for_times_less_is_faster():
    # medians 20 and 80; rounds 80/10, 60/20, 100/30
    assert TIMES.ratio == pytest.approx(4.0)
    assert TIMES.ratio_range == pytest.approx((3.0, 8.0))
    assert TIMES.reached is False


def test_what_could_not_be_measured_is_neither_reached_nor_missed():
    alone = Comparison("file", "ms", False, [10.0], [], 2.0, "no decoder")
    assert (alone.ratio, alone.ratio_range, alone.reached) == (None, None, None)
    assert comparison_table([alone], "pydicom").rows == [["file", "10.0 ms", "-", "-", "2x", ""]]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.01234, "0.0123"), (0.5, "0.500"), (1.234, "1.23"), (12.34, "12.3"), (123.4, "123"),
     (12345.6, "12,346"), (-1.5, "-1.50")],
)  # fmt: skip
def test_numbers_have_three_digits(value, text):
    assert number(value) == text


def test_the_table_of_comparisons():
    table = comparison_table([RATES, TIMES], "plain loop")
    assert table.header == ["", "mammo", "plain loop", "speed ratio", "at least", "reached"]
    assert table.rows == [
        ["network", "180 (90.0 - 200) images/s", "50.0 (40.0 - 60.0)", "**3.60x** (1.50 - 4.50)", "3x", "yes"],
        ["file", "20.0 (10.0 - 30.0) ms", "80.0 (60.0 - 100)", "**4.00x** (3.00 - 8.00)", "5x", "no"],
    ]
    assert markdown(Table(["a", "b"], [["1", "2"]])) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]


def test_growth_an_image_and_an_added_image():
    points = [
        Point("train", 10, 3.0, 500_000_000), Point("prepare", 10, 2.0, None),
        Point("train", 40, 4.5, 510_000_000), Point("prepare", 40, 3.5, None),
    ]  # fmt: skip
    assert growth_table(points).rows == [
        ["train", "10", "3.00", "300", "-", "500"],
        ["train", "40", "4.50", "112", "50.0", "510"],
        ["prepare", "10", "2.00", "200", "-", "-"],
        ["prepare", "40", "3.50", "87.5", "50.0", "-"],
    ]


def test_shares_of_an_epoch_add_up():
    network, input_bound, overhead = shares(0.9, 0.04)
    assert (network, input_bound, overhead) == pytest.approx((0.9, 0.04, 0.06))


def test_imports_are_summed_by_package():
    trace = (
        "import time: self [us] | cumulative | imported package\n"
        "import time:    500000 |     500000 |   torch._C\n"
        "a line of the program\n"
        "import time:   1000000 |    1500000 | torch\n"
        "import time:    200000 |     200000 | hydra\n"
    )
    assert import_seconds(trace) == pytest.approx({"torch": 1.5, "hydra": 0.2})
    assert list(import_seconds(trace)) == ["torch", "hydra"]


def test_a_machine_has_a_short_name():
    machine = {"cpu": "Intel(R) Xeon(R) CPU E5-2680 v4 @ 2.40GHz", "cores": 28, "gpu": "NVIDIA H200"}
    assert slug(machine) == "intel-xeon-e5-2680-v4-28-cores-nvidia-h200"
    assert slug(MACHINE) == "amd-epyc-2-cores"


def test_the_report_keeps_what_was_written_by_hand(tmp_path):
    document, results = tmp_path / "docs" / "performance.md", tmp_path / "results"
    document.parent.mkdir()
    document.write_text(f"# Title\n\nBy hand.\n\n{BEGIN}\nold numbers\n{END}\n\nBy hand below.\n")
    training = PartResult("Training", "plain loop", [RATES], [Table(["bank"], [["7"]])], ["A note."], {"all": [1.0]})
    store_part(results / "m.json", MACHINE, "training", training, ORIGIN)
    store_part(results / "m.json", MACHINE, "decoding", PartResult("Decoding", "pydicom", [TIMES]), ORIGIN)
    write_report(results, document)
    first = document.read_text()
    assert first.startswith(f"# Title\n\nBy hand.\n\n{BEGIN}\n")
    assert first.endswith(f"{END}\n\nBy hand below.\n")
    assert "old numbers" not in first
    assert "**3.60x** (1.50 - 4.50)" in first
    assert "at commit 0123456789, load of the machine before: 0.2." in first
    assert (document.parent / "images" / "performance.png").read_bytes().startswith(b"\x89PNG")
    write_report(results, document)
    assert document.read_text() == first


def test_a_part_measured_again_replaces_only_itself(tmp_path):
    file = tmp_path / "m.json"
    store_part(file, MACHINE, "training", PartResult("Training", "plain loop", [RATES]), ORIGIN)
    store_part(file, MACHINE, "decoding", PartResult("Decoding", "pydicom", [TIMES]), ORIGIN)
    again = Comparison("network", "images/s", True, [100.0], [50.0])
    store_part(file, MACHINE, "training", PartResult("Training", "plain loop", [again]), ORIGIN)
    parts = json.loads(file.read_text())["parts"]
    assert parts["training"]["comparisons"][0]["ratio"] == pytest.approx(2.0)
    assert PartResult.from_dict(parts["decoding"]).comparisons == [TIMES]


def test_a_document_without_markers_is_refused():
    with pytest.raises(ValueError, match="measured: begin"):
        replace_generated("# Title\n", "numbers")

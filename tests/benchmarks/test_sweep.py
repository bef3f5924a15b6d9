"""The part of the benchmark that measures a whole sweep: what it needs, and what it says of its samples."""

import pytest

from benchmarks.samples import Settings, SkippedPart
from benchmarks.sweep import measure, overrides, seconds_table


def settings(tmp_path, **changed):
    return Settings(**{"folder": tmp_path, "quick": False, "rounds": 3, "threads": 2, "device": "cpu"} | changed)


def test_without_the_films_it_is_skipped_and_says_what_it_needs(tmp_path):
    with pytest.raises(SkippedPart, match="--mias FOLDER"):
        measure(settings(tmp_path))
    assert list(tmp_path.iterdir()) == []


def test_a_check_of_the_code_needs_no_films(tmp_path):
    assert "data=mias" in overrides(settings(tmp_path, mias_folder=tmp_path))
    assert "data=phantom" in overrides(settings(tmp_path, quick=True))


def test_where_the_time_of_a_sweep_goes():
    # Two rounds of three runs: 40 and 44 seconds, of which 36 and 38 in the runs, of which 12 and 13 for the bank.
    runs, bank = [[20.0, 7.0, 9.0], [22.0, 8.0, 8.0]], [[11.0, 1.0, 0.0], [13.0, 0.0, 0.0]]
    table = seconds_table([40.0, 44.0], runs, bank, [30.0, 34.0])
    assert [row[1] for row in table.rows] == [
        "5.00 (4.00 - 6.00)",
        "12.5 (12.0 - 13.0)",
        "24.5 (24.0 - 25.0)",
        "32.0 (30.0 - 34.0)",
    ]

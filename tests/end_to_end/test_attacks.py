"""A short campaign of hostile files; `make attacks` is the long one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from mammo.support.type_checks import require_bounded
from tests.attacks.campaign import tasks
from tests.attacks.values import changed_tree, json_text, shown
from tests.conftest import REPOSITORY

# Making the harmless examples of a kind, and seeing what every command does with them, takes most of the time: the
# short form has the two that come from elsewhere most often.
SHORT = ("--count", "16", "--only", "checkpoint", "--only", "table")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "count"), [(SHORT, 9), pytest.param(("--count", "300"), 300, marks=pytest.mark.long)], ids=["9", "300"]
)
def test_hostile_files_end_in_a_result_or_a_typed_refusal(tmp_path: Path, chosen: Sequence[str], count: int) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.attacks", *chosen, "--seed", "7"],
        cwd=REPOSITORY, env=environment | {"TMPDIR": str(tmp_path)}, capture_output=True, text=True, timeout=2400,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    row = next(line.split(" | ") for line in done.stdout.splitlines() if line.startswith("all"))
    assert int(row[1]) == count
    # It would prove nothing if all were harmless, or all refused at the door.
    assert int(row[2]) > count // 10
    assert int(row[3]) + int(row[4]) > count // 3


def test_a_number_that_is_not_written_out_is_described() -> None:
    assert shown(10**5000) == "a huge value (int)"


def test_a_seed_names_a_hostile_tree() -> None:
    tree = {"a": [1, {"b": 2}], "c": {"d": "x"}}
    for seed in range(200):
        one, other = (changed_tree(tree, np.random.default_rng(seed), "/nowhere", 3) for _ in range(2))
        assert one[1] == other[1]
        assert json_text(one[0]) == json_text(other[0])
    assert tree == {"a": [1, {"b": 2}], "c": {"d": "x"}}
    assert len(tasks(5000)) == 5000


@pytest.mark.parametrize("kind", ["deep", "cycle", "references"])
def test_values_that_no_file_of_ours_holds_are_counted_before_they_are_copied(kind: str) -> None:
    value: list = [1]
    if kind == "cycle":
        value.append(value)
    for _ in range({"deep": 100_000, "cycle": 1, "references": 20}[kind]):
        value = [value] * (10 if kind == "references" else 1)
    with pytest.raises(ValueError, match=r"nested deeper|more than"):
        require_bounded(value)

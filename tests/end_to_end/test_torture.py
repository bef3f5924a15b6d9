"""The campaign of kills, a short one; `make torture` is the long one."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY


@pytest.mark.slow
@pytest.mark.parametrize("at_least", [1, pytest.param(14, marks=pytest.mark.long)])
def test_killed_runs_end_as_if_nothing_had_happened(at_least):
    a_run = str(min(at_least, 7))
    command = [
        sys.executable, "-m", "tests.torture", "--kills", str(at_least), "--kills-per-run", a_run, "--processes", "1"
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"in all +(\d+), in (\d+) runs; (\d+) of them identical", done.stdout)
    assert found is not None, done.stdout
    kills, runs, identical = map(int, found.groups())
    assert kills >= at_least
    assert runs == identical

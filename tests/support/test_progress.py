"""What long work says where there is no terminal."""

from __future__ import annotations

import io
import logging
import re
import time

import pytest
from rich.console import Console

from mammo.support import progress


@pytest.fixture
def lines() -> list[str]:
    """The project's log, as it comes."""
    written: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            written.append(record.getMessage())

    logger, handler = logging.getLogger("mammo"), Keep()
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield written
    logger.removeHandler(handler)


def test_a_line_says_how_far_how_fast_and_how_long(lines, monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN_LINES", 0.02)
    with progress.counting("Preparing images") as count:
        count(1, 1000)
        time.sleep(0.05)
        count(10, 1000)
    (line,) = lines
    found = re.fullmatch(r"Preparing images: 10/1000, ([\d.]+)/s, (\d+):(\d\d):(\d\d) left", line)
    assert found is not None, line
    rate, hours, minutes, seconds = (float(part) for part in found.groups())
    assert 3600 * hours + 60 * minutes + seconds == pytest.approx(990 / rate, abs=1)


def test_the_bar_of_a_sweep_stands_above_that_of_its_job(monkeypatch):
    written = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=True, width=80, height=20))
    with progress.overall("Sweep", 3) as show:
        show(1, "1 failed, about 0:02:00 left")
        for done, _ in enumerate(progress.track(range(8), "Epoch 1/2", 8)):
            if done == 4:
                assert progress._shown is not None
                progress._shown.refresh()
    screens = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", written.getvalue())
    assert re.search(r"Sweep 1 failed, about 0:02:00 left \S+ 1/3 *\r?\nEpoch 1/2 +\S+ 4/8", screens), screens


def test_short_work_says_nothing(lines):
    with progress.counting("Preparing images") as count:
        for done in range(1000):
            count(done + 1, 1000)
    assert lines == []

"""A cache that is damaged between two runs: noticed, mended, and without effect on a result."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammo.checks.cache import check_cache
from mammo.checks.report import Level
from mammo.support.progress import counting
from tests.conftest import TINY, run_command


def damaged(cache: Path) -> int:
    """Flip a bit in every second entry of all keys and in every third byte of all rows; the number of files."""
    files = [*cache.glob("stores/*/keys.bin"), *cache.glob("features/*/keys.bin"), *cache.rglob("rows.bin")]
    for file in files:
        content = bytearray(file.read_bytes())
        step = 3 if file.name == "rows.bin" else 64
        for i in range(step, len(content), step):
            content[i] ^= 0x04
        file.write_bytes(content)
    return len(files)


def problems(cache: Path) -> list[str]:
    found = [finding for section in check_cache(cache, counting) for finding in section.findings]
    return [finding.subject for finding in found if finding.level is Level.PROBLEM]


@pytest.mark.slow
def test_a_run_on_a_damaged_cache_has_the_results_of_the_first(class_folders, tmp_path):
    cache = tmp_path / "cache"
    command = ("mammo.train", *TINY, f"data.root={class_folders}", f"cache_dir={cache}")
    run_command(tmp_path, *command)
    (run,) = (tmp_path / "outputs").iterdir()
    results = {name: (run / name).read_bytes() for name in ("val_predictions.csv", "splits/train.csv")}
    assert problems(cache) == []
    assert damaged(cache) >= 5
    assert {name.split("/")[0] for name in problems(cache)} == {"stores", "features"}
    said = run_command(tmp_path, *command, "run.restart=true")
    assert {name: (run / name).read_bytes() for name in results} == results
    assert "damaged" in said
    assert problems(cache) == []

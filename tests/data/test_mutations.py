"""A short campaign of damaged files; `make mutations` is the long one."""

from __future__ import annotations

import numpy as np
import pytest

from tests.mutations.campaign import run, tasks
from tests.mutations.damage import BOMBS, OF_KIND
from tests.mutations.sources import image_sources, table_sources


@pytest.mark.slow
@pytest.mark.parametrize("count", [30, pytest.param(700, marks=pytest.mark.long)])
def test_damaged_files_end_in_an_image_or_a_typed_refusal(count: int) -> None:
    report = run(tasks(count, seed=7, num_bombs=2))
    assert len(report.judged) == count + 2
    assert not report.failures, "\n".join(report.failures)
    assert report.count(lambda verdict: verdict.outcome == "refused") > count // 4
    assert report.count(lambda verdict: verdict.detail == "the same pixels") > count // 20


def test_a_seed_names_a_damaged_file() -> None:
    """Every kind of damage is made twice, and is the same."""
    sources = {source.kind: source for source in [*image_sources(), *table_sources()]}
    for kind, source in sources.items():
        for damage in OF_KIND[kind]:
            one, other = (damage(source.content, np.random.default_rng(5)) for _ in range(2))
            assert one == other, damage.__name__
    assert set(BOMBS) <= set(sources)

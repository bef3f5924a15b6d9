"""A process that was started alone, and one of several."""

from __future__ import annotations

import pytest

from mammo.support.errors import ConfigError
from mammo.support.ranks import Ranks, ranks_of_environment


def test_alone_it_is_the_first_of_one(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert ranks_of_environment() == Ranks(0, 1)
    assert ranks_of_environment().writes
    ranks_of_environment().require_alone()


def test_several_processes_for_one_run_are_refused(monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not ranks_of_environment().writes
    with pytest.raises(ConfigError, match="4 processes were started together"):
        ranks_of_environment().require_alone()

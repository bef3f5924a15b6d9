"""Checkpoints: nothing but data, and never half of one."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from mammo import checkpoint
from mammo.checkpoint import load_checkpoint, random_state, save_checkpoint
from mammo.errors import RunDirectoryError


def content(value: float) -> dict:
    return {"schema_version": 1, "model_state_dict": {"w": torch.full((3,), value)}, "history": [{"epoch": 1}]}


def test_what_is_saved_is_loaded_as_plain_data(tmp_path):
    save_checkpoint(tmp_path / "c" / "last.pth", content(2.0) | {"rng": random_state()})
    loaded = torch.load(tmp_path / "c" / "last.pth", weights_only=True)
    assert torch.equal(loaded["model_state_dict"]["w"], torch.full((3,), 2.0))
    assert load_checkpoint(tmp_path / "c" / "last.pth")["history"] == [{"epoch": 1}]


def test_the_random_state_can_be_put_back(tmp_path):
    save_checkpoint(tmp_path / "c.pth", content(0.0) | {"rng": random_state()})
    expected = (random.random(), np.random.rand(), torch.rand(1))  # noqa: NPY002
    state = load_checkpoint(tmp_path / "c.pth")["rng"]
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002


def test_a_further_name_keeps_its_content_when_the_first_is_replaced(tmp_path):
    last, best = tmp_path / "last.pth", tmp_path / "best.pth"
    save_checkpoint(last, content(1.0), [best])
    save_checkpoint(last, content(2.0))
    assert load_checkpoint(best)["model_state_dict"]["w"][0] == 1.0
    assert load_checkpoint(last)["model_state_dict"]["w"][0] == 2.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best.pth", "last.pth"]


def test_a_save_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "last.pth", content(1.0))

    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path / "last.pth", content(2.0))
    assert load_checkpoint(tmp_path / "last.pth")["model_state_dict"]["w"][0] == 1.0


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_a_damaged_file_is_said_to_be_one(tmp_path, damage):
    save_checkpoint(tmp_path / "last.pth", content(1.0))
    whole = (tmp_path / "last.pth").read_bytes()
    (tmp_path / "last.pth").write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    with pytest.raises(RunDirectoryError, match=r"last\.pth cannot be read"):
        load_checkpoint(tmp_path / "last.pth")


def test_code_in_a_checkpoint_does_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path / "ran").touch, ()

    torch.save({"schema_version": 1, "x": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(RunDirectoryError):
        load_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / "ran").exists()


def test_another_schema_version_is_refused(tmp_path):
    torch.save({"schema_version": 99}, tmp_path / "c.pth")
    with pytest.raises(RunDirectoryError, match="schema version 1"):
        load_checkpoint(tmp_path / "c.pth")

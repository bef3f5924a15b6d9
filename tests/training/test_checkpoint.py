"""Checkpoints: nothing but data, and never half of one."""

from __future__ import annotations

import errno
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mammo.support.errors import RunDirectoryError
from mammo.support.hardware import random_state, restore_random_state
from mammo.training import checkpoint
from mammo.training.checkpoint import load_checkpoint, load_newest, previous_of, save_checkpoint, verify


def content(value: float) -> dict:
    return {"schema_version": 1, "model_state_dict": {"w": torch.full((3,), value)}, "history": [{"epoch": 1}]}


def best_of(folder: Path) -> int:
    """The best epoch so far: that of the file which has its name."""
    best = folder / "best.pth"
    return epoch_of(load_checkpoint(best)) if best.exists() else 0


def test_what_is_saved_is_loaded_as_plain_data(tmp_path):
    save_checkpoint(tmp_path / "c" / "last.pth", content(2.0) | {"rng": random_state()})
    loaded = torch.load(tmp_path / "c" / "last.pth", weights_only=True)
    assert torch.equal(loaded["model_state_dict"]["w"], torch.full((3,), 2.0))
    assert load_checkpoint(tmp_path / "c" / "last.pth")["history"] == [{"epoch": 1}]


def test_the_random_state_can_be_put_back(tmp_path):
    save_checkpoint(tmp_path / "c.pth", content(0.0) | {"rng": random_state()})
    expected = (random.random(), np.random.rand(), torch.rand(1))  # noqa: NPY002
    restore_random_state(load_checkpoint(tmp_path / "c.pth")["rng"])
    assert (random.random(), np.random.rand(), torch.rand(1)) == expected  # noqa: NPY002


def test_a_further_name_keeps_its_content_when_the_first_is_replaced(tmp_path):
    last, best = tmp_path / "last.pth", tmp_path / "best.pth"
    save_checkpoint(last, content(1.0), [best])
    save_checkpoint(last, content(2.0))
    assert load_checkpoint(best)["model_state_dict"]["w"][0] == 1.0
    assert load_checkpoint(last)["model_state_dict"]["w"][0] == 2.0
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "SHA256SUMS", "best.pth", "last.pth", "previous_last.pth",
    ]  # fmt: skip
    assert load_checkpoint(previous_of(last))["model_state_dict"]["w"][0] == 1.0


def test_a_save_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "last.pth", content(1.0))

    def full_disk(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path / "last.pth", content(2.0))
    assert load_checkpoint(tmp_path / "last.pth")["model_state_dict"]["w"][0] == 1.0


def epoch_of(checkpoint_content: dict | None) -> int:
    assert checkpoint_content is not None
    return int(checkpoint_content["epoch"])


def save_epoch(folder: Path, epoch: int, *, is_best: bool = False) -> None:
    also_as = [folder / "best.pth"] if is_best else []
    state = {"epoch": epoch, "monitor_state": {"best_epoch": epoch if is_best else best_of(folder)}}
    save_checkpoint(folder / "last.pth", content(float(epoch)) | state, also_as)


def newest(folder: Path) -> dict | None:
    return load_newest(folder / "last.pth", folder / "best.pth")


def damage(path: Path) -> None:
    """Change one byte in the middle, as a disk does that forgets."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] = (content[len(content) // 2] + 1) % 256
    path.unlink()  # it may share its content with another name
    path.write_bytes(content)


def test_the_sums_are_those_of_coreutils(tmp_path):
    for epoch in (1, 2, 3, 4):
        save_epoch(tmp_path, epoch, is_best=epoch in (1, 3))
    done = subprocess.run(["sha256sum", "--check", "--strict", "SHA256SUMS"], cwd=tmp_path, capture_output=True)
    assert done.returncode == 0
    assert sorted(done.stdout.decode().split()[::2]) == ["best.pth:", "last.pth:", "previous_last.pth:"]


def test_the_newest_whole_checkpoint_is_taken_and_said(tmp_path, caplog):
    assert newest(tmp_path) is None
    for epoch in (1, 2, 3, 4):
        save_epoch(tmp_path, epoch, is_best=epoch == 2)
    assert epoch_of(newest(tmp_path)) == 4
    assert not caplog.messages

    damage(tmp_path / "last.pth")
    assert verify(tmp_path / "last.pth") is False
    with pytest.raises(RunDirectoryError, match=r"last\.pth is damaged"):
        load_checkpoint(tmp_path / "last.pth")
    assert epoch_of(newest(tmp_path)) == 3
    assert "going on from previous_last.pth" in caplog.text
    assert verify(tmp_path / "last.pth") is True, "the damaged one is replaced, so that it never becomes the previous"

    damage(tmp_path / "last.pth")
    damage(tmp_path / "previous_last.pth")
    assert epoch_of(newest(tmp_path)) == 2
    for path in tmp_path.glob("*.pth"):
        damage(path)
    with pytest.raises(RunDirectoryError, match="no checkpoint of this run is whole"):
        newest(tmp_path)


def test_a_disk_that_damages_the_last_and_the_best_epoch_at_once_costs_that_epoch(tmp_path, caplog):
    """They share their content where the best epoch is the last one."""
    for epoch in (1, 2):
        save_epoch(tmp_path, epoch, is_best=True)
    with (tmp_path / "last.pth").open("r+b") as file:
        file.seek(100)
        file.write(b"damaged")
    assert verify(tmp_path / "best.pth") is False
    content = newest(tmp_path)
    assert epoch_of(content) == 1
    assert epoch_of(load_checkpoint(tmp_path / "best.pth")) == 1
    assert "best.pth is taken from previous_last.pth" in caplog.text


def test_a_best_epoch_that_is_lost_is_said(tmp_path):
    save_epoch(tmp_path, 1, is_best=True)
    for epoch in (2, 3):
        save_epoch(tmp_path, epoch)
    damage(tmp_path / "best.pth")
    with pytest.raises(RunDirectoryError, match=r"best\.pth is missing or damaged"):
        newest(tmp_path)


def test_a_best_checkpoint_that_is_newer_is_gone_on_from(tmp_path, caplog):
    """Killed between the two names, where computing the epoch again may not give the same: on a GPU."""
    save_epoch(tmp_path, 1, is_best=True)
    save_epoch(tmp_path / "next", 2, is_best=True)
    for name in ("best.pth", "SHA256SUMS"):
        (tmp_path / "next" / name).replace(tmp_path / name)
    (tmp_path / "SHA256SUMS").unlink()
    assert epoch_of(newest(tmp_path)) == 2
    assert epoch_of(load_checkpoint(tmp_path / "last.pth")) == 2
    assert not caplog.messages


def test_without_hard_links_names_are_copies(tmp_path, monkeypatch):
    def no_links(source, target):
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    for epoch in (1, 2, 3):
        save_epoch(tmp_path, epoch, is_best=epoch < 3)
    assert [verify(path) for path in sorted(tmp_path.glob("*.pth"))] == [True] * 3
    assert (tmp_path / "best.pth").stat().st_nlink == 1
    assert epoch_of(newest(tmp_path)) == 3


@pytest.mark.parametrize("line", ["", "garbage", "\0\0", "0" * 64 + "  ../elsewhere.pth", "0" * 64 + "  /dev/zero"])
def test_odd_lines_among_the_sums_name_nothing(tmp_path, line):
    save_epoch(tmp_path, 1)
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{line}\n{sums.read_text()}")
    assert epoch_of(newest(tmp_path)) == 1
    save_epoch(tmp_path, 2)
    assert verify(tmp_path / "last.pth") is True


@pytest.mark.parametrize("delay_seconds", [0.005, 0.01, 0.02, 0.03, 0.04, 0.05])
def test_ctrl_c_while_a_checkpoint_is_written_is_no_failure(tmp_path, delay_seconds):
    """torch makes an error of its own of whatever interrupts it."""
    save_epoch(tmp_path, 1)

    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    large = content(2.0) | {"epoch": 2, "large": [torch.zeros(10**6) for _ in range(100)]}
    try:
        signal.setitimer(signal.ITIMER_REAL, delay_seconds)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(tmp_path / "last.pth", large)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert epoch_of(newest(tmp_path)) == 1
    assert not list(tmp_path.glob(".*"))


def test_sums_that_are_a_link_to_themselves_are_none(tmp_path):
    save_checkpoint(tmp_path / "last.pth", {"epoch": 1})
    (tmp_path / "SHA256SUMS").unlink()
    (tmp_path / "SHA256SUMS").symlink_to("SHA256SUMS")
    save_checkpoint(tmp_path / "last.pth", {"epoch": 2})
    assert (tmp_path / "SHA256SUMS").is_file()


def test_without_sums_a_checkpoint_that_can_be_read_is_taken(tmp_path):
    save_epoch(tmp_path, 1)
    (tmp_path / "SHA256SUMS").unlink()
    assert verify(tmp_path / "last.pth") is None
    assert epoch_of(newest(tmp_path)) == 1


def kill_at_file_operation(number: int, work: Callable[[], None]) -> bool:
    """Do some work in a process of its own that kills itself before a certain operation on files; True if it did."""
    process = os.fork()
    if process == 0:
        left = number

        def count(event: str, arguments: tuple) -> None:
            nonlocal left
            if event in ("open", "os.rename", "os.link", "os.remove", "os.truncate", "shutil.copyfile"):
                left -= 1
                if left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        work()
        os._exit(0)
    return os.WIFSIGNALED(os.waitpid(process, 0)[1])


def test_killed_before_any_operation_on_files_a_whole_checkpoint_is_there(tmp_path, caplog):
    """Killed once, gone on from what is there, killed again a little later, and gone on from that."""
    number, was_killed = 0, True
    while was_killed:
        folder = tmp_path / str(number)
        for epoch in (1, 2):
            save_epoch(folder, epoch, is_best=epoch == 1)
        number += 1
        was_killed = kill_at_file_operation(number, lambda f=folder: save_epoch(f, 3, is_best=True))
        assert epoch_of(newest(folder)) in ((2, 3) if was_killed else (3,))
        kill_at_file_operation(number + 5, lambda f=folder: save_epoch(f, 4, is_best=True))
        assert epoch_of(newest(folder)) in (2, 3, 4)
        assert verify(folder / "best.pth") is True
        save_epoch(folder, 5)
        assert epoch_of(newest(folder)) == 5
        assert not caplog.messages, "a kill is no damage"
    assert number > 10, "there are that many operations"


@pytest.mark.parametrize("damage", [b"", b"rubbish", None])
def test_a_damaged_file_is_said_to_be_one(tmp_path, damage):
    save_checkpoint(tmp_path / "last.pth", content(1.0))
    whole = (tmp_path / "last.pth").read_bytes()
    (tmp_path / "last.pth").write_bytes(whole[: len(whole) // 2] if damage is None else damage)
    (tmp_path / "SHA256SUMS").unlink()
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

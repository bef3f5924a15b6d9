"""The bank: what was computed is read back, once computed never again, and room is made for what is new."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from mammo.models.feature_bank import BankPlan, FeatureBank, bytes_in_use, decide, make_room
from mammo.support.errors import ConfigError
from tests.conftest import REPOSITORY

GB = 10**9


def quiet(done: int, total: int) -> None:
    pass


def features(values: list[int], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Maps [N, 3, 2, 2], channels last, each filled with its value and the number of the channel."""
    maps = torch.tensor(values, dtype=dtype).view(-1, 1, 1, 1) + torch.arange(3).view(1, 3, 1, 1) / 8
    return maps.expand(-1, 3, 2, 2).contiguous(memory_format=torch.channels_last).to(dtype)


def bank_in(folder: Path, weights: str = "w", dtype: torch.dtype = torch.float32) -> FeatureBank:
    return FeatureBank(folder, {"weights": weights}, features([0], dtype))


def fill(bank: FeatureBank, keys: list[str], images_at_once: int = 2) -> list[str]:
    """Fill with the number in each key; returns the keys that were computed."""
    computed: list[str] = []

    def compute(places) -> torch.Tensor:
        computed.extend(keys[i] for i in places)
        return features([int(keys[i]) for i in places], bank.dtype)

    assert bank.fill(keys, compute, images_at_once, quiet) == len(computed)
    return computed


def read(bank: FeatureBank, *keys: str) -> torch.Tensor:
    found, is_damaged = bank.read(bank.rows_of(keys))
    assert not is_damaged.any()
    return found


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_features_come_back_with_their_bits_and_their_layout(tmp_path, dtype):
    bank = bank_in(tmp_path, dtype=dtype)
    assert fill(bank, ["3", "1", "4", "1", "5"]) == ["3", "1", "4", "5"]
    found = read(bank, "5", "1", "5")
    assert torch.equal(found, features([5, 1, 5], dtype))
    assert found.dtype == dtype
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("shape", [(7,), (5, 7)], ids=["vectors", "tokens"])
def test_features_of_other_shapes(tmp_path, shape):
    values = torch.arange(70, dtype=torch.float32).view(-1, *shape)[:2]
    bank = FeatureBank(tmp_path, {}, values[:1])
    bank.fill(["a", "b"], lambda places: values[list(places)], 1, quiet)
    assert torch.equal(read(bank, "b", "a"), values.flip(0))


def test_nothing_is_computed_twice_by_any_process(tmp_path):
    fill(bank_in(tmp_path), ["1", "2"])
    assert fill(bank_in(tmp_path), ["2", "3"]) == ["3"]
    assert fill(bank_in(tmp_path), ["1", "2", "3"]) == []
    assert bank_in(tmp_path).missing(["3", "4", "4"]) == [1]


@pytest.mark.parametrize("other", [{"weights": "other"}, {"dtype": torch.bfloat16}])
def test_another_trunk_has_another_bank(tmp_path, other):
    fill(bank_in(tmp_path), ["1"])
    assert fill(bank_in(tmp_path, **other), ["1"]) == ["1"]


KILLED_WHILE_FILLING = """
import os, signal, sys
from pathlib import Path
import torch
from mammo.models import feature_bank
feature_bank.BYTES_PER_FLUSH = 1
calls = 0
def compute(places):
    global calls
    calls += 1
    if calls == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.full((len(places), 5), float(places[0]))
bank = feature_bank.FeatureBank(Path(sys.argv[1]), {}, torch.zeros(1, 5))
bank.fill([str(i) for i in range(20)], compute, 2, lambda done, total: None)
"""


def test_a_killed_process_loses_only_what_was_not_on_disk(tmp_path):
    command = [sys.executable, "-c", KILLED_WHILE_FILLING, str(tmp_path)]
    assert subprocess.run(command, cwd=REPOSITORY, check=False).returncode == -9
    bank = FeatureBank(tmp_path, {}, torch.zeros(1, 5))
    assert bank.missing([str(i) for i in range(20)]) == list(range(6, 20))
    assert read_after_filling(bank) == [0, 0, 2, 2, 4, 4, *[7.0] * 14]


def read_after_filling(bank: FeatureBank) -> list[float]:
    keys = [str(i) for i in range(20)]
    bank.fill(keys, lambda places: torch.full((len(places), 5), 7.0), 2, quiet)
    return read(bank, *keys)[:, 0].tolist()


FILLING = """
import sys, time
from pathlib import Path
import torch
from mammo.models.feature_bank import FeatureBank
from mammo.support.progress import start_logging
start_logging("info")
bank = FeatureBank(Path(sys.argv[1]), {}, torch.zeros(1, 5))
def compute(places):
    time.sleep(0.05)
    return torch.full((len(places), 5), float(sys.argv[2]))
print("computed", bank.fill([str(i) for i in range(20)], compute, 1, lambda done, total: None))
"""


def test_one_process_fills_and_the_other_waits_and_finds_everything(tmp_path):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", FILLING, str(tmp_path), value], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        for value in ("1", "2")
    ]
    outputs = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(line for output in outputs for line in output.splitlines() if "computed" in line) == [
        "computed 0",
        "computed 20",
    ]
    bank = FeatureBank(tmp_path, {}, torch.zeros(1, 5))
    assert len(bank) == 20


PLAN = BankPlan(passes_without=1000, passes_with=100, new_bytes=2 * GB, bank_bytes=3 * GB)


@pytest.mark.parametrize(
    ("choice", "changes", "budget_bytes", "free_bytes", "used", "reason"),
    [
        ("auto", {}, 20 * GB, 10 * GB, True, "computed for 100 images instead of 1,000, 3.0 GB"),
        ("auto", {"passes_with": 901}, 20 * GB, 10 * GB, False, "it would not pay"),
        ("on", {"passes_with": 1000}, 20 * GB, 10 * GB, True, "1,000 images instead of 1,000"),
        ("auto", {}, 2.5 * GB, 10 * GB, False, "3.0 GB, more than strategy.feature_bank_budget_gb=2.5"),
        ("auto", {}, 20 * GB, 3 * GB, False, "it needs 2.0 GB more, and of the 3.0 GB free"),
        (
            "auto",
            {"others_bytes": 18 * GB},
            20 * GB,
            99 * GB,
            False,
            "3.0 GB beside the 18.0 GB of other runs",
        ),
    ],
)
def test_auto_uses_the_bank_when_it_pays_and_fits(choice, changes, budget_bytes, free_bytes, used, reason):
    plan = BankPlan(**{**PLAN.__dict__, **changes})
    is_used, why = decide(choice, plan, budget_bytes, free_bytes)
    assert is_used == used
    assert reason in why


@pytest.mark.parametrize(("budget_bytes", "free_bytes", "to_do"), [(GB, 99 * GB, "budget_gb=4"), (9 * GB, GB, "free")])
def test_on_that_is_impossible_is_an_error(budget_bytes, free_bytes, to_do):
    with pytest.raises(ConfigError, match=to_do):
        decide("on", PLAN, budget_bytes, free_bytes)


def test_the_least_recently_used_banks_go_first_and_those_in_use_stay(tmp_path):
    names = ["used now", "read long ago", "read lately"]
    banks = [bank_in(tmp_path, name) for name in names]
    for bank, seconds_ago in zip(banks, (9000, 8000, 5000), strict=True):
        fill(bank, [str(key) for key in range(100)])
        last_use = time.time() - seconds_ago
        os.utime(bank.path / "bank.json", (last_use, last_use))
    banks[0].mark_as_used()
    size = sum(file.stat().st_size for file in banks[0].path.iterdir())
    own = bank_in(tmp_path, "own")
    assert bytes_in_use(tmp_path, [own]) == size
    make_room(tmp_path, [own], new_bytes=size, budget_bytes=3 * size + 100)
    assert [bank.path.exists() for bank in banks] == [True, False, True]
    make_room(tmp_path, [own], new_bytes=0, budget_bytes=1)
    assert [bank.path.exists() for bank in banks] == [True, False, False]
    make_room(tmp_path, [banks[0]], new_bytes=0, budget_bytes=1)
    assert torch.equal(read(banks[0], "7"), features([7])), "its own bank stays too"
    assert not list(tmp_path.glob("*.removed"))


def test_a_bank_that_is_being_filled_is_not_removed(tmp_path):
    bank = bank_in(tmp_path)
    fill(bank, ["1"])
    os.utime(bank.path / "bank.json", (1000, 1000))
    with FileLock(bank.path.with_name(f"{bank.path.name}.lock")):
        make_room(tmp_path, [], new_bytes=0, budget_bytes=1)
    assert bank.path.exists()

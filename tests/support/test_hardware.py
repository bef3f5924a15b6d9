"""What the machine offers, and errors for what it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from mammo.support.errors import ConfigError
from mammo.support.hardware import (
    Share,
    has_fast_bf16,
    physical_cores,
    require_compiler,
    resolve_hardware,
    seed_everything,
)


def test_auto_takes_bf16_where_the_hardware_has_it_else_fp32():
    hardware = resolve_hardware("cpu", "auto", None, None)
    assert hardware.amp == ("bf16" if has_fast_bf16(torch.device("cpu")) else "fp32")
    assert hardware.threads == physical_cores() >= 1
    assert hardware.deterministic
    assert not resolve_hardware("cpu", "auto", 3, False).deterministic
    assert resolve_hardware("cpu", "off", 3, False).threads == 3


@pytest.mark.parametrize(
    ("device", "amp", "message"),
    [("cpu", "fp16", "works on CUDA only")]
    + ([] if torch.cuda.is_available() else [("cuda", "auto", "device=cuda: not available")])
    + ([] if torch.backends.mps.is_available() else [("mps", "auto", "device=mps: not available")]),
)
def test_what_is_not_there_is_an_error(device, amp, message):
    with pytest.raises(ConfigError, match=message):
        resolve_hardware(device, amp, None, None)


@pytest.mark.parametrize(("amp", "dtype"), [("bf16", torch.bfloat16), ("off", torch.float32)])
def test_autocast_computes_at_the_precision(amp, dtype):
    hardware = resolve_hardware("cpu", amp, 1, None)
    with hardware.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype is dtype
    assert not hardware.gradient_scaler().is_enabled()


def test_seeds_are_a_function_of_all_parts():
    drawn = []
    for parts in ((42, 0), (42, 0), (42, 1), (0, 42), (0, 0)):
        seed_everything(*parts)
        drawn.append(torch.rand(4).tolist())
    assert drawn[0] == drawn[1]
    assert len({tuple(values) for values in drawn}) == 4


def test_compiling_without_a_compiler_is_an_error_of_the_user(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(ConfigError, match=r"needs a C\+\+ compiler.*\n.*install g\+\+"):
        require_compiler()


HOLD_AND_RELEASE = """
import torch
from mammo.support.hardware import keep_freed_memory, release_memory

def resident_mb():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS")) / 1024

keep_freed_memory()
kept = [torch.ones(2**18) for _ in range(300)]
last = torch.ones(2**18)
del kept
held = resident_mb()
release_memory()
print(held - resident_mb(), last.sum().item())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
@pytest.mark.long
def test_what_one_run_has_used_is_given_back_before_the_next():
    done = subprocess.run([sys.executable, "-c", HOLD_AND_RELEASE], capture_output=True, text=True, check=True)
    released_mb, last = map(float, done.stdout.split())
    assert released_mb > 200
    assert last == 2**18


def test_jobs_at_once_share_the_cores_and_the_gpus():
    assert [Share(i, 3).threads(8) for i in range(3)] == [2, 2, 2]
    assert Share(0, 16).threads(8) == 1
    assert [Share(i, 3).gpu(2) for i in range(4)] == [0, 1, 0, 1]
    assert [Share(i, 1).gpu(2) for i in range(2)] == [0, 0], "one after the other on the first"
    assert resolve_hardware("cpu", "off", None, None, Share(1, 2)).threads == max(1, physical_cores() // 2)
    assert resolve_hardware("cpu", "off", 3, None, Share(1, 2)).threads == 3

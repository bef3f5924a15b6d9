"""Processor, memory, GPU and compiler: what training can use of this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from mammo.checks.report import Finding, counted, note, ok
from mammo.support.cores import usable_cores

GIGABYTE = 10**9
LOW_MEMORY_BYTES = 4 * GIGABYTE
CONTROL_GROUP = Path("/sys/fs/cgroup")


def check_machine(machine: dict[str, Any] | None) -> list[Finding]:
    """Findings about the machine; `machine` is what the probe says, None when torch could not be asked."""
    findings = [_cores_finding(machine), _memory_finding()]
    if machine is None:
        return [*findings, note("GPU, bf16", "not known: torch could not be asked")]
    return [*findings, _cpu_precision_finding(machine), _gpu_finding(machine), _compiler_finding(machine)]


def _cores_finding(machine: dict[str, Any] | None) -> Finding:
    cores = usable_cores()
    name = f", {machine['cpu_name']}" if machine and machine["cpu_name"] else ""
    text = f"{counted(cores, 'core')} to use{name}"
    if machine:
        text += f"; {counted(machine['threads'], 'thread')} for training"
    if limit := os.environ.get("OMP_NUM_THREADS"):
        text += f"; OMP_NUM_THREADS={limit} is set and has no effect on training (train.threads has)"
    share = _share_of_cores()
    if share is not None and share < cores:
        to_do = f"train.threads={max(1, int(share))}: more threads than that wait for one another"
        return note("processor", f"{text}; this container may use {share:g} of them at a time", to_do)
    return ok("processor", text)


def _share_of_cores() -> float | None:
    """The cores that a control group (of a container, of a batch system) leaves; None: all."""
    try:
        quota, period = (CONTROL_GROUP / "cpu.max").read_text().split()
        return int(quota) / int(period)
    except (OSError, ValueError):
        return None


def _memory_finding() -> Finding:
    available, total = _memory_bytes()
    if total is None or available is None:
        return note("memory", "not known on this system")
    text = f"{available / GIGABYTE:.1f} of {total / GIGABYTE:.1f} GB free"
    if available < LOW_MEMORY_BYTES:
        return note("memory", text, "a smaller data.batch_size or data.image_size if a run is ended for its memory")
    return ok("memory", text)


def _memory_bytes() -> tuple[int | None, int | None]:
    """What is available and what there is, within the limit of a control group."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines}
        available, total = kilobytes["MemAvailable"] * 1024, kilobytes["MemTotal"] * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None, None
    try:
        limit, used = (int((CONTROL_GROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        return min(available, limit - used), min(total, limit)
    except (OSError, ValueError):
        return available, total


def _cpu_precision_finding(machine: dict[str, Any]) -> Finding:
    if machine["cpu_has_bf16"]:
        return ok("bf16 on the CPU", "yes (AVX512-BF16 or AMX): train.amp=auto trains in bf16")
    return note("bf16 on the CPU", "no AVX512-BF16 and no AMX: on the CPU train.amp=auto trains in fp32")


def _gpu_finding(machine: dict[str, Any]) -> Finding:
    if machine["gpus"]:
        each = [f"{gpu['name']}, {gpu['bytes'] / GIGABYTE:.0f} GB, {_precision(gpu)}" for gpu in machine["gpus"]]
        return ok("GPU", "\n".join(each))
    if machine["has_mps"]:
        return ok("GPU", "of Apple (MPS): device=auto uses it")
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
        built = f"for CUDA {machine['cuda_version']}" if machine["cuda_version"] else "without CUDA"
        to_do = "compare with the CUDA version that nvidia-smi shows; nvidia-smi -L lists what may be used"
        return note("GPU", f"a driver of NVIDIA is here, but torch (built {built}) finds no GPU", to_do)
    return note("GPU", "none: training uses the CPU")


def _precision(gpu: dict[str, Any]) -> str:
    return "bf16" if gpu["has_bf16"] else "fp16 (older than Ampere: no bf16)"


def _compiler_finding(machine: dict[str, Any]) -> Finding:
    if machine["compiler_error"]:
        return note("torch.compile", "no C++ compiler: train.compile=true is not possible (false is the default)")
    return ok("torch.compile", "a C++ compiler is there")

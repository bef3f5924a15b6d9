"""What training can use of this machine, as torch says: number formats and GPU."""

from __future__ import annotations

import shutil
from pathlib import Path

import torch

from mammo.checks.report import Finding, note, ok
from mammo.support.hardware import has_fast_bf16

GIGABYTE = 10**9


def findings() -> list[Finding]:
    """A finding for each; nothing of it is a problem, training uses what there is."""
    return [_bf16_finding(), _gpu_finding()]


def _bf16_finding() -> Finding:
    if has_fast_bf16(torch.device("cpu")):
        return ok("bf16 on the CPU", "yes (AVX512-BF16 or AMX): train.amp=auto trains in bf16")
    return note("bf16 on the CPU", "no AVX512-BF16 and no AMX: on the CPU train.amp=auto trains in fp32")


def _gpu_finding() -> Finding:
    if torch.cuda.is_available():
        return ok("GPU", "\n".join(map(_gpu_line, range(torch.cuda.device_count()))))
    if torch.backends.mps.is_available():
        return ok("GPU", "of Apple (MPS): device=auto uses it")
    if shutil.which("nvidia-smi") or Path("/proc/driver/nvidia/version").exists():
        built = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "without CUDA"
        to_do = "compare with the CUDA version that nvidia-smi shows; nvidia-smi -L lists what may be used"
        return note("GPU", f"a driver of NVIDIA is here, but torch (built {built}) finds no GPU", to_do)
    return note("GPU", "none: training uses the CPU")


def _gpu_line(number: int) -> str:
    gpu = torch.cuda.get_device_properties(number)
    precision = "bf16" if has_fast_bf16(torch.device("cuda", number)) else "fp16 (older than Ampere: no bf16)"
    return f"{gpu.name}, {gpu.total_memory / GIGABYTE:.0f} GB, {precision}"

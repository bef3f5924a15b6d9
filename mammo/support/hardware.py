"""What the machine offers: device, number formats, threads, determinism. Resolved once per run, recorded."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import dataclasses
import gc
import os
import platform
import random
import shutil
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch

from mammo.support.cores import usable_cores
from mammo.support.errors import ConfigError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
# Parameters of mallopt(3), from <malloc.h>.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
# The first CUDA generation that multiplies in bf16 (Ampere).
BF16_CUDA_CAPABILITY = (8, 0)
CUDA_LOADER_THREADS = 2


@dataclasses.dataclass(frozen=True)
class Hardware:
    """The resolved device, precision (`bf16`, `fp16` or `fp32`), CPU threads and determinism of a run."""

    device: torch.device
    amp: str
    threads: int
    deterministic: bool

    @property
    def dtype(self) -> torch.dtype:
        """The number format of matrix products."""
        return DTYPES[self.amp]

    def autocast(self) -> AbstractContextManager:
        """The context in which a network computes at the run's precision."""
        if self.amp == "fp32":
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def gradient_scaler(self) -> torch.amp.GradScaler:
        """A scaler of the loss; it does nothing unless the precision is fp16."""
        return torch.amp.GradScaler(self.device.type, enabled=self.amp == "fp16")

    @property
    def loader_threads(self) -> int:
        """Threads that read batches ahead: on a CPU they would only take time from the network."""
        return CUDA_LOADER_THREADS if self.device.type == "cuda" else 0

    @property
    def device_name(self) -> str:
        """Model of the GPU or of the processor."""
        if self.device.type == "cuda":
            return torch.cuda.get_device_name(self.device)
        return str(torch.cpu.get_capabilities().get("cpu_name") or platform.processor() or platform.machine())


@dataclasses.dataclass(frozen=True)
class Share:
    """What a job may take of the machine while others run: its number, and how many run at once."""

    number: int = 0
    jobs_at_once: int = 1

    def threads(self, cores: int) -> int:
        """Cores are divided: jobs that each take all of them wait for one another at every step."""
        return max(1, cores // self.jobs_at_once)

    def gpu(self, num_gpus: int) -> int:
        """Several GPUs are dealt out in turn."""
        return self.number % num_gpus if self.jobs_at_once > 1 else 0


def resolve_hardware(
    device: str, amp: str, threads: int | None, deterministic: bool | None, share: Share | None = None
) -> Hardware:
    """Turn the options into what this machine does; raises ConfigError for what it cannot do."""
    share = share or Share()
    chosen = torch.device(_resolve_device(device))
    if chosen.type == "cuda" and share.gpu(torch.cuda.device_count()) > 0:
        chosen = torch.device("cuda", share.gpu(torch.cuda.device_count()))
    return Hardware(
        device=chosen,
        amp=_resolve_amp(amp, chosen),
        threads=threads or share.threads(physical_cores()),
        # Costs nothing on a CPU; on CUDA it forbids some fast kernels.
        deterministic=chosen.type == "cpu" if deterministic is None else deterministic,
    )


def _resolve_device(device: str) -> str:
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if device == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if available[name])
    if not available[device]:
        there = ", ".join(name for name, is_there in available.items() if is_there)
        raise ConfigError(f"device={device}: not available on this machine", f"auto or one of: {there}")
    return device


def _resolve_amp(amp: str, device: torch.device) -> str:
    if amp == "auto":
        if has_fast_bf16(device):
            return "bf16"
        return "fp16" if device.type == "cuda" else "fp32"
    if amp == "fp16" and device.type != "cuda":
        raise ConfigError(f"train.amp=fp16 works on CUDA only, the device is {device.type}", "auto, bf16 or off")
    return {"off": "fp32"}.get(amp, amp)


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the hardware multiplies in bf16: CUDA from Ampere on, CPUs with AVX512-BF16 or AMX."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= BF16_CUDA_CAPABILITY
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return False


def physical_cores() -> int:
    """Physical cores that this process may use, at least 1."""
    allowed = usable_cores()
    return max(1, min(int(torch.cpu.get_capabilities().get("num_physical_cores") or allowed), allowed))


def require_compiler() -> None:
    """Raises ConfigError unless there is a C++ compiler, which torch.compile needs."""
    candidates = [os.environ.get("CXX"), "g++", "clang++", "c++", "cl"]
    if not any(name and shutil.which(name) for name in candidates):
        raise ConfigError(
            "train.compile=true needs a C++ compiler, and none is on the PATH", to_do="install g++, or leave it out"
        )


def prepare_process(hardware: Hardware) -> None:
    """Set threads, memory allocation and determinism of the process."""
    keep_freed_memory()
    if gc.get_freeze_count() == 0:
        # A search for garbage through all that the libraries have made takes a quarter of a second. At the end
        # libraries want to find it again.
        gc.freeze()
        atexit.register(gc.unfreeze)
    torch.set_num_threads(hardware.threads)
    if hardware.deterministic and hardware.device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(hardware.deterministic)
    # On by default, to betray code that reads memory it has not written; every new tensor is filled, which
    # took an eighth of the time of a frozen EfficientNet.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = not hardware.deterministic
    # fp32 means fp32: convolutions on CUDA would otherwise round their inputs to 10 bits.
    torch.backends.cudnn.allow_tf32 = False


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory instead of giving each large block back to the system.

    Activations of a step are allocated and freed again and again; every return to the system costs page
    faults, which took more than half of the time of a frozen network at 512 px.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return  # another C library, such as musl
    mallopt(_M_MMAP_MAX, 0)
    mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def release_memory() -> None:
    """Give back what an earlier run of this process has left: `keep_freed_memory` would keep it for good."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def seed_everything(*parts: int) -> None:
    """Seed every global generator by a function of all parts, such as (seed, epoch)."""
    mixed = int(np.random.SeedSequence(list(parts)).generate_state(1, np.uint32)[0])
    random.seed(mixed)
    np.random.seed(mixed)  # noqa: NPY002 - libraries may draw from the global generator
    torch.manual_seed(mixed)


def random_state() -> dict[str, Any]:
    """The state of all global generators as tensors and plain lists."""
    version, internal, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002
    return {
        "python": [version, list(internal), gauss],
        "numpy": [name, [int(key) for key in keys], int(position), int(has_gauss), float(cached)],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Put back what `random_state` gave; generators of GPUs only where there are as many."""
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])

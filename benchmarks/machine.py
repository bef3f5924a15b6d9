"""Where and with what something was measured."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from mammo.support.hardware import has_fast_bf16, resolve_hardware

PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "pydicom", "imagecodecs")


def describe(device: str, threads: int) -> dict[str, Any]:
    """Processor, GPU (None when the CPU computes), threads, versions; nothing that names the machine or its user."""
    hardware = resolve_hardware(device, "auto", threads, None)
    return {
        "cpu": cpu_name(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "gpu": torch.cuda.get_device_name(hardware.device) if hardware.device.type == "cuda" else None,
        "fast_bf16": has_fast_bf16(hardware.device),
        "device": hardware.device.type,
        "threads": threads,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
    }


def cpu_name() -> str:
    """Model of the processor."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found[1].strip() if found else platform.processor() or platform.machine()


def slug(machine: dict[str, Any]) -> str:
    """Name of the file of results: processor, cores and GPU, such as `amd-epyc-2-cores`."""
    text = f"{machine['cpu']} {machine['cores']} cores {machine['gpu'] or ''}".lower()
    return re.sub(r"[^a-z0-9]+", "-", re.sub(r"\(r\)|\(tm\)|@.*?ghz|processor|\bcpu\b", " ", text)).strip("-")

"""Reading files of torch that somebody else may have written."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# What weights are stored as. Others (8 bits, quantised, complex) are no weights of any network here.
WEIGHT_TYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# Counters of BatchNorm, tables of positions.
COUNT_TYPES = (torch.int64, torch.int32, torch.bool)


def fault_of_weights(state: Any, like: Mapping[str, Tensor] | None = None) -> str:
    """Why the tensors of a state dict cannot be weights, empty where nothing speaks against it.

    With `like`, the state dict of a network, they have to be of its kind too: numbers where it has numbers, counts
    where it has counts, and finite in its types.
    """
    if not isinstance(state, Mapping):
        return f"no dict of tensors ({type(state).__name__})"
    for name, tensor in state.items():
        fault = _fault(tensor)
        own = None if like is None else like.get(name)
        if own is not None and not fault:
            if tensor.is_floating_point() != own.is_floating_point():
                fault = f"of type {tensor.dtype}, which is not what the network has there"
            elif own.is_floating_point() and not torch.isfinite(tensor.to(own.dtype)).all():
                fault = f"too large for {own.dtype}"
        if not fault and str(name).endswith("running_var") and (tensor < 0).any():
            fault = "below zero, which no variance is"
        if fault:
            return f"{str(name)[:80]!r} is {fault}"
    return ""


def _fault(tensor: Any) -> str:
    if not isinstance(tensor, Tensor):
        return f"no tensor ({type(tensor).__name__})"
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return "stored as no weights are (sparse, quantised or empty)"
    if tensor.dtype in COUNT_TYPES:
        return ""
    if tensor.dtype not in WEIGHT_TYPES:
        return f"of type {tensor.dtype}, which is no weight"
    return "" if torch.isfinite(tensor).all() else "not finite (NaN or infinity)"


def has_nan(values: Any) -> bool:
    """Whether some tensor in nested dicts and lists is not a number; infinity is what a sum of squares can become."""
    if isinstance(values, Tensor):
        return values.is_floating_point() and values.dtype in WEIGHT_TYPES and bool(torch.isnan(values).any())
    if isinstance(values, Mapping):
        return any(map(has_nan, values.values()))
    return isinstance(values, list | tuple) and any(map(has_nan, values))


def load_tensors(path: Path) -> Any:
    """Tensors and plain values of a file that `torch.save` wrote, on the CPU; reading it never runs code.

    Raises OSError, and whatever torch raises for a damaged file or one that holds other objects; ValueError for a
    file that would take more memory than it has bytes.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            # torch.save compresses nothing. What is larger inside than outside was made to fill the memory.
            if sum(entry.file_size for entry in archive.infolist()) > path.stat().st_size:
                raise ValueError("it would unpack to more than its size")
    return torch.load(path, map_location="cpu", weights_only=True)

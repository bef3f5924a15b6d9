"""The feature bank: what a frozen trunk makes of an image is computed once, for all epochs, seeds, folds and trials.

A bank belongs to one trunk: its weights, its cut, its number format, the preparation of its inputs. A key
names one input exactly (stored pixels and what the augmentation changes of them), so a bank knows neither
splits nor seeds, every run of a sweep finds what the others have computed, and nothing in it can be stale.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock, Timeout
from torch import Tensor

from mammo.support.errors import ConfigError
from mammo.support.files import one_at_a_time, write_text
from mammo.support.keyed_rows import KeyedRows

log = logging.getLogger(__name__)

# Folder of all banks in the cache folder.
BANKS = "features"
# Raise it when the layout of a bank, or what its keys mean, changes.
BANK_VERSION = 2
# Features are forced to disk in groups of about this size, so that an interruption loses seconds of work
# and the memory that filling takes stays small.
IMAGES_PER_FLUSH = 512
BYTES_PER_FLUSH = 64 * 2**20
# numpy has no bfloat16: features are kept as the bytes of an integer type of the same size.
_STORED_AS = {torch.float32: "u4", torch.bfloat16: "u2", torch.float16: "u2"}
GB = 10**9
# Who reads a bank says so once an epoch; a bank that was used within this time stays.
IN_USE_SECONDS = 3600.0


@dataclasses.dataclass(frozen=True)
class BankPlan:
    """What a run would do with a bank: images that pass the trunk, bytes that are added to the bank and in all.

    `others_bytes` are those of banks that other runs are using.
    """

    passes_without: int
    passes_with: int
    new_bytes: int
    bank_bytes: int
    others_bytes: int = 0


def decide(choice: str, plan: BankPlan, budget_bytes: float, free_bytes: int) -> tuple[bool, str]:
    """Whether to use the bank, and why, for `strategy.feature_bank=auto|on`.

    Raises ConfigError when `on` is impossible.
    """
    size = _size_text(plan.bank_bytes)
    obstacle, to_do = "", ""
    if plan.bank_bytes + plan.others_bytes > budget_bytes:
        others = f" beside the {_size_text(plan.others_bytes)} of other runs" if plan.others_bytes else ""
        obstacle = f"it would have {size}{others}, more than strategy.feature_bank_budget_gb={budget_bytes / GB:g}"
        enough_gb = int((plan.bank_bytes + plan.others_bytes) / GB) + 1
        to_do = f"strategy.feature_bank_budget_gb={enough_gb}, or strategy.feature_bank=off"
    elif plan.new_bytes > free_bytes / 2:
        obstacle = (
            f"it needs {_size_text(plan.new_bytes)} more, and of the {_size_text(free_bytes)} free on the disk of the "
            "cache folder it may take half"
        )
        to_do = "free some space, choose another cache_dir=DIR, or strategy.feature_bank=off"
    if obstacle and choice == "on":
        raise ConfigError(f"strategy.feature_bank=on: {obstacle}", to_do=to_do)
    if obstacle:
        return False, obstacle
    numbers = f"the frozen part is computed for {plan.passes_with:,} images instead of {plan.passes_without:,}, {size}"
    if choice == "auto" and plan.passes_with > 0.9 * plan.passes_without:
        return False, f"it would not pay: {numbers}"
    return True, numbers


def _size_text(num_bytes: float) -> str:
    return f"{num_bytes / GB:.1f} GB" if num_bytes >= GB else f"{num_bytes / 10**6:.0f} MB"


class FeatureBank:
    """Outputs of one trunk, each under the key of its input.

    Arguments:
        folder: of all banks; this one has a subfolder named after its identity.
        identity: everything but the images that decides what the features are.
        example: an output for one image, [1, ...]: shape, type and layout of all features.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any], example: Tensor) -> None:
        self.dtype = example.dtype
        # Maps of convolutions have their channels last in memory; that is how they are kept.
        self._is_channels_last = example.ndim == 4 and not example.is_contiguous()
        shape = tuple(_in_memory_order(example, self._is_channels_last).shape[1:])
        description = {**identity, "dtype": str(self.dtype), "shape": list(shape), "version": BANK_VERSION}
        key = hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()[:16]
        self.path = folder / key
        self._description = json.dumps(description, indent=1, sort_keys=True)
        self._stored_shape, self._stored_type = shape, _STORED_AS[self.dtype]
        self.feature_bytes = int(np.prod(shape)) * self.dtype.itemsize
        self._rows = self._open() if self.path.exists() else None

    def _open(self) -> KeyedRows:
        return KeyedRows(self.path, self._stored_shape, self._stored_type)

    def __len__(self) -> int:
        return 0 if self._rows is None else len(self._rows)

    def missing(self, keys: Sequence[str]) -> list[int]:
        """Which of the keys are not in the bank: their places, each key once."""
        absent: dict[str, int] = {}
        for i, key in enumerate(keys):
            if self._rows is None or key not in self._rows:
                absent.setdefault(key, i)
        return list(absent.values())

    def fill(
        self,
        keys: Sequence[str],
        compute: Callable[[Sequence[int]], Tensor],
        images_at_once: int,
        progress: Callable[[int, int], None],
    ) -> int:
        """Compute what is missing; returns how many features that were.

        Arguments:
            keys: of all features that are needed; a key may occur more than once.
            compute: from places in `keys` to features [N, ...].
            images_at_once: how many places to ask for at a time.
            progress: called with the number of features done and to do.

        One process fills a bank at a time. An interruption loses at most what is flushed at once.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with one_at_a_time(_lock_file(self.path), "another process is filling the feature bank"):
            self._rows = self._open()
            write_text(self.path / "bank.json", self._description)
            places = self.missing(keys)
            num_flushed = min(IMAGES_PER_FLUSH, BYTES_PER_FLUSH // self.feature_bytes)
            num_flushed = max(1, num_flushed // images_at_once) * images_at_once
            for start in range(0, len(places), num_flushed):
                group = places[start : start + num_flushed]
                features = []
                for first in range(0, len(group), images_at_once):
                    features.append(self._to_rows(compute(group[first : first + images_at_once])))
                    progress(start + first + len(features[-1]), len(places))
                self._rows.append([keys[i] for i in group], np.concatenate(features))
        return len(places)

    def mark_as_used(self) -> None:
        """Note that the bank is used now, so that it is not removed."""
        with suppress(OSError):
            os.utime(self.path / "bank.json")

    def rows_of(self, keys: Sequence[str]) -> np.ndarray:
        """The rows int64 [N] of keys that are in the bank; raises KeyError."""
        rows = self._filled()
        return np.fromiter((rows.row_of(key) for key in keys), dtype=np.int64, count=len(keys))

    def read(self, rows: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Features [N, ...] in the layout that the trunk gives them, and which of them are damaged, bool [N]."""
        stored, is_damaged = self._filled().read(rows)
        features = torch.from_numpy(stored).view(self.dtype)
        return features.permute(0, 3, 1, 2) if self._is_channels_last else features, is_damaged

    def replace(self, keys: Sequence[str], features: Tensor) -> None:
        """Keep features [N, ...] in place of damaged ones; raises OSError."""
        self._filled().append(keys, self._to_rows(features))

    def _filled(self) -> KeyedRows:
        if self._rows is None:
            raise RuntimeError("the bank is not filled")
        return self._rows

    def _to_rows(self, features: Tensor) -> np.ndarray:
        in_order = _in_memory_order(features, self._is_channels_last).contiguous().cpu()
        return in_order.view(getattr(torch, f"uint{8 * self.dtype.itemsize}")).numpy()


def _in_memory_order(features: Tensor, is_channels_last: bool) -> Tensor:
    return features.permute(0, 2, 3, 1) if is_channels_last else features


def _lock_file(bank: Path) -> Path:
    """The lock of a bank, beside its folder, which may be removed."""
    return bank.with_name(f"{bank.name}.lock")


def bytes_in_use(folder: Path, own: Sequence[FeatureBank]) -> int:
    """Size of the banks but `own` that runs are using."""
    return sum(_size(path) for path in _others(folder, own) if _is_in_use(path))


def make_room(folder: Path, own: Sequence[FeatureBank], new_bytes: int, budget_bytes: float) -> None:
    """Remove the least recently used banks until all, with what is to be added, keep within the budget.

    Those of this run, and those that others are using, stay.
    """
    total = sum(_size(path) for path in _banks_in(folder)) + new_bytes
    for path in sorted(_others(folder, own), key=_last_use):
        if total <= budget_bytes or _is_in_use(path):
            return
        size = _size(path)
        with suppress(Timeout, OSError), FileLock(_lock_file(path)).acquire(timeout=0):
            # In one step first: half a bank must never be taken for a bank.
            doomed = path.rename(path.with_name(f"{path.name}.removed"))
            shutil.rmtree(doomed, ignore_errors=True)
            log.info("removed the least recently used feature bank (%s)", _size_text(size))
            total -= size


def _banks_in(folder: Path) -> Iterator[Path]:
    yield from (file.parent for file in folder.glob("*/bank.json"))


def _others(folder: Path, own: Sequence[FeatureBank]) -> list[Path]:
    own_paths = {bank.path for bank in own}
    return [path for path in _banks_in(folder) if path not in own_paths]


def _last_use(bank: Path) -> float:
    with suppress(OSError):
        return (bank / "bank.json").stat().st_mtime
    return 0.0


def _is_in_use(bank: Path) -> bool:
    return time.time() - _last_use(bank) < IN_USE_SECONDS


def _size(bank: Path) -> int:
    with suppress(OSError):
        return sum(file.stat().st_size for file in bank.iterdir())
    return 0

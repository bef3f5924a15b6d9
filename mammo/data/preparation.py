"""Filling the image store ahead of training: all files of a dataset, or one shard of them."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

from mammo.data.data_options import DataOptions, PrepareOptions
from mammo.data.image_list import STORES, Counting, check_defects, list_images, reasons_summary
from mammo.data.manifest import LeftOut
from mammo.data.store import ImageStore, Shard
from mammo.support.cores import usable_cores

MEGABYTE = 10**6


@dataclasses.dataclass(frozen=True)
class StoreReport:
    """What filling the store came to; with a shard, all numbers are those of its files."""

    num_stored: int
    num_decoded: int
    num_bytes: int
    seconds: float
    left_out: list[LeftOut]
    remarks: list[str]
    num_not_looked_at: int
    shard: Shard | None

    def lines(self) -> list[str]:
        """A short summary for people."""
        megabytes, rate = self.num_bytes / MEGABYTE, self.num_decoded / max(self.seconds, 1e-9)
        part = f"shard {self.shard.number} of {self.shard.num_shards}: " if self.shard is not None else ""
        lines = [f"{part}{self.num_stored} images in the store, {megabytes:.1f} MB"]
        if self.num_decoded:
            lines.append(f"newly decoded: {self.num_decoded} in {self.seconds:.1f} s, {rate:.1f} images/s")
        else:
            lines.append(f"newly decoded: none, checked in {self.seconds:.1f} s")
        lines += self.remarks
        if self.left_out:
            lines.append(f"left out:\n{reasons_summary(self.left_out)}")
        return lines


def prepare_dataset(data: DataOptions, options: PrepareOptions, cache_folder: Path, counting: Counting) -> StoreReport:
    """Put the images of a dataset into the store where training looks for them; raises DataError.

    What is stored already is not decoded again, so an interrupted call is continued by the same call.
    """
    wanted = list_images(data, cache_folder, counting)
    shard = None
    if options.shard is not None and options.num_shards is not None:
        shard = Shard(options.shard, options.num_shards)
    store = ImageStore(cache_folder / STORES, wanted.settings)
    start = time.perf_counter()
    with counting("Preparing images") as count:
        num_workers = options.workers or usable_cores()
        result = store.fill(wanted.files, num_workers, count, shard=shard, timeout_seconds=data.file_timeout_seconds)
    # What the labels and headers leave out is the same for all shards: the first one tells it.
    is_first = shard is None or shard.number == 0
    return StoreReport(
        num_stored=len(result.kept),
        num_decoded=result.num_decoded,
        num_bytes=len(set(result.content_keys)) * wanted.settings.size_px**2,
        seconds=time.perf_counter() - start,
        remarks=result.remarks,
        left_out=[*(wanted.manifest.left_out if is_first else []), *result.left_out],
        num_not_looked_at=wanted.num_not_looked_at,
        shard=shard,
    )


def check_preparation(done: StoreReport, max_bad_fraction: float) -> None:
    """Raise the DataError that training would; not for a shard, as only the whole dataset decides."""
    if done.shard is None:
        check_defects(done.left_out, done.num_stored, done.num_not_looked_at, max_bad_fraction)

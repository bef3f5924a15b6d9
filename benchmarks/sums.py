"""What the checksums of stores and banks cost: `python -m benchmarks.sums`.

A process compares the sum of a row when it first reads it. So the first reading of all rows is timed against the
second, in turn, on files of the usual shapes; the difference of the medians is what the first epoch pays for an image,
and later epochs nothing.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from mammo.support.keyed_rows import KeyedRows

REPEATS = 7
BATCH = 16
SHAPES: dict[str, tuple[tuple[int, ...], str, int]] = {
    "image of 512 px": ((512, 512), "uint8", 300),
    "image of 224 px": ((224, 224), "uint8", 500),
    "features before the last block of EfficientNet-B0, 512 px": ((320, 16, 16), "float16", 300),
    "features before the head of EfficientNet-B0": ((1280,), "float32", 2000),
}


def microseconds_per_row(shape: tuple[int, ...], dtype: str, num_rows: int) -> tuple[float, float]:
    """Medians of the first reading of all rows by a process, with sums, and of a later one."""
    rows = np.random.default_rng(0).integers(0, 255, (num_rows, *shape)).astype(dtype)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "rows")
        KeyedRows(folder, shape, dtype).append([f"key{i}" for i in range(num_rows)], rows)
        seconds: tuple[list[float], list[float]] = ([], [])
        for _ in range(REPEATS):
            kept = KeyedRows(folder, shape, dtype)
            for times in seconds:
                start = time.perf_counter()
                for i in range(0, num_rows, BATCH):
                    kept.read(np.arange(i, min(i + BATCH, num_rows)))
                times.append(time.perf_counter() - start)
            kept.close()
    first, later = (statistics.median(times) / num_rows * 1e6 for times in seconds)
    return first, later


def main() -> None:
    """Print a line for each kind of row."""
    for name, (shape, dtype, num_rows) in SHAPES.items():
        first, later = microseconds_per_row(shape, dtype, num_rows)
        print(f"{name}: {first:.0f} us at first, {later:.0f} us later: the sum costs {first - later:.0f} us")


if __name__ == "__main__":
    main()

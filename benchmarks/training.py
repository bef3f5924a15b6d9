"""Images a second in training: the real command against the plain loop, row by row.

Both get as many images an epoch, at the same size, in batches of the same size, with the same threads, and start
from random weights. Of each process the first epoch is dropped. `streaming` computes the frozen trunk in every epoch,
`banked` reads its outputs; the bank is filled before the first epoch, and the time for that is stated beside.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.processes import run_python
from benchmarks.samples import Comparison, PartResult, Settings, Table, number

IMAGE_SIZE_PX = 224
BATCH_SIZE = 16
MODES = {"streaming": ["strategy.feature_bank=off"], "banked": ["strategy.feature_bank=on"]}
TIMED_EPOCHS = {"streaming": 3, "banked": 8}
PLAIN_TIMED_EPOCHS = 2
ARCHITECTURES = {"efficientnetb0": "efficientnet_b0", "resnet50": "resnet50"}


@dataclasses.dataclass(frozen=True)
class Row:
    """One strategy of one model; `targets` are the ratios to be reached by mode. A patient has four images."""

    model: str
    strategy: str
    targets: Mapping[str, float]
    num_patients: int = 64


# Epochs of a few milliseconds need more images, or they would measure what an epoch costs besides its images.
ROWS = (
    Row("efficientnetb0", "frozen_last_block", {"streaming": 3.0, "banked": 15.0}),
    Row("resnet50", "frozen_last_block", {"streaming": 2.3, "banked": 4.0}),
    Row("efficientnetb0", "head_only", {"banked": 200.0}, num_patients=128),
    Row("resnet50", "head_only", {"banked": 200.0}, num_patients=128),
    Row("efficientnetb0", "full_finetune", {"streaming": 1.5}),
    Row("resnet50", "full_finetune", {"streaming": 3.0}),
)
QUICK_ROWS = (dataclasses.replace(ROWS[0], num_patients=8), dataclasses.replace(ROWS[4], num_patients=8))


@dataclasses.dataclass(frozen=True)
class ProjectRun:
    """What a run of the project says of itself; rates are those of its epochs but the first."""

    images_per_second: list[float]
    num_train_images: int
    input_fraction: float
    bank_seconds: float | None


def measure(settings: Settings) -> PartResult:
    """All rows, one after the other."""
    rows = QUICK_ROWS if settings.quick else ROWS
    num_workers = faster_num_workers(settings)
    comparisons: list[Comparison] = []
    raw: dict[str, Any] = {"plain_num_workers": num_workers, "image_size_px": IMAGE_SIZE_PX, "batch_size": BATCH_SIZE}
    bank_rows = []
    for row in rows:
        compared, row_raw = measure_row(settings, row, num_workers)
        comparisons += compared
        raw[f"{row.model} {row.strategy}"] = row_raw
        filled = [seconds for seconds in row_raw.get("bank_seconds", []) if seconds]
        if filled:
            bank_rows.append([f"{row.model} {row.strategy}", str(row_raw["num_train_images"]), number(max(filled))])
    notes = [
        f"{IMAGE_SIZE_PX} px, batches of {BATCH_SIZE}, generated exams, random weights; median images/s of the epochs "
        "after the first. Plain loop: DataLoader with "
        f"{num_workers} workers, which was the faster of 0 and {settings.threads} here.",
    ]
    tables = [Table(["bank of", "training images", "filled once in, seconds"], bank_rows)] if bank_rows else []
    return PartResult("Training", "plain loop", comparisons, tables, notes, raw)


def measure_row(
    settings: Settings, row: Row, plain_num_workers: int, modes: Mapping[str, Sequence[str]] = MODES
) -> tuple[list[Comparison], dict[str, Any]]:
    """The comparisons of a row, one for each mode, and all samples; the plain loop runs between the modes."""
    ours: dict[str, list[float]] = {mode: [] for mode in row.targets}
    plain: list[float] = []
    bank_seconds: list[float] = []
    epochs: dict[str, list[list[float]]] = {mode: [] for mode in [*row.targets, "plain"]}
    num_train_images = 0
    for round_number in range(settings.rounds):
        for place, mode in enumerate(row.targets):
            chosen = [] if row.strategy == "full_finetune" else modes[mode]
            timed_epochs = 1 if settings.quick else TIMED_EPOCHS[mode]
            run = project_run(settings, row, chosen, timed_epochs, f"{mode}-{round_number}")
            ours[mode].append(statistics.median(run.images_per_second))
            epochs[mode].append(run.images_per_second)
            num_train_images = run.num_train_images
            if run.bank_seconds is not None:
                bank_seconds.append(run.bank_seconds)
            if place == 0:
                rates = plain_run(settings, row, num_train_images, plain_num_workers)
                plain.append(statistics.median(rates))
                epochs["plain"].append(rates)
    compared = [
        Comparison(f"{row.model} {row.strategy}, {mode}", "images/s", True, ours[mode], plain, target)
        for mode, target in row.targets.items()
    ]
    raw = {"num_train_images": num_train_images, "images_per_second_by_epoch": epochs, "bank_seconds": bank_seconds}
    for comparison in compared:
        print(comparison.line, flush=True)
    return compared, raw


def project_run(settings: Settings, row: Row, mode: Sequence[str], timed_epochs: int, name: str) -> ProjectRun:
    """One run of `python -m mammo.train` from its start to its end."""
    folder = settings.folder / "training" / f"{row.model}-{row.strategy}-{name}"
    run_python(["-m", "mammo.train", *overrides(settings, row, 1 + timed_epochs), *mode, f"hydra.run.dir={folder}"],
               settings.folder)  # fmt: skip
    return read_run(folder)


def overrides(settings: Settings, row: Row, epochs: int) -> list[str]:
    """What is chosen on the command line of a run; everything else is the default."""
    return [
        f"model={row.model}", f"strategy={row.strategy}", "model.weights=none", "data=phantom",
        f"data.phantom.num_patients={row.num_patients}", f"data.image_size={IMAGE_SIZE_PX}",
        f"data.batch_size={BATCH_SIZE}", f"train.epochs={epochs}", f"train.threads={settings.threads}",
        f"device={settings.device}", f"cache_dir={settings.folder / 'cache'}",
    ]  # fmt: skip


def read_run(folder: Path) -> ProjectRun:
    """The rates of a run from the files that it leaves."""
    history = json.loads((folder / "train_history.json").read_text())
    summary = json.loads((folder / "summary.json").read_text())
    num_images = summary["split"]["train"]["images"]
    train_seconds = sum(num_images / record["images_per_second"] for record in history)
    return ProjectRun(
        images_per_second=[record["images_per_second"] for record in history[1:]],
        num_train_images=num_images,
        input_fraction=summary["throughput"]["seconds_loading"] / train_seconds,
        bank_seconds=summary["throughput"]["seconds_feature_bank"],
    )


def plain_run(settings: Settings, row: Row, num_images: int, num_workers: int) -> list[float]:
    """Images a second of each timed epoch of the plain loop, in a process of its own."""
    arguments = {
        "architecture": ARCHITECTURES[row.model],
        "strategy": row.strategy,
        "num-images": num_images,
        "size-px": IMAGE_SIZE_PX,
        "batch-size": BATCH_SIZE,
        "epochs": 1 if settings.quick else PLAIN_TIMED_EPOCHS,
        "threads": settings.threads,
        "num-workers": num_workers,
        "device": settings.device,
    }
    flags = [f"--{key}={value}" for key, value in arguments.items()]
    result = json.loads(run_python(["-m", "benchmarks.plain_loop", *flags], settings.folder).stdout)
    return [result["images_per_epoch"] / seconds for seconds in result["seconds"]]


def faster_num_workers(settings: Settings) -> int:
    """How many worker processes the plain loop is given: none, or one a thread, whichever is faster here."""
    num_images = BATCH_SIZE if settings.quick else 8 * BATCH_SIZE
    best: dict[int, float] = {}
    for _ in range(1 if settings.quick else 2):
        for num_workers in (0, settings.threads):
            rate = max(plain_run(settings, ROWS[0], num_images, num_workers))
            best[num_workers] = max(rate, best.get(num_workers, 0.0))
    return max(best, key=best.__getitem__)

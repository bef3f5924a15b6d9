"""A whole sweep, three seeds in each of three folds, against nine times one of its runs without the feature bank.

Both are the real command from files to checkpoints, and both start with empty caches: the sweep decodes every image
and computes the frozen part of the network once, the single run decodes its images and computes it in every epoch.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks.processes import run_python
from benchmarks.samples import BenchmarkError, Comparison, PartResult, Settings, SkippedPart, Table, median_and_spread

TARGET = 5.0
SEEDS, NUM_FOLDS, EPOCHS, IMAGE_SIZE_PX = (42, 43, 44), 3, 10, 224
# Generated exams instead of real ones: a check of the code works anywhere.
QUICK_SEEDS, QUICK_NUM_FOLDS, QUICK_EPOCHS = (42, 43), 2, 2
QUICK_DATA = ["data=phantom", "data.phantom.num_patients=8", "data.image_size=64"]


def measure(settings: Settings) -> PartResult:
    """Sweep and single run in turn, each in an empty folder with a cache of its own."""
    if settings.mias_folder is None and not settings.quick:
        raise SkippedPart("it needs the films of mini-MIAS: --mias FOLDER")
    seeds, num_folds = (QUICK_SEEDS, QUICK_NUM_FOLDS) if settings.quick else (SEEDS, NUM_FOLDS)
    num_runs = len(seeds) * num_folds
    swept = [f"seed={','.join(map(str, seeds))}", f"data.fold={','.join(map(str, range(num_folds)))}"]
    single = [f"seed={seeds[0]}", "data.fold=0", "strategy.feature_bank=off"]
    sweep_seconds, single_seconds, run_seconds, bank_seconds = [], [], [], []
    for round_number in range(settings.rounds):
        folder = settings.folder / "sweep" / str(round_number)
        seconds, runs = measure_command(settings, num_folds, ["--multirun", *swept], folder / "sweep", num_runs)
        sweep_seconds.append(seconds)
        run_seconds.append([run["seconds"] for run in runs])
        bank_seconds.append([run["throughput"]["seconds_feature_bank"] or 0.0 for run in runs])
        seconds, _ = measure_command(settings, num_folds, single, folder / "single", 1)
        single_seconds.append(seconds)
    name = f"{len(seeds)} seeds x {num_folds} folds"
    all_single_seconds = [num_runs * seconds for seconds in single_seconds]
    compared = Comparison(name, "s", False, sweep_seconds, all_single_seconds, TARGET)
    print(compared.line, flush=True)
    raw = {
        "sweep_run_seconds": run_seconds,
        "sweep_bank_seconds": bank_seconds,
        "single_run_seconds": single_seconds,
        "num_runs": num_runs,
    }
    return PartResult(
        title="Sweep",
        other_name=f"{num_runs} x one run, bank off",
        comparisons=[compared],
        tables=[seconds_table(sweep_seconds, run_seconds, bank_seconds, single_seconds)],
        notes=[
            f"mini-MIAS, EfficientNet-Lite0 with ImageNet weights, `frozen_last_block`, {IMAGE_SIZE_PX} px, {EPOCHS} "
            "epochs. One command for the whole sweep, one after the other; one run with `strategy.feature_bank=off`, "
            f"its time multiplied by {num_runs}. From the start of the process to its end, every cache empty before."
        ],
        raw=raw,
    )


def measure_command(
    settings: Settings, num_folds: int, chosen: list[str], folder: Path, num_runs: int
) -> tuple[float, list[dict[str, Any]]]:
    """Seconds of one command with empty caches, and the summaries of the runs it left, the first started first.

    Raises BenchmarkError unless it left as many finished runs as it should.
    """
    arguments = ["-m", "mammo.train", *chosen, f"data.num_folds={num_folds}", *overrides(settings)]
    cache = folder / "cache"
    seconds = run_python([*arguments, f"cache_dir={cache}"], folder).seconds
    shutil.rmtree(cache)
    summaries = [json.loads(file.read_text()) for file in folder.rglob("summary.json")]
    finished = sorted((one for one in summaries if one["status"] == "completed"), key=lambda one: one["started_at"])
    if len(finished) != num_runs:
        raise BenchmarkError(f"{len(finished)} runs finished instead of {num_runs}")
    return seconds, finished


def overrides(settings: Settings) -> list[str]:
    """What both sides choose; everything else is the default."""
    mias = ["data=mias", f"data.root={settings.mias_folder}", f"data.image_size={IMAGE_SIZE_PX}"]
    return [
        *(QUICK_DATA if settings.quick else mias), "model=efficientnet_lite0", "strategy=frozen_last_block",
        f"train.epochs={QUICK_EPOCHS if settings.quick else EPOCHS}", f"train.threads={settings.threads}",
        f"device={settings.device}",
    ]  # fmt: skip


def seconds_table(
    sweep_seconds: list[float], run_seconds: list[list[float]], bank_seconds: list[list[float]], single: list[float]
) -> Table:
    """Where the time of the sweep goes, beside the single run; filling the bank is part of the time of a run."""
    in_runs, in_bank = [sum(seconds) for seconds in run_seconds], [sum(seconds) for seconds in bank_seconds]
    around = [whole - runs for whole, runs in zip(sweep_seconds, in_runs, strict=True)]
    training = [runs - bank for runs, bank in zip(in_runs, in_bank, strict=True)]
    rows = [
        ["sweep: imports, reading and decoding the images, closing tables", median_and_spread(around)],
        ["sweep: the feature bank", median_and_spread(in_bank)],
        ["sweep: training and validating all runs", median_and_spread(training)],
        ["one run without the bank, all of it", median_and_spread(single)],
    ]
    return Table(["", "seconds"], rows)

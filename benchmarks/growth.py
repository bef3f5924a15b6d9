"""What a dataset of 4 and 16 times the images costs: time and peak memory, which should stay flat for an image.

Each size is prepared and trained in processes of their own. Memory is what the system could not drop: anonymous and
shared pages of all processes of a command, sampled twenty times a second (`benchmarks/processes.py`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

from benchmarks.processes import run_python
from benchmarks.samples import PartResult, Settings, Table, number
from mammo.data.phantom import generate_phantom

IMAGES_A_PATIENT = 4
PATIENTS, QUICK_PATIENTS = (12, 48, 192), (8, 32)
EPOCHS = 2
DATA = ["data=phantom", "data.image_size=64"]
# Cheap to train, so that the time of an image is also that of everything around the network.
TRAINING = ["model=efficientnet_lite0", "model.weights=none", "strategy=head_only", f"train.epochs={EPOCHS}"]
COMMANDS = {"prepare": ["-m", "mammo.prepare"], "train": ["-m", "mammo.train"]}


@dataclasses.dataclass(frozen=True)
class Point:
    """What a command took for a number of images; memory is None where it cannot be sampled."""

    command: str
    num_images: int
    seconds: float
    peak_memory_bytes: int | None


def measure(settings: Settings) -> PartResult:
    """Both commands on each size, each size with a cache of its own."""
    points = measure_commands(settings, QUICK_PATIENTS if settings.quick else PATIENTS, COMMANDS)
    notes = [
        f"Generated exams to 64 px, `mammo.train` for {EPOCHS} epochs of `head_only`, each command once in a process "
        "of its own, its start included. `ms an added image` compares a row with the one before, without the start.",
        "Peak memory: anonymous and shared pages of all processes of the command, sampled every 50 ms; the system's "
        "file cache, which any program may be denied, is not in it.",
    ]
    raw = {"points": [dataclasses.asdict(point) for point in points]}
    return PartResult("Growth", tables=[growth_table(points)], notes=notes, raw=raw)


def measure_commands(settings: Settings, patients: Sequence[int], commands: Mapping[str, Sequence[str]]) -> list[Point]:
    """The commands in their order on each number of patients; generating the exams is not timed."""
    points = []
    for num_patients in patients:
        folder = settings.folder / "growth" / str(num_patients)
        generate_phantom(folder / "exams", num_patients, seed=0)
        data = [*DATA, f"data.root={folder / 'exams'}", f"cache_dir={folder / 'cache'}"]
        training = [*TRAINING, f"train.threads={settings.threads}", f"device={settings.device}",
                    f"hydra.run.dir={folder / 'run'}"]  # fmt: skip
        for name, command in commands.items():
            chosen = [*data, *training] if name == "train" else data
            done = run_python([*command, *chosen], folder, sample_memory=True)
            points.append(Point(name, IMAGES_A_PATIENT * num_patients, done.seconds, done.peak_memory_bytes))
            print(f"  {name}, {points[-1].num_images} images: {number(done.seconds)} s", flush=True)
    return points


def growth_table(points: Sequence[Point]) -> Table:
    """A row for each point, the sizes of a command below one another."""
    header = ["command", "images", "seconds", "ms an image", "ms an added image", "peak memory, MB"]
    rows = []
    for command in dict.fromkeys(point.command for point in points):
        before: Point | None = None
        for point in sorted((point for point in points if point.command == command), key=lambda p: p.num_images):
            added = "-"
            if before is not None:
                added_seconds, added_images = point.seconds - before.seconds, point.num_images - before.num_images
                added = number(1000 * added_seconds / added_images)
            memory = "-" if point.peak_memory_bytes is None else number(point.peak_memory_bytes / 1e6)
            each = number(1000 * point.seconds / point.num_images)
            rows.append([command, f"{point.num_images:,}", number(point.seconds), each, added, memory])
            before = point
    return Table(header, rows)

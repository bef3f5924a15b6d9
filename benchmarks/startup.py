"""What a command costs before it works: `--help`, the way to the first training step, and the imports on it."""

from __future__ import annotations

import time
from collections import defaultdict

from benchmarks.processes import run_python
from benchmarks.samples import PartResult, Settings, Table, median_and_spread, number

# Seconds that are to be undercut, on the machine of the project's tests.
HELP_TARGET_SECONDS, FIRST_STEP_TARGET_SECONDS = 1.5, 8.0
NUM_IMPORTS_SHOWN = 8


def measure(settings: Settings) -> PartResult:
    """Durations from the start of the process, caches warm."""
    samples = {"help": [], "first step": [], "one batch": []}  # type: dict[str, list[float]]
    run_to_first_step(settings, "warm")
    for round_number in range(settings.rounds):
        samples["help"].append(run_python(["-m", "mammo.train", "--help"], settings.folder).seconds)
        first_step_seconds, all_seconds = run_to_first_step(settings, str(round_number))
        samples["first step"].append(first_step_seconds)
        samples["one batch"].append(all_seconds)
    rows = [
        _row("`python -m mammo.train --help`", samples["help"], HELP_TARGET_SECONDS),
        _row("process start to the end of the first training step", samples["first step"], FIRST_STEP_TARGET_SECONDS),
        _row("`debug=one_batch` from start to end", samples["one batch"], None),
    ]
    imports = {
        "--help": import_seconds(_trace(["--help"], settings)),
        "one batch": import_seconds(_trace(_one_batch(settings, "imports"), settings)),
    }
    shown = [_largest(seconds) for seconds in imports.values()]
    tables = [
        Table(["", "seconds", "below", "reached"], rows),
        Table(["imports of `--help`, seconds", "imports of a run, seconds"], [list(row) for row in _columns(*shown)]),
    ]
    notes = [
        "Caches are warm: images decoded, files read before. EfficientNet-B0, 224 px. Imports by package: the time in "
        "its own modules (`python -X importtime`, which itself takes time).",
    ]
    for row in rows:
        print(f"  {row[0]}: {row[1]} s", flush=True)
    return PartResult("Start", tables=tables, notes=notes, raw={"seconds": samples, "import_seconds": imports})


def run_to_first_step(settings: Settings, name: str) -> tuple[float, float]:
    """Seconds to the end of the first optimizer step, and of the whole run of one batch."""
    report = settings.folder / "startup" / f"{name}.txt"
    report.parent.mkdir(parents=True, exist_ok=True)
    arguments = ["-m", "benchmarks.first_step", str(report), repr(time.time()), *_one_batch(settings, name)]
    done = run_python(arguments, settings.folder)
    return float(report.read_text()), done.seconds


def _one_batch(settings: Settings, name: str) -> list[str]:
    return [
        "debug=one_batch", "model=efficientnetb0", "model.weights=none", "data=phantom", "data.image_size=224",
        "data.phantom.num_patients=8", f"train.threads={settings.threads}", f"device={settings.device}",
        f"cache_dir={settings.folder / 'cache'}", f"hydra.run.dir={settings.folder / 'startup' / f'run-{name}'}",
    ]  # fmt: skip


def _trace(arguments: list[str], settings: Settings) -> str:
    return run_python(["-X", "importtime", "-m", "mammo.train", *arguments], settings.folder).stderr


def import_seconds(trace: str) -> dict[str, float]:
    """Seconds in the modules of each top-level package, from what `-X importtime` prints; largest first."""
    totals: dict[str, float] = defaultdict(float)
    for line in trace.splitlines():
        head, _, fields = line.partition("import time:")
        columns = fields.split("|")
        if head or len(columns) != 3 or not columns[0].strip().isdigit():
            continue
        totals[columns[2].strip().partition(".")[0]] += int(columns[0]) / 1e6
    return dict(sorted(totals.items(), key=lambda item: -item[1]))


def _largest(seconds: dict[str, float]) -> list[str]:
    shown = [f"{package} {value:.2f}" for package, value in list(seconds.items())[:NUM_IMPORTS_SHOWN]]
    return [f"all {sum(seconds.values()):.2f}", *shown]


def _columns(first: list[str], second: list[str]) -> list[tuple[str, str]]:
    length = max(len(first), len(second))
    return list(zip(first + [""] * (length - len(first)), second + [""] * (length - len(second)), strict=True))


def _row(what: str, seconds: list[float], target_seconds: float | None) -> list[str]:
    if target_seconds is None:
        return [what, median_and_spread(seconds), "", ""]
    is_reached = sorted(seconds)[len(seconds) // 2] < target_seconds
    return [what, median_and_spread(seconds), number(target_seconds), "yes" if is_reached else "no"]

"""A run that is killed several times, against one that was left alone."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from mammo.support.row_files import HEADER_BYTES, KEYS_FILE, entries_of, survey
from tests.torture import victim
from tests.torture.victim import Place

TIMES = ("seconds", "images_per_second")


class Result(NamedTuple):
    """The places where a run was killed, and what differs from the run that was left alone (nothing, one hopes)."""

    arguments: list[str]
    kills: list[Place]
    differences: list[str]


def torture(arguments: list[str], data: Path, folder: Path, num_kills: int, seed: int) -> Result:
    """Kill a run `num_kills` times, let it end, and compare."""
    draw = random.Random(seed)
    alone = folder / "alone"
    alone.mkdir(parents=True)
    command = [*arguments, f"data.root={data}", "cache_dir=cache"]
    outcome = victim.run(command, alone, None)
    if outcome.status != 0:
        return Result(arguments, [], [f"left alone it ends with status {outcome.status}: {_end_of_output(alone)}"])
    kills: list[Place] = []
    differences: list[str] = []
    number = 0
    while len(kills) < num_kills and not differences:
        # From the beginning again whenever a run has ended: in that one a place was not reached any more.
        killed = folder / f"killed_{number}"
        killed.mkdir()
        status, number = -9, number + 1
        while status == -9 and len(kills) < num_kills:
            place = victim.choose_place(draw, outcome.counts, outcome.seconds)
            status = victim.run(command, killed, place).status
            kills += [place] if status == -9 else []
        if status == -9:
            status = victim.run(command, killed, None).status
        if status == 0:
            differences = _differences(alone, killed)
        else:
            differences = [f"status {status}: {_end_of_output(killed)}"]
        shutil.rmtree(killed)
    return Result(arguments, kills, differences)


def _end_of_output(folder: Path) -> str:
    return (folder / "output.txt").read_text()[-2000:]


def _differences(alone: Path, killed: Path) -> list[str]:
    runs = [_only(folder / "outputs") for folder in (alone, killed)]
    names = ["val_predictions.csv", "metrics/val_metrics.json", "train_history.csv"]
    names += [name for name in ("evaluation/test/predictions.csv",) if any((run / name).exists() for run in runs)]
    found = [name for name in names if _differ(name, runs)]
    histories = [_history(run) for run in runs]
    if histories[0] != histories[1]:
        found.append("train_history.json")
    checkpoints = [sorted(file.name for file in (run / "checkpoints").iterdir()) for run in runs]
    if checkpoints[0] != checkpoints[1]:
        return [*found, f"checkpoints: {checkpoints[0]}, {checkpoints[1]}"]
    for name in (name for name in checkpoints[0] if name.endswith(".pth")):
        contents = [torch.load(run / "checkpoints" / name, weights_only=True) for run in runs]
        keys = [key for key in contents[0] if key != "git_commit"]  # which may change while the campaign runs
        found += [f"{name}: {key}" for key in keys if not _equal(key, contents[0][key], contents[1][key])]
    leftovers = [file.name for file in runs[1].rglob("*.tmp")]
    return [*found, *leftovers, *_cache_differences(alone / "cache", killed / "cache")]


def _only(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def _differ(name: str, runs: Sequence[Path]) -> bool:
    if name == "train_history.csv":
        # Its times differ; the columns and the number of lines do not.
        lines = [(run / name).read_text().splitlines() for run in runs]
        return (len(lines[0]), lines[0][0]) != (len(lines[1]), lines[1][0])
    return (runs[0] / name).read_bytes() != (runs[1] / name).read_bytes()


def _history(run: Path) -> list[dict[str, Any]]:
    return _without_times(json.loads((run / "train_history.json").read_text()))


def _without_times(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if key not in TIMES} for record in history]


def _equal(key: str, one: Any, other: Any) -> bool:
    """Whether two parts of a checkpoint are the same to the bit, times aside."""
    if key == "history":
        return _without_times(one) == _without_times(other)
    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_equal("", value, other[name]) for name, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(_equal("", *pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


def _cache_differences(alone: Path, killed: Path) -> list[str]:
    """Stores and banks: the same keys, and under each key the same bytes."""
    folders = [{file.parent.relative_to(cache) for file in cache.rglob("keys.bin")} for cache in (alone, killed)]
    if folders[0] != folders[1]:
        return [f"stores and banks: {sorted(map(str, folders[0] ^ folders[1]))}"]
    return [f"content of {folder}" for folder in sorted(folders[0]) if _rows(alone / folder) != _rows(killed / folder)]


def _rows(folder: Path) -> list[tuple[str, int]]:
    """The hash of each key and the checksum of its row, all of which are sound."""
    assert not [part for part in survey(folder) if part.num_damaged or part.num_lost]
    fields = entries_of((folder / KEYS_FILE).read_bytes()[HEADER_BYTES:]).fields
    return sorted(zip((key.tobytes().hex() for key in fields["key"]), fields["row_sum"].tolist(), strict=True))

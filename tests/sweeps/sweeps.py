"""What the tests of sweeps share."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

SEEDS, FOLDS = (42, 43), (0, 1)


def runs_of(sweep: Path) -> list[Path]:
    return sorted(path for path in sweep.iterdir() if (path / "config.yaml").exists())


def run_of(sweep: Path, seed: int, fold: int) -> Path:
    (run,) = sweep.glob(f"*-s{seed}-f{fold}-*")
    return run


def load(file: Path) -> dict[str, Any]:
    return json.loads(file.read_text(), parse_constant=pytest.fail)


def change(file: Path, **values: Any) -> None:
    """Replace keys of a JSON file."""
    file.write_text(json.dumps(load(file) | values))


def plan_of(sweep: Path) -> dict[str, Any]:
    """What a sweeper writes before the first job."""
    jobs = []
    for run in runs_of(sweep):
        summary = load(run / "summary.json")
        jobs.append({"run": run.name, "overrides": [f"seed={summary['seed']}", f"data.fold={summary['fold']}"]})
    return {
        "schema_version": 1, "name": sweep.name, "command": "python -m mammo.train -m", "monitor": "auto",
        "on_error": "continue", "published": [], "jobs": jobs, "search": None,
    }  # fmt: skip


def write_plan(sweep: Path, plan: Mapping[str, Any]) -> None:
    (sweep / "sweep.json").write_text(json.dumps(plan))


def variant(run: Path, name: str, options: Mapping[str, Any], typed: list[str], metrics: Mapping[str, Any]) -> Path:
    """A copy of a run with other options, as if it had been trained with them."""
    copy = run.with_name(name)
    shutil.copytree(run, copy)
    config = yaml.safe_load((copy / "config.yaml").read_text())
    for key, value in options.items():
        section = config
        *path, last = key.split(".")
        for part in path:
            section = section[part]
        section[last] = value
    (copy / "config.yaml").write_text(yaml.safe_dump(config))
    summary = load(copy / "summary.json")
    change(
        copy / "summary.json",
        seed=config["seed"], fold=config["data"]["fold"], overrides=[*summary["overrides"], *typed],
        metrics=summary["metrics"] | dict(metrics),
    )  # fmt: skip
    return copy


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(file: Path, rows: list[dict[str, str]]) -> None:
    with file.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)

"""What runs and configurations are called in a report, and in the names of its figures."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from mammo.sweeps.reading import RunResult, SweepResults

MAX_KEY_CHARACTERS = 40


def trials_of(results: SweepResults) -> dict[str, int]:
    """Name of a run to the number of its trial, in a search."""
    return {name: trial.number for trial in results.trials for name in trial.runs}


def run_label(run: RunResult, results: SweepResults, configuration: int | None, labels: Sequence[str]) -> str:
    """What tells a run from the others, in a few words; `labels` are those of all configurations."""
    runs, trials = results.runs, trials_of(results)
    if len(runs) == 1:
        return "this run"
    parts = []
    if run.name in trials:
        parts.append(f"trial {trials[run.name]}")
    elif len(labels) > 1:
        parts.append("configuration not known" if configuration is None else labels[configuration])
    if run.seed is not None and (len({one.seed for one in runs}) > 1 or (run.fold is None and not parts)):
        parts.append(f"seed {run.seed}")
    if len({one.split_seed for one in runs}) > 1:
        parts.append(f"split seed {run.split_seed}")
    if run.fold is not None:
        parts.append(f"fold {run.fold}")
    if len({one.inner_fold for one in runs}) > 1:
        parts.append(f"inner fold {run.inner_fold}")
    return ", ".join(parts) or run.name


def figure_keys(results: SweepResults, position: Mapping[str, int], labels: Sequence[str]) -> dict[str, str]:
    """Name of each run to what the names of its figures end with, such as `seed42_lr_1e_3_fold0`.

    That is its seed, and where several runs have it, the configuration (or its trial), the seed of the split and the
    fold as far as they vary.
    """
    runs, trials, of_label = results.runs, trials_of(results), short_keys(labels)
    several = {seed for seed, n in Counter(run.seed for run in runs).items() if n > 1}
    has_split_seeds = len({run.split_seed for run in runs}) > 1
    has_inner_folds = len({run.inner_fold for run in runs}) > 1
    keys: dict[str, str] = {}
    for i, run in enumerate(runs, start=1):
        parts = [f"run{i}" if run.seed is None else f"seed{run.seed}"]
        if run.seed in several and run.seed is not None:
            if run.name in trials:
                parts.append(f"trial{trials[run.name]}")
            elif len(labels) > 1:
                parts.append(of_label[position[run.name]] if run.name in position else "config_unknown")
            if has_split_seeds:
                parts.append(f"split{run.split_seed}")
            if run.fold is not None:
                parts.append(f"fold{run.fold}")
            if has_inner_folds:
                parts.append(f"inner{run.inner_fold}")
        key = "_".join(parts)
        keys[run.name] = f"{key}_run{i}" if key in keys.values() else key
    return keys


def short_keys(labels: Sequence[str]) -> list[str]:
    """The labels as parts of file names: `lr_1e_3`; numbered where two would be the same."""
    found: list[str] = []
    for i, label in enumerate(labels, start=1):
        key = re.sub("[^a-z0-9]+", "_", label.lower()).strip("_")[:MAX_KEY_CHARACTERS].strip("_")
        found.append(key if key and key not in found else f"{key}_config{i}".strip("_"))
    return found

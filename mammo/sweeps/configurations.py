"""Runs that differ only in seed and split belong together: one configuration, with a label that tells it apart."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any

from mammo.support.plain_text import as_typed, without_folders
from mammo.sweeps.reading import Published, RunResult, Split, SweepResults

SEED, AUGMENT_SEED = "seed", "augment.seed"
# What is drawn again in each run of a configuration: its training, and the split.
REPEATED = (SEED, "data.split_seed", "data.fold", "data.inner_fold")
# Groups whose choices are understood by their names alone.
NAMES = ("model", "strategy", "data")
# In place of the number, where the seed of the augmentation follows that of the run.
FOLLOWS_SEED = "${seed}"


@dataclasses.dataclass(frozen=True)
class Configuration:
    """All runs of one configuration, whatever their status.

    `label` is the shortest that tells the configurations of a sweep apart; `differs` has all keys in which
    they differ.
    """

    label: str
    differs: dict[str, Any]
    runs: tuple[RunResult, ...]
    published: dict[str, tuple[float, float | None]]

    @property
    def completed(self) -> list[RunResult]:
        """The runs with results."""
        return [run for run in self.runs if run.is_completed]

    @property
    def seeds(self) -> list[int]:
        """Training seeds of all its runs."""
        return sorted({run.seed for run in self.runs if run.seed is not None})

    @property
    def folds(self) -> list[int]:
        """Folds of all its runs."""
        return sorted({run.fold for run in self.runs if run.fold is not None})

    @property
    def splits(self) -> list[Split]:
        """The splits of all its runs."""
        return sorted({run.split for run in self.runs}, key=str)

    @property
    def problem(self) -> str | None:
        """Why its runs cannot be compared, if so."""
        if len({run.data_fingerprint for run in self.completed}) > 1:
            return "its runs were made from different data (labels or images have changed in between)"
        return None


def configurations(results: SweepResults) -> list[Configuration]:
    """The configurations of a sweep in the order of their first runs; a run whose own is not known is in none."""
    fixed_augmentation = {
        run.identity[AUGMENT_SEED]
        for run in results.runs
        if run.identity and run.identity[AUGMENT_SEED] != run.identity[SEED]
    }
    members: dict[str, list[RunResult]] = {}
    shared: dict[str, dict[str, Any]] = {}
    for run in results.runs:
        if run.identity is None:
            continue
        common = {key: value for key, value in run.identity.items() if key not in REPEATED}
        if common[AUGMENT_SEED] not in fixed_augmentation:
            common[AUGMENT_SEED] = FOLLOWS_SEED
        key = json.dumps(common, sort_keys=True)
        shared[key] = common
        members.setdefault(key, []).append(run)
    if not members:
        return []
    identities = [shared[key] for key in members]
    differing = _differing(identities)
    labels = _labels(identities, differing, [_typed(runs) for runs in members.values()])
    return [
        Configuration(
            label=label,
            differs={key: identity[key] for key in differing if key in identity},
            runs=tuple(runs),
            published=_published_for(identity, results.published),
        )
        for label, identity, runs in zip(labels, identities, members.values(), strict=True)
    ]


def _differing(identities: Sequence[Mapping[str, Any]]) -> list[str]:
    """Keys whose values are not the same everywhere."""
    keys = dict.fromkeys(key for identity in identities for key in identity)
    return [key for key in keys if len({repr(identity.get(key)) for identity in identities}) > 1]


def _typed(runs: Sequence[RunResult]) -> dict[str, str]:
    """What was typed for all runs alike."""
    first = runs[0].typed
    return {key: value for key, value in first.items() if all(run.typed.get(key) == value for run in runs)}


def _labels(
    identities: Sequence[Mapping[str, Any]], differing: Sequence[str], typed: Sequence[Mapping[str, str]]
) -> list[str]:
    """A label for each configuration: as few keys as tell all of them apart, such as `head_only, lr 1e-3`.

    What was typed comes first (`augment=strong` says more than the eight values behind it), then names of
    choices, then whatever else is needed, such as presets that follow from neither.
    """
    if len(identities) == 1:
        return [", ".join(str(identities[0][f"{key}.name"]) for key in NAMES)]
    typed_keys = [key for key in typed[0] if all(key in known for known in typed) and _explains(key, differing)]
    by_name = sorted(differing, key=lambda key: not key.endswith(".name"))
    candidates = [(key, [known[key] for known in typed]) for key in typed_keys]
    candidates += [
        (key.removesuffix(".name"), [as_typed(identity[key]) if key in identity else "" for identity in identities])
        for key in by_name
    ]
    chosen: list[tuple[str, list[str]]] = []
    told_apart = 1
    for candidate in candidates:
        apart = len(set(zip(*(values for _, values in [*chosen, candidate]), strict=True)))
        if apart > told_apart:
            chosen.append(candidate)
            told_apart = apart
    chosen.sort(key=lambda pair: NAMES.index(pair[0]) if pair[0] in NAMES else len(NAMES))
    words = _short_keys([key for key, _ in chosen])
    found: list[str] = []
    for i in range(len(identities)):
        parts = (f"{words[key]} {shown}".strip() for key, values in chosen if (shown := _short_value(values[i])))
        label = ", ".join(parts) or "as default"
        # Files of one name in two folders read alike.
        found.append(f"{label} ({i + 1})" if label in found else label)
    return found


def _short_keys(keys: Sequence[str]) -> dict[str, str]:
    """The last part of each key, more where two would read alike, or a seed would be taken for that of the run.

    Models, strategies and datasets are known by their names alone.
    """
    last = {key: key.split(".")[-1] for key in keys}
    return {
        key: "" if key in NAMES else key if list(last.values()).count(word) > 1 or word == SEED else word
        for key, word in last.items()
    }


def _short_value(text: str) -> str:
    """A value as people write it: `1e-3` for 0.001; of a file its name, as the folder may be a person's."""
    try:
        number = float(text)
    except ValueError:
        return without_folders(text)
    if not 0 < abs(number) < 0.01:
        return text
    mantissa, _, exponent = f"{number:e}".partition("e")
    return f"{float(mantissa):g}e{int(exponent)}"


def _explains(typed_key: str, differing: Sequence[str]) -> bool:
    """Whether an override can be the reason for a difference."""
    return typed_key == "experiment" or any(key == typed_key or key.startswith(f"{typed_key}.") for key in differing)


def _published_for(
    identity: Mapping[str, Any], published: Sequence[Published]
) -> dict[str, tuple[float, float | None]]:
    found: dict[str, tuple[float, float | None]] = {}
    for entry in published:
        if all(key in identity and identity[key] == value for key, value in entry.where.items()):
            found |= entry.metrics
    return found


def swept_text(run: RunResult, runs: Sequence[RunResult]) -> str:
    """The overrides in which a run differs from others, or its name."""
    values: dict[str, set[str]] = {}
    for other in runs:
        for key, value in other.typed.items():
            values.setdefault(key, set()).add(value)
    swept = [f"{key}={value}" for key, value in run.typed.items() if len(values[key]) > 1]
    return " ".join(swept) or run.name

"""Several networks that answer together: their probabilities are averaged."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mammo.errors import ConfigError, RunDirectoryError
from mammo.files import file_sha256
from mammo.hardware import Hardware
from mammo.inference.options import Weighting
from mammo.inference.trained import Trained, load_trained
from mammo.runs.directory import CALIBRATION_FILE
from mammo.runs.evaluation import read_temperature

# The score that weights a network; one that is no better than chance has no weight.
WEIGHT_SCORE = "bal_acc_adj"


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Networks for the same classes, with weights [M] that sum to one and a temperature of each (1: as it is)."""

    members: tuple[Trained, ...]
    weights: np.ndarray
    temperatures: tuple[float, ...]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of all members."""
        return self.members[0].class_names

    @property
    def name(self) -> str:
        """The run's name, or one that a set of runs always gets."""
        if len(self.members) == 1:
            return self.members[0].name
        weighted = zip(self.members, self.weights.round(6).tolist(), strict=True)
        names = "\n".join(sorted(f"{member.name} {member.checkpoint.name} {weight}" for member, weight in weighted))
        return f"ensemble-of-{len(self.members)}-{hashlib.sha256(names.encode()).hexdigest()[:8]}"

    def made_with(self) -> dict[str, Any]:
        """What decides its predictions."""
        return {
            "checkpoints": [file_sha256(member.checkpoint) for member in self.members],
            "weights": self.weights.tolist(),
            "temperatures": list(self.temperatures),
        }


def load_ensemble(
    checkpoints: Sequence[Path], hardware: Hardware, weighting: Weighting = "equal", *, calibrated: bool = False
) -> Ensemble:
    """The networks of some checkpoints; raises ConfigError where they know different classes.

    With `calibrated` each has the temperature that was fitted on the validation set of its run; raises
    RunDirectoryError where there is none.
    """
    members = tuple(load_trained(checkpoint, hardware) for checkpoint in checkpoints)
    for member in members[1:]:
        if member.class_names != members[0].class_names:
            raise ConfigError(
                f"{members[0].name} knows the classes {', '.join(members[0].class_names)}, {member.name} "
                f"{', '.join(member.class_names)}",
                "networks for the same classes",
            )
    temperatures = tuple(stored_temperature(member) if calibrated else 1.0 for member in members)
    return Ensemble(members, _weights(members, weighting), temperatures)


def _weights(members: Sequence[Trained], weighting: Weighting) -> np.ndarray:
    equal = np.full(len(members), 1 / len(members))
    if weighting == "equal":
        return equal
    scores = [(member.facts.get("best_metrics") or {}).get(WEIGHT_SCORE) for member in members]
    positive = np.array([max(score or 0.0, 0.0) for score in scores])
    return positive / positive.sum() if positive.sum() > 0 else equal


def stored_temperature(member: Trained) -> float:
    """The temperature that a run has fitted for its best epoch; raises RunDirectoryError where there is none."""
    temperature = None
    if member.run_folder is not None and member.is_best:
        temperature = read_temperature(member.run_folder)
    if temperature is None:
        raise RunDirectoryError(
            f"{member.name} has no {CALIBRATION_FILE}",
            "the temperature that was fitted on its validation set",
            "name the directory of a finished run, not the checkpoint alone",
        )
    return temperature

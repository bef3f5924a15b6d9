"""Several networks that answer together: their probabilities are averaged, and one temperature is of the mean."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mammo.inference.command_options import Weighting
from mammo.inference.trained import Trained, load_trained
from mammo.support.errors import ConfigError
from mammo.support.files import file_sha256
from mammo.support.hardware import Hardware
from mammo.tasks.outputs import SOFTMAX, OutputSpace
from mammo.tasks.task import Task

# The score that weights a network; one that is no better than chance has no weight.
WEIGHT_SCORE = "bal_acc_adj"


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Networks for the same classes, with weights [M] that sum to one; `temperature` is of their mean (1: as it is)."""

    members: tuple[Trained, ...]
    weights: np.ndarray
    temperature: float = 1.0

    @property
    def class_names(self) -> tuple[str, ...]:
        """The classes of all members."""
        return self.members[0].class_names

    @property
    def task(self) -> Task:
        """What all members have learnt."""
        return self.members[0].task

    @property
    def space(self) -> OutputSpace:
        """What outputs the mean of the probabilities stands for: those of the members, where they have one loss."""
        losses = {type(member.config.loss): member.config.loss for member in self.members}
        return next(iter(losses.values())) if len(losses) == 1 else SOFTMAX

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
            # What earlier versions have left of an interrupted command has one of each.
            "temperatures": [self.temperature] * len(self.members),
        }

    @property
    def counting(self) -> Ensemble:
        """The members with a weight: what only others have seen they cannot predict."""
        counting = np.flatnonzero(self.weights > 0)
        return dataclasses.replace(
            self, members=tuple(self.members[i] for i in counting), weights=self.weights[counting]
        )


def load_ensemble(checkpoints: Sequence[Path], hardware: Hardware, weighting: Weighting = "equal") -> Ensemble:
    """The networks of some checkpoints; raises ConfigError where they know different classes."""
    members = tuple(load_trained(checkpoint, hardware) for checkpoint in checkpoints)
    for member in members[1:]:
        if member.class_names != members[0].class_names:
            raise ConfigError(
                f"{members[0].name} knows the classes {', '.join(members[0].class_names)}, {member.name} "
                f"{', '.join(member.class_names)}",
                "networks for the same classes",
            )
    return Ensemble(members, _weights(members, weighting))


def _weights(members: Sequence[Trained], weighting: Weighting) -> np.ndarray:
    equal = np.full(len(members), 1 / len(members))
    if weighting == "equal":
        return equal
    scores = [(member.facts.get("best_metrics") or {}).get(WEIGHT_SCORE) for member in members]
    positive = np.array([max(score or 0.0, 0.0) for score in scores])
    return positive / positive.sum() if positive.sum() > 0 else equal

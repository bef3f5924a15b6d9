"""The checkpoints of a run: whole, readable without running code, and of this very run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch

from mammo.checks.report import Finding, note, ok, problem, some
from mammo.config.check import check_stored
from mammo.config.tree import Config, identity_tree
from mammo.models.weights import is_file
from mammo.runs.layout import BEST, LAST
from mammo.runs.reading import RunReader
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError, RunDirectoryError
from mammo.training.checkpoint import load_checkpoint, verify
from mammo.training.checkpoint_content import KEYS

TO_DO = "do not use it; run.restart=true starts over"


def check_checkpoints(run: RunReader, config: Config | None) -> Iterator[Finding]:
    """Findings about both checkpoints that a run keeps; one that is missing has been reported."""
    for name in (BEST, LAST):
        file = run.folder / name
        if not file.is_file():
            continue
        try:
            content = load_checkpoint(file)
        except RunDirectoryError as error:
            yield problem(file.name, error.found, TO_DO)
            continue
        wrong = _wrong(content)
        if not wrong:
            wrong = [*_foreign(run, config, content), *_wrong_epoch(run, name, content)]
        if wrong:
            yield problem(file.name, some(wrong, 4), TO_DO)
        elif verify(file) is None:
            yield note(file.name, f"epoch {content['epoch']}; no hash of it was recorded (SHA256SUMS)")
        else:
            yield ok(file.name, f"epoch {content['epoch']}, as recorded in SHA256SUMS")


def _wrong(content: Mapping[str, Any]) -> list[str]:
    """What makes the content of a checkpoint unusable."""
    missing = [key for key in KEYS if key not in content]
    if missing:
        return [f"{', '.join(missing)} is missing"]
    weights = content["model_state_dict"]
    bad = [name for name, tensor in weights.items() if tensor.is_floating_point() and not torch.isfinite(tensor).all()]
    return [f"weights that are not finite: {some(bad)}"] if bad else []


def _foreign(run: RunReader, config: Config | None, content: Mapping[str, Any]) -> list[str]:
    """Signs that a checkpoint belongs to another run."""
    wrong = []
    if "data" in (summary := run.summary or {}):
        of_run = {
            "run_id": summary["run_id"],
            "data_fingerprint": summary["data"]["fingerprint"],
            "split_fingerprint": summary["split"]["fingerprint"],
        }
        wrong += [f"its {key} is another one than in summary.json" for key in of_run if content[key] != of_run[key]]
    if run.metrics is not None and content["class_names"] != run.metrics["class_names"]:
        wrong.append(f"its classes are {', '.join(content['class_names'])}")
    if config is not None:
        try:
            stored, own = flatten(identity_tree(check_stored(content["config"]))), flatten(identity_tree(config))
        except ConfigError as error:
            return [*wrong, f"its config does not fit this version of mammo: {error.found.splitlines()[0]}"]
        # Of a file with weights a checkpoint holds the name alone.
        if is_file(config.model.weights):
            own.pop("model.weights")
        wrong += [f"its config has another {key} than config.yaml" for key in own if stored.get(key) != own[key]]
    return wrong


def _wrong_epoch(run: RunReader, name: str, content: Mapping[str, Any]) -> list[str]:
    """Whether the checkpoints of a finished run are of the epochs that they should be of, by the history."""
    if not run.history or not run.is_completed:
        return []
    best_epoch = max((record["epoch"] for record in run.history if record["is_best"]), default=0)
    what, wanted = ("best", best_epoch) if name == BEST else ("last", len(run.history))
    epoch = content["epoch"]
    return [] if epoch == wanted else [f"it is of epoch {epoch}, the {what} epoch is {wanted}"]

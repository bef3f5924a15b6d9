"""A trained network as a safetensors file: plain tensors, and in its header everything to rebuild it from.

It stands for a checkpoint wherever a run is named, and reading it can run no code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from mammo.support.errors import RunDirectoryError
from mammo.support.files import parse_json
from mammo.training.checkpoint import require_content
from mammo.training.checkpoint_content import NEEDED_TO_PREDICT

SUFFIX = ".safetensors"
# The entry of the header that holds the facts of the checkpoint as JSON.
CHECKPOINT_KEY = "checkpoint"
# What of a checkpoint travels along: all that is needed to predict, and whose it is.
KEPT_FACTS = (
    "schema_version", "config", "class_names", "preprocessing", "epoch", "run_id", "data_fingerprint",
    "split_fingerprint", "git_commit", "metrics",
)  # fmt: skip


def portable_bytes(state: Mapping[str, Tensor], facts: Mapping[str, Any], metadata: Mapping[str, str]) -> bytes:
    """The content of the file: a state dict, facts of its checkpoint, and metadata for people and other programs."""
    kept = {key: facts[key] for key in KEPT_FACTS if key in facts}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    return save(tensors, {**metadata, CHECKPOINT_KEY: json.dumps(kept)})


def read_portable(path: Path) -> dict[str, Any]:
    """The file with the keys of a checkpoint; raises RunDirectoryError for what is no such file."""
    try:
        with safe_open(path, framework="pt") as file:
            facts = parse_json((file.metadata() or {})[CHECKPOINT_KEY])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no dict)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise RunDirectoryError(
            f"{path.name} is no network that mammo.export has written ({type(error).__name__})",
            "a file of python -m mammo.export format=safetensors",
            "weights alone are given to training, as model.weights=FILE",
        ) from error
    if not isinstance(facts, dict):
        raise RunDirectoryError(f"{path.name} has a damaged header", to_do="export the network again")
    content = {**facts, "model_state_dict": state}
    require_content(path.name, content, NEEDED_TO_PREDICT)
    return content

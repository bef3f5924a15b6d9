"""What a checkpoint holds, by type: what is read is held against it before anybody builds on it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
import torch
from torch import Tensor

from mammo.support.type_checks import AtLeast, Number, Whole, faults, require_bounded, required_keys
from mammo.training.epoch_records import Record, ScoreTree

# More classes than any scale has: a matrix of them would fill the memory.
MAX_CLASSES = 1000


class MonitorState(TypedDict):
    """Which epoch was the best, and why the last one counts as collapsed."""

    best_epoch: Whole
    collapse_reason: str | None


class StoppingState(TypedDict):
    """How long ago the best epoch was."""

    epochs_since_best: Whole


class UnfinishedEpoch(TypedDict):
    """Where within an epoch a checkpoint was saved."""

    batches_done: Whole
    loss_sum: Number
    num_correct: Whole
    skipped_steps: Whole
    train_seconds: Number
    loading_seconds: Number


class RandomState(TypedDict):
    """The state of the generators."""

    python: list[Any]
    numpy: list[Any]
    torch: Tensor
    cuda: list[Tensor]


class Preprocessing(TypedDict):
    """How grey levels become what the network sees."""

    image_size_px: Whole
    crop: bool
    orient: bool
    mean: list[Number]
    std: list[Number]
    pixels_key: NotRequired[str]


class CheckpointContent(TypedDict):
    """All entries of a checkpoint."""

    schema_version: int
    model_state_dict: dict[str, Tensor]
    optimizer_state_dict: dict[str, Any]
    scheduler_state_dict: dict[str, Any]
    scaler_state_dict: dict[str, Any]
    ema_state_dict: dict[str, Any] | None
    epoch: Whole
    unfinished_epoch: NotRequired[UnfinishedEpoch | None]
    global_step: Whole
    best_metrics: ScoreTree | None
    monitor_state: MonitorState
    early_stopping_state: StoppingState
    rng: RandomState
    history: list[Record]
    config: dict[str, Any]
    class_names: Annotated[list[str], AtLeast(2)]
    preprocessing: Preprocessing
    run_id: str
    data_fingerprint: str
    split_fingerprint: str
    git_commit: str | None
    weights_source: NotRequired[str]
    metrics: NotRequired[dict[str, Any] | None]


# Where within an epoch training goes on from; what a later version adds is not looked at.
UNFINISHED_KEYS = tuple(UnfinishedEpoch.__annotations__)
# Without these nothing can be predicted.
NEEDED_TO_PREDICT = (
    "config", "class_names", "preprocessing.mean", "preprocessing.std", "model_state_dict",
)  # fmt: skip
KEYS = required_keys(CheckpointContent)


def wrong_content(content: dict[str, Any]) -> Iterator[str]:
    """What of a checkpoint is not of the type that it must be; entries that are missing are not."""
    try:
        require_bounded(content)
    except ValueError as error:
        yield f"it is {error}"
        return
    yield from faults(content, CheckpointContent)
    plain = {key: value for key, value in content.items() if not key.endswith("_state_dict") and key != "rng"}
    yield from _not_plain(plain)
    for tensor in _tensors(content):
        if fault := _wrong_tensor(tensor):
            yield f"a tensor is {fault}"
            return
    if isinstance(content.get("rng"), dict) and not _is_random_state(content["rng"]):
        yield "rng is no state of the generators"
    names = content.get("class_names")
    if isinstance(names, list) and (len(names) > MAX_CLASSES or len(set(map(str, names))) < len(names)):
        yield f"class_names is a list of {len(names)}, expected a list of different names, at most {MAX_CLASSES}"


def _is_random_state(state: dict[str, Any]) -> bool:
    """Whether the generators can be put into a state; tried with others than the global ones."""
    try:
        version, internal, gauss = state["python"]
        random.Random().setstate((version, tuple(internal), gauss))  # noqa: S311  (no secret)
        np.random.RandomState().set_state(tuple(state["numpy"]))
        torch.Generator().set_state(state["torch"])
    except (KeyError, TypeError, ValueError, OverflowError, RuntimeError):
        return False
    return isinstance(state.get("cuda"), list) and all(isinstance(one, Tensor) for one in state["cuda"])


def _not_plain(tree: dict[Any, Any]) -> Iterator[str]:
    """Whatever JSON cannot hold among the facts of a checkpoint; they are written into results."""
    level: list[Any] = [tree]
    while level:
        node = level.pop()
        if isinstance(node, dict):
            if not all(isinstance(key, str) for key in node):
                yield "a key is no text"
                return
            level += node.values()
        elif isinstance(node, list | tuple):
            level += node
        elif not (node is None or isinstance(node, bool | int | float | str)):
            yield f"a fact is of the type {type(node).__name__}"
            return


def _tensors(tree: Any) -> Iterator[Tensor]:
    level = [tree]
    while level:
        node = level.pop()
        if isinstance(node, Tensor):
            yield node
        elif isinstance(node, dict):
            level += node.values()
        elif isinstance(node, list | tuple):
            level += node


def _wrong_tensor(tensor: Tensor) -> str:
    """What shows that no run can have saved a tensor; empty where nothing does."""
    if tensor.layout is not torch.strided or tensor.is_quantized:
        return "sparse or quantized"
    if tensor.device.type != "cpu":
        return f"on the device {tensor.device.type}"
    if tensor.is_complex():
        return "complex"
    # A view with strides of 0 stands for more than the file holds: for any amount of memory.
    if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
        return "larger than what is stored of it"
    return ""


def wrong_progress(content: dict[str, Any], num_epochs: int) -> Iterator[str]:
    """Where a checkpoint contradicts itself, or is further than its run can be."""
    epoch, history = content["epoch"], content["history"]
    if epoch != len(history) or [record.get("epoch") for record in history] != list(range(1, epoch + 1)):
        yield "its history is not that of its epochs"
    if epoch > num_epochs:
        yield f"it is of epoch {epoch} of {num_epochs}"
    keys = required_keys(Record)
    if any(key not in record for record in history for key in keys):
        yield "its history lacks what an epoch has"

"""A trained network with everything that its checkpoint knows: architecture, classes, preprocessing.

Nothing here is taken from the user's memory: a checkpoint alone, copied anywhere, predicts what its run has
predicted.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mammo.config.check import check_stored
from mammo.config.tree import Config, image_size_px
from mammo.data.batches import EvaluationBatches, LabelledImages, Preparation
from mammo.data.dicom_header import accepted_kinds
from mammo.data.pixels import PixelSettings
from mammo.models.build import build_for
from mammo.models.network import Network
from mammo.models.trunk import FrozenTrunk
from mammo.runs.folders import require_inside
from mammo.support.errors import ConfigError, DataError, RunDirectoryError, WeightsError
from mammo.support.files import safe_name
from mammo.support.hardware import Hardware, prepare_process, resolve_hardware
from mammo.support.interruption import stop_if_asked
from mammo.support.progress import track
from mammo.support.torch_files import fault_of_weights
from mammo.tasks.outputs import OutputSpace
from mammo.tasks.task import TASKS, Task
from mammo.training.checkpoint import load_checkpoint
from mammo.training.checkpoint_content import NEEDED_TO_PREDICT
from mammo.training.engine import Predictions, predict
from mammo.training.inputs import through
from mammo.training.portable import SUFFIX, read_portable

CHANNELS = 3


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network in eval mode on its device, and how images become its inputs.

    `name` is that of the run, or of the file where there is no run directory around it; `run_folder` is None then.
    A checkpoint of another epoch than the best has a name of its own, and `is_best` is False: its results are not
    those of the run. `facts` are the entries of the checkpoint without tensors: epoch, best_metrics, run_id, ...
    """

    name: str
    checkpoint: Path
    run_folder: Path | None
    network: Network
    config: Config
    class_names: tuple[str, ...]
    settings: PixelSettings
    preparation: Preparation
    hardware: Hardware
    facts: Mapping[str, Any]

    @property
    def is_best(self) -> bool:
        """Whether it is of the best epoch, which is what its run stands for."""
        best_epoch = (self.facts.get("monitor_state") or {}).get("best_epoch")
        is_whole = not self.facts.get("unfinished_epoch")
        return best_epoch is None or (best_epoch == self.facts.get("epoch") and is_whole)

    def folder(self, kind: str) -> Path | None:
        """Where results of a kind belong in the run directory; None without one."""
        if self.run_folder is None:
            return None
        require_inside(self.run_folder, kind)
        return self.run_folder / (kind if self.is_best else f"{kind}/of-{safe_name(self.checkpoint.stem)}")

    @property
    def task(self) -> Task:
        """What it has learnt."""
        return TASKS[self.config.data.task]

    @property
    def image_size_px(self) -> int:
        """Side of the square that the network sees."""
        return self.settings.size_px


def load_trained(path: Path, hardware: Hardware) -> Trained:
    """The network of a checkpoint; raises RunDirectoryError for what is none of this version of the project.

    `path` is `<run>/checkpoints/NAME.pth`, or such a file anywhere else, or one that mammo.export has written.
    """
    content = _read(path)
    config = _config_of(path, content["config"])
    size_px = image_size_px(config)
    class_names = tuple(content["class_names"])
    # The weights come from the checkpoint.
    options = dataclasses.replace(config.model, weights="none")
    try:
        num_outputs = config.loss.num_outputs(len(class_names))
        network = build_for(content["model_state_dict"], options, config.strategy, num_outputs, size_px)
    except ConfigError as error:
        raise RunDirectoryError(
            f"the network in {path.name} cannot be built: {str(error).splitlines()[0]}", to_do="name another checkpoint"
        ) from error
    except WeightsError as error:
        raise RunDirectoryError(
            f"the weights in {path.name} do not fit {config.model.name} with {len(class_names)} classes: was it made "
            "with another version of timm or torchvision?",
            to_do="install the versions that summary.json of its run names",
        ) from error
    data = config.data
    fault = fault_of_weights(content["model_state_dict"], network.state_dict())
    if fault:
        raise RunDirectoryError(f"the weights in {path.name} are none: {fault}", to_do="name another checkpoint")
    mean, std = _normalisation(path, content["preprocessing"])
    run_folder = path.parent.parent if (path.parent.parent / "summary.json").is_file() else None
    trained = Trained(
        name=path.stem if run_folder is None else run_folder.name,
        checkpoint=path,
        run_folder=run_folder,
        network=network.to(hardware.device).eval(),
        config=config,
        class_names=class_names,
        settings=PixelSettings(
            size_px, data.crop, data.orient, accepted_kinds(data.accept, data.modality, data.frames), data.decode
        ),
        preparation=Preparation(mean, std, hardware.device),
        hardware=hardware,
        facts={key: value for key, value in content.items() if not key.endswith("_state_dict") and key != "rng"},
    )
    return trained if trained.is_best else dataclasses.replace(trained, name=f"{trained.name}-{path.stem}")


def _read(path: Path) -> dict[str, Any]:
    """What a file holds; raises RunDirectoryError for what is not whole or cannot have been saved by a run."""
    try:
        content = read_portable(path) if path.suffix == SUFFIX else load_checkpoint(path, NEEDED_TO_PREDICT)
    except RunDirectoryError as error:
        raise RunDirectoryError(
            error.found, "a whole checkpoint of this project", "copy it again, or name another one"
        ) from error
    return content


def _normalisation(path: Path, preprocessing: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of the channels; raises RunDirectoryError for what nothing can be divided by."""
    try:
        mean, std = (tuple(map(float, preprocessing[key])) for key in ("mean", "std"))
        is_usable = len(mean) == len(std) == CHANNELS and all(map(math.isfinite, mean + std)) and min(std) > 0
    except (KeyError, TypeError, ValueError):
        is_usable = False
    if not is_usable:
        raise RunDirectoryError(
            f"{path.name} states no mean and standard deviation of {CHANNELS} channels", to_do="name another checkpoint"
        )
    return mean, std


def _config_of(path: Path, tree: Any) -> Config:
    try:
        return check_stored(tree)
    except ConfigError as error:
        raise RunDirectoryError(
            f"the configuration in {path.name} is not one of this version: {str(error).splitlines()[0]}",
            to_do="use the version of the project that trained it; summary.json of its run has the commit",
        ) from error


def resolved_hardware(device: str, threads: int | None) -> Hardware:
    """Device and threads in fp32, the process set up for them; raises ConfigError for what is not here."""
    hardware = resolve_hardware(device, "off", threads, None)
    prepare_process(hardware)
    return hardware


def predict_images(
    trained: Trained,
    images: LabelledImages,
    label: str | None = None,
    *,
    keep_features: bool = False,
    allow_not_finite: bool = False,
) -> Predictions:
    """What a network says of some images, in their order, in fp32; `label` is for a progress bar (None: none).

    Raises DataError where a prediction is not finite, unless who asks looks at `is_finite`.
    """
    return predict_with(
        trained.network,
        trained.config.loss,
        trained.preparation,
        images,
        trained.config.data.batch_size,
        trained.hardware,
        label,
        keep_features=keep_features,
        allow_not_finite=allow_not_finite,
    )


def predict_with(
    network: Network,
    space: OutputSpace,
    preparation: Preparation,
    images: LabelledImages,
    batch_size: int,
    hardware: Hardware,
    label: str | None,
    *,
    keep_features: bool = False,
    allow_not_finite: bool = False,
) -> Predictions:
    """What a network on its device says of some images, in fp32, computed as a run computes its validation.

    Raises DataError as `predict_images` does.
    """
    batches = EvaluationBatches(images, batch_size, hardware.loader_threads)
    shown = batches if label is None else track(batches, label, len(batches))
    prepare = through(preparation, FrozenTrunk(network, torch.float32, batch_size))
    predictions = predict(network.tail, space, shown, prepare, stop_if_asked, keep_features=keep_features)
    if not allow_not_finite and not predictions.is_finite.all():
        raise DataError(
            f"the predictions of {np.count_nonzero(~predictions.is_finite)} of {len(images)} images are not finite",
            "numbers, of every image",
            "these weights cannot be used with these images: name another checkpoint",
        )
    return predictions

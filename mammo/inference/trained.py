"""A trained network with everything that its checkpoint knows: architecture, classes, preprocessing.

Nothing here is taken from the user's memory: a checkpoint alone, copied anywhere, predicts what its run has
predicted.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mammo.checkpoint import load_checkpoint
from mammo.config import Config, check, image_size_px
from mammo.data.batches import EvaluationBatches, LabelledImages, Preparation
from mammo.data.pixels import PixelSettings
from mammo.engine import Predictions, Prepare, predict
from mammo.errors import ConfigError, RunDirectoryError
from mammo.exporting.portable import SUFFIX, read_portable
from mammo.hardware import Hardware, prepare_process, resolve_hardware
from mammo.interruption import stop_if_asked
from mammo.models.build import build_model
from mammo.models.network import Network
from mammo.models.trunk import FrozenTrunk
from mammo.progress import track

# On a GPU batches are read ahead by threads; on a CPU they would only take time from the network.
CUDA_LOADER_THREADS = 2


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network in eval mode on its device, and how images become its inputs.

    `name` is that of the run, or of the file where there is no run directory around it; `run_folder` is None then.
    `facts` are the entries of the checkpoint without tensors: epoch, best_metrics, run_id, fingerprints, ...
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
    def image_size_px(self) -> int:
        """Side of the square that the network sees."""
        return self.settings.size_px

    def through_trunk(self) -> Prepare:
        """From a batch to the output of the frozen trunk in fp32, computed as when the run validated."""
        trunk = FrozenTrunk(self.network, torch.float32, self.config.data.batch_size)

        def prepare(batch: Any) -> tuple[Tensor, Tensor]:
            images, targets = self.preparation(batch)
            return trunk(images), targets

        return prepare


def load_trained(path: Path, hardware: Hardware) -> Trained:
    """The network of a checkpoint; raises RunDirectoryError for what is none of this version of the project.

    `path` is `<run>/checkpoints/NAME.pth`, or such a file anywhere else, or one that mammo.export has written.
    """
    content = read_portable(path) if path.suffix == SUFFIX else load_checkpoint(path)
    missing = [key for key in ("config", "class_names", "preprocessing", "model_state_dict") if key not in content]
    if missing:
        raise RunDirectoryError(f"{path.name} lacks {', '.join(missing)}", "a checkpoint that a run has saved")
    config = _config_of(path, content["config"])
    size_px = image_size_px(config)
    class_names = tuple(content["class_names"])
    # The weights come from the checkpoint.
    options = dataclasses.replace(config.model, weights="none")
    network = build_model(options, config.strategy, len(class_names), size_px, seed=0).network
    try:
        network.load_state_dict(content["model_state_dict"])
    except RuntimeError as error:
        raise RunDirectoryError(
            f"the weights in {path.name} do not fit {config.model.name}: was it made with another version of timm or "
            "torchvision?",
            to_do="install the versions that summary.json of its run names",
        ) from error
    preprocessing = content["preprocessing"]
    run_folder = path.parent.parent if (path.parent.parent / "summary.json").is_file() else None
    return Trained(
        name=run_folder.name if run_folder is not None else path.stem,
        checkpoint=path,
        run_folder=run_folder,
        network=network.to(hardware.device).eval(),
        config=config,
        class_names=class_names,
        settings=PixelSettings(
            size_px, config.data.crop, config.data.orient, tuple(sorted(config.data.accept)), config.data.decode
        ),
        preparation=Preparation(tuple(preprocessing["mean"]), tuple(preprocessing["std"]), hardware.device),
        hardware=hardware,
        facts={key: value for key, value in content.items() if not key.endswith("_state_dict") and key != "rng"},
    )


def _config_of(path: Path, tree: Any) -> Config:
    try:
        return check(tree if isinstance(tree, dict) else {})
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
    after_batch: Callable[[], None] = stop_if_asked,
) -> Predictions:
    """What a network says of some images, in their order, in fp32; `label` is for a progress bar (None: none)."""
    num_threads = CUDA_LOADER_THREADS if trained.hardware.device.type == "cuda" else 0
    batches = EvaluationBatches(images, trained.config.data.batch_size, num_threads)
    shown = batches if label is None else track(batches, label, len(batches))
    return predict(trained.network, shown, trained.through_trunk(), after_batch, keep_features=keep_features)

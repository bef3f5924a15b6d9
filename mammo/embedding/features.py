"""What the head of a network is given for each image: of a trained run, or of published weights as they are."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mammo.config.foreign import CONFIG_FOLDER
from mammo.data.batches import Preparation
from mammo.data.data_options import DataOptions
from mammo.data.dataset import Dataset, load_dataset
from mammo.data.image_list import is_generated, require_root
from mammo.embedding.embed_options import EmbedOptions
from mammo.inference.command_options import DataChoice
from mammo.inference.datasets import NOT_KNOWN, load_shown
from mammo.inference.find import find_one_checkpoint
from mammo.inference.trained import load_trained, predict_images, predict_with, resolved_hardware
from mammo.models.build import Unavailable, build_model
from mammo.models.model_options import ModelOptions, fixed_size_px
from mammo.models.strategy import LinearProbe
from mammo.models.weights import WeightsReport
from mammo.runs.provenance import environment
from mammo.support.cache import user_cache_folder
from mammo.support.errors import ConfigError
from mammo.support.files import safe_name
from mammo.support.hardware import Hardware
from mammo.support.progress import counting
from mammo.support.schema import Problem, build
from mammo.support.yaml_files import read_yaml
from mammo.tasks.outputs import SOFTMAX

log = logging.getLogger(__name__)

LABEL = "Features"
OWN_FOLDER = "embeddings"


@dataclasses.dataclass(frozen=True)
class Embedded:
    """Features float32 [N, F] of N images, and what is known of the images and of where the features are from.

    `described` [N rows] may be written; `table` [N rows] has raw ids, to group by, and stays in memory. `targets`
    [N] are class indices; `probabilities` [N, K] are those of the run's own head. `source`, `data` and
    `environment` are for `embedding.json`, `title` is for people, `folder` is where results go by default, inside
    of `run_folder` where there is one.
    """

    features: np.ndarray
    described: pd.DataFrame
    table: pd.DataFrame
    targets: np.ndarray
    class_names: tuple[str, ...]
    probabilities: np.ndarray | None
    title: str
    source: dict[str, Any]
    data: dict[str, Any]
    environment: dict[str, Any]
    folder: Path
    run_folder: Path | None = None

    @property
    def patient_ids(self) -> list[str]:
        """Raw patient of each image, [N]: never to be written."""
        return self.table["patient_id"].tolist()


def embedded_images(options: EmbedOptions, choice: DataChoice) -> Embedded:
    """The features that a command line asks for; raises a UserError for what cannot be had."""
    hardware = resolved_hardware(options.device, options.threads)
    return _of_run(options, choice, hardware) if options.run else _of_published(options, choice, hardware)


def _of_run(options: EmbedOptions, choice: DataChoice, hardware: Hardware) -> Embedded:
    trained = load_trained(find_one_checkpoint(options.run), hardware)
    shown = load_shown(trained, choice, options.split, options.cache_dir)
    predictions = predict_images(trained, shown.dataset.part(shown.rows), LABEL, keep_features=True)
    assert predictions.features is not None  # they were asked for
    described = shown.dataset.described(shown.rows)
    decisions = trained.task.decide(predictions.probabilities)
    described["y_pred"] = trained.task.texts(decisions, trained.class_names)
    if shown.num_trained_on:
        log.warning(
            "%d of the %d images are those that %s was trained on: their features know their labels, and scores are "
            "likely lower on new patients",
            shown.num_trained_on, len(shown.rows), trained.name,
        )  # fmt: skip
    elif shown.num_trained_on is None:
        log.warning("%s", NOT_KNOWN)
    part = shown.split if shown.is_own else safe_name(_name_of(choice, trained.config.data))
    of_run = trained.folder(OWN_FOLDER)
    folder = Path(OWN_FOLDER) / safe_name(f"{trained.name}-{part}") if of_run is None else of_run / part
    source = {
        "kind": "run",
        "run": trained.name,
        "run_id": trained.facts.get("run_id"),
        "checkpoint": trained.checkpoint.name,
        "epoch": trained.facts.get("epoch"),
        "model": trained.config.model.name,
        "strategy": trained.config.strategy.name,
        "image_size_px": trained.image_size_px,
    }
    data = _data_facts(shown.dataset, shown.rows, _name_of(choice, trained.config.data), shown.split)
    return Embedded(
        features=predictions.features,
        described=described,
        table=shown.dataset.table.iloc[shown.rows].reset_index(drop=True),
        targets=predictions.targets,
        class_names=trained.class_names,
        probabilities=predictions.probabilities,
        title=f"{trained.config.model.name}, trained on {trained.config.data.name}",
        source=source,
        data=data | {"is_own": shown.is_own, "num_trained_on": shown.num_trained_on},
        environment=dict(environment(hardware)),
        folder=folder,
        run_folder=trained.run_folder,
    )


def _name_of(choice: DataChoice, own: DataOptions) -> str:
    return str(choice.changes.get("name", own.name)) if choice.composed is None else choice.composed.name


def _data_facts(dataset: Dataset, rows: np.ndarray, name: str, split: str) -> dict[str, Any]:
    counts = dataset.class_counts(rows)
    return {
        "name": name,
        "split": split,
        "fingerprint": dataset.fingerprint,
        "num_images": len(rows),
        "num_patients": int(dataset.table["patient_id"].iloc[rows].nunique()),
        "group_by": dataset.manifest.group_by,
        "class_counts": dict(zip(dataset.manifest.class_names, counts, strict=True)),
    }


def _of_published(options: EmbedOptions, choice: DataChoice, hardware: Hardware) -> Embedded:
    if choice.composed is None or options.model is None:
        raise AssertionError("the command line has been checked")
    model = published_model(options.model, options.weights)
    fixed_px = fixed_size_px(model.name or "")
    if options.image_size is not None and fixed_px not in (None, options.image_size):
        raise ConfigError(
            f"image_size={options.image_size}, but {model.name} takes only {fixed_px} px", "", "leave it out"
        )
    size_px = options.image_size or fixed_px or choice.composed.image_size
    data_options = dataclasses.replace(choice.composed, image_size=size_px)
    # Before data is read: what is wrong with the model is said at once. The two classes of the head mean nothing.
    require_root(data_options)
    unavailable: Unavailable = "stand_in" if is_generated(data_options) else "error"
    built = build_model(model, LinearProbe(), 2, size_px or 0, seed=0, unavailable=unavailable)
    _tell_of_weights(built.weights, model.name or "")
    dataset = load_dataset(
        data_options, user_cache_folder(options.cache_dir), hardware.threads, counting, only_test=True
    )
    rows = np.arange(len(dataset.table))
    network = built.network.to(hardware.device)
    preparation = Preparation(built.mean, built.std, hardware.device)
    images = dataset.part(rows)
    predictions = predict_with(
        network, SOFTMAX, preparation, images, data_options.batch_size, hardware, LABEL, keep_features=True
    )
    assert predictions.features is not None  # they were asked for
    weights = dataclasses.asdict(built.weights)
    return Embedded(
        features=predictions.features,
        described=dataset.described(rows),
        table=dataset.table,
        targets=predictions.targets,
        class_names=dataset.manifest.class_names,
        probabilities=None,
        title=f"{model.name}, {'random weights' if built.weights.is_random else 'as published'}",
        source={"kind": "published", "model": model.name, "weights": weights, "image_size_px": size_px},
        data=_data_facts(dataset, rows, data_options.name, "all"),
        environment=dict(environment(hardware)),
        folder=Path(OWN_FOLDER) / safe_name(f"{model.name}-{data_options.name}"),
    )


def published_model(name: str, weights: str) -> ModelOptions:
    """The options of a choice of `conf/model`, else of the timm network of that name; raises ConfigError."""
    file = CONFIG_FOLDER / "model" / f"{name}.yaml"
    tree = read_yaml(file) if file.is_file() else {"family": "timm", "name": name}
    problems: list[Problem] = []
    # The other options of a choice are about training.
    options = build(ModelOptions, {"family": tree["family"], "name": tree["name"], "weights": weights}, problems)
    if problems:
        raise ConfigError("\n".join(f"model.{p.key}: {p.found}\n  {p.expected}" for p in problems))
    if options.name is None:
        raise ConfigError(f"model={name} names no network", to_do="give its name: model=vit_small_patch16_224")
    return options


def _tell_of_weights(weights: WeightsReport, name: str) -> None:
    if weights.is_random:
        log.warning(
            "RANDOM weights: %s. The features of %s mean nothing; model=efficientnet_lite0 brings its pretrained "
            "weights along, without a download",
            weights.reason, name,
        )  # fmt: skip
    else:
        log.info("weights of %s: %s", name, weights.source)

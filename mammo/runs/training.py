"""One training run, step by step: from a checked configuration to a finished run directory."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mammo.config.show import print_config
from mammo.config.tree import Config, config_tree, image_size_px
from mammo.data.dataset import Dataset, load_dataset
from mammo.data.image_list import is_generated, reasons_summary, require_root
from mammo.evaluation.metrics import reset_warnings
from mammo.models.build import BuiltModel, Unavailable, add_head, build_backbone, published_network
from mammo.models.weights import RANDOM, is_file, require_file
from mammo.runs.closing import closing_lines, show
from mammo.runs.directory import HydraFiles, RunDirectory
from mammo.runs.result_files import write_data_files
from mammo.runs.run import Run
from mammo.runs.summary import going_on, started
from mammo.support.cache import user_cache_folder
from mammo.support.errors import ConfigError, DataError, RunDirectoryError, UserError
from mammo.support.files import file_sha256, join_command, this_command
from mammo.support.hardware import Hardware, Share, prepare_process, require_compiler, resolve_hardware
from mammo.support.interruption import deferred
from mammo.support.progress import console, counting, log_to_file, start_logging
from mammo.support.ranks import ranks_of_environment
from mammo.training.losses import effective_class_weights

log = logging.getLogger(__name__)


def run_training(
    config: Config, folder: str, hydra_files: HydraFiles, share: Share, *, is_one_of_several: bool = False
) -> float:
    """Train, continue, or report a finished run; returns the objective of the best epoch.

    `share` is what this job may take of the machine. One of several runs says less on the terminal, and
    nothing where several run at once.

    Raises UserError before anything in the folder is touched when it belongs to another run or when
    the data cannot be used. A failure while training is recorded in the folder and raised again.
    """
    start_logging(config.run.log_level, on_terminal=share.jobs_at_once == 1)
    reset_warnings()
    directory = RunDirectory(Path(folder))
    try:
        ranks_of_environment().require_alone()
        directory.check_identity(config)
        if not is_one_of_several:
            print_config(config, console)
        config.tracker.require()
        hardware = resolve_hardware(
            config.device, config.train.amp, config.train.threads, config.train.deterministic, share
        )
        if config.train.compile:
            require_compiler()
        prepare_process(hardware)
        # What needs no data comes before the data: a wrong name is answered before thousands of files are read.
        published = published_network(config.model, image_size_px(config), config.seed)
        require_root(config.data)
        backbone = build_backbone(published, config.model, config.strategy, _if_unavailable(config, directory))
        workers = hardware.threads if config.data.num_workers is None else config.data.num_workers
        dataset = load_dataset(config.data, user_cache_folder(config.cache_dir), workers, counting)
        stored = None if config.run.restart else _stored_summary(config, directory, dataset)
        if stored is not None and stored.get("status") == "completed":
            log.info("this run is finished; nothing is trained (run.restart=true starts over)")
            if not is_one_of_several:
                show(closing_lines(directory.path, stored))
            return float(stored["objective"])
        dataset = _for_debugging(config, dataset)
        class_weights, balance_note = _class_weights(config, dataset)
        num_outputs = config.loss.num_outputs(len(dataset.manifest.class_names))
        model = add_head(backbone, config.model, config.strategy, num_outputs, config.seed)
    except UserError:
        directory.remove_if_empty()
        raise
    with directory.lock(), deferred():
        if config.run.restart:
            directory.clear()
        directory.claim(config_tree(config), hydra_files)
        log_to_file(directory.file("run.log"))
        name, overrides = directory.path.name, hydra_files.overrides
        # For one of several the command that trains it alone.
        command = join_command(["python", "-m", "mammo.train", *overrides]) if is_one_of_several else this_command()
        summary = started(config, name, command, overrides, hardware, dataset, model, class_weights)
        if stored is not None and directory.has_checkpoint:
            # The results will be those of what was started then; what is different now is added to `resumed`.
            summary = going_on(summary, stored)
        directory.write_summary(summary)
        write_data_files(directory, dataset, config.data)
        _describe(config, dataset, model, summary["model"]["weights"], hardware, balance_note)
        result = Run(config, directory, dataset, model, hardware, class_weights, summary).train()
    if not is_one_of_several:
        show(closing_lines(directory.path, result))
    return float(result["objective"])


def _if_unavailable(config: Config, directory: RunDirectory) -> Unavailable:
    """What a run takes where published weights cannot be had."""
    is_begun = directory.has_checkpoint or directory.status == "completed"
    if is_begun and not config.run.restart:
        return "random"  # the checkpoint has what replaces them
    return "stand_in" if is_generated(config.data) else "error"


def _stored_summary(config: Config, directory: RunDirectory, dataset: Dataset) -> dict[str, Any] | None:
    """The summary of an earlier start of the same run, once it is known to be of the same data and weights."""
    directory.check_data(dataset.fingerprint, dataset.split_fingerprint)
    stored = directory.summary()
    if stored is not None and is_file(config.model.weights):
        before = stored.get("model", {}).get("weights", {}).get("file_sha256")
        if before not in (None, file_sha256(require_file(config.model.weights))):
            raise RunDirectoryError(
                f"{directory.path} was made from other weights: the content of model.weights has changed since",
                to_do="start over here with run.restart=true, or keep both with another run.name=NAME",
            )
    return stored


def _class_weights(config: Config, dataset: Dataset) -> tuple[list[float] | None, str]:
    """The effective class weights and a note for the log."""
    counts = dataset.class_counts(dataset.split.train)
    weights, note = effective_class_weights(
        config.loss.class_weights, config.loss.class_weights_alpha, config.sampler.name, counts
    )
    if weights is not None and len(weights) != len(counts):
        raise ConfigError(
            f"loss.class_weights has {len(weights)} numbers", f"{len(counts)}, one for each of "
            f"{', '.join(dataset.manifest.class_names)}"
        )  # fmt: skip
    return weights, note


def _for_debugging(config: Config, dataset: Dataset) -> Dataset:
    """With train.overfit_batches the same few training images are trained on and validated on."""
    if config.train.overfit_batches is None:
        return dataset
    order = np.random.default_rng(config.data.split_seed).permutation(dataset.split.train)
    few = np.sort(order[: config.train.overfit_batches * config.data.batch_size])
    counts = zip(dataset.manifest.class_names, dataset.class_counts(few), strict=True)
    absent = [name for name, count in counts if count == 0]
    if absent:
        # The split has every class in train; a few images of it may not.
        raise DataError(
            f"no training image of class {', '.join(absent)}", "images of every class", "use more images or batches"
        )
    note = f"train.overfit_batches: the same {len(few)} images for training and validation"
    log.warning("%s; the results say nothing about new images", note)
    split = dataclasses.replace(dataset.split, train=few, val=few, notes=[*dataset.split.notes, note])
    return dataclasses.replace(dataset, split=split)


def _describe(
    config: Config,
    dataset: Dataset,
    model: BuiltModel,
    weights: Mapping[str, Any],
    hardware: Hardware,
    balance_note: str,
) -> None:
    """What the run works with, in the log."""
    names, split = dataset.manifest.class_names, dataset.split
    for what, rows in (("training", split.train), ("validation", split.val), ("test (set aside)", split.test)):
        if len(rows):
            patients = dataset.table["patient_id"].iloc[rows].nunique()
            counts = ", ".join(f"{n} {c}" for n, c in zip(names, dataset.class_counts(rows), strict=True))
            groups = "" if dataset.manifest.group_by == "image" else f" of {patients} {dataset.manifest.group_by}s"
            log.info("%s: %d images%s (%s)", what, len(rows), groups, counts)
    for note in (*dataset.manifest.notes, *split.notes):
        log.info("%s", note)
    if dataset.manifest.left_out:
        log.warning("left out, see quarantine.csv:\n%s", reasons_summary(dataset.manifest.left_out))
    if dataset.is_pseudonymized:
        lookup = f"pseudonyms/{dataset.lookup_name}"
        log.info("ids in the results are pseudonyms; %s in the cache folder leads back to them", lookup)
    total, trainable = model.network.count_parameters()
    log.info(
        "%s: %s of %s parameters learn (%s)", config.model.name, f"{trainable:,}", f"{total:,}", config.strategy.name
    )
    if weights["source"] == RANDOM:
        log.warning("RANDOM WEIGHTS, nothing pretrained: %s", weights["reason"])
    else:
        why = ", as the published ones cannot be had here" if weights["reason"] else ""
        log.info("weights: %s%s", weights["source"], why)
    log.info("%s", balance_note)
    log.info("%s (%s), %s, CPU threads: %d", hardware.device.type, hardware.device_name, hardware.amp, hardware.threads)

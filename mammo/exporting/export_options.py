"""Options of `python -m mammo.export`. No heavy imports: `--help` reads them."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mammo.inference.command_options import TrainedOptions
from mammo.support.option_registry import option

SUFFIXES = {"onnx": ".onnx", "torchscript": ".pt", "safetensors": ".safetensors"}


@dataclasses.dataclass(frozen=True)
class ExportOptions(TrainedOptions):
    """What is written, and where."""

    format: Literal["onnx", "torchscript", "safetensors"] = option(
        "onnx",
        "onnx and torchscript: from grey images to probabilities, normalisation inside; onnx needs "
        "pip install -e '.[onnx]'. safetensors: the weights, from which run=FILE rebuilds the network",
    )
    output: str | None = option(None, "the file to write; null: <run>/exports/model.<suffix of the format>")

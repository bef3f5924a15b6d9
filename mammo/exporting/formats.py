"""A network as a file that other programs run: ONNX and TorchScript, from grey images to probabilities.

Both files are freed of what their exporters note about this machine: paths and lines of source code.
"""

from __future__ import annotations

import importlib.util
import io
import json
import warnings
import zipfile
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mammo.exporting.description import INPUT, LOGITS, PROBABILITIES, USE
from mammo.models.network import Network
from mammo.support.errors import ConfigError
from mammo.tasks.outputs import OutputSpace

ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")
# Of TorchScript: where in which source file each operation was made.
DEBUG_SUFFIX = ".debug_pkl"
TORCHSCRIPT_METADATA = "metadata.json"

# From squares [N, 1, S, S] in 0..1 to logits and probabilities [N, K], all float32.
Run = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


class GreyToProbabilities(nn.Module):
    """What is exported: grey images [N, 1, S, S] in 0..1 to logits and probabilities [N, K]."""

    def __init__(self, network: Network, space: OutputSpace, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.space = space
        # The layers in a row: how they are trained does not matter any more.
        self.layers = nn.Sequential(*network.stages, network.pool, network.head)
        shift = [-m / s for m, s in zip(mean, std, strict=True)]
        self.scale: Tensor
        self.shift: Tensor
        self.register_buffer("scale", torch.tensor([1 / s for s in std]).view(1, -1, 1, 1))
        self.register_buffer("shift", torch.tensor(shift).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and probabilities."""
        logits = self.layers(images * self.scale + self.shift)
        return logits, self.space.probabilities(logits)


def require_onnx() -> None:
    """Raises ConfigError where a package for ONNX is not installed."""
    missing = [name for name in ONNX_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(
            f"format=onnx needs {', '.join(missing)}, not installed here",
            to_do="pip install -c constraints.txt -e '.[onnx]', or choose format=torchscript or safetensors",
        )


def example_images(size_px: int) -> Tensor:
    """Images to follow a network with: two, as one could be taken for a fixed size; no patient's."""
    return torch.rand(2, 1, size_px, size_px, generator=torch.Generator().manual_seed(0))


def onnx_bytes(module: nn.Module, size_px: int, metadata: Mapping[str, str]) -> bytes:
    """The module as ONNX with a batch axis of any length and metadata in the file."""
    import onnx

    batch = torch.export.Dim("batch")
    program = torch.onnx.export(
        module, (example_images(size_px),), dynamo=True, verbose=False, input_names=[INPUT],
        output_names=[LOGITS, PROBABILITIES], dynamic_shapes={INPUT: {0: batch}},
    )  # fmt: skip
    if program is None:
        raise AssertionError("the exporter returns a program")
    model = program.model_proto
    _forget_sources(model.graph)
    for function in model.functions:
        _forget_sources(function)
    model.doc_string = USE
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def _forget_sources(graph: Any) -> None:
    """Remove what the exporter notes of each node of a graph: stack traces with paths."""
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
        for attribute in node.attribute:
            # To touch a field that is not there would make it.
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                _forget_sources(inner)
    del graph.metadata_props[:]


def torchscript_bytes(module: nn.Module, size_px: int, metadata: Mapping[str, str]) -> bytes:
    """The module as TorchScript with a batch axis of any length; metadata are the extra file `metadata.json`."""
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # That torch prefers other formats is why there is ONNX; this one is for programs that need it.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        # Sizes become constants, as the side of the images is one; the length of the batch is tested.
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        traced = torch.jit.trace(module, (example_images(size_px),), check_trace=False)
        torch.jit.save(traced, buffer, _extra_files={TORCHSCRIPT_METADATA: json.dumps(dict(metadata), indent=2)})
    return _without_debug_files(buffer)


def _without_debug_files(archive: io.BytesIO) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as new:
        for entry in old.infolist():
            if not entry.filename.endswith(DEBUG_SUFFIX):
                new.writestr(zipfile.ZipInfo(entry.filename), old.read(entry))
    return content.getvalue()


def open_onnx(path: Path, threads: int) -> Run:
    """An ONNX file in onnxruntime on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        logits, probabilities = session.run([LOGITS, PROBABILITIES], {INPUT: squares})
        return logits, probabilities

    return run


def open_torchscript(path: Path) -> Run:
    """A TorchScript file on the CPU."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\.\w+` is deprecated")
        module = torch.jit.load(str(path), map_location="cpu")

    def run(squares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            logits, probabilities = module(torch.from_numpy(squares))
        return logits.numpy(), probabilities.numpy()

    return run


def versions(chosen: str) -> dict[str, str]:
    """The packages that have written a file of a format, and run it."""
    packages = {"onnx": ("torch", *ONNX_PACKAGES), "torchscript": ("torch",), "safetensors": ("torch", "safetensors")}
    return {name: version(name) for name in packages[chosen]}

"""Write an exported network, and let only what has been checked have its name."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mammo.config.help import command_lines
from mammo.exporting.check import TOLERANCE, CheckImages, Comparison, compare
from mammo.exporting.description import describe, metrics_of
from mammo.exporting.export_options import SUFFIXES
from mammo.exporting.formats import GreyToProbabilities, onnx_bytes, torchscript_bytes, versions
from mammo.inference.trained import Trained
from mammo.runs.provenance import environment
from mammo.support.errors import ConfigError
from mammo.support.files import file_sha256, write_bytes
from mammo.support.outputs import Outputs
from mammo.support.plain_text import wrapped
from mammo.training.portable import portable_bytes

SCHEMA_VERSION = 1
OWN_FOLDER = "exports"


class NotTheSame(Exception):
    """An exported file computes something else than the network; it has been removed."""


def target_of(output: str | None, chosen: str, trained: Trained) -> Path:
    """Where the file goes."""
    if output is not None:
        return Path(output).expanduser()
    folder = trained.folder(OWN_FOLDER) or Path(f"{trained.name}-{OWN_FOLDER}")
    return folder / f"model{SUFFIXES[chosen]}"


def outputs_at(path: Path, trained: Trained, *, overwrite: bool) -> Outputs:
    """The file and its description; raises OutputError where they may not be written."""
    inside = trained.run_folder if trained.run_folder in path.parents else None
    outputs = Outputs(path.parent, "export", overwrite=overwrite, inside=inside, inputs=[trained.checkpoint])
    outputs.require_free([path.name, f"{path.name}.json"])
    return outputs


def check_output(output: str | None, chosen: str) -> None:
    """Raises ConfigError for an `output` that is a folder or says another format."""
    if output is None:
        return
    path = Path(output).expanduser()
    if path.is_dir():
        raise ConfigError(f"output={output} is a folder", "a file", f"output={path / ('model' + SUFFIXES[chosen])}")
    if path.suffix != SUFFIXES[chosen]:
        raise ConfigError(f"output={output} does not end with {SUFFIXES[chosen]}", f"a file name of format={chosen}")


def content_of(trained: Trained, chosen: str) -> bytes:
    """The content of the file."""
    metadata = describe(trained)
    if chosen == "safetensors":
        facts = {**trained.facts, "metrics": metrics_of(trained)}
        return portable_bytes(trained.network.state_dict(), facts, metadata)
    network = copy.deepcopy(trained.network).cpu()
    module = GreyToProbabilities(network, trained.config.loss, trained.preparation.mean, trained.preparation.std).eval()
    module.requires_grad_(False)
    write = onnx_bytes if chosen == "onnx" else torchscript_bytes
    return write(module, trained.image_size_px, metadata)


def write_checked(
    content: bytes, path: Path, chosen: str, trained: Trained, on: CheckImages, *, overwrite: bool = False
) -> dict[str, Any]:
    """Give a file its name once it agrees with the network; raises NotTheSame, the file removed, where it does not.

    One that an earlier call has left under the name is removed then too. Returns what the JSON file beside it holds.
    """
    outputs = outputs_at(path, trained, overwrite=overwrite)
    unchecked = path.with_name(f".{path.stem}.unchecked{path.suffix}")
    try:
        write_bytes(unchecked, content)
        comparison = compare(trained, unchecked, chosen, on.images)
        if not comparison.agrees:
            outputs.remove(path.name)
            raise NotTheSame(
                f"{path.name} differs from the network by up to {comparison.max_abs_difference_probabilities:.2g} in a "
                f"probability, on {len(on.images)} {on.words}; at most {TOLERANCE:g} is allowed. The file is removed"
            )
        outputs.take(unchecked, path.name)
    finally:
        unchecked.unlink(missing_ok=True)
    facts = _facts(path, chosen, trained, on, comparison)
    outputs.write_json(f"{path.name}.json", facts)
    return facts


def _facts(path: Path, chosen: str, trained: Trained, on: CheckImages, comparison: Comparison) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "file": path.name,
        "format": chosen,
        "num_bytes": path.stat().st_size,
        "sha256": file_sha256(path),
        "check": {
            **dataclasses.asdict(comparison),
            "tolerance": TOLERANCE,
            "images": on.words,
            "num_images": len(on.images),
            "are_real_images": on.are_real,
            "run_on": "cpu",
            "with": versions(chosen),
        },
        "metadata": describe(trained),
        "environment": environment(trained.hardware),
    }


def closing_lines(path: Path, facts: Mapping[str, Any]) -> list[str]:
    """Lines for the terminal, of a file and what the JSON file beside it holds."""
    metadata, check = facts["metadata"], facts["check"]
    packages = ", ".join(f"{name} {number}" for name, number in check["with"].items())
    differences = (
        f"  largest difference of a probability {check['max_abs_difference_probabilities']:.2g} (allowed: "
        f"{check['tolerance']:g}), of a logit {check['max_abs_difference_logits']:.2g}"
    )
    lines = [
        "",
        *wrapped(f"Compared with the network on {check['num_images']} {check['images']}, on the CPU ({packages}):"),
        *wrapped(differences),
        f"Written: {path}",
        f"  {facts['num_bytes'] / 1e6:.1f} MB, and {path.name}.json beside it",
    ]
    if facts["format"] == "safetensors":
        lines.append("It can stand for its run:")
        lines += command_lines(f"python -m mammo.embed run={path} data=NAME data.root=DIR")
    else:
        lines += wrapped(f"  takes  {metadata['input']}")
        lines += wrapped(f"  gives  {metadata['output']}: {metadata['class_names']}")
    return [*lines, *wrapped("The preprocessing is described in the file. Research use only, not for diagnosis.")]

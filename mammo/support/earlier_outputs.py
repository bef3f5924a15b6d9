"""What versions before `.mammo-written` have left where their results go, known by what is in the files.

A table of predictions and an exported network tell by themselves. Of the other results one file says much that
nothing else says; beside it those are known that a command gives their names, with the beginning that it gives them.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mammo.support.files import MAX_TABLE_BYTES, file_sha256, read_csv, read_json, read_text

# Of a table of predictions, up to the columns of the classes.
_IMAGES = ("image_id", "patient_id", "exam_id", "laterality", "view", "y_pred")
_EXAMS = ("exam_id", "patient_id", "num_images", "y_pred")
_SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF-", ".npy": b"\x93NUMPY"}


@dataclasses.dataclass(frozen=True)
class _Results:
    """Results that a JSON file with some keys stands for, and the texts beside it with their beginnings."""

    marker: str
    keys: tuple[str, ...]
    texts: dict[str, bytes]
    binaries: str

    def include(self, path: Path) -> bool:
        try:
            content = read_json(path.with_name(self.marker))
            if not all(key in content for key in ("schema_version", *self.keys)):
                return False
            if path.name == self.marker:
                return True
            if path.name in self.texts:
                return _begins(path, self.texts[path.name])
            return bool(re.fullmatch(self.binaries, path.name)) and _begins(path, _SIGNATURES[path.suffix])
        except (OSError, ValueError):
            return False


def _begins(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


_RESULTS = {
    "report": _Results(
        "report.json",
        ("runs", "figures"),
        {"report.html": b"<!DOCTYPE html>\n", "report.md": b"# ", "report_table.tex": b"% "},
        r"density_[a-z0-9_]+\.(png|pdf)",
    ),
    "evaluate": _Results(
        "evaluation.json",
        ("networks", "data", "metrics", "calibration", "bootstrap"),
        {
            "predictions.csv": b"image_id,patient_id,exam_id,laterality,view,",
            "exam_predictions.csv": b"exam_id,patient_id,num_images,y_true,y_pred,p_",
            "comparison.json": b'{\n  "schema_version": 1,\n  "first": ',
        },
        r"(confusion_matrix|reliability|roc|precision_recall|subgroups|comparison)\.png",
    ),
    "embed": _Results(
        "embedding.json",
        ("source", "data", "num_features", "projections", "probes", "clusters"),
        {"metadata.csv": b"image_id,", "projections.csv": b"image_id,pca_1,pca_2"},
        r"features\.npy|(pca|tsne|umap|silhouette)\.(png|pdf)",
    ),
    "plan": _Results("sweep.json", ("name", "command", "monitor", "jobs"), {}, "(?!)"),
    "sweep": _Results(
        "sweep_summary.json",
        ("name", "is_complete", "counts", "runs", "aggregate", "by_config"),
        {"cv_summary.json": b'{\n  "schema_version": 1,\n  "name": ', "summary.md": b"# Sweep "},
        r"(comparison|optimization_history|parameter_importances|parallel_coordinates)\.png",
    ),
}


def is_of_earlier_version(command: str | None, path: Path) -> bool:
    """Whether an earlier version of a command (None: of any) has written a file, by what is in it and beside it."""
    known: dict[str, Callable[[Path], bool]] = {name: one.include for name, one in _RESULTS.items()}
    known |= {"predict": _is_prediction, "export": _is_export, "explain": _is_explanation}
    known["sweep"] = _is_of_sweep
    chosen = known.values() if command is None else [known[command]]
    return any(includes(path) for includes in chosen)


def _is_of_sweep(path: Path) -> bool:
    if _RESULTS["sweep"].include(path) or _RESULTS["plan"].include(path):
        return True
    if path.name != "best_config.yaml":
        return False
    try:
        lines = read_text(path).split("\n", 3)
    except (OSError, ValueError):
        return False
    words = "# python -m mammo.train --config-dir FOLDER experiment=best_config"
    return lines[0] == "# @package _global_" and lines[2:3] == [words]


def _is_export(path: Path) -> bool:
    """An exported network whose sum the JSON file beside it has, or that file."""
    is_json = path.suffix == ".json"
    network = path.with_suffix("") if is_json else path
    try:
        facts = read_json(network.with_name(f"{network.name}.json"))
        if not {"file", "format", "sha256", "check", "metadata"} <= facts.keys() or facts["file"] != network.name:
            return False
        return is_json or facts["sha256"] == file_sha256(network)
    except (OSError, ValueError):
        return False


def _is_explanation(path: Path) -> bool:
    """The table of the pictures of an earlier call, and the pictures that it names."""
    try:
        columns, rows = read_csv(path.with_name("explanations.csv"))
    except (OSError, ValueError):
        return False
    if columns[:3] != ["image_id", "y_true", "y_pred"] or columns[-4:] != ["checkpoint", "epoch", "split", "file"]:
        return False
    pictures = {row[-1] for row in rows} | {"grid.png", "grid.pdf"}
    is_picture = path.name in pictures and path.suffix in _SIGNATURES and _begins(path, _SIGNATURES[path.suffix])
    return is_picture or path.name == "explanations.csv"


def _is_prediction(path: Path) -> bool:
    """A table of predictions of images or of exams, or of the files that have none, as it was written."""
    try:
        if path.suffix == ".jsonl":
            lines = [json.loads(line) for line in read_text(path, MAX_TABLE_BYTES).splitlines()]
            return bool(lines) and all(map(_is_record, lines))
        columns, rows = read_csv(path)
    except (OSError, ValueError, RecursionError, csv.Error):
        return False
    stem = path.stem.removesuffix("_quarantine")
    if columns == ["image_id", "reason"]:
        return stem != path.stem and any(
            _is_prediction(path.with_name(f"{stem}{suffix}")) for suffix in (".csv", ".jsonl")
        )
    return any(_is_table(columns, rows, first) for first in (_IMAGES, _EXAMS))


def _is_record(record: Any) -> bool:
    if not isinstance(record, dict):
        return False
    return record.keys() == {"image_id", "error"} or ({*_IMAGES, "entropy"} <= record.keys() and _is_row(record))


def _is_table(columns: list[str], rows: list[list[str]], first: tuple[str, ...]) -> bool:
    names = columns[len(first) :]
    last = [name for name in names if name in ("entropy", "num_networks")]
    classes = names[: len(names) - len(last)]
    is_named = all(name.startswith("p_") for name in classes) and len(classes) > 1 and last[:1] == ["entropy"]
    if tuple(columns[: len(first)]) != first or not is_named:
        return False
    return all(_is_row(dict(zip(columns, row, strict=True))) for row in rows)


def _is_row(row: dict[str, Any]) -> bool:
    """Whether the predicted class is the one with the largest probability: a table that somebody corrects is not."""
    try:
        probabilities = {name.removeprefix("p_"): float(row[name]) for name in row if name.startswith("p_")}
        return (
            abs(sum(probabilities.values()) - 1) < 1e-6
            and max(probabilities, key=lambda name: probabilities[name]) == row["y_pred"]
        )
    except (TypeError, ValueError):
        return False

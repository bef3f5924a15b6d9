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
from contextlib import suppress
from pathlib import Path
from typing import Any

from mammo.support.files import MAX_TABLE_BYTES, file_sha256, read_csv, read_json, read_text

# Of a table of predictions, up to the columns of the classes.
_IMAGES = ("image_id", "patient_id", "exam_id", "laterality", "view", "y_pred")
_EXAMS = ("exam_id", "patient_id", "num_images", "y_pred")
_SIGNATURES = {".png": b"\x89PNG\r\n\x1a\n", ".pdf": b"%PDF-", ".npy": b"\x93NUMPY"}


@dataclasses.dataclass(frozen=True)
class _Results:
    """Results of a command: a JSON file with some keys stands for them; and the texts beside it."""

    command: str
    marker: str
    keys: tuple[str, ...]
    texts: dict[str, bytes]
    binaries: str

    def include(self, path: Path) -> bool:
        content = read_json(path.with_name(self.marker))
        if not all(key in content for key in ("schema_version", *self.keys)):
            return False
        if path.name == self.marker:
            return True
        if path.name in self.texts:
            return _begins(path, self.texts[path.name])
        return bool(re.fullmatch(self.binaries, path.name)) and _begins(path, _SIGNATURES[path.suffix])


def _begins(path: Path, beginning: bytes) -> bool:
    with path.open("rb") as file:
        return file.read(len(beginning)) == beginning


_RESULTS = (
    _Results(
        "report",
        "report.json",
        ("runs", "figures"),
        {"report.html": b"<!DOCTYPE html>\n", "report.md": b"# ", "report_table.tex": b"% "},
        r"density_[a-z0-9_]+\.(png|pdf)",
    ),
    _Results(
        "evaluate",
        "evaluation.json",
        ("networks", "data", "metrics", "calibration", "bootstrap"),
        {
            "predictions.csv": b"image_id,patient_id,exam_id,laterality,view,",
            "exam_predictions.csv": b"exam_id,patient_id,num_images,y_true,y_pred,p_",
            "comparison.json": b'{\n  "schema_version": 1,\n  "first": ',
        },
        r"(confusion_matrix|reliability|roc|precision_recall|subgroups|comparison)\.png",
    ),
    _Results(
        "embed",
        "embedding.json",
        ("source", "data", "num_features", "projections", "probes", "clusters"),
        {"metadata.csv": b"image_id,", "projections.csv": b"image_id,pca_1,pca_2"},
        r"features\.npy|(pca|tsne|umap|silhouette)\.(png|pdf)",
    ),
    _Results("sweep", "sweep.json", ("name", "command", "monitor", "jobs"), {}, "(?!)"),
    _Results(
        "sweep",
        "sweep_summary.json",
        ("name", "is_complete", "counts", "runs", "aggregate", "by_config"),
        {"cv_summary.json": b'{\n  "schema_version": 1,\n  "name": ', "summary.md": b"# Sweep "},
        r"(comparison|optimization_history|parameter_importances|parallel_coordinates)\.png",
    ),
)


def is_of_earlier_version(command: str | None, path: Path) -> bool:
    """Whether an earlier version of a command (None: of any) has written a file, by what is in it and beside it."""
    known: list[tuple[str, Callable[[Path], bool]]] = [
        *((results.command, results.include) for results in _RESULTS),
        ("sweep", _is_best_config),
        ("predict", _is_prediction),
        ("export", _is_export),
        ("explain", _is_explanation),
    ]
    for name, is_known in known:
        # What cannot be read, or as something else than it is called, is none.
        with suppress(OSError, ValueError, TypeError, RecursionError, csv.Error):
            if command in (None, name) and is_known(path):
                return True
    return False


def _is_best_config(path: Path) -> bool:
    if path.name != "best_config.yaml":
        return False
    lines = read_text(path).split("\n", 3)
    words = "# python -m mammo.train --config-dir FOLDER experiment=best_config"
    return lines[0] == "# @package _global_" and lines[2:3] == [words]


def _is_export(path: Path) -> bool:
    """An exported network whose sum the JSON file beside it has, or that file."""
    is_json = path.suffix == ".json"
    network = path.with_suffix("") if is_json else path
    facts = read_json(network.with_name(f"{network.name}.json"))
    if not {"file", "format", "sha256", "check", "metadata"} <= facts.keys() or facts["file"] != network.name:
        return False
    return is_json or facts["sha256"] == file_sha256(network)


def _is_explanation(path: Path) -> bool:
    """The table of the pictures of an earlier call, and the pictures that it names."""
    columns, rows = read_csv(path.with_name("explanations.csv"))
    if columns[:3] != ["image_id", "y_true", "y_pred"] or columns[-4:] != ["checkpoint", "epoch", "split", "file"]:
        return False
    pictures = {row[-1] for row in rows} | {"grid.png", "grid.pdf"}
    is_picture = path.name in pictures and path.suffix in _SIGNATURES and _begins(path, _SIGNATURES[path.suffix])
    return is_picture or path.name == "explanations.csv"


def _is_prediction(path: Path) -> bool:
    """A table of predictions of images or of exams, or of the files that have none, as it was written."""
    if path.suffix == ".jsonl":
        lines = [json.loads(line) for line in read_text(path, MAX_TABLE_BYTES).splitlines()]
        return bool(lines) and all(map(_is_record, lines))
    columns, rows = read_csv(path)
    stem = path.stem.removesuffix("_quarantine")
    if columns == ["image_id", "reason"]:
        tables = [path.with_name(f"{stem}{suffix}") for suffix in (".csv", ".jsonl")]
        return stem != path.stem and any(is_of_earlier_version("predict", table) for table in tables)
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
    probabilities = {name.removeprefix("p_"): float(row[name]) for name in row if name.startswith("p_")}
    is_whole = abs(sum(probabilities.values()) - 1) < 1e-6
    return is_whole and max(probabilities, key=lambda name: probabilities[name]) == row["y_pred"]

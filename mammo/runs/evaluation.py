"""What an evaluation leaves on disk, in a run directory or in a folder of its own, and on the terminal.

Of a comparison with another network see `mammo.runs.comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mammo.evaluation.calibration import TEMPERATURE_BOUNDS
from mammo.evaluation.evaluation import Evaluation
from mammo.evaluation.exams import exam_predictions
from mammo.evaluation.figures import (
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    subgroup_figure,
)
from mammo.evaluation.intervals import interval_note
from mammo.evaluation.metrics import Metrics
from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.scores import BY_NAME, names_in, shown_in
from mammo.evaluation.subgroups import FEW_PATIENTS
from mammo.runs.figures import confusion_matrix_figure
from mammo.runs.layout import CALIBRATION_FILE, EVALUATIONS
from mammo.runs.stored import Calibration, read_stored
from mammo.support.figures import figure_bytes
from mammo.support.outputs import Outputs
from mammo.support.plain_text import wrapped
from mammo.support.table import Cell, Column, Table, columns, estimate, row, terminal_lines

FOLDER = EVALUATIONS
FILE = "evaluation.json"
SCHEMA_VERSION = 1
FIGURES = ("confusion_matrix", "reliability", "roc", "precision_recall", "subgroups", "comparison")
OWN_FILES = (
    FILE, "comparison.json", "paired_comparison.json", "predictions.csv", "exam_predictions.csv",
    *(f"{name}.png" for name in FIGURES),
)  # fmt: skip


def write_evaluation(
    outputs: Outputs, predictions: PredictionTable, evaluation: Evaluation, provenance: Mapping[str, Any], group_by: str
) -> None:
    """`evaluation.json`, the predictions of images and exams, and the figures; what an earlier one has left goes.

    `group_by` is what was resampled: patient, exam or image.
    """
    outputs.require_free(OWN_FILES)
    for name in OWN_FILES:
        outputs.remove(name)
    outputs.write_csv("predictions.csv", *predictions.cells())
    if evaluation.exam_metrics is not None:
        exams = exam_predictions(predictions).predictions
        outputs.write_csv("exam_predictions.csv", *exams.cells())
    names, matrix = list(predictions.class_names), [list(row) for row in evaluation.metrics.confusion_matrix]
    figures = {
        "confusion_matrix": confusion_matrix_figure(matrix, names, f"{evaluation.metrics.num_images} images"),
        "reliability": reliability_figure(evaluation.calibration),
    }
    if evaluation.roc:
        figures["roc"] = roc_figure(evaluation.roc, names)
    if evaluation.precision_recall:
        figures["precision_recall"] = precision_recall_figure(evaluation.precision_recall, names)
    if evaluation.subgroups:
        figures["subgroups"] = subgroup_figure(evaluation.subgroups, evaluation.metrics)
    for name, figure in figures.items():
        outputs.write_bytes(f"{name}.png", figure_bytes(figure, f"{name}.png"))
    # Last: where it is, the others are.
    content = {"schema_version": SCHEMA_VERSION, **provenance, **evaluation.to_dict()}
    content["bootstrap"]["unit"] = group_by
    outputs.write_json(FILE, content)


def read_temperature(run_folder: Path) -> float | None:
    """The temperature that a run has stored; None where there is none, or one outside of what a fit can give."""
    low, high = TEMPERATURE_BOUNDS
    try:
        stored = read_stored(run_folder / CALIBRATION_FILE, Calibration, ("temperature",))
    except (OSError, ValueError):
        return None
    temperature = float(stored["temperature"])
    return temperature if low <= temperature <= high else None


def evaluation_lines(evaluation: Evaluation, group_by: str) -> list[str]:
    """The findings for a terminal of 80 columns; `group_by` is what was resampled: patient, exam or image."""
    metrics, exams = evaluation.metrics, evaluation.exam_metrics
    scored = {f"{metrics.num_images} images": metrics}
    if exams is not None:
        scored[f"{exams.num_images} exams"] = exams
    rows = tuple(row(one.short, *(_score(of, one.name) for of in scored.values())) for one in shown_in("headline"))
    lines = ["", *terminal_lines(Table("", columns("", numbers=list(scored)), rows), indent=2)]
    lines.append(f"  [95% interval over {metrics.num_patients} {group_by}s, {evaluation.draws} resamplings]")
    if _needs_note(evaluation):
        lines += wrapped(f"  {interval_note(group_by)}")
    if evaluation.num_exams_disagreeing:
        lines.append(f"  {evaluation.num_exams_disagreeing} exams whose images have different classes are left out")
    return [
        *lines, *_class_lines(evaluation, group_by), *_subgroup_lines(evaluation, group_by),
        *_calibration_lines(evaluation),
    ]  # fmt: skip


def _needs_note(evaluation: Evaluation) -> bool:
    """Whether an interval is missing, or one that resampling cannot give is shown."""
    shown = [(evaluation.metrics.ci95 or {}).get(key) for key in names_in("headline")]
    exact = [each for each in evaluation.classes if {0.0, 1.0} & {each.scores["recall"], each.scores["precision"]}]
    return None in shown or bool(exact)


def _score(metrics: Metrics, name: str) -> Cell:
    return estimate(metrics.scores[name], (metrics.ci95 or {}).get(name))


def _class_lines(evaluation: Evaluation, group_by: str) -> list[str]:
    shown = ("recall", "precision", "auc")
    rows = tuple(
        row(each.class_name, f"{each.num_images}{'*' if each.is_small else ''}",
            *(estimate(each.scores[key], each.ci95.get(key)) for key in shown))
        for each in evaluation.classes
    )  # fmt: skip
    lines = terminal_lines(Table("", columns("class", numbers=("n", "recall", "precision", "AUC")), rows))
    is_any_small = any(each.is_small for each in evaluation.classes)
    return ["", *lines, *([f"* of fewer than {FEW_PATIENTS} {group_by}s"] if is_any_small else [])]


def _subgroup_lines(evaluation: Evaluation, group_by: str) -> list[str]:
    few = Cell(f"(fewer than {FEW_PATIENTS} {group_by}s)")
    rows = tuple(
        row(f"{each.attribute.replace('_', ' ')} {each.value}", str(each.num_patients), str(each.num_images),
            few if each.is_small else _score(each.metrics, "bal_acc_adj"))
        for each in evaluation.subgroups
    )  # fmt: skip
    heads = (*columns("group", numbers=(f"{group_by}s", "images")), Column(BY_NAME["bal_acc_adj"].sentence))
    return ["", *terminal_lines(Table("", heads, rows))] if rows else []


def _calibration_lines(evaluation: Evaluation) -> list[str]:
    calibration = evaluation.calibration
    lines = ["", f"calibration: ECE {calibration.before.top.ece:.3f}, cross-entropy {calibration.loss_before:.3f}"]
    if calibration.after is not None and calibration.loss_after is not None:
        lines.append(
            f"  with temperature {calibration.temperature:.3f}: ECE {calibration.after.top.ece:.3f}, cross-entropy "
            f"{calibration.loss_after:.3f}"
        )
    return lines

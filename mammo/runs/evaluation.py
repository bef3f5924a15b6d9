"""What an evaluation leaves on disk, in a run directory or in a folder of its own, and on the terminal.

Of a comparison with another network see `mammo.runs.comparison`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from mammo.evaluation.scores import names_in, shown_in
from mammo.evaluation.subgroups import FEW_PATIENTS
from mammo.runs.figures import confusion_matrix_figure
from mammo.runs.layout import CALIBRATION_FILE
from mammo.runs.stored import Calibration, read_stored
from mammo.support.figures import figure_bytes
from mammo.support.outputs import Outputs
from mammo.support.plain_text import wrapped

FOLDER = "evaluation"
FILE = "evaluation.json"
SCHEMA_VERSION = 1
FIGURES = ("confusion_matrix", "reliability", "roc", "precision_recall", "subgroups", "comparison")
OWN_FILES = (
    FILE, "comparison.json", "predictions.csv", "exam_predictions.csv", *(f"{name}.png" for name in FIGURES),
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
    """The temperature in a run directory; None where there is none that a fit can have given."""
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
    columns = [("images", metrics)] + ([("exams", exams)] if exams is not None else [])
    heading = "".join(f"{f'{m.num_images} {what}':<25}" for what, m in columns)
    lines = ["", f"{'':<30}{heading}".rstrip()]
    for score in shown_in("headline"):
        values = "".join(f"{_with_interval(m, score.name):<25}" for _, m in columns)
        lines.append(f"  {score.short:<28}{values}".rstrip())
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
    exact = [value for each in evaluation.classes for value in (each.recall, each.precision) if value in (0.0, 1.0)]
    return None in shown or bool(exact)


def _value(value: float | None, interval: Sequence[float] | None) -> str:
    return "-" if value is None else f"{value:.3f}{limits_or_dash(interval)}"


def limits_or_dash(interval: Sequence[float] | None, sign: str = "") -> str:
    """What stands behind a number on the terminal: its interval, or a dash."""
    return f" [{interval[0]:{sign}.3f}, {interval[1]:{sign}.3f}]" if interval else " -"


def _with_interval(metrics: Metrics, key: str) -> str:
    return _value(getattr(metrics, key), (metrics.ci95 or {}).get(key))


def _class_lines(evaluation: Evaluation, group_by: str) -> list[str]:
    width = max(5, *(len(each.class_name) for each in evaluation.classes))
    lines = ["", f"{'class':<{width}}  {'n':>5}  {'recall':<22}{'precision':<22}AUC"]
    for each in evaluation.classes:
        cells = (_value(getattr(each, key), each.ci95.get(key)) for key in ("recall", "precision", "auc"))
        recall, precision, auc = cells
        few = "*" if each.is_small else " "
        lines.append(f"{each.class_name:<{width}}  {each.num_images:>5}{few} {recall:<22}{precision:<22}{auc}")
    if any(each.is_small for each in evaluation.classes):
        lines.append(f"* of fewer than {FEW_PATIENTS} {group_by}s")
    return lines


def _subgroup_lines(evaluation: Evaluation, group_by: str) -> list[str]:
    if not evaluation.subgroups:
        return []
    lines = ["", f"{'group':<26}{group_by + 's':>9}{'images':>8}  balanced accuracy, chance-adjusted"]
    for each in evaluation.subgroups:
        name = f"{each.attribute.replace('_', ' ')} {each.value}"
        value = (
            f"(fewer than {FEW_PATIENTS} {group_by}s)" if each.is_small else _with_interval(each.metrics, "bal_acc_adj")
        )
        lines.append(f"{name[:25]:<26}{each.num_patients:>9}{each.num_images:>8}  {value}")
    return lines


def _calibration_lines(evaluation: Evaluation) -> list[str]:
    calibration = evaluation.calibration
    lines = ["", f"calibration: ECE {calibration.before.top.ece:.3f}, cross-entropy {calibration.loss_before:.3f}"]
    if calibration.after is not None and calibration.loss_after is not None:
        lines.append(
            f"  with temperature {calibration.temperature:.3f}: ECE {calibration.after.top.ece:.3f}, cross-entropy "
            f"{calibration.loss_after:.3f}"
        )
    return lines

"""Sets of predictions evaluated beyond their metrics: calibration, curves, subgroups, exams."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Sequence

import pandas as pd
from matplotlib.figure import Figure

from mammo.evaluation.evaluation import Evaluation, evaluate
from mammo.evaluation.figures import (
    ATTRIBUTE_TITLES,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    subgroup_figure,
)
from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.scores import CLASS_SCORES, names_in, shown_in
from mammo.reporting.document import Block, Drawing, Panel, Section, Text
from mammo.reporting.report_data import ReportData, best_position
from mammo.reporting.summary_text import NOT_COMPARABLE, plural, plural_of, unit_of
from mammo.runs.evaluation import read_temperature
from mammo.support.errors import TrainingError
from mammo.support.progress import track
from mammo.support.table import (
    Cell,
    Table,
    Tone,
    columns,
    estimate,
    limits,
    row,
    three_decimals,
)
from mammo.sweeps.tables import metric_cell

# Of more sets the figures say no more than the tables of all runs do.
MAX_SETS = 6
OTHERS = "Of the others: python -m mammo.evaluate run=DIR"
FEW = "Grey: fewer than 10 {}."


@dataclasses.dataclass(frozen=True)
class EvaluatedSet:
    """Predictions of a run, or of all folds of a seed, evaluated.

    `key` is the end of the names of its figures; `unit` is what was kept together in the split, and is resampled.
    """

    label: str
    key: str
    unit: str
    evaluation: Evaluation


@dataclasses.dataclass(frozen=True)
class Evaluations:
    """The evaluated sets of the best configuration, and what has to be said about those that are not there."""

    sets: list[EvaluatedSet]
    remarks: list[str]


def evaluate_best(data: ReportData) -> Evaluations:
    """Evaluate the finished runs of the best configuration; where folds were swept, all folds of a seed as one set."""
    best = best_position(data)
    if best is None:
        remark = f"The configurations were {NOT_COMPARABLE}, so none is evaluated as the best. Of each: mammo.evaluate"
        return Evaluations([], [] if data.is_comparable else [remark])
    remarks = []
    if len(data.findings) > 1:
        remarks.append(f"Of {data.name_of(best)}, the best. {OTHERS}")
    found, sets, unit = _sets(data, best), [], unit_of(data.of(best)[0])
    if len(found) > MAX_SETS:
        remarks.append(f"The first {MAX_SETS} of {len(found)}. {OTHERS}")
    for label, key, predictions, temperature in track(found[:MAX_SETS], "Evaluating", len(found[:MAX_SETS])):
        try:
            sets.append(EvaluatedSet(label, key, unit, evaluate(predictions, temperature)))
        except (ValueError, TrainingError) as error:
            remarks.append(f"The predictions of {label} cannot be evaluated: {error}.")
    return Evaluations(sets, remarks)


def _sets(data: ReportData, best: int) -> list[tuple[str, str, PredictionTable, float | None]]:
    """Label, key, predictions and, of a run, temperature of each set."""
    runs = [run for run in data.of(best) if run.predictions is not None]
    pooled = data.findings[best].pooled
    config = f"_{data.key_of(best)}" if len(data.findings) > 1 else ""
    if pooled is not None and pooled.by_seed:
        found: list[tuple[str, str, PredictionTable, float | None]] = []
        for seed, names in pooled.runs.items():
            tables = [run.predictions for run in runs if run.result.name in names and run.predictions is not None]
            joined = pd.concat([one.table for one in tables], ignore_index=True)
            whole = dataclasses.replace(tables[0], table=joined)
            key = "_".join(re.findall("[0-9]+", seed))
            found.append((f"all folds, seed {seed}", f"seed{key}{config}", whole, None))
        return found
    return [
        (run.label, run.key, run.predictions, read_temperature(run.result.folder))
        for run in runs
        if run.predictions is not None
    ]


def figures_of_sets(sets: Sequence[EvaluatedSet]) -> dict[str, Callable[[], Figure]]:
    """Name and builder of the figures of evaluated sets."""
    return {f"{name}_{one.key}": build for one in sets for name, (_, build) in _drawings(one.evaluation).items()}


def _drawings(evaluation: Evaluation) -> dict[str, tuple[str, Callable[[], Figure]]]:
    """What each figure shows, and what builds it; those without anything to draw are left out."""
    names = evaluation.metrics.class_names
    found: dict[str, tuple[str, Callable[[], Figure]]] = {
        "density_reliability": (
            f"Reliability: fraction correct over the probability of the predicted class, calibration error "
            f"{evaluation.calibration.before.top.ece:.3f}",
            lambda: reliability_figure(evaluation.calibration),
        )
    }
    if evaluation.roc:
        areas = ", ".join(f"{curve.class_name} {curve.area:.2f}" for curve in evaluation.roc)
        found["density_roc"] = (f"ROC curve of each class against the rest; areas: {areas}",
                                lambda: roc_figure(evaluation.roc, names))  # fmt: skip
    if evaluation.precision_recall:
        areas = ", ".join(f"{curve.class_name} {curve.area:.2f}" for curve in evaluation.precision_recall)
        found["density_precision_recall"] = (
            f"Precision over recall of each class; average precision: {areas}",
            lambda: precision_recall_figure(evaluation.precision_recall, names),
        )
    if evaluation.subgroups:
        found["density_subgroups"] = (
            "Chance-adjusted balanced accuracy of each subgroup with its interval; the table has the numbers",
            lambda: subgroup_figure(evaluation.subgroups, evaluation.metrics),
        )
    return found


def curves_section(evaluations: Evaluations) -> Section | None:
    """Calibration, ROC and precision-recall of each set."""
    if not evaluations.sets and not evaluations.remarks:
        return None
    blocks: list[Block] = [Text(remark, tone="muted") for remark in evaluations.remarks]
    if evaluations.sets:
        blocks.append(_calibration(evaluations.sets))
    for one in evaluations.sets:
        drawings = _drawings(one.evaluation)
        drawings.pop("density_subgroups", None)
        panels = tuple(Panel(f"{words} ({one.label})", build()) for words, build in drawings.values())
        caption = f"{one.label[0].upper() + one.label[1:]}: {_explanation(one)}"
        blocks.append(Drawing(panels, caption, tuple(f"{name}_{one.key}" for name in drawings)))
    return Section("curves", "Calibration and curves", tuple(blocks))


def _explanation(one: EvaluatedSet) -> str:
    metrics, of_whom = one.evaluation.metrics, ""
    if one.unit != "images":
        of_whom = f" of {plural_of(metrics.num_patients, one.unit)}"
    n = f"{plural(metrics.num_images, 'image')}{of_whom}"
    return (
        f"calibration, ROC and precision-recall on {n}. On the dashed lines probabilities mean what they say, and a "
        f"classifier guesses; the marks at the right are the precision of guessing. Intervals from "
        f"{one.evaluation.draws:,} draws of {one.unit}."
    )


def _calibration(sets: Sequence[EvaluatedSet]) -> Table:
    heads = ["ECE", "95% interval", "class-wise ECE", "loss (nats)"]
    with_temperature = any(one.evaluation.calibration.after is not None for one in sets)
    rows = []
    for one in sets:
        found = one.evaluation.calibration
        cells = [three_decimals(found.before.top.ece), limits((one.evaluation.metrics.ci95 or {}).get("ece")),
                 three_decimals(found.before.classwise_ece), three_decimals(found.loss_before)]  # fmt: skip
        if with_temperature:
            after = found.after.top.ece if found.after is not None else None
            cells += [three_decimals(found.temperature), three_decimals(after), three_decimals(found.loss_after)]
        rows.append(row(one.label, *cells))
    note = (
        "ECE: expected calibration error of the predicted class, 15 equal-width bins. The interval comes from "
        f"resampled {sets[0].unit}; an ECE grows with resampling, so it may lie above the value."
    )
    if with_temperature:
        heads += ["temperature", "ECE with it", "loss with it"]
        note += " The temperature was fitted to these images: what comes after it is a little too good."
    return Table("Calibration", columns("predictions", numbers=heads), tuple(rows), note=note)


def groups_section(evaluations: Evaluations) -> Section | None:
    """Scores of exams, classes and subgroups."""
    blocks = [*_exams(evaluations.sets), *_classes(evaluations.sets), *_subgroups(evaluations.sets)]
    return Section("groups", "Exams, classes and subgroups", tuple(blocks)) if blocks else None


def _exams(sets: Sequence[EvaluatedSet]) -> Iterator[Block]:
    """Scores of the exams beside those of the images."""
    pairs = [(one, exams) for one in sets if (exams := one.evaluation.exam_metrics) is not None]
    if not pairs:
        return
    heads, notes = [], ["Of an exam the probabilities of its images are averaged."]
    for one, exams in pairs:
        prefix = f"{one.label}: " if len(sets) > 1 else ""
        heads += [f"{prefix}{one.evaluation.metrics.num_images} images", f"{exams.num_images} exams"]
        if left_out := one.evaluation.num_exams_disagreeing:
            notes.append(f"{prefix}{plural(left_out, 'exam')} with images of different classes left out.")
    rows = []
    for name in names_in("exams"):
        found = [metrics for one, exams in pairs for metrics in (one.evaluation.metrics, exams)]
        scores = (estimate(metrics.scores[name], (metrics.ci95 or {}).get(name)) for metrics in found)
        rows.append((metric_cell(name), *scores))
    yield Table("Exams beside single images", columns("metric", numbers=heads), tuple(rows), note=" ".join(notes))


def _classes(sets: Sequence[EvaluatedSet]) -> Iterator[Block]:
    """A row for each class of each set, those of a class together."""
    rows = []
    for of_sets in zip(*(one.evaluation.classes for one in sets), strict=True):
        for one, found in zip(sets, of_sets, strict=True):
            tone: Tone = "muted" if found.is_small else ""
            scores = (estimate(value, found.ci95.get(name), tone) for name, value in found.scores.items())
            rows.append(_group_row(found.class_name, one, (found.num_images, found.num_patients), scores, tone))
    if rows:
        titles = (score.title for score in CLASS_SCORES if score.is_drawn)
        is_any_small = any(found.is_small for one in sets for found in one.evaluation.classes)
        heads = columns("class", "predictions", numbers=(*_counted(sets[0].unit), *titles))
        yield Table("Each class against the rest", heads, tuple(rows),
                    note=FEW.format(sets[0].unit) if is_any_small else "")  # fmt: skip


def _subgroups(sets: Sequence[EvaluatedSet]) -> Iterator[Block]:
    """A row for each subgroup of each set, and the figure of each set."""
    names = dict.fromkeys((group.attribute, group.value) for one in sets for group in one.evaluation.subgroups)
    if not names:
        return
    rows = []
    for name in names:
        for one in sets:
            for group in one.evaluation.subgroups:
                if (group.attribute, group.value) != name:
                    continue
                tone: Tone = "muted" if group.is_small else ""
                intervals = group.metrics.ci95 or {}
                scores = (
                    estimate(group.metrics.scores[key], intervals.get(key), tone) for key in names_in("subgroups")
                )
                title = f"{ATTRIBUTE_TITLES.get(group.attribute, group.attribute)}: {group.value}"
                rows.append(_group_row(title, one, (group.num_images, group.num_patients), scores, tone))
    is_any_small = any(group.is_small for one in sets for group in one.evaluation.subgroups)
    titles = (score.title for score in shown_in("subgroups"))
    heads = columns("subgroup", "predictions", numbers=(*_counted(sets[0].unit), *titles))
    yield Table("Subgroups", heads, tuple(rows),
                note=FEW.format(sets[0].unit) if is_any_small else "")  # fmt: skip
    panels, drawn = [], [one for one in sets if one.evaluation.subgroups]
    for one in drawn:
        words, build = _drawings(one.evaluation)["density_subgroups"]
        panels.append(Panel(f"{words} ({one.label})", build()))
    labels = ", ".join(one.label for one in drawn)
    files = tuple(f"density_subgroups_{one.key}" for one in drawn)
    yield Drawing(tuple(panels), f"Subgroups: {labels}. The band is the interval of all images.", files)


def _group_row(
    name: str, one: EvaluatedSet, counts: Sequence[int], scores: Iterable[Cell], tone: Tone
) -> tuple[Cell, ...]:
    shown = counts[: len(_counted(one.unit))]
    return (Cell(name, tone), Cell(one.label, tone), *(Cell(str(n), tone) for n in shown), *scores)


def _counted(unit: str) -> Sequence[str]:
    """The heads of the numbers of images and of what was kept together, which may be the same."""
    return tuple(dict.fromkeys(("images", unit)))

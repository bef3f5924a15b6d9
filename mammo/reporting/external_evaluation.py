"""Finished runs on other images than those that chose their epochs, and beside other runs: what mammo.evaluate left."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mammo.evaluation.scores import names_in, shown_in
from mammo.reporting.document import Block, Section, Text
from mammo.reporting.report_data import ReportData, ReportedRun
from mammo.reporting.summary_text import plural
from mammo.runs.comparison import as_written_now
from mammo.runs.json_access import count, interval, look, number, text, texts
from mammo.support.table import (
    Cell,
    Table,
    columns,
    estimate,
    row,
    three_decimals,
)
from mammo.sweeps.tables import metric_cell

HOW = (
    "Nothing was evaluated on other images so far: python -m mammo.evaluate DIR split=test, or DIR data=NAME "
    "data.root=DIR for another dataset."
)


def external_section(data: ReportData) -> Section | None:
    """Scores on test images and on other datasets, and differences from other runs; None without a finished run."""
    if not data.completed:
        return None
    found = [(run, one) for run in data.completed for one in run.evaluations if _is_external(one)]
    new = [pair for pair in found if not _num_trained_on(pair[1])]
    learnt = [pair for pair in found if _num_trained_on(pair[1])]
    blocks: list[Block] = [_scores("Scores beyond the validation set", new)] if new else [Text(HOW, tone="muted")]
    blocks += [_scores("Scores that include images learnt from", learnt)] if learnt else []
    compared = [(run, comparison) for run in data.completed for comparison in run.comparisons]
    blocks += [_differences(run, comparison) for run, comparison in compared]
    return Section("elsewhere", "On other images", tuple(blocks))


def _is_external(evaluation: Mapping[str, Any]) -> bool:
    return look(evaluation, "data", "split") != "val" or look(evaluation, "data", "is_own") is not True


def _num_trained_on(evaluation: Mapping[str, Any]) -> float:
    return number(evaluation, "data", "num_trained_on") or 0


def _scores(caption: str, found: Sequence[tuple[ReportedRun, Mapping[str, Any]]]) -> Table:
    rows = []
    for run, evaluation in found:
        trained_on = _num_trained_on(evaluation)
        for kind, metrics in _kinds(evaluation):
            cells = [estimate(number(metrics, name), interval(metrics, "ci95", name)) for name in names_in("elsewhere")]
            where = _where(evaluation) + (f", {kind}" if kind else "")
            note = f"trained on {trained_on:.0f} of these images" if trained_on else ""
            rows.append((
                Cell(where, "bad" if trained_on else "", below=note), Cell(run.label),
                Cell(count(metrics, "num_images")), Cell(count(metrics, "num_patients")), *cells,
            ))  # fmt: skip
    heads = columns("images of", "run", numbers=("n", "patients", *(score.title for score in shown_in("elsewhere"))))
    note = "Scores with 95% intervals over patients."
    if any(_num_trained_on(evaluation) for _, evaluation in found):
        note += " A run has learnt from some of the images: the scores are too good and say nothing of new patients."
    return Table(caption, heads, tuple(rows), note=note)


def _kinds(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Metrics of images, and of exams where they are something else."""
    metrics, exams = look(evaluation, "metrics"), look(evaluation, "exams", "metrics")
    if isinstance(metrics, Mapping):
        yield "", metrics
    if isinstance(exams, Mapping):
        yield "by exam", exams


def _where(evaluation: Mapping[str, Any]) -> str:
    name, split = text(evaluation, "data", "name"), text(evaluation, "data", "split")
    return f"{name}, {split}" if look(evaluation, "data", "is_own") is True else name


def _differences(run: ReportedRun, comparison: Mapping[str, Any]) -> Table:
    known = as_written_now(comparison)
    other, this = (*texts(known, "names"), "the other", "this")[:2]
    rows = []
    for name in names_in("elsewhere"):
        of_score = ("differences", name)
        values = [three_decimals(number(known, *of_score, "values", side)) for side in (other, this)]
        difference = estimate(number(known, *of_score, "difference"), interval(known, *of_score, "ci95"))
        rows.append(row(metric_cell(name), *values, difference))
    alone = [count(known, "mcnemar", "only_right", side) for side in (other, this)]
    better = [count(known, "patients", "better", side) for side in (other, this)]
    images = plural(int(number(known, "num_images") or 0), "image")
    return Table(
        f"{run.label[0].upper() + run.label[1:]} ({this}) compared with {text(known, 'runs', other)}",
        columns("score", numbers=(other, this, f"{this} minus {other}")),
        tuple(rows),
        note=f"On {images} in both; intervals draw the same patients for both, -: none, as every resampling gives the "
        f"same. McNemar's test ({text(known, 'mcnemar', 'method')}): "
        f"p = {three_decimals(number(known, 'mcnemar', 'p_value'))}, right alone: {other} in {alone[0]}, {this} in "
        f"{alone[1]}. Sign test over patients: p = {three_decimals(number(known, 'patients', 'p_value'))}, more images "
        f"right: {other} in {better[0]}, {this} in {better[1]}, equal in {count(known, 'patients', 'equal')}.",
    )

"""A report put together from what is on disk."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from mammo.reporting.cases import cases_section
from mammo.reporting.classes import classes_section
from mammo.reporting.document import Code, Details, Drawing, Panel, Report, Section, Text
from mammo.reporting.evaluations import Evaluations, curves_section, groups_section
from mammo.reporting.external_evaluation import external_section
from mammo.reporting.figures import PANELS, Curve, training_figure
from mammo.reporting.metric_tables import comparisons_section, metrics_section, runs_section
from mammo.reporting.provenance import (
    configuration_section,
    data_section,
    duration,
    provenance_section,
    quarantine_section,
)
from mammo.reporting.report_data import ReportData, ReportedRun, best_position
from mammo.reporting.summary_text import DISCLAIMER, finding, plural, tiles, title
from mammo.reporting.warnings import warnings
from mammo.runs.json_access import number

TRAINING_FILE = "density_train"
# More lines than these cannot be told apart.
MAX_GROUPS = 6


def assemble(data: ReportData, evaluations: Evaluations, files: Sequence[str]) -> Report:
    """The whole report; `files` are the names of the figures that are written beside it."""
    sections = [
        comparisons_section(data),
        metrics_section(data),
        runs_section(data),
        _training_section(data),
        classes_section(data),
        curves_section(evaluations),
        groups_section(evaluations),
        external_section(data),
        cases_section(data),
        data_section(data),
        configuration_section(data),
        quarantine_section(data),
        provenance_section(data),
        _files_section(files),
    ]
    return Report(
        title=title(data),
        subtitle=_subtitle(data),
        finding=finding(data),
        warnings=warnings(data),
        tiles=tiles(data),
        sections=tuple(section for section in sections if section is not None),
        disclaimer=DISCLAIMER,
    )


def _subtitle(data: ReportData) -> str:
    completed = len(data.completed)
    state = f"{plural(len(data.runs), 'run')}, {completed} finished"
    seconds = [value for run in data.runs if (value := number(run.summary, "seconds")) is not None]
    return f"{state}, {duration(sum(seconds))} of training" if seconds else state


def curve(run: ReportedRun, group: str) -> Curve:
    """The history of a run for a figure."""
    best = number(run.summary, "best_epoch")
    return Curve(group, run.history, None if best is None else int(best))


def group_of(data: ReportData, run: ReportedRun) -> str:
    """What the runs of a configuration are called in a figure."""
    if run.configuration is None:
        return "configuration not known"
    if len(data.findings) == 1:
        return "all runs"
    return data.name_of(run.configuration)


def training_curves(data: ReportData) -> list[Curve]:
    """The curves of all runs that have an epoch; of many configurations all but the best are in the background."""
    curves = [(run, curve(run, group_of(data, run))) for run in data.runs if run.history]
    if len({one.group for _, one in curves}) <= MAX_GROUPS:
        return [one for _, one in curves]
    best = best_position(data)
    return [
        one if run.configuration == best else dataclasses.replace(one, group="the others", is_background=True)
        for run, one in curves
    ]


def _training_section(data: ReportData) -> Section:
    curves = training_curves(data)
    if not curves:
        return Section("training", "Training", (Text("No run has finished an epoch.", tone="bad"),))
    runs = "the run" if len(curves) == 1 else f"all {len(curves)} runs that have an epoch"
    panels = tuple(Panel(f"{one.title} over the epochs of {runs}", training_figure(curves, [one])) for one in PANELS)
    caption = f"Training curves of {runs}. Rings mark the epochs that everything else here is of."
    return Section("training", "Training", (Drawing(panels, caption, (TRAINING_FILE,)),))


def _files_section(files: Sequence[str]) -> Section:
    words = "Beside this page: report.md (the same as text), report_table.tex (the metrics for a paper) and figures."
    names = Code("\n".join(dict.fromkeys(f"{Path(name).stem}.png, .pdf" for name in files)))
    return Section("files", "Files", (Text(words), Details(f"Names of {plural(len(files) // 2, 'figure')}", (names,))))

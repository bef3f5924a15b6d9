"""A report written to disk: `report.html`, `report.md`, `report_table.tex` and the figures."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from mammo.reporting.assembly import TRAINING_FILE, assemble, curve, group_of, training_curves
from mammo.reporting.cases import gradcam_file, gradcam_pictures
from mammo.reporting.classes import class_names, has_confusion_matrix
from mammo.reporting.evaluations import EvaluatedSet, evaluate_best, figures_of_sets
from mammo.reporting.figures import PANELS, gradcam_figure, training_figure
from mammo.reporting.html import html
from mammo.reporting.latex import latex
from mammo.reporting.markdown import markdown
from mammo.reporting.metric_tables import COMPARISON_FILE, DIFFERENCES
from mammo.reporting.report_data import ReportData, best_position, read_report_data
from mammo.runs.figures import confusion_matrix_figure
from mammo.runs.json_access import look
from mammo.support.figures import figure_bytes
from mammo.support.files import read_json
from mammo.support.outputs import Outputs
from mammo.support.progress import track
from mammo.sweeps.difference_figure import difference_figure
from mammo.sweeps.figures import comparison_figure
from mammo.sweeps.findings import metrics_of_figure

SCHEMA_VERSION = 1
MAX_RUNS_WITH_FIGURES = 20
PAGES = ("report.html", "report.md", "report_table.tex")
LIST_FILE = "report.json"
# The names of figures that a report may have written, and so may remove.
_FIGURE_NAME = re.compile(r"density_[a-z0-9_]+\.(png|pdf)")


def outputs_for(folders: Sequence[Path], output: Path, *, overwrite: bool = False) -> Outputs:
    """Where a report of some folders goes; raises OutputError where its pages may not be written."""
    inside = output.parent if output.parent in folders else None
    outputs = Outputs(output, "report", overwrite=overwrite, inside=inside)
    outputs.require_free([*PAGES, LIST_FILE])
    return outputs


def write_report(
    folders: Sequence[Path], output: Path, *, overwrite: bool = False, reference: str | None = None
) -> list[str]:
    """Make the report of some runs or sweeps; returns the names of the files.

    `reference` is the configuration that others are compared with, where it is not that of the sweep.

    Figures of an earlier report in the same folder that this one does not have are removed. Raises OSError, and
    OutputError where a figure may not be written.
    """
    outputs = outputs_for(folders, output, overwrite=overwrite)
    data = read_report_data(folders, reference)
    evaluations = evaluate_best(data)
    figures = figures_of(data, evaluations.sets)
    names = [f"{stem}{suffix}" for stem in figures for suffix in (".png", ".pdf")]
    outputs.require_free(names)
    earlier = _listed_figures(output)
    for stem, build in track(figures.items(), "Drawing figures", len(figures)):
        figure = build()
        for name in (f"{stem}.png", f"{stem}.pdf"):
            outputs.write_bytes(name, figure_bytes(figure, name))
    report = assemble(data, evaluations, names)
    outputs.write_text("report.md", markdown(report))
    outputs.write_text("report_table.tex", latex(data))
    outputs.write_text("report.html", html(report))
    runs = [run.result.name for run in data.runs]
    outputs.write_json(LIST_FILE, {"schema_version": SCHEMA_VERSION, "runs": runs, "figures": names})
    for name in earlier - set(names):
        outputs.remove(name)
    return [*PAGES, *names]


def _listed_figures(output: Path) -> set[str]:
    """The figures that an earlier report in this folder says that it has written."""
    try:
        names = read_json(output / LIST_FILE).get("figures")
    except (OSError, ValueError):
        return set()
    texts = [name for name in names if isinstance(name, str)] if isinstance(names, list) else []
    return {name for name in texts if _FIGURE_NAME.fullmatch(name)}


def figures_of(data: ReportData, sets: Sequence[EvaluatedSet]) -> dict[str, Callable[[], Figure]]:
    """Name without suffix of each figure beside the report, and what builds it.

    `density_train_seed42`, `density_confusion_seed42` and `density_gradcam_seed42` (where heat maps have been made)
    are of the run with that seed. Where several have it, the names go on with the configuration and the fold:
    `density_train_seed42_lr_1e_3_fold0`. `density_train` has the curves of all runs,
    `density_comparison` their scores, `density_differences` how far configurations are apart. Of a search, and of more
    than 20 runs, only those of the best configuration have figures of their own.
    """
    figures: dict[str, Callable[[], Figure]] = {}
    if curves := training_curves(data):
        figures[TRAINING_FILE] = functools.partial(training_figure, curves, PANELS)
    compared = [finding for finding in data.findings if finding.configuration.completed]
    if compared and len(data.completed) > 1 and not data.results.is_search:
        figures[COMPARISON_FILE] = functools.partial(comparison_figure, compared, metrics_of_figure(data.results))
    if data.comparisons and data.comparisons[0].pairs:
        names = metrics_of_figure(data.results)
        figures[DIFFERENCES] = functools.partial(difference_figure, data.comparisons[0], names)
    # Of very many runs nobody looks at each; it has its figures in its own folder.
    best, has_many = best_position(data), data.results.is_search or len(data.runs) > MAX_RUNS_WITH_FIGURES
    for run in data.of(best) if has_many and best is not None else data.runs:
        name = "" if len(data.runs) == 1 else run.label
        if run.history:
            one = curve(run, group_of(data, run))
            figures[f"density_train_{run.key}"] = functools.partial(training_figure, [one], title=name)
        if has_confusion_matrix(run):
            matrix = look(run.metrics, "confusion_matrix")
            figures[f"density_confusion_{run.key}"] = functools.partial(
                confusion_matrix_figure, matrix, class_names(run), name
            )
        if pictures := gradcam_pictures(run):
            figures[gradcam_file(run)] = functools.partial(gradcam_figure, pictures, title=name)
    return figures | figures_of_sets(sets)

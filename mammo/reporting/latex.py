r"""The table of a report for a paper: plain LaTeX that needs `\usepackage{booktabs}` and nothing else."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mammo.evaluation.scores import BY_NAME
from mammo.reporting.held_out import HeldOut
from mammo.reporting.report_data import ReportData
from mammo.reporting.summary_text import (
    NOT_COMPARABLE,
    chose_epochs,
    network,
    over_trainings,
    plural,
    plural_of,
    unit_of,
    validated_on,
)
from mammo.runs.json_access import interval, number, text
from mammo.support.table import DASH, Table, columns, latex_lines, limits, mean_and_std, row, three_decimals
from mammo.sweeps.comparison_tables import comparison_table, verdicts
from mammo.sweeps.comparisons import Comparisons
from mammo.sweeps.findings import how_selected, metrics_of_tables
from mammo.sweeps.statistics import Spread
from mammo.sweeps.tables import metric_order


def latex(data: ReportData) -> str:
    """A table of all metrics of the only configuration, or of the main metrics of each; a comment without results."""
    with_results = [i for i, one in enumerate(data.findings) if one.configuration.completed]
    if not with_results:
        return "% No run is finished, so there is no table.\n"
    tables = [_one(data, with_results[0])] if len(with_results) == 1 else [_several(data, with_results)]
    tables += [_compared(found, data) for found in data.comparisons]
    labels = ["tab:density", *(f"tab:density_{found.part}" for found in data.comparisons)]
    lines = (line for table, label in zip(tables, labels, strict=True) for line in [*latex_lines(table, label), ""])
    return "\n".join(["% needs \\usepackage{booktabs}", *lines])


def _one(data: ReportData, position: int) -> Table:
    """A row for each metric; patients set aside come first, where the runs were tested on such."""
    runs, finding = data.of(position), data.findings[position]
    pooled = finding.pooled.mean if finding.pooled is not None else None
    names, unit = metric_order(data.results), unit_of(runs[0])
    parts, notes, selected, mean_sd = [], [], "", ", mean +- SD"
    if (tested := data.held_out[position]) is not None:
        selected = ", on which the epochs were selected" if chose_epochs(runs) else ""
        notes.append(f"Test: {_tested(tested, unit)}; intervals over {unit}.")
        parts += [(f"Test{mean_sd if tested.num_runs > 1 else ''}", [_mean(tested.scores[name]) for name in names]),
                  (f"95% over {unit}", [limits(tested.over_patients(name)) for name in names])]  # fmt: skip
    if len(runs) == 1:
        values = [number(runs[0].metrics, name) for name in names]
        parts += [("Validation" if tested else "Value", list(map(three_decimals, values))),
                  ("95% interval", [limits(interval(runs[0].metrics, "ci95", name)) for name in names])]  # fmt: skip
        notes.append(f"Validation on {validated_on(runs[0])}{selected}; intervals over {unit}.")
    else:
        spreads = [finding.aggregate[name] for name in names]
        parts += [(f"Validation{mean_sd}" if tested else "Mean +- SD", list(map(_mean, spreads))),
                  ("95% over runs", [limits(one.ci95) for one in spreads])]  # fmt: skip
        notes.append(
            f"Validation over {plural(len(runs), 'run')}{selected}: mean, standard deviation (ddof = 1) and Student's "
            f"t interval of the mean {over_trainings(runs)}."
        )
        if pooled is None and any(data.over_patients(position, name) for name in names):
            parts.append((f"95% over {unit}", [limits(data.over_patients(position, name)) for name in names]))
            notes.append(f"Over {unit}: of the mean, resampled, the same draws for every run.")
    if pooled is not None:
        parts += [("Pooled", [three_decimals(number(pooled, name)) for name in names]),
                  ("95% of pooled", [limits(interval(pooled, "ci95", name)) for name in names])]  # fmt: skip
        notes.append("Pooled: every image predicted once, by the network that had not seen it.")
    notes.append(how_selected([run.result for run in runs]))
    if any(DASH in cells for _, cells in parts):
        notes.append("A dash: undefined, or no interval: half of the resamplings lack a class, or nothing varies.")
    rows = [
        row(BY_NAME[name].title, *cells) for name, *cells in zip(names, *(cells for _, cells in parts), strict=True)
    ]
    title = f"{network(data, position)} on {text(runs[0].summary, 'data', 'name')}."
    return Table(title, columns("Metric", numbers=[head for head, _ in parts]), tuple(rows), note=" ".join(notes))


def _mean(spread: Spread) -> str:
    return mean_and_std(spread.mean, spread.std)


def _tested(tested: HeldOut, unit: str) -> str:
    """On whom, and by how many runs."""
    of_whom = "" if unit == "images" else f" of {plural_of(tested.num_patients, unit)}"
    over = f", {tested.num_runs} of {plural(tested.of_runs, 'run')}" if tested.of_runs > 1 else ""
    return f"{plural(tested.num_images, 'image')}{of_whom} set aside from training and selection{over}"


def _compared(found: Comparisons, data: ReportData) -> Table:
    """The table of configurations beside each other: score, interval, difference, p, cost."""
    table = comparison_table(found, data.findings)
    sentences = [*verdicts(found), *found.problems]
    return dataclasses.replace(table, caption=f"{table.caption}. {' '.join(sentences)}".strip())


def _several(data: ReportData, positions: Sequence[int]) -> Table:
    """Rows for each configuration: of the patients set aside, where its runs were tested on such, and of validation."""
    names = metrics_of_tables(data.results)
    is_tested, rows = any(data.held_out[i] is not None for i in positions), []
    for i in positions:
        finding, tested = data.findings[i], data.held_out[i]
        label, validation = finding.configuration.label, "Validation" if is_tested else ""
        if tested is not None:
            what = f"Test ({plural_of(tested.num_patients, unit_of(data.of(i)[0]))})"
            rows.append(row(label, what, str(tested.num_runs), *(_mean(tested.scores[name]) for name in names)))
        n = str(len(finding.configuration.completed))
        rows.append(row(label, validation, n, *(_mean(finding.aggregate[name]) for name in names)))
    of = "Configurations" if is_tested else "Validation of configurations"
    caption = f"{of}: mean and standard deviation over n runs, not over patients."
    if is_tested:
        caption += " Test: patients set aside from training and selection."
        caption += " Validation selected the epochs." if chose_epochs(data.completed) else ""
    caption += "" if data.is_comparable else f" The configurations were {NOT_COMPARABLE}."
    heads = columns("Configuration", "Images of", numbers=("n", *(BY_NAME[name].title for name in names)))
    return Table(caption, heads, tuple(rows)).without_empty_columns()

r"""The table of a report for a paper: plain LaTeX that needs `\usepackage{booktabs}` and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from mammo.evaluation.scores import BY_NAME
from mammo.reporting.material import Material
from mammo.reporting.tested import HeldOut
from mammo.reporting.values import interval, number, text
from mammo.reporting.words import NOT_COMPARABLE, network, over_trainings, plural, plural_of, unit_of, validated_on
from mammo.support.plain_text import latex_text
from mammo.sweeps.findings import metrics_of_tables
from mammo.sweeps.statistics import Spread
from mammo.sweeps.tables import limits, metric_order
from mammo.sweeps.tables import number as three_decimals

DASH = "--"


def latex(material: Material) -> str:
    """A table of all metrics of the only configuration, or of the main metrics of each; a comment without results."""
    with_results = [i for i, one in enumerate(material.findings) if one.configuration.completed]
    if not with_results:
        return "% No run is finished, so there is no table.\n"
    table = _one(material, with_results[0]) if len(with_results) == 1 else _several(material, with_results)
    return "\n".join(["% needs \\usepackage{booktabs}", *table, ""])


def _one(material: Material, position: int) -> list[str]:
    """A row for each metric; patients set aside come first, where the runs were tested on such."""
    runs, finding = material.of(position), material.findings[position]
    pooled = finding.pooled.mean if finding.pooled is not None else None
    names, unit = metric_order(material.results), unit_of(runs[0])
    head, rows = ["Metric"], [[latex_text(BY_NAME[name].title)] for name in names]
    captions, selected = [], ""
    if (tested := material.held_out[position]) is not None:
        what, selected = _tested(tested, unit), ", on which the epochs were selected"
        captions.append(f"Test: {what}; intervals over {unit}.")
        head += [r"Test, mean $\pm$ SD" if tested.num_runs > 1 else "Test", rf"95\% over {unit}"]
        for cells, name in zip(rows, names, strict=True):
            cells += [_mean(tested.scores[name]), _limits(tested.over_patients(name))]
    of_validation = "Validation" if tested is not None else "Value"
    if len(runs) == 1:
        head += [of_validation, r"95\% interval"]
        for cells, name in zip(rows, names, strict=True):
            cells += [_number(number(runs[0].metrics, name)), _limits(interval(runs[0].metrics, "ci95", name))]
        captions.append(f"Validation on {validated_on(runs[0])}{selected}; intervals over {unit}.")
    else:
        head += [r"Validation, mean $\pm$ SD" if tested is not None else r"Mean $\pm$ SD", r"95\% over runs"]
        for cells, name in zip(rows, names, strict=True):
            cells += [_mean(finding.aggregate[name]), _limits(finding.aggregate[name].ci95)]
        captions.append(
            f"Validation over {plural(len(runs), 'run')}{selected}: mean, standard deviation (ddof = 1) and Student's "
            f"t interval of the mean {over_trainings(runs)}."
        )
        if pooled is None and any(material.over_patients(position, name) for name in names):
            head.append(rf"95\% over {unit}")
            for cells, name in zip(rows, names, strict=True):
                cells.append(_limits(material.over_patients(position, name)))
            captions.append(f"Over {unit}: of the mean, resampled, the same draws for every run.")
    if pooled is not None:
        head += ["Pooled", r"95\% of pooled"]
        for cells, name in zip(rows, names, strict=True):
            cells += [_number(number(pooled, name)), _limits(interval(pooled, "ci95", name))]
        captions.append("Pooled: every image predicted once, by the network that had not seen it.")
    if any(cell == DASH for cells in rows for cell in cells):
        captions.append("A dash: undefined, or no interval: half of the resamplings lack a class, or nothing varies.")
    title = f"{network(material, position)} on {text(runs[0].summary, 'data', 'name')}."
    return _tabular(" ".join([title, *captions]), head, rows)


def _tested(tested: HeldOut, unit: str) -> str:
    """On whom, and by how many runs."""
    of_whom = "" if unit == "images" else f" of {plural_of(tested.num_patients, unit)}"
    over = f", {tested.num_runs} of {plural(tested.of_runs, 'run')}" if tested.of_runs > 1 else ""
    return f"{plural(tested.num_images, 'image')}{of_whom} set aside from training and selection{over}"


def _several(material: Material, positions: Sequence[int]) -> list[str]:
    """Rows for each configuration: of the patients set aside, where its runs were tested on such, and of validation."""
    names = metrics_of_tables(material.results)
    is_tested = any(material.held_out[i] is not None for i in positions)
    rows = []
    for i in positions:
        finding, tested = material.findings[i], material.held_out[i]
        label = latex_text(finding.configuration.label)
        if tested is not None:
            cells = [_mean(tested.scores[name]) for name in names]
            rows.append([label, f"Test ({plural_of(tested.num_patients, unit_of(material.of(i)[0]))})",
                         str(tested.num_runs), *cells])  # fmt: skip
        cells = [_mean(finding.aggregate[name]) for name in names]
        rows.append([label, "Validation", str(len(finding.configuration.completed)), *cells])
    caption = "Configurations: mean and standard deviation over n runs, not over patients."
    if is_tested:
        caption += " Test: patients set aside from training and selection. Validation selected the epochs."
    else:
        caption = f"Validation of configurations{caption.removeprefix('Configurations')}"
        rows = [[row[0], *row[2:]] for row in rows]
    caption += "" if material.is_comparable else f" The configurations were {NOT_COMPARABLE}."
    head = ["Configuration", *(["Images of"] if is_tested else []), "n"]
    return _tabular(caption, [*head, *(latex_text(BY_NAME[name].title) for name in names)], rows)


def _tabular(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The environment; the cells are LaTeX, the caption is text."""
    return [
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{latex_text(caption)}}}",
        r"  \label{tab:density}",
        rf"  \begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"    \toprule",
        rf"    {_line(head)}",
        r"    \midrule",
        *(rf"    {_line(row)}" for row in rows),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"\end{table}",
    ]


def _line(cells: Sequence[str]) -> str:
    # A bracket or star at the beginning would be read as belonging to the end of the line above.
    guard = "{}" if cells[0].startswith(("[", "*")) else ""
    return guard + " & ".join(cells) + r" \\"


def _number(value: float | None) -> str:
    return DASH if value is None else three_decimals(value).replace("-", "$-$")


def _limits(pair: tuple[float, float] | None) -> str:
    return DASH if pair is None else limits(pair).replace("-", "$-$")


def _mean(spread: Spread) -> str:
    mean = _number(spread.mean)
    return mean if spread.std is None else rf"{mean} $\pm$ {spread.std:.3f}"

r"""The table of a report for a paper: plain LaTeX that needs `\usepackage{booktabs}` and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from mammo.figures import SCORE_TITLES
from mammo.plain_text import latex_text
from mammo.reporting.material import Material
from mammo.reporting.values import interval, number, text
from mammo.reporting.words import NOT_COMPARABLE, network, over_trainings, plural, unit_of, validated_on
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
    """A row for each metric."""
    runs, finding = material.of(position), material.findings[position]
    pooled = finding.pooled.mean if finding.pooled is not None else None
    head, rows = ["Metric"], [[latex_text(SCORE_TITLES[name])] for name in metric_order(material.results)]
    names = metric_order(material.results)
    if len(runs) == 1:
        head += ["Value", r"95\% interval"]
        for cells, name in zip(rows, names, strict=True):
            cells += [_number(number(runs[0].metrics, name)), _limits(interval(runs[0].metrics, "ci95", name))]
        caption = f"Validation on {validated_on(runs[0])}; intervals from resampling {unit_of(runs[0])}."
    else:
        head += [r"Mean $\pm$ SD", r"95\% over runs"]
        for cells, name in zip(rows, names, strict=True):
            cells += [_mean(finding.aggregate[name]), _limits(finding.aggregate[name].ci95)]
        caption = (
            f"Validation over {plural(len(runs), 'run')}: mean, standard deviation (ddof = 1) and Student's t interval "
            f"of the mean {over_trainings(runs)}."
        )
        if pooled is None and any(material.over_patients(position, name) for name in names):
            unit = unit_of(runs[0])
            head.append(rf"95\% over {unit}")
            for cells, name in zip(rows, names, strict=True):
                cells.append(_limits(material.over_patients(position, name)))
            caption += f" Over {unit}: resampled, the same draws for every run."
    if pooled is not None:
        head += ["Pooled", r"95\% interval"]
        for cells, name in zip(rows, names, strict=True):
            cells += [_number(number(pooled, name)), _limits(interval(pooled, "ci95", name))]
        caption += " Pooled: every image predicted once, by the network that had not seen it."
    return _tabular(f"{network(material, position)} on {text(runs[0].summary, 'data', 'name')}. {caption}", head, rows)


def _several(material: Material, positions: Sequence[int]) -> list[str]:
    """A row for each configuration."""
    names = metrics_of_tables(material.results)
    rows = []
    for i in positions:
        finding = material.findings[i]
        n = str(len(finding.configuration.completed))
        cells = [_mean(finding.aggregate[name]) for name in names]
        rows.append([latex_text(finding.configuration.label), n, *cells])
    caption = "Validation of configurations: mean and standard deviation over n runs, not over patients."
    caption += "" if material.is_comparable else f" The configurations were {NOT_COMPARABLE}."
    return _tabular(caption, ["Configuration", "n", *(latex_text(SCORE_TITLES[name]) for name in names)], rows)


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

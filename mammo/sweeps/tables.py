"""The tables of what a sweep has found, for its last lines, for `summary.md` and for a report alike."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mammo.evaluation.intervals import interval_note
from mammo.evaluation.scores import BY_NAME, names_in
from mammo.support.table import Cell, Column, Table, columns, limits, mean_and_std, row, span, three_decimals
from mammo.sweeps.findings import BestTrial, Finding, best_trial, metrics_of_tables, model_selection, ranked_trials
from mammo.sweeps.reading import SweepResults, Trial

ELSEWHERE = "reported on another dataset"
# What an interval of Student's t is about: another training, not other patients.
OVER_RUNS = "95% over runs"
_FROM_ELSEWHERE = Cell("  " + ELSEWHERE.replace(" on ", " on\n  "), "muted")


def metric_cell(name: str) -> Cell:
    """The head of a row: what a metric is called, and its key in val_metrics.json."""
    return Cell(BY_NAME[name].title, below=name)


def metric_order(results: SweepResults) -> list[str]:
    """The metrics, the monitored one first."""
    return list(dict.fromkeys([model_selection(results).name, *names_in("sweep")]))


def overview_table(results: SweepResults, findings: Sequence[Finding]) -> Table:
    """Rows for each configuration, each of one estimate: mean, its interval, what others report."""
    rows, names = [], metrics_of_tables(results)
    for finding in findings:
        of, published = finding.configuration, finding.configuration.published
        spreads = [finding.aggregate[name] for name in names]
        rows.append(row(of.label, str(len(of.completed)), *(mean_and_std(one.mean, one.std) for one in spreads)))
        if len(of.completed) > 1:
            rows.append(row(f"  {OVER_RUNS}", "", *(limits(one.ci95) for one in spreads)))
        if any(name in published for name in names):
            values = (mean_and_std(*published[name]) if name in published else "" for name in names)
            rows.append(row(_FROM_ELSEWHERE, "", *values))
    note = "mean +- standard deviation over n runs"
    return Table("Configurations", columns("configuration", numbers=("n", *names)), tuple(rows), note=note)


def spread_table(
    finding: Finding,
    names: Sequence[str],
    caption: str,
    head: Callable[[str], Cell] = metric_cell,
    others: Sequence[tuple[str, Callable[[str], str]]] = (),
    note: str = "",
) -> Table:
    """A row for each metric; `others` are further columns beside the mean, each with what is in it of a metric."""
    rows = []
    for name in names:
        values = finding.aggregate[name]
        mean, extremes = mean_and_std(values.mean, values.std), span((values.min, values.max))
        of_others = [of(name) for _, of in others]
        rows.append(row(head(name), mean, *of_others, limits(values.ci95), extremes, str(values.n)))
        if name in finding.configuration.published:
            published = mean_and_std(*finding.configuration.published[name])
            rows.append(row(_FROM_ELSEWHERE, published, *[""] * (3 + len(others))))
    heads = columns("metric", numbers=("mean +- std", *(title for title, _ in others), OVER_RUNS, "range", "n"))
    return Table(caption, heads, tuple(rows), note=note)


def pooled_table(finding: Finding, names: Sequence[str], of: str = "") -> Table | None:
    """The scores of all folds together; None where they cannot be pooled."""
    if finding.pooled is None or finding.pooled.mean is None:
        return None
    unit = finding.configuration.completed[0].group_by  # what was resampled
    mean, repetitions = finding.pooled.mean, finding.pooled.repetitions
    rows = tuple(row(metric_cell(name), three_decimals(mean[name]), limits(mean["ci95"][name])) for name in names)
    return Table(
        f"All folds pooled: {mean['num_images']} images, each predicted once"
        f"{f', mean of {repetitions}' if repetitions else ''}{of}",
        columns("metric", numbers=("value", "95% of the value")),
        rows,
        note=f"Predicted by the network of the fold that had not seen the image. Intervals over {unit}s, by "
        f"resampling; of several seeds of their mean. {interval_note(unit)}",
    )


def variance_table(finding: Finding, of: str = "") -> Table | None:
    """Which shares of the variance of each metric are due to what; None unless seeds and folds were swept."""
    if finding.variance is None:
        return None
    rows = []
    for name in names_in("sweep"):
        parts = finding.variance[name]
        shares = [f"{parts.share[part]:.0%}" for part in ("seed", "fold", "rest")] if parts.share else ["-"] * 3
        rows.append(row(metric_cell(name), *shares, parts.reason or ""))
    return Table(
        f"What the variance is due to{of}",
        (*columns("metric", numbers=("seed", "fold", "rest")), Column("remark")),
        tuple(rows),
        note="Shares of the variance: two-way analysis of variance without replication, components truncated at 0.",
    ).without_empty_columns()


def trials_table(results: SweepResults) -> Table | None:
    """All trials of a search with their parameters and what has to be known of each; None without any."""
    ranked, best = ranked_trials(results), best_trial(results)
    keys = list(dict.fromkeys(key for one in ranked for key in one.params))
    rows = tuple(
        row(str(one.number), three_decimals(one.value), *(parameter(one.params.get(key, "")) for key in keys),
            _remark(one, best))
        for one in ranked
    )  # fmt: skip
    title = BY_NAME[model_selection(results).name].title
    heads = (Column("trial"), Column(title, is_number=True), *columns(*keys, "remark"))
    return Table("Trials of the search, the best first", heads, rows) if rows else None


def _remark(trial: Trial, best: BestTrial | None) -> str:
    """What has to be known of a trial beside its value."""
    if trial.failed is not None:
        return f"failed: {trial.failed}"
    if best is None:
        return ""
    found = ["collapsed"] if trial.number in best.collapsed else []
    if trial.number in best.equals:
        found.append(f"equal to trial {best.trial.number}")
    return ", ".join(found)


def parameter(value: object) -> str:
    """A parameter of a trial, floats with four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)

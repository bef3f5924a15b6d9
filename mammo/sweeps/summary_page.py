"""`summary.md`: the findings of a sweep for a paper's supplement."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from mammo.evaluation.scores import SCORES, names_in
from mammo.support.plain_text import markdown_text
from mammo.support.table import Table, columns, markdown_lines, row, three_decimals
from mammo.sweeps.closing import notes, state_line, unfinished_jobs
from mammo.sweeps.comparison_tables import markdown_of
from mammo.sweeps.comparisons import Comparisons
from mammo.sweeps.findings import Finding, best_trial, how_selected, metrics_of_tables, model_selection, score
from mammo.sweeps.reading import SweepResults
from mammo.sweeps.tables import OVER_RUNS, overview_table, pooled_table, spread_table, trials_table, variance_table
from mammo.sweeps.trial_confidence import Confidence


def markdown(
    results: SweepResults,
    findings: Sequence[Finding],
    comparisons: Sequence[Comparisons] = (),
    sure: Confidence | None = None,
) -> str:
    """The whole page."""
    lines = [f"# Sweep {markdown_text(results.name)}", "", f"{state_line(results)}.", ""]
    if results.is_search:
        lines += _part("Trials", [trials_table(results)])
        best = best_trial(results)
        remarks = best.remarks(model_selection(results).name) if best else []
        for remark in [*remarks, *(sure.sentences() if sure is not None else ())]:
            lines += [markdown_text(remark), ""]
    elif any(finding.configuration.completed for finding in findings):
        lines += ["## Which is better", ""] if comparisons else []
        for found in comparisons:
            lines += markdown_of(found, findings, results)
        lines += _of_configurations(results, findings)
    lines += _part("Runs", [_runs(results)])
    unfinished = [": ".join(filter(None, job)) for job in unfinished_jobs(results)]
    if remarks := [*unfinished, *notes(results, findings)]:
        lines += ["## Notes", "", *(f"- {markdown_text(remark)}" for remark in remarks), ""]
    return "\n".join(lines)


def _part(title: str, tables: Sequence[Table | None]) -> list[str]:
    """Tables below a heading, where there are any; a note that all of them have stands below the last."""
    known = [table for table in tables if table is not None]
    known = [dataclasses.replace(table, note="") for table in known[:-1]] + known[-1:]
    return [f"## {title}", "", *(line for table in known for line in markdown_lines(table))] if known else []


def _of_configurations(results: SweepResults, findings: Sequence[Finding]) -> list[str]:
    if len(findings) == 1:
        lines, labels = [f"Configuration: {markdown_text(findings[0].configuration.label)}", ""], [""]
    else:
        lines = _part("Configurations", [dataclasses.replace(overview_table(results, findings), caption="")])
        labels = [finding.configuration.label for finding in findings]
    names = names_in("sweep")
    completed = [run for run in results.runs if run.is_completed]
    lines += _part("All metrics", list(map(spread_table, findings, [names] * len(findings), labels)))
    lower = ", ".join(sorted(score.name for score in SCORES if score.lower_is_better))
    lines += [
        f"{how_selected(completed)} "
        "mean +- std: over the n finished runs; standard deviation with ddof=1. "
        f"{OVER_RUNS}: of the mean, Student's t with n - 1 degrees of freedom, -: none of a single run or of equal "
        f"ones. Lower is better for {lower}.",
        "",
    ]
    if any(len(finding.configuration.folds) > 1 for finding in findings):
        lines += ["Folds share training data, so an interval over folds is approximate.", ""]
    of = [f", {label}" if label else "" for label in labels]
    pooled = [pooled_table(finding, names, label) for finding, label in zip(findings, of, strict=True)]
    lines += _part("Pooled over the folds", pooled)
    return lines + _part("Seed and fold", list(map(variance_table, findings, of)))


def _runs(results: SweepResults) -> Table | None:
    names = metrics_of_tables(results)
    rows = tuple(
        row(run.name, *("" if value is None else str(value) for value in (run.seed, run.fold)), run.status,
            *(three_decimals(score(run, name)) for name in names))
        for run in results.runs
    )  # fmt: skip
    heads = columns("run", "seed", "fold", "status", numbers=names)
    return Table("", heads, rows).without_empty_columns() if rows else None

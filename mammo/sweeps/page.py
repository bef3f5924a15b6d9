"""`summary.md`: the findings of a sweep for a paper's supplement."""

from __future__ import annotations

from collections.abc import Sequence

from mammo.evaluation.intervals import interval_note
from mammo.evaluation.scores import SCORES, names_in
from mammo.support.plain_text import markdown_text
from mammo.sweeps.findings import Finding, best_trial, metrics_of_tables, model_selection, ranked_trials, score
from mammo.sweeps.results import SweepResults
from mammo.sweeps.tables import (
    ELSEWHERE,
    OF_THE_MEAN,
    limits,
    mean_and_std,
    notes,
    number,
    parameter,
    spread_cells,
    state_line,
    trial_remark,
    unfinished_jobs,
)

CONFIGURATION = "configuration"
MEAN = "mean +- std"


def markdown(results: SweepResults, findings: Sequence[Finding]) -> str:
    """The whole page."""
    lines = [f"# Sweep {markdown_text(results.name)}", "", f"{state_line(results)}.", ""]
    if results.is_search:
        lines += _trials(results)
    elif any(finding.configuration.completed for finding in findings):
        if len(findings) == 1:
            lines += [f"Configuration: {markdown_text(findings[0].configuration.label)}", ""]
        else:
            lines += _overview(findings, metrics_of_tables(results))
        lines += [*_all_metrics(findings), *_method(findings), *_pooled(findings), *_variance(findings)]
    lines += _runs(results)
    unfinished = [": ".join(filter(None, job)) for job in unfinished_jobs(results)]
    if remarks := [*unfinished, *notes(results, findings)]:
        lines += ["## Notes", "", *(f"- {markdown_text(remark)}" for remark in remarks), ""]
    return "\n".join(lines)


def _rows(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table; columns without an entry are left out."""
    used = [i for i in range(len(header)) if any(row[i] for row in rows)]
    lines = ["| " + " | ".join(markdown_text(header[i]) for i in used) + " |", "|" + "---|" * len(used)]
    return [*lines, *("| " + " | ".join(markdown_text(row[i]) for i in used) + " |" for row in rows), ""]


def _label(finding: Finding, findings: Sequence[Finding]) -> str:
    """The label of a configuration; the only one has been named above the tables."""
    return finding.configuration.label if len(findings) > 1 else ""


def _overview(findings: Sequence[Finding], names: Sequence[str]) -> list[str]:
    """Rows for each configuration: what is not the same estimate is not in one cell."""
    rows = []
    for finding in findings:
        label, published = finding.configuration.label, finding.configuration.published
        n = str(len(finding.configuration.completed))
        spreads = [finding.aggregate[name] for name in names]
        rows.append([label, MEAN, n, *(mean_and_std(one.mean, one.std) for one in spreads)])
        if any(one.n > 1 for one in spreads):
            rows.append([label, OF_THE_MEAN, n, *(limits(one.ci95) for one in spreads)])
        if any(name in published for name in names):
            rows.append([label, ELSEWHERE, "", *(mean_and_std(*published.get(name, (None, None))) for name in names)])
    return ["## Configurations", "", *_rows([CONFIGURATION, "estimate", "n", *names], rows)]


def _all_metrics(findings: Sequence[Finding]) -> list[str]:
    rows = []
    for finding in findings:
        published = finding.configuration.published
        for name in names_in("sweep"):
            elsewhere = mean_and_std(*published[name]) if name in published else ""
            rows.append([_label(finding, findings), name, *spread_cells(finding.aggregate[name]), elsewhere])
    header = [CONFIGURATION, "metric", MEAN, OF_THE_MEAN, "range", "n", ELSEWHERE]
    return ["## All metrics", "", *_rows(header, rows)]


def _method(findings: Sequence[Finding]) -> list[str]:
    """What ddof and interval mean."""
    lines = [
        f"{MEAN}: over the n finished runs, each at its best epoch; standard deviation with ddof=1. {OF_THE_MEAN}: "
        "Student's t with n - 1 degrees of freedom, -: none of a single run or of equal ones. Lower is better for "
        f"{', '.join(sorted(score.name for score in SCORES if score.lower_is_better))}.",
        "",
    ]
    if any(len(finding.configuration.folds) > 1 for finding in findings):
        lines += ["Folds share training data, so an interval over folds is approximate.", ""]
    return lines


def _pooled(findings: Sequence[Finding]) -> list[str]:
    rows = []
    for finding in findings:
        mean = finding.pooled.mean if finding.pooled is not None else None
        if mean is None:
            continue
        for name in names_in("sweep"):
            cells = [number(mean[name]), limits(mean["ci95"][name]), str(mean["num_images"])]
            rows.append([_label(finding, findings), name, *cells])
    if not rows:
        return []
    text = (
        "Every image predicted once, by the network of the fold that had not seen it; 95% interval over "
        f"patients. With several seeds both are of the mean over the seeds. {interval_note('patient')}"
    )
    header = [CONFIGURATION, "metric", "value", "95% of the value", "images"]
    return ["## Pooled over the folds", "", *_rows(header, rows), text, ""]


def _variance(findings: Sequence[Finding]) -> list[str]:
    rows = []
    for finding in findings:
        for name in names_in("sweep") if finding.variance is not None else ():
            parts = finding.variance[name]  # type: ignore[index]
            shares = [f"{parts.share[part]:.0%}" for part in ("seed", "fold", "rest")] if parts.share else ["-"] * 3
            rows.append([_label(finding, findings), name, *shares, parts.reason or ""])
    if not rows:
        return []
    text = "Shares of the variance: two-way analysis of variance without replication, components truncated at 0."
    return [
        "## Seed and fold", "", *_rows([CONFIGURATION, "metric", "seed", "fold", "rest", "remark"], rows), text, "",
    ]  # fmt: skip


def _trials(results: SweepResults) -> list[str]:
    ranked = ranked_trials(results)
    keys = list(dict.fromkeys(key for one in ranked for key in one.params))
    name, best = model_selection(results).name, best_trial(results)
    rows = []
    for one in ranked:
        params = (parameter(one.params.get(key, "")) for key in keys)
        rows.append([str(one.number), number(one.value), *params, trial_remark(one, best)])
    remarks = [line for remark in (best.remarks(name) if best else []) for line in (markdown_text(remark), "")]
    return ["## Trials", "", *_rows(["trial", name, *keys, "remark"], rows), *remarks] if rows else []


def _runs(results: SweepResults) -> list[str]:
    names = metrics_of_tables(results)
    rows = [
        [run.name, _text(run.seed), _text(run.fold), run.status, *(number(score(run, name)) for name in names)]
        for run in results.runs
    ]
    return ["## Runs", "", *_rows(["run", "seed", "fold", "status", *names], rows)] if rows else []


def _text(value: int | None) -> str:
    return "" if value is None else str(value)

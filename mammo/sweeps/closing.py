"""The last lines of a sweep on the terminal, 80 columns wide."""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Sequence

from mammo.support.plain_text import WIDTH
from mammo.support.table import Cell, Table, columns, limits, row, terminal_lines, three_decimals
from mammo.sweeps.comparison_tables import comparison_table, verdicts
from mammo.sweeps.comparisons import Comparisons
from mammo.sweeps.configurations import swept_text
from mammo.sweeps.difference_figure import DIFFERENCES_FILE
from mammo.sweeps.findings import (
    Finding,
    best_trial,
    folds_were_swept,
    how_selected,
    is_minimised,
    metrics_of_figure,
    model_selection,
    ranked_trials,
)
from mammo.sweeps.reading import COMPLETED, FAILED, UNFINISHED, RunResult, SweepResults
from mammo.sweeps.tables import metric_order, overview_table, parameter, spread_table
from mammo.sweeps.trial_confidence import Confidence

SHOWN_TRIALS, SHOWN_CONFIGURATIONS = 10, 20
SHOWN_REMARKS = 30


def closing_lines(
    results: SweepResults,
    findings: Sequence[Finding],
    comparisons: Sequence[Comparisons] = (),
    sure: Confidence | None = None,
) -> list[str]:
    """The lines at the end of a sweep: what is there, what it says, what is missing and why."""
    lines = ["", *textwrap.wrap(state_line(results), WIDTH), ""]
    if results.is_search:
        lines += _trials(results, sure)
    elif not any(finding.configuration.completed for finding in findings):
        pass  # a table of dashes says nothing
    elif len(findings) == 1:
        table = spread_table(findings[0], metric_order(results), "", head=Cell)
        label = findings[0].configuration.label
        selected = textwrap.wrap(how_selected(findings[0].configuration.completed), WIDTH)
        lines += [label, "", *terminal_lines(table), "", *selected, "", *_further(findings[0], results)]
    elif comparisons:
        lines += _compared(comparisons, findings)
    else:
        table = overview_table(results, findings)
        lines += [*terminal_lines(table), "", table.note, ""]
    remarks = []
    for what, why in unfinished_jobs(results):
        one_line = f"{what}: {why}" if why else what
        remarks += [one_line] if len(one_line) <= WIDTH else [_cut(what), _cut(f"  {why}")]
    for line in notes(results, findings):
        remarks += textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    if len(remarks) > SHOWN_REMARKS:
        remarks[SHOWN_REMARKS:] = [f"... {len(remarks) - SHOWN_REMARKS} lines more of this are in summary.md"]
    return [*lines, *remarks, f"Results: {results.folder}", *_files(results)]


def _compared(comparisons: Sequence[Comparisons], findings: Sequence[Finding]) -> list[str]:
    """Configurations beside each other on the patients set aside, if there are such, and out of fold."""
    lines = []
    for found in comparisons:
        table = comparison_table(found, findings, is_compact=True)
        shown = dataclasses.replace(table, rows=table.rows[:SHOWN_CONFIGURATIONS])
        lines += [table.caption, "", *terminal_lines(shown), ""]
        if (more := len(table.rows) - SHOWN_CONFIGURATIONS) > 0:
            lines += [f"... {more} more are in summary.md", ""]
        for sentence in [*verdicts(found), *found.problems]:
            lines += textwrap.wrap(sentence, WIDTH, break_on_hyphens=False)
        lines += ["", *textwrap.wrap(table.note, WIDTH, break_on_hyphens=False), ""]
    return lines


def state_line(results: SweepResults) -> str:
    """How many jobs are finished."""
    counts, total = results.counts, len(results.jobs)
    jobs = "1 job" if total == 1 else f"{total} jobs"
    if not results.has_plan:
        return (
            f"{counts[COMPLETED]} of {total} runs here are finished; without sweep.json it is not known if more follow"
        )
    if results.is_complete:
        return "The only job of the sweep is finished" if total == 1 else f"All {jobs} of the sweep are finished"
    missing = [f"{n} {status}" for status, n in counts.items() if n and status != COMPLETED]
    if results.trials_to_come:
        missing.append(f"{results.trials_to_come} trials to come")
    # A failed trial of a search counts as the worst; it is not tried again.
    is_over = results.is_search and counts[COMPLETED] + counts[FAILED] == total and not results.trials_to_come
    rest = "" if is_over else "; the same command does the rest"
    return f"{counts[COMPLETED]} of {jobs} are finished ({', '.join(missing) or 'no job yet'}){rest}"


def _files(results: SweepResults) -> list[str]:
    lines = ["  summary.md           these tables and more, for a supplement"]
    if not results.is_search and any(run.is_completed for run in results.runs):
        lines.append("  comparison.png       every run, with means and intervals")
    if (results.folder / DIFFERENCES_FILE).exists():
        lines.append(f"  {DIFFERENCES_FILE}      how far configurations are apart, with intervals")
    if folds_were_swept(results):
        lines.append("  cv_summary.json      the folds, and all of their predictions pooled")
    if (results.folder / "best_config.yaml").exists():
        lines += [
            "  best_config.yaml     the best trial as an experiment, runs as it is",
            "  optimization_history.png, parameter_importances.png, parameter_slices.png",
        ]
    return [*lines, "  runs.csv             a row for each run", "  sweep_summary.json   all numbers"]


def _trials(results: SweepResults, sure: Confidence | None) -> list[str]:
    """The best trials of a search with their parameters, and how sure the first is."""
    ranked = ranked_trials(results)
    if not ranked:
        return ["No trial is there yet", ""]
    way = "lowest" if is_minimised(results) else "highest"
    name = model_selection(results).name
    rows = []
    for one in ranked[:SHOWN_TRIALS]:
        params = " ".join(f"{key.split('.')[-1]}={parameter(value)}" for key, value in one.params.items())
        rows.append(row(params, str(one.number), three_decimals(one.value) + (" failed" if one.failed else "")))
    table = Table("", columns("parameters", numbers=("trial", name)), tuple(rows))
    shown = f"The best {SHOWN_TRIALS} of {len(ranked)} trials" if len(ranked) > SHOWN_TRIALS else "The trials"
    best = best_trial(results)
    lines = [f"{shown}, {way} first", "", *terminal_lines(table), ""]
    if best is not None:
        remarks = [*best.remarks(name), *(sure.sentences() if sure is not None else ())]
        wrapped = [textwrap.wrap(one, WIDTH, break_on_hyphens=False, break_long_words=False) for one in remarks]
        lines += [*(line for one in wrapped for line in one), *([""] if remarks else [])]
    return lines


def _further(finding: Finding, results: SweepResults) -> list[str]:
    """Pooled predictions, and what the spread is due to, of the only configuration."""
    names = metrics_of_figure(results)
    lines = []
    if finding.pooled is not None and (mean := finding.pooled.mean) is not None:
        seeds = f", mean of {of}" if (of := finding.pooled.repetitions) else ""
        lines.append(f"All folds pooled, {mean['num_images']} images{seeds} [95% interval]:")
        lines += [f"  {name} {three_decimals(mean[name])} {limits(mean['ci95'][name])}" for name in names]
    if finding.variance is not None and (share := finding.variance[names[0]].share) is not None:
        parts = ", ".join(f"{part} {value:.0%}" for part, value in share.items())
        lines.append(f"Of the variance of {names[0]}: {parts}")
    return [*lines, ""] if lines else []


def unfinished_jobs(results: SweepResults) -> list[tuple[str, str]]:
    """Status and description of each job without results, and why it has none."""
    return [(f"{run.status}: {_described(run, results)}", _reason(run)) for run in results.jobs if not run.is_completed]


def _described(run: RunResult, results: SweepResults) -> str:
    number = next((trial.number for trial in results.trials if run.name in trial.runs), None)
    if number is None:
        return swept_text(run, results.runs)
    return f"trial {number}" + ("" if run.fold is None else f", fold {run.fold}")


def _reason(run: RunResult) -> str:
    """Why a run has no results, in one line."""
    if run.error is not None:
        return f"{run.error.type}: {' '.join(run.error.message.split())}"
    return "it was killed, or is still running" if run.status == UNFINISHED else ""


def notes(results: SweepResults, findings: Sequence[Finding]) -> list[str]:
    """What a reader of the numbers has to know, a line each."""
    lines = []
    others = [run for run in results.runs if not run.is_planned]
    if others:
        lines.append(f"{len(others)} further runs are here that sweep.json does not name; the finished ones count too")
    completed = [run for run in results.runs if run.is_completed]
    if random := sum(run.has_random_weights for run in completed):
        lines.append(f"{random} of {len(completed)} runs started from RANDOM weights: no measure of the network")
    if collapsed := sum(run.has_collapsed for run in completed):
        lines.append(f"{collapsed} of {len(completed)} evaluated epochs have collapsed: they predict too few classes")
    for finding in findings:
        problems = finding.pooled.problems if finding.pooled is not None else [finding.configuration.problem]
        lines += [f"{finding.configuration.label}: {problem}" for problem in problems if problem]
    return [*lines, *(f"not understood: {problem}" for problem in results.problems)]


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."

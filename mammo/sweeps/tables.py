"""The findings of a sweep on the terminal, 80 columns wide."""

from __future__ import annotations

import io
import itertools
import textwrap
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from mammo.evaluation.scores import names_in
from mammo.sweeps.configurations import swept_text
from mammo.sweeps.findings import (
    BestTrial,
    Finding,
    best_trial,
    folds_were_swept,
    is_minimised,
    metrics_of_figure,
    metrics_of_tables,
    model_selection,
    ranked_trials,
)
from mammo.sweeps.results import COMPLETED, FAILED, UNFINISHED, RunResult, SweepResults, Trial
from mammo.sweeps.statistics import Spread

WIDTH = 80
SHOWN_TRIALS = 10
SHOWN_REMARKS = 30
ELSEWHERE = "reported on another dataset"
# What an interval of Student's t is of, which a table says where it stands.
OF_THE_MEAN = "95% of the mean"


def closing_lines(results: SweepResults, findings: Sequence[Finding]) -> list[str]:
    """The lines at the end of a sweep: what is there, what it says, what is missing and why."""
    lines = ["", *textwrap.wrap(state_line(results), WIDTH), ""]
    if results.is_search:
        lines += _trials(results)
    elif not any(finding.configuration.completed for finding in findings):
        pass  # a table of dashes says nothing
    elif len(findings) == 1:
        lines += [*_one(findings[0], results), *_further(findings[0], results)]
    else:
        lines += _several(findings, results)
    remarks = []
    for what, why in unfinished_jobs(results):
        one_line = f"{what}: {why}" if why else what
        remarks += [one_line] if len(one_line) <= WIDTH else [_cut(what), _cut(f"  {why}")]
    for line in notes(results, findings):
        remarks += textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    if len(remarks) > SHOWN_REMARKS:
        remarks[SHOWN_REMARKS:] = [f"... {len(remarks) - SHOWN_REMARKS} lines more of this are in summary.md"]
    return [*lines, *remarks, f"Results: {results.folder}", *_files(results)]


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
    if folds_were_swept(results):
        lines.append("  cv_summary.json      the folds, and all of their predictions pooled")
    if (results.folder / "best_config.yaml").exists():
        lines += [
            "  best_config.yaml     the best trial as an experiment, runs as it is",
            "  optimization_history.png, parameter_importances.png, parallel_coordinates.png",
        ]
    return [*lines, "  sweep_summary.json   all numbers"]


def number(value: float | None) -> str:
    """Three decimals, or a dash."""
    return "-" if value is None else f"{value:.3f}"


def limits(pair: Sequence[float] | None) -> str:
    """An interval, or a dash."""
    return "-" if pair is None else f"[{pair[0]:.3f}, {pair[1]:.3f}]"


def mean_and_std(mean: float | None, std: float | None) -> str:
    """Mean +- standard deviation; the mean alone where there is no other."""
    return number(mean) if mean is None or std is None else f"{mean:.3f} +- {std:.3f}"


def spread_cells(values: Spread) -> list[str]:
    """Mean +- std, 95% interval, range and n."""
    extremes = "-" if values.min is None else f"{values.min:.3f} to {values.max:.3f}"
    return [mean_and_std(values.mean, values.std), limits(values.ci95), extremes, str(values.n)]


def _table(*columns: str) -> Table:
    """The first column takes what the others leave, and wraps; the others are numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column(columns[0], overflow="fold")
    for name in columns[1:]:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _printed(table: Table) -> list[str]:
    text = io.StringIO()
    console = Console(file=text, width=WIDTH, color_system=None, highlight=False, markup=False, legacy_windows=False)
    console.print(table, markup=False)
    # Rules of rich are not ASCII: logs of batch systems and old terminals show them as question marks.
    return [line.rstrip().replace("\u2500", "-") for line in text.getvalue().splitlines()]


def _one(finding: Finding, results: SweepResults) -> list[str]:
    """A row for each metric."""
    table = _table("metric", "mean +- std", OF_THE_MEAN, "range", "n")
    for name in metric_order(results):
        values = finding.aggregate[name]
        table.add_row(name, *spread_cells(values))
        if name in finding.configuration.published:
            table.add_row(
                textwrap.indent(ELSEWHERE.replace(" on ", " on\n"), "  "),
                mean_and_std(*finding.configuration.published[name]),
            )
    return [finding.configuration.label, "", *_printed(table), ""]


def metric_order(results: SweepResults) -> list[str]:
    """The metrics, the monitored one first."""
    return list(dict.fromkeys([model_selection(results).name, *names_in("sweep")]))


def _several(findings: Sequence[Finding], results: SweepResults) -> list[str]:
    """A row for each configuration with mean and std, and one below it with the interval of the mean."""
    names = metrics_of_tables(results)
    # A name that is wider than the numbers would take space from the labels.
    table = _table("configuration", "n", *(name if len(name) < 15 else name.replace("_", "_\n", 1) for name in names))
    for finding in findings:
        table.add_row(
            finding.configuration.label.replace(" ", "\n"), str(len(finding.configuration.completed)),
            *(mean_and_std(finding.aggregate[name].mean, finding.aggregate[name].std) for name in names),
        )  # fmt: skip
        if len(finding.configuration.completed) > 1:
            table.add_row(f"  {OF_THE_MEAN}", "", *(limits(finding.aggregate[name].ci95) for name in names))
        published = finding.configuration.published
        if any(name in published for name in names):
            values = (mean_and_std(*published[name]) if name in published else "" for name in names)
            table.add_row(f"  {ELSEWHERE}", "", *values)
    return [*_printed(table), "", "mean +- standard deviation over n runs", ""]


def _trials(results: SweepResults) -> list[str]:
    """The best trials of a search with their parameters."""
    ranked = ranked_trials(results)
    if not ranked:
        return ["No trial is there yet", ""]
    way = "lowest" if is_minimised(results) else "highest"
    name = model_selection(results).name
    table = _table("parameters", "trial", name)
    for one in ranked[:SHOWN_TRIALS]:
        params = " ".join(f"{key.split('.')[-1]}={parameter(value)}" for key, value in one.params.items())
        table.add_row(params, str(one.number), number(one.value) + (" failed" if one.failed else ""))
    shown = f"The best {SHOWN_TRIALS} of {len(ranked)} trials" if len(ranked) > SHOWN_TRIALS else "The trials"
    best = best_trial(results)
    remarks = [textwrap.fill(line, WIDTH).splitlines() for line in (best.remarks(name) if best else [])]
    return [f"{shown}, {way} first", "", *_printed(table), "", *itertools.chain(*remarks), *([""] if remarks else [])]


def trial_remark(trial: Trial, best: BestTrial | None) -> str:
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


def _further(finding: Finding, results: SweepResults) -> list[str]:
    """Pooled predictions, and what the spread is due to, of the only configuration."""
    names = metrics_of_figure(results)
    lines = []
    if finding.pooled is not None and (mean := finding.pooled.mean) is not None:
        num_seeds = len(finding.pooled.by_seed)
        seeds = "" if num_seeds == 1 else f", mean of {num_seeds} seeds"
        lines.append(f"All folds pooled, {mean['num_images']} images{seeds} [95% interval]:")
        lines += [f"  {name} {number(mean[name])} {limits(mean['ci95'][name])}" for name in names]
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
        lines.append(f"{collapsed} of {len(completed)} best epochs have collapsed: they predict too few classes")
    for finding in findings:
        problems = finding.pooled.problems if finding.pooled is not None else [finding.configuration.problem]
        lines += [f"{finding.configuration.label}: {problem}" for problem in problems if problem]
    return [*lines, *(f"not understood: {problem}" for problem in results.problems)]


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 3]}..."

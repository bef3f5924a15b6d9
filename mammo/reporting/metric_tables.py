"""The tables of what came out: every run, all runs together, classes, folds."""

from __future__ import annotations

from collections.abc import Iterator

from mammo.evaluation.intervals import interval_note
from mammo.evaluation.scores import BY_NAME, names_in, shown_in
from mammo.reporting.document import Block, Details, Drawing, Panel, Section, Text
from mammo.reporting.report_data import ReportData, ReportedRun
from mammo.reporting.summary_text import NOT_COMPARABLE, listed, over_trainings, plural, plural_of, unit_of
from mammo.runs.json_access import interval, number, text
from mammo.support.table import (
    Cell,
    Column,
    Table,
    Tone,
    columns,
    estimate,
    limits,
    mean_and_std,
    row,
)
from mammo.sweeps.closing import unfinished_jobs
from mammo.sweeps.comparison_tables import comparison_table, pairs_table, verdicts
from mammo.sweeps.difference_figure import difference_figure
from mammo.sweeps.figures import comparison_figure
from mammo.sweeps.findings import how_selected, metrics_of_figure
from mammo.sweeps.tables import (
    ELSEWHERE,
    OVER_RUNS,
    metric_order,
    pooled_table,
    spread_table,
    trials_table,
    variance_table,
)

COMPARISON_FILE, DIFFERENCES = "density_comparison", "density_differences"


def runs_section(data: ReportData) -> Section:
    """Every run with its state and its metrics; why some have none."""
    lower = [score.title.lower() for score in shown_in("run") if score.lower_is_better]
    table = Table(
        "Runs, with 95% intervals over the units of the split",
        (
            *columns("run", "status", numbers=("epoch",)),
            *(Column(score.title, is_number=True) for score in shown_in("run")),
        ),
        tuple(_run_row(run) for run in data.runs),
        note=("" if data.is_comparable else f"Configurations {NOT_COMPARABLE}. ")
        + f"Lower is better for {listed(lower)}. {how_selected([run.result for run in data.completed])} A claim needs "
        f"patients set aside. {interval_note(_unit(data))}",
    )
    failed = [Text(f"{what}{': ' if why else ''}{why}", tone="bad") for what, why in unfinished_jobs(data.results)]
    return Section("runs", "Runs", (table, *failed))


def _unit(data: ReportData) -> str:
    """What is resampled: patient, exam or image."""
    return unit_of(data.completed[0]).removesuffix("s") if data.completed else "patient"


def _run_row(run: ReportedRun) -> tuple[Cell, ...]:
    tone: Tone = "good" if run.result.is_completed else "bad"
    best, last = number(run.summary, "best_epoch"), number(run.summary, "epochs_run")
    epochs = "-" if best is None or last is None else f"{best:.0f} of {last:.0f}"
    cells = [estimate(number(run.metrics, name), interval(run.metrics, "ci95", name)) for name in names_in("run")]
    return (Cell(run.label, below=text(run.summary, "run_id")), Cell(run.result.status, tone), Cell(epochs), *cells)


def metrics_section(data: ReportData) -> Section | None:
    """Mean and spread over runs, pooled folds, what the spread is due to; None where no run is finished."""
    if not data.completed:
        return None
    blocks: list[Block] = []
    if data.results.is_search:
        blocks += filter(None, [trials_table(data.results)])
    else:
        blocks += [*_overview(data), *_comparison(data), *_spreads(data)]
    blocks += _pooled(data)
    tables = (variance_table(finding, caption_suffix(data, i)) for i, finding in enumerate(data.findings))
    blocks += filter(None, tables)
    return Section("metrics", "Metrics over runs", tuple(blocks)) if blocks else None


def caption_suffix(data: ReportData, position: int) -> str:
    """The caption's addition for a configuration, where there are several."""
    if len(data.findings) == 1:
        return ""
    label, name = data.findings[position].configuration.label, data.name_of(position)
    return f", {name}" if name == label else f", {name}: {label}"


def _overview(data: ReportData) -> Iterator[Block]:
    """Rows for each configuration, where there are several; what is not the same estimate is not in one cell."""
    if len(data.findings) < 2:
        return
    names = names_in("compared")
    rows = []
    for i, finding in enumerate(data.findings):
        runs = data.of(i)
        if not runs:
            continue
        head = Cell(finding.configuration.label)
        unit, means = unit_of(runs[0]), [finding.aggregate[name].mean for name in names]
        intervals = [data.over_patients(i, name) for name in names]
        pooled = finding.pooled.mean if finding.pooled is not None else None
        if (tested := data.held_out[i]) is not None:
            what = f"test, mean of {plural(tested.num_runs, 'run')} [95% over {plural_of(tested.num_patients, unit)}]"
            of_test = [estimate(tested.mean(name), tested.over_patients(name)) for name in names]
            rows.append(row(head, what, *of_test))
        if len(runs) > 1:
            spreads = [finding.aggregate[name] for name in names]
            rows.append(
                row(head, f"mean +- std of {len(runs)} runs", *(mean_and_std(one.mean, one.std) for one in spreads))
            )
        if pooled is not None:
            cells = [estimate(number(pooled, name), pair) for name, pair in zip(names, intervals, strict=True)]
            rows.append(row(head, f"all folds pooled [95% over {unit}]", *cells))
        elif len(runs) == 1 or any(intervals):
            which = "one run" if len(runs) == 1 else f"mean of {len(runs)} runs"
            cells = [estimate(mean, pair) for mean, pair in zip(means, intervals, strict=True)]
            rows.append(row(head, f"{which} [95% over {unit}]", *cells))
        if published := finding.configuration.published:
            values = (mean_and_std(*published[name]) if name in published else "" for name in names)
            rows.append(row(head, ELSEWHERE, *values))
    yield Table(
        "Configurations",
        columns("configuration", "estimate", numbers=[BY_NAME[name].title for name in names]),
        tuple(rows),
        note="Of validation where nothing else is said. Each interval is of the value above it."
        + ("" if data.is_comparable else f" The configurations were {NOT_COMPARABLE}."),
    )


def comparisons_section(data: ReportData) -> Section | None:
    """Which configuration is better: on patients set aside, and out of fold; None for a single one."""
    blocks: list[Block] = []
    for found in data.comparisons:
        blocks.append(comparison_table(found, data.findings))
        # Those of the first stand at the head of the report.
        blocks += [Text(sentence) for sentence in verdicts(found) if found is not data.comparisons[0]]
        blocks += [Text(problem, tone="bad") for problem in found.problems]
        if found.pairs:
            names = metrics_of_figure(data.results)
            words = f"Differences of {listed([BY_NAME[name].title for name in names])} with 95% intervals"
            files = (DIFFERENCES,) if found is data.comparisons[0] else ()
            blocks.append(Drawing((Panel(words, difference_figure(found, names)),), f"{words}.", files))
            tables = [pairs_table(found, score.name) for score in shown_in("compared")]
            blocks.append(Details(f"All scores of {plural(len(found.pairs), 'pair')}", tuple(tables)))
    return Section("comparisons", "Which is better", tuple(blocks)) if blocks else None


def _comparison(data: ReportData) -> Iterator[Block]:
    findings = [one for one in data.findings if one.configuration.completed]
    if len(data.completed) > 1 and findings:
        names = metrics_of_figure(data.results)
        words = f"{listed([BY_NAME[name].title for name in names])} of every run, with means and intervals"
        caption = f"{words} over runs, not over patients."
        caption += "" if data.is_comparable else f" The configurations were {NOT_COMPARABLE}."
        yield Drawing((Panel(words, comparison_figure(findings, names)),), caption, (COMPARISON_FILE,))


def _spreads(data: ReportData) -> Iterator[Block]:
    tables = [*_spread_tables(data)]
    if not tables:
        return
    if len(tables) == 1:
        yield tables[0]
    else:
        yield Details(f"All metrics of {len(tables)} configurations", tuple(tables))
    folds = any(len(finding.configuration.folds) > 1 for finding in data.findings)
    approximate = " Folds share training data, so an interval over folds is approximate." if folds else ""
    yield Text(
        "Standard deviation with ddof=1; interval of the mean over runs by Student's t with n - 1 degrees of freedom; "
        "over patients by resampling them, the same draws for every run."
        f"{approximate}",
        tone="muted",
    )


def _spread_tables(data: ReportData) -> Iterator[Table]:
    for i, finding in enumerate(data.findings):
        runs = data.of(i)
        if not runs or (len(runs) < 2 and not finding.configuration.published):
            continue
        over_runs = f"{OVER_RUNS}: {over_trainings(runs)}."
        # Of pooled folds the interval over patients stands in a table of its own.
        others, note = [], f"The interval is of the mean. {over_runs}"
        if finding.pooled is None:
            others = [(f"95% over {unit_of(runs[0])}", lambda name, i=i: limits(data.over_patients(i, name)))]
            note = f"Both intervals are of the mean. {over_runs}"
        caption = f"Mean and spread over {plural(len(runs), 'run')}{caption_suffix(data, i)}"
        yield spread_table(finding, metric_order(data.results), caption, others=others, note=note)


def _pooled(data: ReportData) -> Iterator[Block]:
    for i, finding in enumerate(data.findings):
        for problem in finding.pooled.problems if finding.pooled is not None else ():
            yield Text(problem, tone="bad")
        if table := pooled_table(finding, metric_order(data.results), caption_suffix(data, i)):
            yield table

"""The tables of what came out: every run, all runs together, classes, folds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mammo.figures import SCORE_TITLES
from mammo.reporting.document import Block, Cell, Column, Group, Heading, Section, Table, Text, Tone, columns, row
from mammo.reporting.material import Material, RunMaterial, count, interval, look, number, numbers, text
from mammo.reporting.words import listed, plural
from mammo.selection import MINIMISED
from mammo.sweeps.findings import criterion, ranked_trials
from mammo.sweeps.statistics import spread
from mammo.sweeps.tables import (
    ELSEWHERE,
    METRICS,
    limits,
    mean_and_std,
    metric_order,
    parameter,
    spread_cells,
    unfinished_jobs,
)
from mammo.sweeps.tables import number as three_decimals

MAX_MATRICES = 9
SHOWN_OF_A_RUN = ("bal_acc_adj", "kappa_quadratic", "auc_ovr", "macro_f1", "acc", "ece", "loss")


def metric(name: str) -> Cell:
    """The head of a row: what a metric is called, and its key in val_metrics.json."""
    return Cell(SCORE_TITLES[name], below=name)


def runs_section(material: Material) -> Section:
    """Every run with its state and its metrics; why some have none."""
    lower = [SCORE_TITLES[name].lower() for name in SHOWN_OF_A_RUN if name in MINIMISED]
    table = Table(
        "Runs, each at its best epoch; 95% intervals from resampling the units of the split",
        (
            *columns("run", "status", numbers=("best epoch",)),
            *(Column(SCORE_TITLES[name], is_number=True) for name in SHOWN_OF_A_RUN),
        ),
        tuple(_run_row(run) for run in material.runs),
        note=f"Lower is better for {listed(lower)}. The best epoch was chosen on the images that it is scored on, "
        "which flatters a little: a claim needs patients set aside.",
    )
    failed = [Text(f"{what}{': ' if why else ''}{why}", tone="bad") for what, why in unfinished_jobs(material.results)]
    return Section("runs", "Runs", (table, *failed, *_configurations(material)))


def _run_row(run: RunMaterial) -> tuple[Cell, ...]:
    tone: Tone = "good" if run.result.is_completed else "bad"
    epochs = f"{count(run.summary, 'best_epoch')} of {count(run.summary, 'epochs_run')}"
    cells = []
    for name in SHOWN_OF_A_RUN:
        ci = interval(run.metrics, "ci95", name)
        cells.append(Cell(three_decimals(number(run.metrics, name)), below="" if ci is None else limits(ci)))
    return (Cell(run.label, below=text(run.summary, "run_id")), Cell(run.result.status, tone), Cell(epochs), *cells)


def _configurations(material: Material) -> Iterator[Block]:
    if len(material.findings) < 2:
        return
    yield Heading("Configurations")
    rows = []
    for i, finding in enumerate(material.findings):
        one = finding.configuration
        rows.append(row(f"configuration {i + 1}", one.label, str(len(one.completed)), str(len(one.runs))))
    yield Table("What tells the configurations apart", columns("name", "options", numbers=("finished", "runs")),
                tuple(rows))  # fmt: skip


def metrics_section(material: Material) -> Section | None:
    """Mean and spread over runs, pooled folds, what the spread is due to; None where no run is finished."""
    if not material.completed:
        return None
    blocks: list[Block] = []
    if material.results.is_search:
        blocks += _trials(material)
    blocks += _spreads(material)
    blocks += _pooled(material)
    blocks += _variance(material)
    blocks += _published(material)
    return Section("metrics", "Metrics over runs", tuple(blocks)) if blocks else None


def _name(material: Material, position: int) -> str:
    """The caption's addition for a configuration, where there are several."""
    if len(material.findings) == 1:
        return ""
    return f", configuration {position + 1}: {material.findings[position].configuration.label}"


def _spreads(material: Material) -> Iterator[Block]:
    any_table = False
    for i, finding in enumerate(material.findings):
        if material.results.is_search or len(finding.configuration.completed) < 2:
            continue
        rows = [row(metric(name), *spread_cells(finding.aggregate[name])) for name in metric_order(material.results)]
        n = plural(len(finding.configuration.completed), "run")
        yield Table(
            f"Mean and spread over {n}{_name(material, i)}",
            columns("metric", numbers=("mean +- std", "95% interval", "range", "n")),
            tuple(rows),
        )
        any_table = True
    if any_table:
        folds = any(len(finding.configuration.folds) > 1 for finding in material.findings)
        approximate = " Folds share training data, so an interval over folds is approximate." if folds else ""
        yield Text(
            "Standard deviation with ddof=1; interval of the mean by Student's t with n - 1 degrees of freedom."
            f"{approximate}",
            tone="muted",
        )


def _pooled(material: Material) -> Iterator[Block]:
    for i, finding in enumerate(material.findings):
        if finding.pooled is None:
            continue
        for problem in finding.pooled.problems:
            yield Text(problem, tone="bad")
        mean = finding.pooled.mean
        if mean is None:
            continue
        rows = [
            row(metric(name), three_decimals(number(mean, name)), limits(interval(mean, "ci95", name)))
            for name in metric_order(material.results)
        ]
        seeds = f", mean of {plural(len(finding.pooled.by_seed), 'seed')}" if len(finding.pooled.by_seed) > 1 else ""
        yield Table(
            f"All folds pooled: {mean['num_images']} images, each predicted once{seeds}{_name(material, i)}",
            columns("metric", numbers=("value", "95% interval")),
            tuple(rows),
            note="95% interval from resampling patients; with several seeds values and limits are means over them.",
        )


def _variance(material: Material) -> Iterator[Block]:
    for i, finding in enumerate(material.findings):
        if finding.variance is None:
            continue
        rows = []
        for name in METRICS:
            parts = finding.variance[name]
            shares = [f"{parts.share[part]:.0%}" for part in ("seed", "fold", "rest")] if parts.share else ["-"] * 3
            rows.append(row(metric(name), *shares, parts.reason or ""))
        yield Table(
            f"What the variance is due to{_name(material, i)}",
            (*columns("metric", numbers=("seed", "fold", "rest")), Column("remark")),
            tuple(rows),
            note="Two-way analysis of variance without replication, components truncated at 0.",
        )


def _published(material: Material) -> Iterator[Block]:
    rows = [
        row(f"configuration {i + 1}", name, mean_and_std(finding.aggregate[name].mean, finding.aggregate[name].std),
            mean_and_std(*value))
        for i, finding in enumerate(material.findings)
        for name, value in finding.configuration.published.items()
        if name in finding.aggregate
    ]  # fmt: skip
    if rows:
        heads = (*columns("configuration", "metric", numbers=("here", ELSEWHERE)),)
        yield Table("Beside what was reported elsewhere", heads, tuple(rows))


def _trials(material: Material) -> Iterator[Block]:
    ranked = ranked_trials(material.results)
    keys = list(dict.fromkeys(key for one in ranked for key in one.params))
    if ranked:
        rows = [
            row(str(one.number), three_decimals(one.value), *(parameter(one.params.get(key, "")) for key in keys),
                f"failed: {one.failed}" if one.failed else "")
            for one in ranked
        ]  # fmt: skip
        name = criterion(material.results).name
        heads = (Column("trial"), Column(name, is_number=True), *columns(*keys, "remark"))
        yield Table("Trials of the search, the best first", heads, tuple(rows))


def classes_section(material: Material) -> Section | None:
    """Confusion matrices and metrics by class; None where no run is finished."""
    matrices: list[Table] = []
    for finding in material.findings:
        for seed, metrics in (finding.pooled.by_seed if finding.pooled else {}).items():
            name = f"all folds pooled, seed {seed}"
            matrices.append(confusion_table(name, metrics.class_names, metrics.confusion_matrix))
    for run in material.completed:
        if has_confusion_matrix(run):
            matrix = look(run.metrics, "confusion_matrix")
            matrices.append(confusion_table(run.label, class_names(run), matrix))
    if not matrices:
        return None
    blocks: list[Block] = [Group(tuple(matrices[:MAX_MATRICES]))]
    if len(matrices) > MAX_MATRICES:
        blocks.append(Text(f"{len(matrices) - MAX_MATRICES} more are in metrics/confusion_matrix.png of their runs."))
    return Section("classes", "Confusion matrices and classes", (*blocks, *_per_class(material)))


def class_names(run: RunMaterial) -> tuple[str, ...]:
    """The classes of a finished run, in order."""
    names = look(run.metrics, "class_names")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def has_confusion_matrix(run: RunMaterial) -> bool:
    """Whether a run has a matrix of whole numbers that fits its classes."""
    matrix, n = look(run.metrics, "confusion_matrix"), len(class_names(run))
    lines = matrix if isinstance(matrix, list) else []
    cells = [cell for line in lines if isinstance(line, list) and len(line) == n for cell in line]
    return len(lines) == n > 0 and len(cells) == n * n and all(type(cell) is int for cell in cells)


def confusion_table(name: str, names: Sequence[str], matrix: Sequence[Sequence[int]]) -> Table:
    """Counts with the fraction of the row, which colours the cell; true classes down, predicted ones across."""
    rows = []
    for true, line in zip(names, matrix, strict=True):
        total = sum(line)
        cells = [
            Cell(str(n), below=f"{n / total:.2f}" if total else "-", shade=n / total if total else 0.0) for n in line
        ]
        rows.append((Cell(true, below=f"n = {total}"), *cells))
    return Table(
        name[0].upper() + name[1:], columns("true \\ predicted", numbers=names), tuple(rows), shape="confusion"
    )


def _per_class(material: Material) -> Iterator[Block]:
    for i in range(len(material.findings)):
        runs = [run for run in material.of(i) if class_names(run)]
        if len(runs) < 2 or material.results.is_search:
            continue  # of a single run the evaluation says it with intervals
        rows = []
        for k, name in enumerate(class_names(runs[0])):
            cells = [name]
            for key in ("per_class_precision", "per_class_recall", "per_class_f1"):
                values = [listed[k] for run in runs if len(listed := numbers(run.metrics, key)) > k]
                found = spread(values)
                cells.append(mean_and_std(found.mean, found.std))
            images = sorted({int(n) for run in runs if (n := _true_count(run, k)) is not None})
            cells.append("-" if not images else str(images[0]) if len(images) == 1 else f"{images[0]} to {images[-1]}")
            rows.append(row(*cells))
        of_runs = f", mean +- std over {plural(len(runs), 'run')}"
        yield Table(f"By class{of_runs}{_name(material, i)}",
                    columns("class", numbers=("precision", "recall", "F1", "images")), tuple(rows))  # fmt: skip


def _true_count(run: RunMaterial, k: int) -> float | None:
    counts = numbers(run.metrics, "true_counts")
    return counts[k] if k < len(counts) else None

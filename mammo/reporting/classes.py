"""Confusion matrices, and what is known of each class."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mammo.reporting.document import Block, Group, Section, Text
from mammo.reporting.metric_tables import caption_suffix
from mammo.reporting.report_data import ReportData, ReportedRun, best_position
from mammo.reporting.summary_text import plural
from mammo.runs.json_access import look, numbers
from mammo.support.table import Cell, Table, columns, mean_and_std, row
from mammo.sweeps.statistics import spread

MAX_MATRICES = 9


def classes_section(data: ReportData) -> Section | None:
    """Confusion matrices and metrics by class; None where no run is finished."""
    matrices: list[Table] = []
    best = best_position(data)
    for finding in data.findings if best is None else [data.findings[best]]:
        for seed, metrics in (finding.pooled.by_seed if finding.pooled else {}).items():
            name = f"all folds pooled, seed {seed}"
            matrices.append(confusion_table(name, metrics.class_names, metrics.confusion_matrix))
    for run in sorted(data.completed, key=lambda run: run.configuration != best):
        if has_confusion_matrix(run):
            matrix = look(run.metrics, "confusion_matrix")
            matrices.append(confusion_table(run.label, class_names(run), matrix))
    if not matrices:
        return None
    blocks: list[Block] = [Group(tuple(matrices[:MAX_MATRICES]))]
    if len(matrices) > MAX_MATRICES:
        blocks.append(Text(f"{len(matrices) - MAX_MATRICES} more are in metrics/confusion_matrix.png of their runs."))
    return Section("classes", "Confusion matrices and classes", (*blocks, *_per_class(data)))


def class_names(run: ReportedRun) -> tuple[str, ...]:
    """The classes of a finished run, in order."""
    names = look(run.metrics, "class_names")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def has_confusion_matrix(run: ReportedRun) -> bool:
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


def _per_class(data: ReportData) -> Iterator[Block]:
    """Of the best configuration; of a single run the evaluation says it with intervals."""
    best = best_position(data)
    runs = [] if best is None else [run for run in data.of(best) if class_names(run)]
    if best is not None and len(runs) > 1:
        rows = []
        for k, name in enumerate(class_names(runs[0])):
            cells = [name]
            for key in ("per_class_precision", "per_class_recall", "per_class_f1"):
                found = spread([_of_class(run, key, k) for run in runs])
                cells.append(mean_and_std(found.mean, found.std))
            images = sorted({int(n) for run in runs if (n := _of_class(run, "true_counts", k)) is not None})
            cells.append("-" if not images else str(images[0]) if len(images) == 1 else f"{images[0]} to {images[-1]}")
            rows.append(row(*cells))
        of_runs = f", mean +- std over {plural(len(runs), 'run')}"
        yield Table(f"By class{of_runs}{caption_suffix(data, best)}",
                    columns("class", numbers=("precision", "recall", "F1", "images")), tuple(rows))  # fmt: skip


def _of_class(run: ReportedRun, key: str, k: int) -> float | None:
    """An item of a list of val_metrics.json that has one for each class."""
    values = numbers(run.metrics, key)
    return values[k] if k < len(values) else None

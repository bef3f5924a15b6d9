"""The last lines of a run: where the results are and what they mean."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mammo.evaluation.intervals import interval_note
from mammo.evaluation.scores import shown_in
from mammo.runs.json_access import interval, look, number
from mammo.runs.stored import UNITS
from mammo.support.plain_text import terminal_text, wrapped
from mammo.support.progress import console
from mammo.support.table import DASH, UNDEFINED, Column, Table, estimate, row, terminal_lines


def closing_lines(folder: Path, summary: Mapping[str, Any]) -> list[str]:
    """Lines for the terminal, made from `summary.json` of a finished run as `RunDirectory.summary` reads it."""
    has_matrix = (folder / "metrics" / "confusion_matrix.png").exists()
    return [
        *result_lines(summary),
        f"Results: {folder}",
        "  metrics/history.png            the training, epoch by epoch",
        *(["  metrics/confusion_matrix.png   what was taken for what"] if has_matrix else []),
        "  summary.json                   everything about the run in one file",
        "Next:",
        f"  python -m mammo.report {shlex.quote(str(folder))}",
        "  the same command with -m seed=42,43,44: how much of this is chance",
        "The same command again trains nothing and shows this. Research use only, not for",
        "diagnosis.",
    ]


def result_lines(summary: Mapping[str, Any]) -> list[str]:
    """What a finished run has come to, and what makes it doubtful."""
    metrics = summary["metrics"]
    unit = UNITS[summary["data"]["group_by"]]
    which = "Last" if look(summary, "monitor", "select") == "last" else "Best"
    lines = [
        "",
        *wrapped(
            f"{which} epoch {summary['best_epoch']} of {summary['epochs_run']}, on {metrics['num_images']} validation "
            f"images of {metrics['num_patients']} {unit} [95% interval over {unit}]:"
        ),
    ]
    rows = []
    for score in shown_in("headline", among=metrics):
        value, limits = number(metrics, score.name), interval(metrics, "ci95", score.name)
        rows.append(row(score.short, estimate(value, limits, missing=UNDEFINED), score.hint))
    table = Table("", (Column(""), Column("", is_number=True), Column("")), tuple(rows))
    lines += terminal_lines(table, indent=2)
    if any(one[1].below in ("", DASH) for one in rows):
        lines += wrapped(f"  {interval_note(summary['data']['group_by'])}")
    collapse = summary.get("collapse") or {}
    if collapse.get("detected"):
        lines += wrapped(f"  The {which.lower()} epoch has collapsed: {collapse.get('reason')}")
    if summary.get("model", {}).get("weights", {}).get("source") == "random":
        lines.append("  The network started from RANDOM weights: this does not show what it can do.")
        lines.append("  model=efficientnet_lite0 brings pretrained weights along, without a download.")
    return lines


def show(lines: list[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        console.print(terminal_text(line), markup=False, soft_wrap=True)

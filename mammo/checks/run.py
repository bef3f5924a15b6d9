"""Is a run directory whole, and do its numbers follow from its predictions?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from mammo.checks.report import Finding, Section, problem
from mammo.checks.run_checkpoints import check_checkpoints
from mammo.checks.run_files import check_files, check_status
from mammo.checks.run_identity import check_identity, check_provenance, checked_config
from mammo.checks.run_metrics import check_best_epoch, check_metrics
from mammo.checks.run_schema import check_schema
from mammo.checks.run_splits import check_splits
from mammo.config.tree import Config
from mammo.runs.reading import is_held, read_files
from mammo.support.errors import TrainingError

# What a damaged or foreign file can make of a check that takes its content for what it should be.
_UNEXPECTED = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, TrainingError)


def check_run(folder: Path) -> Section:
    """Everything that can be said of a run from its directory alone; nothing there is changed."""
    run = read_files(folder)
    checked = checked_config(run)
    config = checked if isinstance(checked, Config) else None
    steps: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("status", lambda: check_status(run)),
        ("files", lambda: check_files(run)),
        ("schema", lambda: check_schema(run)),
        ("run id", lambda: check_identity(run, checked)),
        ("command, git", lambda: check_provenance(run)),
        ("splits", lambda: check_splits(run, config)),
    ]
    if not is_held(folder):  # between two files that a training process writes they need not agree
        steps += [
            ("metrics", lambda: check_metrics(run, config)),
            ("best epoch", lambda: check_best_epoch(run, config)),
            ("checkpoints", lambda: check_checkpoints(run, config)),
        ]
    findings: list[Finding] = []
    for name, step in steps:
        try:
            findings += step()
        except _UNEXPECTED as error:
            text = f"a file holds something else than expected ({type(error).__name__}: {str(error)[:120]})"
            findings.append(problem(name, text))
    return Section(f"Run {folder}", findings)

"""Is every run of a sweep whole, and is what is said of all of them together up to date?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mammo.checks.report import Finding, Level, Section, counted, note, ok, problem, some
from mammo.checks.run import check_run
from mammo.runs.folders import is_run_folder
from mammo.support.files import read_json
from mammo.support.progress import track
from mammo.sweeps.comparisons import compare_configurations
from mammo.sweeps.findings import Finding as SweepFinding
from mammo.sweeps.findings import find, folds_were_swept
from mammo.sweeps.reading import RunResult, SweepResults, read_sweep
from mammo.sweeps.summary import SCHEMA_VERSION, cv_summary, sweep_summary
from mammo.sweeps.trial_confidence import confidence

SUMMARY_FILE = "sweep_summary.json"
# What summaries of earlier schemas computed in another way, called otherwise, or did not have.
_LATER = ("schema_version", "ci95", "best_trial", "collapsed", "comparisons", "split_seed", "label")


def check_sweep(folder: Path) -> list[Section]:
    """A section with a line for each run, and one about the sweep as a whole."""
    results = read_sweep(folder)
    findings: list[Finding] = []
    for run in track(results.runs, "Checking runs", len(results.runs)):
        findings += _run_findings(run)
    if not results.has_plan and not (folder / SUMMARY_FILE).exists():
        # Runs that were started one by one, as in outputs/.
        return [Section(f"Runs in {folder}", findings)]
    return [Section(f"Sweep {folder}", findings), Section("The sweep as a whole", [*_whole(results)])]


def _run_findings(run: RunResult) -> Iterator[Finding]:
    """One line for a run that is well, and one for each of its problems."""
    if not is_run_folder(run.folder):
        yield note(run.name, "not started", "the same command goes on")
        return
    findings = check_run(run.folder).findings
    problems = [finding for finding in findings if finding.level is Level.PROBLEM]
    for finding in problems:
        yield problem(run.name, f"{finding.subject}: {finding.text}", finding.to_do)
    if problems:
        return
    status = next((finding for finding in findings if finding.subject == "status"), None)
    if status is not None and status.level is Level.NOTE:
        yield note(run.name, status.text, status.to_do)
    else:
        yield ok(run.name, "")


def _whole(results: SweepResults) -> Iterator[Finding]:
    for text in results.problems:
        yield problem("sweep", text)
    counts = ", ".join(f"{number} {status}" for status, number in results.counts.items() if number)
    if not results.has_plan:
        yield problem("plan", f"sweep.json is missing, so it is not known which runs belong together; {counts}")
    elif results.is_complete:
        yield ok("plan", f"all {counted(len(results.jobs), 'job')} finished")
    else:
        to_come = f"; {counted(results.trials_to_come, 'trial')} to come" if results.trials_to_come else ""
        yield note("plan", f"{counts}{to_come}", "the same command goes on")
    fingerprints = {run.data_fingerprint for run in results.runs if run.data_fingerprint}
    if len(fingerprints) > 1:
        yield note("data", f"the runs are of {len(fingerprints)} different datasets")
    findings = find(results)
    pooling = [text for one in findings if one.pooled for text in one.pooled.problems]
    if pooling:
        level = problem if results.is_complete else note
        yield level("folds", some(pooling))
    elif folds_were_swept(results):
        yield ok("folds", "each image is validated once for each seed")
    yield from _summaries(results, findings)


def _summaries(results: SweepResults, findings: list[SweepFinding]) -> Iterator[Finding]:
    """Whether the summaries of the sweep are what follows from its runs."""
    comparisons = compare_configurations(results, findings)
    wanted: dict[str, Any] = {SUMMARY_FILE: sweep_summary(results, findings, comparisons, confidence(results))}
    if folds_were_swept(results):
        wanted["cv_summary.json"] = cv_summary(results, findings)
    to_do = f"python -m mammo.report {results.folder}"
    for name, content in wanted.items():
        try:
            stated = read_json(results.folder / name)
        except FileNotFoundError:
            yield note(name, "is not there yet", to_do)
            continue
        except (OSError, ValueError):
            yield problem(name, "cannot be read", to_do)
            continue
        content = json.loads(json.dumps(content))
        if stated == content:
            yield ok(name, "is what follows from the runs")
        elif stated.get("schema_version") in range(1, SCHEMA_VERSION) and _lasting(stated) == _lasting(content):
            yield note(name, "is of an earlier version, which computed intervals in another way", to_do)
        else:
            yield problem(name, "is not what follows from the runs as they are now", to_do)


def _lasting(tree: Any) -> Any:
    """What of a summary is the same in all schemas."""
    if isinstance(tree, dict):
        return {key: _lasting(value) for key, value in tree.items() if key not in _LATER}
    return [_lasting(value) for value in tree] if isinstance(tree, list) else tree

"""The end of a sweep: what its runs say together is written into its folder.

It can be called at any time, on any sweep folder; `sweep_summary.json`, `cv_summary.json`, `summary.md`,
`comparison.png` and `differences.png` are made anew from what is on disk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mammo.support.figures import figure_bytes
from mammo.support.outputs import Outputs
from mammo.support.plain_text import without_folders
from mammo.sweeps.closing import closing_lines
from mammo.sweeps.comparisons import Comparisons, compare_configurations
from mammo.sweeps.difference_figure import DIFFERENCES_FILE, difference_figure
from mammo.sweeps.figures import comparison_figure
from mammo.sweeps.findings import (
    Finding,
    Pooled,
    best_trial,
    find,
    folds_were_swept,
    metrics_of_figure,
    ranked_trials,
    score,
)
from mammo.sweeps.pooling import split_fingerprint
from mammo.sweeps.reading import RunResult, SweepResults, read_sweep
from mammo.sweeps.runs_table import RUNS_FILE, runs_table
from mammo.sweeps.statistics import Components, Spread
from mammo.sweeps.summary_page import markdown
from mammo.sweeps.tables import ELSEWHERE
from mammo.sweeps.trial_confidence import Confidence, confidence

# 1 had other limits where resampling has no spread, and did not say what of a best trial is doubtful; 2 called
# configurations otherwise and did not compare them.
SCHEMA_VERSION = 3
# By which the files of a sweep are known, whoever writes them.
COMMAND = "sweep"
SUMMARIES = ("sweep_summary.json", "cv_summary.json", "summary.md", RUNS_FILE, "comparison.png", DIFFERENCES_FILE)


def close_sweep(folder: Path, overwrite: bool = False) -> list[str]:
    """Write the summaries of a sweep, in whatever state it is; returns the lines to print.

    Raises OSError, and OutputError where something else has the name of one and `overwrite` does not allow it.
    """
    outputs = Outputs(folder, COMMAND, overwrite=overwrite)
    outputs.require_free(SUMMARIES)
    results = read_sweep(folder)
    findings = find(results)
    comparisons, sure = compare_configurations(results, findings), confidence(results)
    outputs.write_json("sweep_summary.json", sweep_summary(results, findings, comparisons, sure))
    if folds_were_swept(results):
        outputs.write_json("cv_summary.json", cv_summary(results, findings))
    outputs.write_csv(RUNS_FILE, *runs_table(results, findings))
    outputs.write_text("summary.md", markdown(results, findings, comparisons, sure))
    if not results.is_search and any(finding.configuration.completed for finding in findings):
        figure = comparison_figure(findings, metrics_of_figure(results))
        outputs.write_bytes("comparison.png", figure_bytes(figure, "comparison.png"))
    if compared := [found for found in comparisons if found.pairs]:
        figure = difference_figure(compared[0], metrics_of_figure(results))
        outputs.write_bytes(DIFFERENCES_FILE, figure_bytes(figure, DIFFERENCES_FILE))
    else:
        outputs.remove(DIFFERENCES_FILE)
    return closing_lines(results, findings, comparisons, sure)


def sweep_summary(
    results: SweepResults,
    findings: Sequence[Finding],
    comparisons: Sequence[Comparisons] = (),
    sure: Confidence | None = None,
) -> dict[str, Any]:
    """The content of `sweep_summary.json`; `counts` are of the jobs, `runs` are all that are in the folder."""
    content: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": results.name,
        "is_complete": results.is_complete,
        "counts": results.counts,
        "runs": [_run(run) for run in results.runs],
        "aggregate": _by_name(findings[0].aggregate) if len(findings) == 1 else None,
        "by_config": [_configuration(finding) for finding in findings],
        "comparisons": [_comparisons(found) for found in comparisons],
    }
    if results.is_search:
        content["search"] = results.search
        best = best_trial(results)
        collapsed = () if best is None else best.collapsed
        content["trials"] = [
            dataclasses.asdict(trial) | {"collapsed": trial.number in collapsed} for trial in ranked_trials(results)
        ]
        content["best_trial"] = (
            None
            if best is None
            else {
                "number": best.trial.number,
                "value": best.trial.value,
                "collapsed": best.has_collapsed,
                "equal_trials": list(best.equals),
                "best_not_collapsed": None if best.next_best is None else best.next_best.number,
                **({} if sure is None else sure.to_dict()),
            }
        )
    return content | {"problems": list(results.problems)}


def _comparisons(found: Comparisons) -> dict[str, Any]:
    labels = found.labels
    return {
        "part": found.part,
        "score": found.score,
        "reference": labels[found.reference],
        "reference_is_named": found.is_named,
        "unit": found.unit,
        "configurations": [
            {
                "label": labels[i],
                "num_trainings": found.num_trainings[i],
                "scores": {name: dataclasses.asdict(one) for name, one in found.estimates[i].items()},
            }
            for i in found.positions
        ],
        "pairs": [pair.to_dict(labels[i], labels[j]) for (i, j), pair in found.pairs.items()],
        "problems": list(found.problems),
    }


def _run(run: RunResult) -> dict[str, Any]:
    return {
        "name": run.name,
        "status": run.status,
        "seed": run.seed,
        "fold": run.fold,
        "split_seed": run.split_seed,
        "overrides": [without_folders(override) for override in run.overrides],
        "objective": run.objective,
        "metrics": run.metrics,
        "last_metrics": run.last_metrics,
        "error": None if run.error is None else dataclasses.asdict(run.error),
    }


def _by_name(found: Mapping[str, Spread] | Mapping[str, Components]) -> dict[str, Any]:
    return {name: dataclasses.asdict(values) for name, values in found.items()}


def _configuration(finding: Finding) -> dict[str, Any]:
    configuration = finding.configuration
    return {
        "label": configuration.label,
        "differs": {
            key: without_folders(value) if isinstance(value, str) else value
            for key, value in configuration.differs.items()
        },
        "n": len(configuration.completed),
        "seeds": configuration.seeds,
        "folds": configuration.folds,
        "runs": [run.name for run in configuration.runs],
        "aggregate": _by_name(finding.aggregate),
        "variance": None if finding.variance is None else _by_name(finding.variance),
        "published": {
            name: {"mean": mean, "std": std, "note": ELSEWHERE} for name, (mean, std) in configuration.published.items()
        }
        or None,
        "problem": configuration.problem,
    }


def cv_summary(results: SweepResults, findings: Sequence[Finding]) -> dict[str, Any]:
    """The content of `cv_summary.json`: an entry for each configuration; a single one is at the top level too."""
    entries = [_cross_validation(finding) for finding in findings]
    content = {"schema_version": SCHEMA_VERSION, "name": results.name, "is_complete": results.is_complete}
    return content | (entries[0] if len(entries) == 1 else {}) | {"configurations": entries}


def _cross_validation(finding: Finding) -> dict[str, Any]:
    runs, aggregate = finding.configuration.completed, finding.aggregate
    pooled = finding.pooled or Pooled({}, None, [])
    return {
        "label": finding.configuration.label,
        "n_folds": len(finding.configuration.folds),
        "n": len(runs),
        "folds": [
            {
                "fold": run.fold,
                "seed": run.seed,
                "split_seed": run.split_seed,
                "run": run.name,
                "fingerprint": split_fingerprint(run),
                "metrics": {name: score(run, name) for name in aggregate},
            }
            for run in sorted(runs, key=lambda run: (run.fold is None, run.fold, run.seed))
        ],
        "mean": {name: values.mean for name, values in aggregate.items()},
        "std": {name: values.std for name, values in aggregate.items()},
        "ddof": next(iter(aggregate.values())).ddof,
        "ci95": {name: values.ci95 for name, values in aggregate.items()},
        "pooled": pooled.mean,
        "pooled_by_seed": {str(seed): metrics.to_dict() for seed, metrics in pooled.by_seed.items()},
        "problems": pooled.problems,
    }

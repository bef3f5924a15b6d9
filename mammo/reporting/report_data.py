"""Everything that is on disk of some runs, read once: what a report is made from.

What is missing or damaged is None or empty and named in `problems`: a report is made of whatever is there.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.scores import SCORE_NAMES
from mammo.reporting.held_out import HeldOut, TestedRun, held_out
from mammo.reporting.mean_intervals import mean_intervals
from mammo.reporting.run_names import figure_keys, run_label, short_keys, trials_of
from mammo.runs.folders import is_run_folder
from mammo.runs.json_access import count, interval, mapping, text
from mammo.runs.layout import BEST, EVALUATIONS
from mammo.runs.reading import PREDICTIONS_FILE, RunReader, is_test
from mammo.runs.trainings import with_attributes
from mammo.support.dotted_keys import flatten
from mammo.support.files import file_sha256
from mammo.support.progress import track
from mammo.sweeps.comparisons import Comparisons, compare_configurations
from mammo.sweeps.findings import Finding, best_trial, find, model_selection
from mammo.sweeps.reading import RunResult, SweepResults, read_run, read_sweep, without_repeated
from mammo.sweeps.statistics import Spread
from mammo.sweeps.trial_confidence import Confidence, confidence
from mammo.training.epoch_records import Record


@dataclasses.dataclass(frozen=True)
class ReportedRun:
    """A run with its files.

    `label` tells it from the others ("seed 42, fold 0"), and so does `key` in the names of its figures
    ("seed42_fold0"). `configuration` is the position of its configuration in `ReportData.findings`, `config` the whole
    configuration with dotted keys. `evaluations` and `comparisons` are what `mammo.evaluate` has left of it, and
    `tested` is that on the patients set aside.
    """

    result: RunResult
    label: str
    key: str
    configuration: int | None
    files: RunReader
    predictions: PredictionTable | None
    evaluations: tuple[dict[str, Any], ...] = ()
    comparisons: tuple[dict[str, Any], ...] = ()
    tested: TestedRun | None = None

    @property
    def summary(self) -> dict[str, Any]:
        """`summary.json`, empty where there is none."""
        return self.files.summary or {}

    @property
    def history(self) -> list[Record]:
        """The records of the epochs."""
        return [record for record in self.files.history or [] if "epoch" in record]

    @property
    def config(self) -> dict[str, Any]:
        """The whole configuration with dotted keys, empty where it is not known."""
        return flatten(self.files.config or {})

    @property
    def metrics(self) -> dict[str, Any]:
        """What a finished run is judged by: `val_metrics.json`, or its outer fold; empty otherwise."""
        if not self.result.is_completed:
            return {}
        if self.result.has_outer_fold:
            return {} if self.tested is None else dict(self.tested.metrics)
        return self.files.metrics or {}


@dataclasses.dataclass(frozen=True)
class ReportData:
    """Runs, what they say together, and what could not be read.

    `intervals_over_patients` has of each finding the 95% intervals of its scores from resampling patients, by name: of
    its only run, of the pooled folds, or of the mean over trainings that were validated on the same images. `held_out`
    has of each what its runs have scored on the patients set aside, None where none was tested. `comparisons` are those
    of the configurations with each other, first on patients set aside.
    """

    title: str
    results: SweepResults
    findings: list[Finding]
    runs: list[ReportedRun]
    problems: list[str]
    intervals_over_patients: list[Mapping[str, Any]]
    held_out: list[HeldOut | None]
    comparisons: list[Comparisons] = dataclasses.field(default_factory=list)
    best_trial_confidence: Confidence | None = None

    @property
    def completed(self) -> list[ReportedRun]:
        """The runs with results."""
        return [run for run in self.runs if run.result.is_completed]

    def of(self, position: int) -> list[ReportedRun]:
        """The finished runs of a configuration."""
        return [run for run in self.completed if run.configuration == position]

    def name_of(self, position: int) -> str:
        """What a configuration is called: `trial 5` in a search, its label elsewhere."""
        configuration, trials = self.findings[position].configuration, trials_of(self.results)
        number = next((trials[run.name] for run in configuration.runs if run.name in trials), None)
        return configuration.label if number is None else f"trial {number}"

    def key_of(self, position: int) -> str:
        """What a configuration is called in the names of figures."""
        return short_keys([finding.configuration.label for finding in self.findings])[position]

    def over_patients(self, position: int, name: str) -> tuple[float, float] | None:
        """The interval of a metric of a configuration from resampling patients; None where there is none."""
        return interval(self.intervals_over_patients[position], name)

    @functools.cached_property
    def is_comparable(self) -> bool:
        """Whether all configurations have been validated on the same images of the same data with the same classes."""
        # The fingerprint of the data depends on whether images are turned.
        has_one_orientation = len({run.config.get("data.orient") for run in self.completed}) < 2
        facts = [_validated(runs, has_one_orientation) for i in range(len(self.findings)) if (runs := self.of(i))]
        return all(len(set(filter(None, known))) < 2 for known in zip(*facts, strict=True))

    def spread(self, position: int, name: str) -> Spread:
        """Mean and spread of a metric over the finished runs of a configuration."""
        return self.findings[position].aggregate[name]


def read_report_data(folders: Sequence[Path], reference: str | None = None) -> ReportData:
    """All runs in some folders, each that of a run or of a sweep; `reference` is the configuration to compare with."""
    results = _read_folders(folders)
    if reference is not None:
        results = dataclasses.replace(results, reference=reference)
    findings = find(results)
    position = {run.name: i for i, finding in enumerate(findings) for run in finding.configuration.runs}
    labels = [finding.configuration.label for finding in findings]
    problems, keys = list(results.problems), figure_keys(results, position, labels)
    runs = []
    for run in track(results.runs, "Reading runs", len(results.runs)):
        files = RunReader(run.folder)
        files.read_all()
        place = position.get(run.name)
        label = run_label(run, results, place, labels)
        of_best = _of_best_checkpoint(run, files, problems) if run.is_completed else {}
        evaluations, found = tuple(of_best.values()), [files.comparison(name) for name in of_best]
        comparisons = tuple(comparison for comparison in found if comparison is not None)
        tested = next((_tested(files, name, one, problems) for name, one in of_best.items() if is_test(one)), None)
        predictions = None
        if run.is_completed:
            of_outer = None if tested is None else tested.predictions
            predictions = of_outer if run.has_outer_fold else _predictions(run, files, problems)
        problems += [f"{run.name}: {name} cannot be read: {reason}" for name, reason in files.damaged.items()]
        runs.append(
            ReportedRun(run, label, keys[run.name], place, files, predictions, evaluations, comparisons, tested)
        )
    completed = [run for run in runs if run.result.is_completed]
    over_patients, tests = [], []
    for i, finding in enumerate(findings):
        of_finding = [run for run in completed if run.configuration == i]
        over_patients.append(_over_patients(finding, of_finding))
        # Outer folds are no test set that all share: they are pooled.
        are_outer = len({run.result.fold for run in of_finding if run.result.has_outer_fold}) > 1
        known_tests = [run.tested for run in of_finding if run.tested is not None and not are_outer]
        tests.append(held_out(known_tests, len(of_finding), SCORE_NAMES))
    compared = compare_configurations(results, findings, {run.result.name: run.files for run in completed})
    problems = list(dict.fromkeys(problems))
    sure = confidence(results)
    return ReportData(results.name, results, findings, runs, problems, over_patients, tests, compared, sure)


def _tested(files: RunReader, name: str, evaluation: Mapping[str, Any], problems: list[str]) -> TestedRun:
    """The evaluation on the patients set aside."""
    predictions, file = files.evaluated(name), f"{EVALUATIONS}/{name}/predictions.csv"
    if predictions is None and file not in files.damaged:
        problems.append(f"{files.folder.name}: {file} is missing")
    return TestedRun(mapping(evaluation, "metrics"), predictions)


def _over_patients(finding: Finding, runs: Sequence[ReportedRun]) -> Mapping[str, Any]:
    if finding.pooled is not None and finding.pooled.mean is not None:
        return mapping(finding.pooled.mean, "ci95")
    if len(runs) == 1:
        return mapping(runs[0].metrics, "ci95")
    return mean_intervals([run.predictions for run in runs])


def _validated(runs: Sequence[ReportedRun], by_fingerprint: bool) -> tuple[frozenset[Any], ...]:
    """On which data, classes and images runs were validated; empty where it is not known."""
    tables = [run.predictions for run in runs if run.predictions is not None]
    data = [run.result.data_fingerprint if by_fingerprint else text(run.summary, "data", "name") for run in runs]
    return (
        frozenset(filter(None, data)),
        frozenset(table.class_names for table in tables),
        frozenset(pair for one in tables for pair in zip(one.table["image_id"], one.table["y_true"], strict=True)),
    )


def _predictions(run: RunResult, files: RunReader, problems: list[str]) -> PredictionTable | None:
    """The validation predictions of a run, with vendor and age band where an evaluation has looked them up."""
    predictions = files.predictions
    if predictions is None:
        if PREDICTIONS_FILE not in files.damaged:
            problems.append(f"{run.name}: {PREDICTIONS_FILE} is missing")
        return None
    return with_attributes(files, predictions)


def _of_best_checkpoint(run: RunResult, files: RunReader, problems: list[str]) -> dict[str, dict[str, Any]]:
    """The evaluations of the best checkpoint of a run and nothing else, by the names of their folders."""
    found: dict[str, dict[str, Any]] = {}
    if not files.evaluations:
        return found
    try:
        digest = file_sha256(run.folder / BEST)
    except OSError:
        problems.append(f"{run.name}: the best checkpoint cannot be read, so its evaluations are left out")
        return found
    for name, evaluation in files.evaluations.items():
        networks = evaluation.get("networks")
        evaluated = [text(one, "checkpoint_sha256") for one in networks] if isinstance(networks, list) else []
        if evaluated == [digest]:
            found[name] = evaluation
        else:
            epoch = count(networks[0], "epoch") if isinstance(networks, list) and len(networks) == 1 else "-"
            what = "several networks" if len(evaluated) > 1 else f"another checkpoint (epoch {epoch})"
            problems.append(
                f"{run.name}: {EVALUATIONS}/{name} is of {what}, not of the best one of this run, so it is left out"
            )
    return found


def _read_folders(folders: Sequence[Path]) -> SweepResults:
    """What is known of all runs of some folders; a single sweep is read as itself, with its plan.

    Runs are told apart by the names of their folders.
    """
    if len(folders) == 1 and not is_run_folder(folders[0]):
        return read_sweep(folders[0])
    problems: list[str] = []
    found: dict[str, RunResult] = {}
    for folder in folders:
        if is_run_folder(folder):
            runs = [read_run(folder.resolve(), problems)]  # the name of "." is not in it
        else:
            sweep = read_sweep(folder)
            runs = [dataclasses.replace(run, is_planned=True) for run in sweep.runs]
            problems += sweep.problems
        for run in runs:
            if found.setdefault(run.name, run).folder.resolve() != run.folder.resolve():
                problems.append(f"{run.name} is there twice; the second one is not counted")
    kept = without_repeated(list(found.values()), problems)
    return SweepResults(
        folder=folders[0],
        name=kept[0].name if len(kept) == 1 else f"{len(kept)} runs",
        runs=tuple(kept),
        monitor=next((run.identity["train.monitor"] for run in kept if run.identity), "auto"),
        search=None,
        trials=(),
        published=(),
        problems=tuple(problems),
        has_plan=False,
    )


def best_position(data: ReportData) -> int | None:
    """The configuration with the best mean of what was monitored; None without a finished run.

    None as well where configurations were validated on different images: none of them is the best. In a search it is
    that of the best trial.
    """
    if data.results.is_search:
        best = best_trial(data.results)
        runs = set(best.trial.runs) if best is not None else set()
        of_best = (i for i, one in enumerate(data.findings) if runs & {run.name for run in one.configuration.runs})
        return next(of_best, None)
    if not data.is_comparable:
        return None
    if compared := [one for one in data.comparisons if one.pairs]:
        return compared[0].positions[0]
    measure = model_selection(data.results)
    sign = -1.0 if measure.minimised else 1.0
    means = [(i, finding.aggregate[measure.name].mean) for i, finding in enumerate(data.findings)]
    ranked = [(sign * mean, -i) for i, mean in means if mean is not None]
    return -max(ranked)[1] if ranked else None

"""What has to be known before a number of a report is believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from mammo.reporting.report_data import ReportData, ReportedRun
from mammo.reporting.summary_text import listed, plural, unit_of
from mammo.runs.json_access import look, mapping, number, text
from mammo.sweeps.reading import FAILED, STATUSES

# Below these an interval is so wide that a reader has to be told.
FEW_PATIENTS, FEW_IMAGES_OF_A_CLASS = 50, 10


def warnings(data: ReportData) -> tuple[str, ...]:
    """What has to be known before a number is believed."""
    completed = data.completed
    mixed = [f"{one.configuration.label}: {one.configuration.problem}" for one in data.findings
             if one.configuration.problem]  # fmt: skip
    return (
        *_missing_runs(data), *_about_networks(completed), *_about_data(completed), *_about_code(completed), *mixed,
    )  # fmt: skip


def _missing_runs(data: ReportData) -> Iterable[str]:
    counts = Counter(run.result.status for run in data.runs if not run.result.is_completed)
    if counts:
        parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
        why = " The reasons are below." if counts[FAILED] else ""
        yield f"{sum(counts.values())} of {plural(len(data.runs), 'run')} have no results ({listed(parts)}).{why}"
    if unknown := [run for run in data.completed if run.configuration is None]:
        n = f"{len(unknown)} finished {'run' if len(unknown) == 1 else 'runs'}"
        yield f"The configuration of {n} cannot be read, so no mean includes them."
    if data.results.trials_to_come:
        yield f"{plural(data.results.trials_to_come, 'trial')} of the search are still to come."


def _about_data(completed: Sequence[ReportedRun]) -> Iterable[str]:
    if generated := [run for run in completed if run.config.get("data.format") == "phantom"]:
        yield f"{_share(generated, completed)} used generated images, whose numbers say nothing about real breasts."
    if any(text(run.summary, "data", "group_by") == "image" for run in completed):
        yield (
            "Patients are not known: every image stands for itself, so images of one woman may be in training and in "
            "validation, which flatters."
        )
    patients = [n for run in completed if (n := number(run.summary, "split", "val", "patients")) is not None]
    if patients and min(patients) < FEW_PATIENTS:
        fewest = f"{min(patients):.0f} {unit_of(completed[0])}"
        yield f"A run was validated on {fewest} only: intervals are wide, and small differences mean little."
    rare: dict[str, int] = {}
    for run in completed:
        for name, n in mapping(run.summary, "split", "val", "class_counts").items():
            if isinstance(n, int) and n < FEW_IMAGES_OF_A_CLASS:
                rare[name] = min(n, rare.get(name, n))
    if rare:
        shown = listed([f"{name} ({plural(n, 'image')})" for name, n in rare.items()])
        yield f"Hardly represented in the validation of a run: class {shown}."


def _about_networks(completed: Sequence[ReportedRun]) -> Iterable[str]:
    if random := [run for run in completed if run.result.has_random_weights]:
        yield f"{_share(random, completed)} started from RANDOM weights, which does not show what the network can do."
    if collapsed := [run for run in completed if run.result.has_collapsed]:
        reasons = dict.fromkeys(text(run.summary, "collapse", "reason") for run in collapsed)
        yield f"{_share(collapsed, completed)} collapsed: {'; '.join(filter(None, reasons)) or 'no reason recorded'}."
    if any(run.config.get("train.max_batches") or run.config.get("train.overfit_batches") for run in completed):
        yield "Options for debugging were on (train.max_batches or train.overfit_batches): these are no results."


def _about_code(completed: Sequence[ReportedRun]) -> Iterable[str]:
    if dirty := [run for run in completed if look(run.summary, "git", "dirty") is True]:
        yield f"{_share(dirty, completed)} came from code with changes that are in no commit."
    commits = {text(run.summary, "git", "commit") for run in completed}
    if len(commits) > 1:
        yield f"The runs came from {len(commits)} different versions of the code."


def _share(some: Sequence[ReportedRun], of_all: Sequence[ReportedRun]) -> str:
    """The beginning of a sentence about some of the finished runs."""
    if len(of_all) == 1:
        return "The finished run"
    return f"All {len(of_all)} finished runs" if len(some) == len(of_all) else f"{len(some)} of {len(of_all)} runs"

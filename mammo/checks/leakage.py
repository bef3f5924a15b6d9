"""Patients and exams in more than one part of a split, found without the code that splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

from mammo.checks.report import Finding, counted, note, ok, problem
from mammo.data.dataset import Dataset
from mammo.data.manifest import exams_of
from mammo.data.spelling import compare_key


def check_leakage(dataset: Dataset) -> Iterator[Finding]:
    """Findings about what must be in one part only; the same pictures are looked for when a dataset is loaded."""
    parts = _part_of_each_row(dataset)
    unit = dataset.manifest.group_by
    patients = dataset.table["patient_id"].tolist()
    yield _not_shared(unit, patients if unit == "image" else [compare_key(one) for one in patients], parts)
    exams = [compare_key(exam) for exam in exams_of(dataset.manifest, dataset.table)]
    if unit != "exam" and any(exams):
        shared = _shared(exams, parts)
        if not shared:
            yield ok("exams", "each in one part")
        elif unit == "image":
            text = f"{counted(len(shared), 'exam')} in more than one part, as data.group_by=image allows"
            yield note("exams", text, "data.group_by=exam keeps images of one woman together")
        else:
            yield problem("exams", f"{counted(len(shared), 'exam')} in more than one part")


def _part_of_each_row(dataset: Dataset) -> list[tuple[str, ...]]:
    """The parts that each row of the table is in: one, if all is well."""
    found: list[list[str]] = [[] for _ in range(len(dataset.table))]
    for name, rows in dataset.split.parts.items():
        for row in rows.tolist():
            found[row].append(name)
    return [tuple(names) for names in found]


def _not_shared(unit: str, groups: Sequence[str], parts: Sequence[tuple[str, ...]]) -> Finding:
    shared = _shared(groups, parts)
    outside = sum(not names for names in parts)
    if shared:
        return problem(f"{unit}s", f"{counted(len(shared), unit)} in more than one part of the split")
    if outside:
        return problem(f"{unit}s", f"{counted(outside, 'image')} in no part of the split")
    return ok(f"{unit}s", f"each in one part, counted from the table ({len(set(groups))})")


def _shared(groups: Sequence[Hashable], parts: Sequence[tuple[str, ...]]) -> list[Hashable]:
    """The groups, but the empty one, that are in more than one part."""
    parts_of: dict[Hashable, set[str]] = defaultdict(set)
    for group, names in zip(groups, parts, strict=True):
        parts_of[group].update(names)
    return [group for group, names in parts_of.items() if group and len(names) > 1]

"""Patients, exams and pictures in more than one part of a split, found without the code that splits."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence

import numpy as np

from mammo.checks.report import Finding, counted, note, ok, problem, some
from mammo.data.dataset import Dataset
from mammo.data.image_list import Counting
from mammo.data.manifest import exams_of
from mammo.data.spelling import compare_key

IMAGES_AT_A_TIME = 64
SHOWN_IDS = 3


def check_leakage(dataset: Dataset, counting: Counting) -> Iterator[Finding]:
    """Findings about what must be in one part only; reads the pixels of all images."""
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
    yield from _check_pictures(dataset, parts, counting)


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


def _check_pictures(dataset: Dataset, parts: Sequence[tuple[str, ...]], counting: Counting) -> Iterator[Finding]:
    """Images with the same pixels, in whatever file and format."""
    pictures = _pixel_hashes(dataset, counting)
    rows_of: dict[bytes, list[int]] = defaultdict(list)
    for row, picture in enumerate(pictures):
        rows_of[picture].append(row)
    repeated = [rows for rows in rows_of.values() if len(rows) > 1]
    if not repeated:
        yield ok("pictures", "no two images have the same pixels")
        return
    labels, patients = dataset.table["label"].tolist(), dataset.table["patient_id"].tolist()
    leaking = [rows for rows in repeated if len({parts[row] for row in rows}) > 1]
    contradicting = [rows for rows in repeated if len({labels[row] for row in rows}) > 1]
    of_several = [rows for rows in repeated if len({patients[row] for row in rows}) > 1]
    to_do = "keep one of them, or give all the same patient"
    if leaking:
        yield problem("pictures", f"{_pictures(leaking)} in more than one part: {_ids(dataset, leaking)}", to_do)
    if contradicting:
        yield problem("pictures", f"{_pictures(contradicting)} with several labels: {_ids(dataset, contradicting)}")
    if of_several:
        unit = f"{dataset.manifest.group_by}s"
        yield note("pictures", f"{_pictures(of_several)} of several {unit}: {_ids(dataset, of_several)}")
    if not (leaking or contradicting or of_several):
        extra = sum(len(rows) - 1 for rows in repeated)
        yield note("pictures", f"{counted(extra, 'image')} repeated within a {dataset.manifest.group_by}")


def _pixel_hashes(dataset: Dataset, counting: Counting) -> list[bytes]:
    hashes: list[bytes] = []
    total = len(dataset.images)
    with counting("Comparing images") as count:
        for start in range(0, total, IMAGES_AT_A_TIME):
            pixels = dataset.images.read(np.arange(start, min(start + IMAGES_AT_A_TIME, total)))
            hashes += [hashlib.sha256(image).digest() for image in pixels]
            count(len(hashes), total)
    return hashes


def _pictures(groups: Sequence[Sequence[int]]) -> str:
    return "the same picture" if len(groups) == 1 else f"{len(groups):,} pictures, each several times,"


def _ids(dataset: Dataset, groups: Sequence[Sequence[int]]) -> str:
    """The first of the images, as they are named in results."""
    ids = dataset.table["image_id"]
    names = some([dataset.rename(ids.iloc[row]) for rows in groups for row in rows], SHOWN_IDS)
    lookup = f" (in the cache folder pseudonyms/{dataset.lookup_name} leads back to ids)"
    return names + lookup * dataset.is_pseudonymized

"""Who was in training and validation: no patient in both, and everything counted agrees."""

from __future__ import annotations

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

from mammo.checks.report import Finding, counted, note, ok, problem, some
from mammo.config.tree import Config
from mammo.data.patients import Link, exam_ids
from mammo.data.spelling import compare_key
from mammo.runs.reading import CsvTable, RunFiles

# What the predictions repeat of splits/val.csv.
DESCRIPTION = ("patient_id", "exam_id", "laterality", "view")


def check_splits(run: RunFiles, config: Config | None) -> Iterator[Finding]:
    """Findings about `splits/`, the predictions and `quarantine.csv`."""
    same_on_purpose = config is not None and config.train.overfit_batches is not None
    if same_on_purpose:
        yield note("splits", "train.overfit_batches: training and validation are the same images, on purpose")
    else:
        yield _overlap_finding(run)
    wrong = [text for name, table in _parts(run) for text in _wrong_counts(run, name, table)]
    wrong += _wrong_fingerprints(run)
    if run.summary is not None and "data" in run.summary:
        data = run.summary["data"]
        if not same_on_purpose and {"train", "val"} <= run.parts.keys():
            labels = Counter(label for table in run.parts.values() for label in table.column("label"))
            if labels.total() != data["num_images"]:
                wrong.append(f"summary.json says {data['num_images']} images, splits/ has {labels.total()}")
            elif labels != {label: number for label, number in data["class_counts"].items() if number}:
                wrong.append("summary.json counts the classes of all images differently than splits/")
        if run.quarantine is not None and len(run.quarantine.rows) != data["num_quarantined"]:
            wrong.append(f"quarantine.csv has {len(run.quarantine.rows)} rows, summary.json {data['num_quarantined']}")
    if wrong:
        yield problem("counts", some(wrong, 4))
    elif run.parts:
        yield ok("counts", "splits/, manifest.json, quarantine.csv and summary.json agree")
    if run.predictions is not None and "val" in run.parts:
        yield _predictions_finding(run.predictions, run.parts["val"], is_cut=_is_cut(config))


def _parts(run: RunFiles) -> Iterator[tuple[str, CsvTable]]:
    """Each part that can be read, and the test set also where it is empty and has no file."""
    yield from run.parts.items()
    if "test" not in run.parts:
        yield "test", CsvTable(["image_id", "patient_id", "label"], [])


def _overlap_finding(run: RunFiles) -> Finding:
    group_by = (run.manifest or {}).get("group_by", "patient")
    found = []
    for what in ("patient_id", "image_id"):
        ids = {name: {_key(run, what, text) for text in table.column(what)} - {""} for name, table in run.parts.items()}
        for (one, some_ids), (other, other_ids) in itertools.combinations(ids.items(), 2):
            if both := len(some_ids & other_ids):
                found.append(f"{counted(both, what.removesuffix('_id'))} in both {one} and {other}")
    to_do = "the results are too good to be true; do not use them"
    if not found and group_by != "image" and (exams := _exams_in_several_parts(run)):
        text = f"{counted(len(exams), 'exam')} in more than one part, under different patients"
        if _meaning_of_exams(run) == "unclear":  # a run of before this was looked at
            return note("splits", f"{text}: exams of one woman, or ids that each patient has?", "look at data.exam_ids")
        found.append(text)
    if found:
        return problem("splits", some(found, 4), to_do)
    groups = sum(len(set(table.column("patient_id"))) for table in run.parts.values())
    return ok("splits", f"{counted(groups, group_by)}, each in one part")


def _key(run: RunFiles, what: str, text: str) -> str:
    """A patient however the id is written, where ids are not pseudonyms; images are told apart by every letter."""
    is_written = run.manifest is not None and run.manifest.get("pseudonymized_ids") is False
    return compare_key(text) if what != "image_id" and is_written else text


def _meaning_of_exams(run: RunFiles) -> str:
    """What an exam id means, as the run says, else as its parts show."""
    stated = (run.manifest or {}).get("exam_ids")
    if stated in ("global", "per_patient"):
        return str(stated)
    return exam_ids(
        [
            Link(row.get("image_id", ""), row.get("patient_id", ""), row.get("exam_id", ""), name)
            for name, table in run.parts.items()
            for row in table.rows
        ]
    )[0]


def _exams_in_several_parts(run: RunFiles) -> set[str]:
    if _meaning_of_exams(run) == "per_patient":
        return set()
    tables = [table for table in run.parts.values() if "exam_id" in table.columns]
    parts_of = Counter(
        exam for table in tables for exam in {_key(run, "exam_id", one) for one in table.column("exam_id")}
    )
    return {exam for exam, number in parts_of.items() if exam and number > 1}


def _wrong_counts(run: RunFiles, name: str, table: CsvTable) -> list[str]:
    """Where the files that count a part disagree."""
    labels = Counter(table.column("label"))
    counts: dict[str, Any] = {"images": len(table.rows), "patients": len(set(table.column("patient_id")))}
    wrong = []
    repeated = len(table.rows) - len(set(table.column("image_id")))
    if repeated:
        wrong.append(f"splits/{name}.csv: {counted(repeated, 'image')} twice")
    for file, tree in (("manifest.json", run.manifest), ("summary.json", (run.summary or {}).get("split"))):
        if tree is None:
            continue
        stated = tree[name]
        for key, value in counts.items():
            if stated.get(key) != value:
                wrong.append(f"{file} says {stated.get(key)} {key} in {name}, splits/{name}.csv has {value}")
        if {label: number for label, number in stated["class_counts"].items() if number} != labels:
            wrong.append(f"{file} and splits/{name}.csv count the classes differently")
    return wrong


def _wrong_fingerprints(run: RunFiles) -> list[str]:
    if run.manifest is None:
        return []
    wrong = []
    if run.summary is not None and "data" in run.summary:
        pairs = (
            ("data", run.summary["data"]["fingerprint"], run.manifest["data_fingerprint"]),
            ("split", run.summary["split"]["fingerprint"], run.manifest["fingerprint"]),
        )
        wrong += [f"the {what} fingerprints of summary.json and manifest.json differ" for what, a, b in pairs if a != b]
    # It is made of the ids themselves: pseudonyms do not lead to it.
    if run.manifest["pseudonymized_ids"] is False and run.manifest["fingerprint"] != _fingerprint(run.parts):
        wrong.append("the fingerprint of the split does not follow from splits/*.csv")
    return wrong


def _fingerprint(parts: dict[str, CsvTable]) -> str:
    """As documented for `mammo.data.splits.split_fingerprint`, but from the files."""
    entries = sorted((row["image_id"], name, row["label"]) for name, table in parts.items() for row in table.rows)
    return hashlib.sha256("".join("\x1f".join(entry) + "\x1e" for entry in entries).encode()).hexdigest()


def _is_cut(config: Config | None) -> bool:
    """Whether validation ends before its last image (debugging)."""
    return config is not None and config.train.max_batches is not None


def _predictions_finding(predictions: CsvTable, val: CsvTable, *, is_cut: bool) -> Finding:
    """Each validation image is predicted once, with its label."""
    subject, to_do = "predictions", "the metrics are not those of the validation set; do not use them"
    predicted, label_of = predictions.column("image_id"), {row["image_id"]: row["label"] for row in val.rows}
    described = {row["image_id"]: [row[name] for name in DESCRIPTION] for row in val.rows}
    wrong = []
    if repeated := len(predicted) - len(set(predicted)):
        wrong.append(f"{counted(repeated, 'image')} predicted twice")
    if foreign := len(set(predicted) - label_of.keys()):
        wrong.append(f"{counted(foreign, 'predicted image')} not in splits/val.csv")
    if not is_cut and (absent := len(label_of.keys() - set(predicted))):
        wrong.append(f"{counted(absent, 'validation image')} without a prediction")
    other = sum(row["y_true"] != label_of.get(row["image_id"], row["y_true"]) for row in predictions.rows)
    if other:
        wrong.append(f"y_true is not the label in splits/val.csv in {counted(other, 'row')}")
    if any([row[name] for name in DESCRIPTION] != described.get(row["image_id"]) for row in predictions.rows):
        wrong.append("patient, exam, side or view are not those in splits/val.csv")
    if wrong:
        return problem(subject, some(wrong, 4), to_do)
    if is_cut:
        return note(subject, f"train.max_batches: {len(predicted)} of {len(label_of)} validation images")
    return ok(subject, "exactly the validation images, with their labels")

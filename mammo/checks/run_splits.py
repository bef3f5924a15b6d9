"""Who was in training and validation: no patient in both, and what was validated is what is said to be."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from mammo.checks.report import Finding, counted, note, ok, problem, some
from mammo.config.tree import Config
from mammo.data.patients import Link, exam_ids
from mammo.data.spelling import compare_key
from mammo.runs.reading import RunReader


def check_splits(run: RunReader, config: Config | None) -> Iterator[Finding]:
    """Findings about `splits/` and the images that were predicted."""
    if config is not None and config.train.overfit_batches is not None:
        yield note("splits", "train.overfit_batches: training and validation are the same images, on purpose")
    elif {"train", "val"} <= run.parts.keys():
        yield _overlap_finding(run)
    if run.predictions is not None and "val" in run.parts:
        yield _predictions_finding(run, is_cut=config is not None and config.train.max_batches is not None)


def _overlap_finding(run: RunReader) -> Finding:
    group_by = (run.manifest or {}).get("group_by", "patient")
    found = []
    for what in ("patient_id", "image_id"):
        ids = {name: {_key(run, what, text) for text in table.column(what)} - {""} for name, table in run.parts.items()}
        for (one, some_ids), (other, other_ids) in itertools.combinations(ids.items(), 2):
            if both := len(some_ids & other_ids):
                found.append(f"{counted(both, what.removesuffix('_id'))} in both {one} and {other}")
    if not found and group_by != "image" and (exams := _exams_in_several_parts(run)):
        text = f"{counted(len(exams), 'exam')} in more than one part, under different patients"
        if _meaning_of_exams(run) == "unclear":  # a run of before this was looked at
            return note("splits", f"{text}: exams of one woman, or ids that each patient has?", "look at data.exam_ids")
        found.append(text)
    if found:
        return problem("splits", some(found, 4), "the results are too good to be true; do not use them")
    groups = sum(len(set(table.column("patient_id"))) for table in run.parts.values())
    return ok("splits", f"{counted(groups, group_by)}, each in one part")


def _key(run: RunReader, what: str, text: str) -> str:
    """A patient however the id is written, where ids are not pseudonyms; images are told apart by every letter."""
    is_written = run.manifest is not None and run.manifest.get("pseudonymized_ids") is False
    return compare_key(text) if what != "image_id" and is_written else text


def _meaning_of_exams(run: RunReader) -> str:
    """What an exam id means, as the run says, else as its parts show."""
    stated = (run.manifest or {}).get("exam_ids")
    if stated in ("global", "per_patient"):
        return str(stated)
    rows = [(name, row) for name, table in run.parts.items() for row in table.rows]
    return exam_ids([Link(row["image_id"], row["patient_id"], row["exam_id"], name) for name, row in rows])[0]


def _exams_in_several_parts(run: RunReader) -> set[str]:
    if _meaning_of_exams(run) == "per_patient":
        return set()
    exams = [{_key(run, "exam_id", one) for one in table.column("exam_id")} for table in run.parts.values()]
    return {exam for exam, number in Counter(itertools.chain(*exams)).items() if exam and number > 1}


def _predictions_finding(run: RunReader, *, is_cut: bool) -> Finding:
    """Each validation image is predicted once, with its label; `is_cut` where debugging ends before the last."""
    assert run.predictions is not None
    subject, to_do = "predictions", "the metrics are not those of the validation set; do not use them"
    label_of = {row["image_id"]: row["label"] for row in run.parts["val"].rows}
    predicted = dict(zip(run.predictions.table["image_id"], run.predictions.table["y_true"], strict=True))
    wrong = []
    if repeated := len(run.predictions) - len(predicted):
        wrong.append(f"{counted(repeated, 'image')} predicted twice")
    if foreign := len(predicted.keys() - label_of.keys()):
        wrong.append(f"{counted(foreign, 'predicted image')} not in splits/val.csv")
    if not is_cut and (absent := len(label_of.keys() - predicted.keys())):
        wrong.append(f"{counted(absent, 'validation image')} without a prediction")
    if other := sum(label_of.get(image_id, label) != label for image_id, label in predicted.items()):
        wrong.append(f"y_true is not the label in splits/val.csv in {counted(other, 'row')}")
    if wrong:
        return problem(subject, some(wrong, 4), to_do)
    if is_cut:
        return note(subject, f"train.max_batches: {len(predicted)} of {len(label_of)} validation images")
    return ok(subject, "exactly the validation images, with their labels")

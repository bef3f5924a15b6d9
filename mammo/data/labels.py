"""From the spellings of a label column to class names, and from a dataset's labels to a task.

The conventions of density labels contradict each other (A-D, 1-4, 0-3), and guessing between them merges
or shifts classes without a trace. So a column has one convention, 0-3 is never guessed, and a column that
mixes letters and digits stops the run.
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd

from mammo.data.manifest import LeftOut, Manifest
from mammo.data.quoting import is_known, shown_names
from mammo.support.errors import DataError
from mammo.tasks.multiclass import DENSITY
from mammo.tasks.task import TASKS

NO_LABEL = "no label"

_WHOLE_NUMBER = re.compile(r"0*(\d+)(?:[.,]0*)?")
_LONGEST_SHOWN_CHARACTERS = 3
_MOST_ROWS_SHOWN = 8


@dataclasses.dataclass(frozen=True)
class ParsedLabels:
    """A label column after reading: one entry of `names` and `problems` a row.

    `names` holds the class name, or an empty string where there is no label or the label is bad;
    `problems` says why it is bad, else it is empty. `class_names` is the label set in order.
    """

    names: list[str]
    problems: list[str]
    class_names: tuple[str, ...]


def parse_labels(
    values: Sequence[str],
    where: Sequence[str] = (),
    classes: Sequence[str] | None = None,
    label_map: Mapping[str, str] | None = None,
) -> ParsedLabels:
    """Class names of a whole label column; blanks around a label and its case do not matter.

    `where` names the rows for messages. A `label_map` is the whole truth about the column: what it does not
    name is a bad label, and what it maps to an empty string is no label; there, and in `classes` of another label set,
    1, 1.0 and 01 are one number, unless they are named apart. Without a map, labels are A-D or 1-4
    where `classes` is None or within A-D, else the names in `classes`. A column without a single density label
    and without `classes` is taken as it is: its label set is what it holds, sorted.

    Raises `DataError` when a column mixes letters A-D with digits, or seems to count classes from 0.
    """
    texts = [value.strip() for value in values]
    rows = list(where) or [f"row {number}" for number in range(1, len(texts) + 1)]
    known, class_names, expected = _vocabulary(texts, classes, label_map or {})
    if set(class_names) <= set(DENSITY):
        _refuse_mixture(texts, rows, known if label_map else {})
        if not label_map:
            _refuse_counting_from_zero(texts, rows)
    names, problems = [], []
    for text in texts:
        name = known.get(text.casefold(), "") if text else ""
        is_known = not text or (text.casefold() in known and name in ("", *class_names))
        names.append(name if is_known else "")
        problems.append("" if is_known else _out_of_range(text, expected))
    return ParsedLabels(names, problems, class_names)


def _vocabulary(
    texts: Sequence[str], classes: Sequence[str] | None, label_map: Mapping[str, str]
) -> tuple[dict[str, str], tuple[str, ...], str]:
    """What a column may hold: spelling (case-folded) -> class name, the label set, and the spellings for messages."""
    if label_map:
        known = {key.strip().casefold(): name.strip() for key, name in label_map.items()}
        used = dict.fromkeys(name for name in known.values() if name)
        return _with_numbers_as_in(texts, known), tuple(classes or used), ", ".join(key.strip() for key in label_map)
    letters = {name.casefold(): name for name in DENSITY}
    digits = {str(number): name for number, name in enumerate(DENSITY, start=1)}
    density = letters | digits
    if classes is not None and not set(classes) <= set(DENSITY):
        known = {name.casefold(): name for name in classes}
        return _with_numbers_as_in(texts, known), tuple(classes), ", ".join(classes)
    if classes is None and any(texts) and not any(text.casefold() in density for text in texts):
        own = {text.casefold(): text for text in sorted(texts, reverse=True) if text}  # Benign and benign are one class
        return own, tuple(sorted(own.values())), ""
    class_names = tuple(classes or DENSITY)
    return density, class_names, ", ".join(class_names) + (" (or 1-4)" if class_names == DENSITY else "")


def _with_numbers_as_in(texts: Sequence[str], known: Mapping[str, str]) -> dict[str, str]:
    """The spellings with those of the texts added that are the same number, or the same letters in other bytes."""
    name_of = {_plain(spelling): name for spelling, name in known.items()}
    return {text.casefold(): name_of[_plain(text)] for text in texts if _plain(text) in name_of} | dict(known)


def _plain(text: str) -> str:
    """A label for comparison: a whole number without zeros around it, accents as one character."""
    number = _WHOLE_NUMBER.fullmatch(text)
    return number[1] if number else unicodedata.normalize("NFC", text).casefold()


def plain_numbers(texts: Sequence[str]) -> list[str]:
    """A column with its whole numbers as 1, 2, ...: spreadsheets write 01, and pandas 1.0 where a cell is empty.

    Each cell is read on its own: one that is no number, or a fraction, is left as it is.
    """
    numbers = [_WHOLE_NUMBER.fullmatch(text.strip()) for text in texts]
    return [number[1] if number else text for number, text in zip(numbers, texts, strict=True)]


def _out_of_range(text: str, expected: str) -> str:
    is_shown = len(text) <= _LONGEST_SHOWN_CHARACTERS and is_known(text)
    return f"{f'label {text!r}' if is_shown else 'the label'} is none of {expected}"


def _refuse_counting_from_zero(texts: Sequence[str], rows: Sequence[str]) -> None:
    """Stop at a column of 0-3: read as 1-4, three classes would silently be their neighbours."""
    if "0" not in texts or "4" in texts or not {"1", "2", "3"} & set(texts):
        return
    zeros = [index for index, text in enumerate(texts) if text == "0"]
    shown = "; ".join(rows[index] for index in zeros[:_MOST_ROWS_SHOWN])
    raise DataError(
        f"the labels seem to count from 0: {len(zeros)} labels are 0 and none is 4 (0 at {shown})",
        expected="A-D, or 1-4",
        to_do="say what the numbers mean: data.table.label_map={0: A, 1: B, 2: C, 3: D}",
        go_on_with={"table.label_map": dict(zip("0123", DENSITY, strict=True))},
    )


def _refuse_mixture(texts: Sequence[str], rows: Sequence[str], known: Mapping[str, str]) -> None:
    """Stop when both letters A-D and digits stand in one column and no map names them all."""
    letters = [index for index, text in enumerate(texts) if text.upper() in DENSITY]
    digits = [index for index, text in enumerate(texts) if _plain(text) in ("0", "1", "2", "3", "4")]
    if not letters or not digits or all(texts[index].casefold() in known for index in letters + digits):
        return
    fewer, is_letters = (letters, True) if len(letters) <= len(digits) else (digits, False)
    shown = "; ".join(f"{rows[index]}: {texts[index]!r}" for index in fewer[:_MOST_ROWS_SHOWN])
    more = f"; and {len(fewer) - _MOST_ROWS_SHOWN} more" if len(fewer) > _MOST_ROWS_SHOWN else ""
    raise DataError(
        f"the labels mix letters and digits: {len(letters)} letters A-D, {len(digits)} digits; "
        f"the {'letters' if is_letters else 'digits'} are at {shown}{more}",
        expected="one convention: A-D, or 1-4",
        to_do="correct them, or say in data.table.label_map what every spelling means",
        go_on_with={"table.label_map": {**{name: name for name in DENSITY}, **dict(zip("1234", DENSITY, strict=True))}},
    )


def apply_task(manifest: Manifest, name: str) -> Manifest:
    """The manifest with the labels of a task; images without a label are left out here (stage 'excluded').

    Raises `DataError` when the dataset's label set is not within A-D and the task needs it, when the task is unknown,
    or when no image has a label.
    """
    if name not in TASKS:
        raise DataError(f"data.task={name} is no task", expected=f"one of {', '.join(TASKS)}")
    task = TASKS[name]
    if task.is_density and not set(manifest.class_names) <= set(DENSITY):
        raise DataError(
            f"wrong task: the labels of {manifest.name} are {shown_names(manifest.class_names, 'label')}",
            expected=f"labels within A, B, C, D for data.task={name}",
            to_do="set data.task=labels to learn the dataset's own label set, or map it with data.table.label_map",
            go_on_with={"task": "labels"},
        )
    is_labelled = manifest.table["label"] != ""
    unlabelled = [LeftOut(str(image), "excluded", NO_LABEL) for image in manifest.table["image_id"][~is_labelled]]
    table = manifest.table[is_labelled].reset_index(drop=True)
    if table.empty:
        raise DataError(
            f"no image of {manifest.name} has a label", to_do="check where the labels come from: data.root, data.format"
        )
    class_names = task.class_names_for(manifest.class_names)
    notes = list(manifest.notes)
    if task.class_names is None and list(class_names) == sorted(class_names) and not set(class_names) <= set(DENSITY):
        notes.append(
            f"classes in the order {', '.join(class_names)}: quadratic kappa and mae take it as a scale; "
            "data.classes=[...] gives another order"
        )
    table["label"] = table["label"].map(task.label_for)
    left_out = [*manifest.left_out, *unlabelled]
    return manifest.replace(table=table, class_names=class_names, task=task, left_out=left_out, notes=notes)


def limit_patients(manifest: Manifest, limit: int | None) -> Manifest:
    """The manifest with at most `limit` patients: sorted by id, taken in turn from each class; None keeps all.

    A patient's class is the most frequent stratum of her images, the denser one where two are equally frequent.
    """
    if limit is None:
        return manifest
    queues: list[list[str]] = [[] for _ in manifest.class_names]
    for patient, strata in pd.Series(manifest.strata).groupby(manifest.table["patient_id"], sort=True):
        counts = Counter(strata)
        queues[max(counts, key=lambda stratum: (counts[stratum], stratum))].append(str(patient))
    longest = max(map(len, queues))
    in_turn = [queue[turn] for turn in range(longest) for queue in queues if turn < len(queue)]
    chosen = set(in_turn[:limit])
    table = manifest.table[manifest.table["patient_id"].isin(chosen)].reset_index(drop=True)
    note = f"data.limit={limit}: {len(chosen)} of {len(in_turn)} patients are used"
    return manifest.replace(table=table, notes=[*manifest.notes, note])

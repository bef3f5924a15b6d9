"""A label set that nobody has stated must be one of classes, and not of persons.

Names of classes are written everywhere: summaries, figures, checkpoints. Where neither `data.classes` nor a label map
says what the classes are, they are what a column holds or how folders are called - and in the wrong column, or over an
archive with a folder for each woman, that is who they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import median

from mammo.data.data_options import DataOptions
from mammo.data.labels import ParsedLabels
from mammo.data.quoting import has_known_word, is_known, shown_names
from mammo.support.errors import DataError
from mammo.tasks.multiclass import DENSITY

# A woman has four images in an exam and few exams; a class has more images than that.
_FEW_IMAGES = 12
_MANY_CLASSES = 10
# Dates and numbers; name^first name, surname, first name; an address; a path.
_OF_A_PERSON = re.compile(r"(?:\D*\d){4}|[\^,@/\\]")


def require_classes(
    labels: ParsedLabels, groups: Sequence[str], options: DataOptions, label_map: Mapping[str, str] | None = None
) -> None:
    """Raise `DataError` for labels that nobody has stated and that may name persons; it quotes none of them.

    `groups` is the patient (or exam) of each row, empty where it is not known; `label_map` is the one that a reader
    has used where the options have none. Words that label sets usually have are taken as they are.
    """
    stated = {*DENSITY, *(options.classes or ()), *(label_map or options.table.label_map).values()}
    unknown = [name for name in labels.class_names if name not in stated and not is_known(name)]
    why = _why_persons(unknown, labels.names, groups)
    if why:
        labels_are = "the folders" if options.format == "folders" else "the column (data.table.columns.label)"
        raise DataError(
            f"the labels may be names or numbers of persons: {shown_names(labels.class_names, 'label')}; {why}",
            "the names of classes, which are written into summaries, figures and checkpoints",
            f"check {labels_are} that the labels are read from; if these are classes, say so: data.classes=[...] or "
            "data.table.label_map={...}",
            go_on_with={"classes": list(labels.class_names)},
        )


def _why_persons(unknown: Sequence[str], labels: Sequence[str], groups: Sequence[str]) -> str:
    """Why some of the labels are rather persons than classes; empty where nothing says so."""
    if not unknown:
        return ""
    if any(_OF_A_PERSON.search(name) for name in unknown):
        return "some have the form of a name, a date or a number"
    if any(len(name.split()) > 1 and not has_known_word(name) for name in unknown):
        return "some have several words, of which none belongs to labels"
    if len(unknown) > _MANY_CLASSES:
        return f"{len(unknown)} of them are no usual words for classes"
    groups_of: dict[str, set[str]] = {name: set() for name in unknown}
    for label, group in zip(labels, groups, strict=True):
        if group and label in groups_of:
            groups_of[label].add(group)
    if any(groups) and sum(len(found) == 1 for found in groups_of.values()) * 2 > len(unknown):
        return "most of them are those of one patient each"
    counts = Counter(labels)
    if median(counts[name] for name in unknown) <= _FEW_IMAGES:
        return f"half of them have at most {_FEW_IMAGES} images, as a patient has"
    return ""

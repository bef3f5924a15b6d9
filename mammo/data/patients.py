"""Which images are of one woman: what shares a patient or an exam is one group, however the ids are written.

A woman in two parts of a split makes results too good without a trace, so nothing that may put her there is passed
over. What is certain is joined and counted (`mammo.data.spelling`); what is not is a question, answered by
`data.same_patient` and `data.exam_ids`. Messages name rows and kinds of differences, never an id.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from mammo.data.data_options import DataOptions
from mammo.data.manifest import LeftOut
from mammo.data.spelling import Groups, compare_key, difference, may_be_same
from mammo.support.errors import DataError

# As many numbers of one woman in one exam are no mistakes any more.
MANY_PATIENTS = 5
# An old and a new number of one woman: that happens.
FEW_PATIENTS = 2
_LISTED = 8
# Two kinds of ids in one structure of groups.
_PATIENT, _EXAM = "patient ", "exam "

ExamIds = Literal["global", "per_patient", "unclear"]


class Link(NamedTuple):
    """What one row of a dataset says: this image is of this patient and exam, empty where it does not say.

    `where` is the row's place for messages.
    """

    image: str
    patient: str
    exam: str
    where: str


class Grouped(NamedTuple):
    """The entries that are kept, with `patient_id` filled, what is left out, and how it was done.

    `num_joined` counts the patients who had several ids in one exam; `notes` are remarks for the log.
    """

    entries: list[dict[str, str]]
    left_out: list[LeftOut]
    group_by: str
    exam_ids: ExamIds
    num_joined: int
    notes: list[str]


def one_spelling(ids: Iterable[str], *, merge: bool = False) -> tuple[dict[str, str], int, int]:
    """Id as written -> the spelling that stands for it, how many are written in several certain ways, how many merged.

    Of several spellings the first in sorted order stands for all, so that the order of rows decides nothing; an id
    with one spelling stays as it is. What names nobody becomes empty. `merge` also joins what may be the same.
    """
    spellings: dict[str, set[str]] = defaultdict(set)
    for text in set(ids):
        spellings[compare_key(text)].add(text)
    nobody = spellings.pop("", set())
    num_certain = sum(len(ways) > 1 for ways in spellings.values())
    uncertain = may_be_same(spellings) if merge else []
    for first, *others in uncertain:
        spellings[first] = spellings[first].union(*(spellings.pop(other) for other in others))
    chosen = {text: min(ways) for ways in spellings.values() for text in ways}
    return chosen | dict.fromkeys(nobody, ""), num_certain, len(uncertain)


def exam_ids(links: Sequence[Link], *, spelling_explains: bool = True) -> tuple[ExamIds, int]:
    """Whether an exam id means one exam, or one exam of each patient (visit 1, 2); the most patients of one id.

    Patients of an exam whose ids may be the same count once (`spelling_explains`). Then an exam id names

    - one patient: nothing to decide;
    - two: one woman with two numbers, unless more than half of the exams (and at least three) are like that, or so
      many women would be joined through others that a group holds `MANY_PATIENTS`;
    - `MANY_PATIENTS` (5) or more: no woman has as many numbers in an exam. The ids are counted within patients if
      half of the patients with an exam have such an id, half of these have several images (else each image may have
      got a random patient) and every id that a few patients share is theirs alone (visit 4, which few women had);
    - anything between: unclear.
    """
    patients_of: dict[str, set[str]] = defaultdict(set)
    images_of: dict[str, set[str]] = defaultdict(set)
    same = Groups()
    for keys in may_be_same(compare_key(link.patient) for link in links) if spelling_explains else []:
        same.join(keys)
    for link in links:
        if link.patient and link.exam:
            patient = same.of(compare_key(link.patient))
            patients_of[compare_key(link.exam)].add(patient)
            images_of[patient].add(link.image)
    most = max(map(len, patients_of.values()), default=0)
    shared = [patients for patients in patients_of.values() if len(patients) > 1]
    of_many = set[str]().union(*(patients for patients in shared if len(patients) >= MANY_PATIENTS))
    if of_many:
        several_images = sum(len(images_of[patient]) > 1 for patient in of_many)
        is_usual = 2 * len(of_many) >= len(images_of) and 2 * several_images >= len(of_many)
        return "per_patient" if is_usual and all(patients <= of_many for patients in shared) else "unclear", most
    joined = Groups()
    for patients in shared:
        joined.join(patients)
    is_usual = len(shared) >= 3 and 2 * len(shared) > len(patients_of)
    largest = max(map(len, joined.several()), default=0)
    return "unclear" if most > FEW_PATIENTS or is_usual or largest >= MANY_PATIENTS else "global", most


def group_images(
    entries: Sequence[dict[str, str]], links: Sequence[Link], options: DataOptions, *, exams_are_folders: bool = False
) -> Grouped:
    """Fill `patient_id` with what must never span two splits; both ids have one spelling (`one_spelling`) already.

    With `options.group_by` 'patient', images belong together that share a patient or an exam, directly or through
    others; `links` are the rows that say so, also of images that are not used. An exam without any patient stands for
    one. An exam that is a folder is one exam, whoever is in it. Raises `DataError` when nothing to group by is known,
    and for what `exam_ids` and `may_be_same` leave open while the options do not answer it.
    """
    patients = {entry["patient_id"] for entry in entries} - {""}
    exams = {entry["exam_id"] for entry in entries} - {""}
    if options.group_by == "image":
        notes = []
        if patients or exams:
            known = f"{len(patients)} patients" if patients else f"{len(exams)} exams"
            notes = [f"data.group_by=image although {known} are known: images of one woman can be in train and val"]
        return Grouped(
            [entry | {"patient_id": entry["image_id"]} for entry in entries], [], "image", "global", 0, notes
        )
    if not patients and not exams:
        where = "name their columns in data.table.columns"
        if options.format == "folders":
            where = "list images, patients and labels in a table (data=table)"
        raise DataError(
            f"{options.name} has neither patients nor exams to group images by",
            expected="a patient or exam for each image, so that no woman is in train and val",
            to_do=f"{where}, or accept images as independent with data.group_by=image",
            go_on_with={"group_by": "image"},
        )
    if options.group_by == "exam":
        if not exams:
            raise DataError(f"data.group_by=exam, but {options.name} has no exams", to_do="set data.group_by=patient",
                            go_on_with={"group_by": "patient"})  # fmt: skip
        return _by_exam(entries, links, options, len(patients), len(exams))
    return _by_patient(entries, links, options, exams_are_folders)


def _by_exam(
    entries: Sequence[dict[str, str]], links: Sequence[Link], options: DataOptions, num_patients: int, num_exams: int
) -> Grouped:
    """Each exam for itself. That ids are counted within patients must be declared: patient ids are not trusted here."""
    rule: ExamIds = options.exam_ids or "global"
    notes = []
    if 0 < num_patients < num_exams:
        notes = [f"grouped by exam although {num_patients} patients have {num_exams} exams"]
    if rule == "per_patient":
        keys = [f"{e['patient_id']}/{e['exam_id']}" if e["patient_id"] and e["exam_id"] else "" for e in entries]
    else:
        groups = Groups()
        uncertain = _uncertain(entry["exam_id"] for entry in entries)
        if options.same_patient is None:
            _require_answer(uncertain, "exam", _first_places((link.exam, link.where) for link in links))
        for exams in uncertain if options.same_patient == "merge" else []:
            groups.join(exams)
        keys = [groups.of(entry["exam_id"]) for entry in entries]
    kept, lost = _with_keys(entries, keys, rule)
    return Grouped(kept, lost, "exam", rule, 0, notes)


def _by_patient(
    entries: Sequence[dict[str, str]], links: Sequence[Link], options: DataOptions, exams_are_folders: bool
) -> Grouped:
    rule, notes = _rule_of_exams(links, options, exams_are_folders)
    groups = _joined(links if rule == "global" else ())
    with_patient = {groups.of(_PATIENT + link.patient) for link in links if link.patient}

    def is_alone(exam: str) -> bool:
        return groups.of(_EXAM + exam) not in with_patient

    # Where patients are known, other exams of nearly the same number are other women's.
    exams = _uncertain(entry["exam_id"] for entry in entries) if rule == "global" else []
    exams = [same for same in exams if any(map(is_alone, same)) and len({groups.of(_EXAM + one) for one in same}) > 1]
    patients = _uncertain(entry["patient_id"] for entry in entries)
    patients = [same for same in patients if len({groups.of(_PATIENT + one) for one in same}) > 1]
    if options.same_patient == "distinct" and (apart := patients + exams):
        number = sum(map(len, apart))
        notes.append(f"data.same_patient=distinct: {number} ids that may be {len(apart)} are taken for different ones")
    if options.same_patient is None:
        _require_answer(patients, "patient", _first_places((link.patient, link.where) for link in links))
        _require_answer(exams, "exam", _first_places((link.exam, link.where) for link in links))
    for same in exams if options.same_patient == "merge" else []:  # of patients, one spelling is left already
        groups.join(_EXAM + exam for exam in same)
    keys = _keys(entries, groups, rule)
    has_patients = any(entry["patient_id"] for entry in entries)
    alone = [entry for entry in entries if not entry["patient_id"] and entry["exam_id"] and is_alone(entry["exam_id"])]
    if alone and rule == "global":
        which = f"{len(alone)} images have no" if has_patients else "no image has a"
        notes.append(f"{which} patient id: the exam stands for the patient")
    patients_of: dict[str, set[str]] = defaultdict(set)
    for link in links if rule == "global" else ():
        patients_of[link.exam] |= {link.patient} - {""}
    num_shared = sum(len(patients) > 1 for exam, patients in patients_of.items() if exam)
    num_joined = sum(sum(one.startswith(_PATIENT) for one in group) > 1 for group in groups.several())
    if num_shared:
        women = _counted(num_joined, "patient")
        notes.append(f"{num_shared} exams carry more than one patient id: these ids are taken for {women}")
    kept, lost = _with_keys(entries, keys, rule)
    return Grouped(kept, lost, "patient" if has_patients else "exam", rule, num_joined, notes)


def _joined(links: Iterable[Link]) -> Groups:
    """Patients and exams that belong together because rows name both, or name one image under two exams."""
    groups = Groups()
    exams_of: dict[str, set[str]] = defaultdict(set)
    for link in links:
        if link.exam:
            groups.join([_EXAM + link.exam, *([_PATIENT + link.patient] if link.patient else [])])
            exams_of[link.image].add(_EXAM + link.exam)
    for exams in exams_of.values():
        groups.join(exams)
    return groups


def patients_of_exams(links: Sequence[Link]) -> list[str]:
    """The patient of each row, one for all rows of an exam: the first in sorted order of all that share exams.

    Empty where none is known. Where exam ids may not be those of one exam (`exam_ids`), each row's own patient.
    """
    if exam_ids(links)[0] != "global":
        return [link.patient for link in links]
    groups = _joined(links)
    nodes = [groups.of(_PATIENT + link.patient if link.patient else _EXAM + link.exam) for link in links]
    found: dict[str, set[str]] = defaultdict(set)
    for node, link in zip(nodes, links, strict=True):
        found[node] |= {link.patient} - {""}
    return [min(found[node], default="") for node in nodes]


def _rule_of_exams(links: Sequence[Link], options: DataOptions, exams_are_folders: bool) -> tuple[ExamIds, list[str]]:
    """What an exam id means, as declared or found, and a remark. Raises `DataError` where it is not clear."""
    found, most = exam_ids(links, spelling_explains=options.same_patient != "distinct")
    rule: ExamIds = options.exam_ids or ("global" if exams_are_folders else found)
    if rule == "unclear":
        numbers = Counter(link.exam for link in {link._replace(image="", where="") for link in links} if link.patient)
        shared = {exam for exam, number in numbers.items() if exam and number > 1}
        rows = _first_places((f"{link.exam} {link.patient}", link.where) for link in links if link.exam in shared)
        raise DataError(
            f"{len(shared)} of {len(numbers)} exam ids have images of several patients, one of {most}: one woman under "
            f"several ids, or exams that each patient counts for herself? For example {_listed(list(rows.values()))}",
            expected="an exam id for each exam, or for each visit of a patient (1, 2, ...)",
            to_do="data.exam_ids=global takes all patients of an exam id for one, data.exam_ids=per_patient keeps them "
            "apart; data.table.columns.exam_id=null does without exams",
            go_on_with={"exam_ids": "per_patient"},
        )
    if rule == "per_patient" and most > 1:
        text = f"exam ids are counted within patients (one has images of {most}): an exam is patient and exam"
        return rule, [text]
    return rule, []


def _uncertain(ids: Iterable[str]) -> list[list[str]]:
    """Groups of ids that may be the same; there is one spelling of each (`one_spelling`)."""
    of_key = {compare_key(one): one for one in ids}
    return [[of_key[key] for key in keys] for keys in may_be_same(key for key in of_key if key)]


def _first_places(rows: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Where each id stands first, in that order."""
    places: dict[str, str] = {}
    for one, where in rows:
        places.setdefault(one, where)
    return places


def _require_answer(uncertain: Sequence[Sequence[str]], unit: str, places: Mapping[str, str]) -> None:
    """Raises `DataError` that lists where ids stand that may be the same; the ids themselves are in no message."""
    if not uncertain:
        return
    order = {one: number for number, one in enumerate(places)}
    uncertain = sorted((sorted(same, key=order.__getitem__) for same in uncertain), key=lambda same: order[same[0]])
    kinds = [difference([compare_key(one) for one in same]) for same in uncertain]
    listed = [
        f"{' = '.join(_place(places[one]) for one in same[:_LISTED])} ({kind})"
        for same, kind in zip(uncertain, kinds, strict=True)
    ]
    counts = ", ".join(f"{number} by {kind}" for kind, number in Counter(kinds).most_common())
    raise DataError(
        f"{sum(map(len, uncertain))} {unit} ids may be those of {_counted(len(uncertain), unit)}, written in several "
        f"ways ({counts}): {_listed(listed)}",
        expected=f"one way of writing for each {unit}, so that no woman is in train and val",
        to_do="correct them, or say what they are: data.same_patient=merge (one and the same) or "
        "data.same_patient=distinct (different)",
        go_on_with={"same_patient": "merge"},
    )


def _counted(number: int, unit: str) -> str:
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def _place(where: str) -> str:
    """A row's place without folders: their names may be those of patients."""
    return where.rpartition("/")[2]


def _listed(texts: Sequence[str]) -> str:
    more = f"; and {len(texts) - _LISTED} more" if len(texts) > _LISTED else ""
    return "; ".join(map(_place, texts[:_LISTED])) + more


def _keys(entries: Sequence[dict[str, str]], groups: Groups, rule: ExamIds) -> list[str]:
    """The name of each entry's group: its first patient in sorted order, else its first exam; empty without both."""
    nodes = []
    for entry in entries:
        exam = entry["exam_id"] if rule == "global" else ""
        node = _PATIENT + entry["patient_id"] if entry["patient_id"] else _EXAM + exam if exam else ""
        nodes.append(groups.of(node) if node else "")
    members: dict[str, set[str]] = defaultdict(set)
    for entry, node in zip(entries, nodes, strict=True):
        members[node] |= {_PATIENT + entry["patient_id"]} if entry["patient_id"] else {_EXAM + entry["exam_id"]}
    names = {}
    taken = {compare_key(entry["patient_id"]) for entry in entries}
    for node, found in members.items():
        patients = [one for one in found if one.startswith(_PATIENT)]
        name = min(patients or found)
        name = name.removeprefix(_PATIENT) if patients else name.removeprefix(_EXAM)
        while not patients and compare_key(name) in taken:  # an exam 7 without a patient is not the patient 7
            name = _EXAM + name
        names[node] = name
    return [names[node] if node else "" for node in nodes]


def _with_keys(
    entries: Sequence[dict[str, str]], keys: Sequence[str], rule: ExamIds
) -> tuple[list[dict[str, str]], list[LeftOut]]:
    why = "the row has neither patient nor exam"
    if rule == "per_patient":
        why = "the row has no patient, and exam ids are counted within patients"
    pairs = list(zip(entries, keys, strict=True))
    kept = [entry | {"patient_id": key} for entry, key in pairs if key]
    return kept, [LeftOut(entry["image_id"], "label", why, entry["where"]) for entry, key in pairs if not key]

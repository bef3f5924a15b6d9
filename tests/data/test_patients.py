"""A woman is in one part of the split: however her ids are written, in tables, in archives, in prescribed parts."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

import pytest

from mammo.data.data_options import DataOptions
from mammo.data.formats.rows import Row, build_manifest
from mammo.data.manifest import exams_of
from mammo.data.patients import Link, exam_ids, patients_of_exams
from mammo.data.splits import split_folds, split_holdout
from mammo.support.errors import DataError

CLASSES = ("A", "B", "C", "D")


@pytest.fixture
def manifest_of(tmp_path):
    """The manifest of (image, label, patient, exam, part) tuples; the images are empty files."""

    def build(images, shuffled=None, *, exams_are_folders=False, **options):
        rows = []
        for number, (image, label, patient, exam, *part) in enumerate(images, start=2):
            (tmp_path / image).touch()
            rows.append(
                Row(f"t.csv row {number}", label, named=image, patient_id=patient, exam_id=exam, split="".join(part))
            )
        if shuffled is not None:
            random.Random(shuffled).shuffle(rows)
        return build_manifest(rows, tmp_path, DataOptions(name="t", **options), exams_are_folders=exams_are_folders)

    return build


def groups(manifest):
    """The images of each group, as a set of sets."""
    images = defaultdict(set)
    for image, patient in zip(manifest.table["image_id"], manifest.table["patient_id"], strict=True):
        images[patient].add(image)
    return {frozenset(found) for found in images.values()}


def words(*names):
    return {frozenset(name.split()) for name in names}


# How the same woman is written a second time; whether that is certain.
VARIANTS = {
    "as it is": (str, True),
    "small letters": (str.lower, True),
    "blanks around": (lambda p: f" {p} ", True),
    "NBSP before": (lambda p: f"\u00a0{p}", True),
    "byte order mark": (lambda p: f"\ufeff{p}", True),
    "zero width inside": (lambda p: f"{p[:1]}\u200b{p[1:]}", True),
    "soft hyphen inside": (lambda p: f"{p[:1]}\u00ad{p[1:]}", True),
    "right to left mark": (lambda p: f"{p}\u200f", True),
    "variation selector": (lambda p: f"{p}\ufe0f", True),
    "full width": (lambda p: "".join(chr(ord(c) + 0xFEE0) for c in p), True),
    "apostrophe before": (lambda p: f"'{p}", True),
    "curly quotes": (lambda p: f"\u201c{p}\u201d", True),
    "formula": (lambda p: f'="{p}"', True),
    "no zeros": (lambda p: p.replace("0", "", 1) if p[1] == "0" else f"{p[0]}0{p[1:]}", False),
    "more zeros": (lambda p: f"{p[0]}000{p[1:]}", False),
    "number as float": (lambda p: f"{int(p[1:])}.0", False),
    "patient before": (lambda p: f"Patient {int(p[1:])}", False),
    "dash": (lambda p: f"{p[0]}-{p[1:]}", False),
    "long dash": (lambda p: f"{p[0]}\u2013{p[1:]}", False),
    "blank inside": (lambda p: f"{p[0]} {p[1:]}", False),
    "Cyrillic letter": (lambda p: f"\u0420{p[1:]}", False),
    "Greek letter": (lambda p: f"\u03a1{p[1:]}", False),
    "Arabic digits": (lambda p: p[0] + "".join(chr(0x660 + int(c)) for c in p[1:]), False),
}
WOMEN = [f"P{number:02d}" for number in range(1, 25)]


def written_twice(variant):
    """Two images a woman, of one of which her number is written in another way."""
    return [
        (f"{number}-{image}.png", CLASSES[number % 4], VARIANTS[variant][0](woman) if image else woman, "")
        for number, woman in enumerate(WOMEN)
        for image in range(2)
    ]


def assert_in_one_part(manifest, women):
    """`women` leads from an image to its woman; every split of three seeds keeps her together."""
    for seed in (42, 43, 44):
        splits = [split_holdout(manifest.table, CLASSES, 0.25, 0.2, seed)]
        splits += split_folds(manifest.table, CLASSES, 3, seed, 0.0)
        for split in splits:
            parts = defaultdict(set)
            for name, rows in split.parts.items():
                for image in manifest.table["image_id"].iloc[rows]:
                    parts[women(image)].add(name)
            assert len(parts) == len(WOMEN)
            assert all(len(found) == 1 for found in parts.values())


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_woman_is_in_two_parts_and_no_two_are_one(variant, manifest_of):
    images = written_twice(variant)
    each = {frozenset(image for image, *_ in images if image.startswith(f"{n}-")) for n in range(len(WOMEN))}
    if VARIANTS[variant][1]:
        manifest = manifest_of(images)
        assert manifest.grouping.patient_spellings == (0 if variant == "as it is" else len(WOMEN))
        assert any("written in several ways" in note for note in manifest.notes) == (variant != "as it is")
    else:
        with pytest.raises(DataError, match=r"data\.same_patient=merge") as error:
            manifest_of(images)
        assert str(error.value).startswith("48 patient ids may be those of 24 patients, written in several ways (")
        assert "t.csv row 2 = t.csv row 3 (" in str(error.value)
        assert "P01" not in str(error.value)
        manifest = manifest_of(images, same_patient="merge")
        assert manifest.grouping.merged == len(WOMEN)
        assert "data.same_patient=merge: 24 patients have several ids that may be the same" in manifest.notes
        apart = manifest_of(images, same_patient="distinct")
        assert len(groups(apart)) == 2 * len(WOMEN)
        assert "48 ids that may be 24 are taken for different ones" in " ".join(apart.notes)
    assert groups(manifest) == each
    assert_in_one_part(manifest, lambda image: image.split("-")[0])


@pytest.mark.parametrize("variant", [name for name, (_, certain) in VARIANTS.items() if not certain])
def test_an_exam_that_both_spellings_share_answers_the_question(variant, manifest_of):
    images = [(image, label, patient, f"E{image.split('-')[0]}") for image, label, patient, _ in written_twice(variant)]
    manifest = manifest_of(images)
    assert len(groups(manifest)) == len(WOMEN)
    assert manifest.grouping.by_exam == len(WOMEN)
    assert "24 exams carry more than one patient id: these ids are taken for 24 patients" in manifest.notes
    assert_in_one_part(manifest, lambda image: image.split("-")[0])


@pytest.mark.parametrize("variant", ["small letters", "full width", "no zeros", "dash"])
def test_exams_that_stand_for_patients_are_compared_like_them(variant, manifest_of):
    images = [(image, label, "", patient) for image, label, patient, _ in written_twice(variant)]
    if VARIANTS[variant][1]:
        manifest = manifest_of(images)
        assert manifest.grouping.exam_spellings == len(WOMEN)
        assert manifest.table["exam_id"].nunique() == len(WOMEN)
    else:
        for group_by in ("patient", "exam"):
            with pytest.raises(DataError, match="48 exam ids may be those of 24 exams, written in several ways"):
                manifest_of(images, group_by=group_by)
            assert len(groups(manifest_of(images, group_by=group_by, same_patient="distinct"))) == 48
        assert groups(manifest_of(images, group_by="exam", same_patient="merge")) == groups(
            manifest_of(images, same_patient="merge")
        )
        manifest = manifest_of(images, same_patient="merge")
    assert_in_one_part(manifest, lambda image: image.split("-")[0])


GROUP_CASES = [
    # images as 'image:patient:exam', groups, a part of a remark
    ("a:P:1 b:Q:1 c:R:2", ["a b", "c"], "1 exams carry more than one patient id: these ids are taken for 1 patient"),
    ("a:P:1 b:Q:1 c:Q:2 d:R:2 e:S:3", ["a b c d", "e"], "2 exams carry more than one"),
    ("a:P:1 b::1 c::2 d:Q:3", ["a b", "c", "d"], "1 images have no patient id: the exam stands"),
    ("a:P:1 b:unknown:1 c:nan:2 d:?:2", ["a b", "c d"], "2 images have no patient id"),
    ("a:unknown:1 b:NaN:2 c:N/A:1", ["a c", "b"], "no image has a patient id"),
    ("a::7 b:7:8 c:7:9", ["a", "b c"], None),  # an exam 7 is not the patient 7
    ("a:P:none b:Q:none c:R:none", ["a", "b", "c"], None),
    ("a:P:E1 b:Q:e1 c:R:E2", ["a b", "c"], "1 exams are written in several ways"),
    ("a:A12:E7 b:B9:E-7", ["a", "b"], None),  # similar exams of known patients are no question
    ("a:1:x b:01:x c:2:y", ["a b", "c"], None),
    ("a:0:1 b:0:2 c:5:3", ["a b", "c"], None),
]


def images_of(text):
    return [(image, "A", patient, exam) for image, patient, exam in (one.split(":") for one in text.split())]


@pytest.mark.parametrize(("text", "expected", "note"), GROUP_CASES)
def test_what_shares_a_patient_or_an_exam_is_one_group(text, expected, note, manifest_of):
    images = images_of(text)
    manifest = manifest_of(images)
    assert groups(manifest) == words(*expected)
    assert manifest.left_out == []
    assert note is None or note in " ".join(manifest.notes)
    for seed in range(5):
        again = manifest_of(images, shuffled=seed)
        assert again.table.equals(manifest.table)
        assert again.grouping == manifest.grouping


def test_rows_of_images_that_are_not_used_say_who_is_one_woman(manifest_of, tmp_path):
    images = [("a", "A", "P", "1"), ("b", "B", "Q", "2"), ("gone", "A", "Q", "1")]
    rows = [Row(f"row {n}", label, named=i, patient_id=p, exam_id=e) for n, (i, label, p, e) in enumerate(images)]
    for name in "ab":
        (tmp_path / name).touch()
    manifest = build_manifest(rows, tmp_path, DataOptions(name="t"))
    assert groups(manifest) == words("a b")
    assert set(manifest.table["patient_id"]) == {"P"}


def test_an_image_that_is_listed_under_two_exams_joins_them(manifest_of):
    manifest = manifest_of([("a", "A", "", "1"), ("a", "A", "", "2"), ("b", "A", "", "2"), ("c", "A", "", "3")])
    assert groups(manifest) == words("a b", "c")


def test_an_image_that_is_listed_in_two_spellings_is_one(manifest_of):
    manifest = manifest_of([("a", "A", "P1", ""), ("a", "A", " p1", ""), ("b", "B", "P2", "")])
    assert dict(zip(manifest.table["image_id"], manifest.table["patient_id"], strict=True)) == {"a": " p1", "b": "P2"}
    assert manifest.left_out == []


def test_ids_that_are_written_in_one_way_stay_as_they_are(manifest_of):
    ids = ["0001", "x 7", "Jos\u00e9", "P\u200b9", "'5", "2.0"]
    manifest = manifest_of([(f"{n}.png", "A", one, "") for n, one in enumerate(ids)])
    assert manifest.table["patient_id"].tolist() == ids
    assert manifest.notes == []


def test_rows_without_patient_and_exam_are_left_out(manifest_of):
    manifest = manifest_of(images_of("a:P:1 b:unknown: c:-:none"))
    assert {item.image_id: item.reason for item in manifest.left_out} == dict.fromkeys(
        "bc", "the row has neither patient nor exam"
    )
    with pytest.raises(DataError, match="neither patients nor exams"):
        manifest_of(images_of("a:unknown: b:nan:"))


def visits(num_women, num_visits, images=2):
    return [
        (f"{woman}-{visit}-{image}.png", CLASSES[woman % 4], f"W{woman}", f"{visit}")
        for woman in range(num_women)
        for visit in range(1, num_visits + 1 - (woman % 2))
        for image in range(images)
    ]


@pytest.mark.parametrize(("num_women", "num_visits"), [(5, 2), (24, 2), (24, 3), (9, 5)])
def test_visits_are_counted_within_patients(num_women, num_visits, manifest_of):
    manifest = manifest_of(visits(num_women, num_visits))
    assert len(groups(manifest)) == num_women
    assert manifest.grouping.exam_ids == "per_patient"
    assert f"(one has images of {num_women}): an exam is patient and exam" in " ".join(manifest.notes)
    exams = exams_of(manifest, manifest.table)
    assert len(set(exams)) == sum(num_visits - (woman % 2) for woman in range(num_women))
    assert set(manifest.table["exam_id"]) == {str(visit) for visit in range(1, num_visits + 1)}


def test_with_visits_two_spellings_of_a_patient_are_still_asked_for(manifest_of):
    images = [*visits(12, 2), ("x.png", "A", "W-3", "1")]
    with pytest.raises(DataError, match="2 patient ids may be those of 1 patient, "):
        manifest_of(images)
    assert len(groups(manifest_of(images, same_patient="merge"))) == 12


def test_with_visits_a_row_without_a_patient_is_left_out(manifest_of):
    manifest = manifest_of([*visits(12, 2), ("x.png", "A", "unknown", "1")])
    assert [(item.image_id, item.reason) for item in manifest.left_out] == [
        ("x.png", "the row has no patient, and exam ids are counted within patients")
    ]


UNCLEAR = {
    "three patients": [*images_of("a:P:1 b:Q:1 c:R:1"), *[(f"{n}", "A", f"N{n}", f"E{n}") for n in range(9)]],
    "dates": [(f"{n}", "A", f"N{n}", f"2020-01-{n // 2 + 1:02d}") for n in range(20)],
    "one id of many": [
        *images_of("a:P:0 b:Q:0 c:R:0 d:S:0 e:T:0"),
        *[(f"{n}", "A", f"N{n}", f"E{n}") for n in range(9)],
    ],
    "a patient id for each image": [(f"{n}", "A", f"N{n}", f"{n // 8}") for n in range(40)],
    "chains": [(f"{n}", "A", f"N{n // 2}", f"E{(n + 1) // 2}") for n in range(10)]
    + [(f"x{n}", "A", f"M{n}", f"F{n}") for n in range(20)],
    "visits and numbers": [*visits(8, 2), *images_of("a:P:900 b:Q:900")],
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_between_the_two_is_a_question(name, manifest_of):
    images = UNCLEAR[name]
    with pytest.raises(DataError, match=r"data\.exam_ids=global") as error:
        manifest_of(images)
    assert "t.csv row" in str(error.value)
    assert not any(word in str(error.value) for word in ("N1", "2020-01", "900"))
    joined, apart = manifest_of(images, exam_ids="global"), manifest_of(images, exam_ids="per_patient")
    assert len(groups(apart)) == len({patient for _, _, patient, _ in images})
    of_exam = defaultdict(set)
    for image, _, _, exam in images:
        of_exam[exam].add(image)
    assert all(any(found <= group for group in groups(joined)) for found in of_exam.values())
    assert (joined.grouping.exam_ids, apart.grouping.exam_ids) == ("global", "per_patient")


def test_an_exam_that_is_a_folder_is_one_exam(manifest_of):
    images = UNCLEAR["a patient id for each image"]
    assert len(groups(manifest_of(images, exams_are_folders=True))) == 5


def test_grouped_by_exam_patient_ids_are_not_looked_at(manifest_of):
    images = UNCLEAR["a patient id for each image"]
    assert len(groups(manifest_of(images, group_by="exam"))) == 5
    assert len(groups(manifest_of(visits(6, 2), group_by="exam"))) == 2
    declared = manifest_of(visits(6, 2), group_by="exam", exam_ids="per_patient")
    assert len(groups(declared)) == 9


PRESCRIBED = [
    ("a:P:1:train b:Q:1:val", {}),
    ("a:P::train b:p::test", {}),
    ("a::E1:train b::e1:val", {}),
    ("a:1::train b:01::val", {"same_patient": "merge"}),
    ("a:P:1:train b:unknown:1:val", {}),
]


@pytest.mark.parametrize(("text", "options"), PRESCRIBED)
def test_prescribed_parts_go_through_the_same_check(text, options, manifest_of):
    images = [(i, "AB"[n % 2], p, e, s) for n, (i, p, e, s) in enumerate(one.split(":") for one in text.split())]
    images += [(f"x{n}", "AB"[n % 2], f"N{n}x", f"F{n}x", "train") for n in range(4)]
    manifest = manifest_of(images, classes=["A", "B"], **options)
    for make in (
        lambda: split_holdout(manifest.table, ("A", "B"), 0.5, 0.0, 42),
        lambda: split_folds(manifest.table, ("A", "B"), 2, 42, 0.0),
    ):
        with pytest.raises(DataError, match="1 patients are in both train and"):
            make()


def test_visits_of_women_in_different_prescribed_parts_are_no_overlap(manifest_of):
    images = [(*image, "val" if int(image[2][1:]) < 8 else "train") for image in visits(24, 2)]
    manifest = manifest_of(images)
    split = split_holdout(manifest.table, CLASSES, 0.2, 0.0, 42)
    assert len(split.val) == sum(part == "val" for *_, part in images)


def test_the_meaning_of_exams_does_not_depend_on_the_order_of_rows():
    for images in (*UNCLEAR.values(), visits(7, 3)):
        links = [Link(image, patient, exam, "") for image, _, patient, exam in images]
        expected = exam_ids(links)
        for seed in range(5):
            random.Random(seed).shuffle(links)
            assert exam_ids(links) == expected


def test_the_patient_of_an_exam():
    links = [
        Link(*one, "") for one in (("a", "P", "1"), ("b", "", "1"), ("c", "O", "1"), ("d", "", "2"), ("e", "", ""))
    ]
    assert patients_of_exams(links) == ["O", "O", "O", "", ""]
    many = [Link(f"{n}", f"N{n}x", "same", "") for n in range(7)]
    assert patients_of_exams(many) == [link.patient for link in many]


def test_random_tables_against_a_graph_search(manifest_of):
    rng = random.Random(0)
    for _ in range(60):
        images = [
            (f"{n}", "A", rng.choice(["", "pa", "pb", "pc", "pd"]), rng.choice(["", "ea", "eb", "ec", "ed"]))
            for n in range(rng.randint(2, 9))
        ]
        images = [image for image in images if image[2] or image[3]]
        if not images:
            continue
        found = groups(manifest_of(images, exam_ids="global"))
        together = {image[0]: {image[0]} for image in images}
        for _ in images:
            for one, other in itertools.combinations(images, 2):
                if (one[2] and one[2] == other[2]) or (one[3] and one[3] == other[3]):
                    union = together[one[0]] | together[other[0]]
                    for name in union:
                        together[name] = union
        assert found == {frozenset(group) for group in together.values()}

"""Whatever is wrong with a dataset: no message, note, reason or class name quotes a cell, a file or a folder."""

from __future__ import annotations

import random

import pytest
from small_datasets import write_dicom, write_png

from mammo.data.formats import read_manifest
from mammo.data.image_list import reasons_summary
from mammo.data.labels import apply_task, limit_patients
from mammo.data.splits import split_folds, split_holdout
from mammo.support.errors import DataError

NAMES = (
    "Quesadilla^Ximenia", "Obrecht, Pim", "Vandersloot", "Quesadilla_Ximenia_19570314", "19570314", "14.03.1957",
    "HOSPX7391", "Tirila Brandvoldsen",
)  # fmt: skip
SECRETS = (
    "quesadilla", "ximenia", "obrecht", "vandersloot", "1957", "hospx", "7391", "tirila", "brandvoldsen",
)  # fmt: skip
HEADERS = {
    "table": ["image", "label", "patient_id", "exam_id", "laterality", "view", "split", "manufacturer", "age"],
    "rsna": ["image_id", "density", "patient_id", "laterality", "view"],
    "vindr": ["image_id", "breast_density", "study_id", "laterality", "view_position", "split"],
    "inbreast": ["File Name", "ACR", "Laterality", "View"],
    "mias": ["image", "tissue", "patient_id", "laterality", "view"],
    "cbis_ddsm": ["image file path", "breast_density", "patient_id", "left or right breast", "image view"],
    "archive": ["AccessionNumber", "Classification"],
}
TABLES = {
    "rsna": "train.csv", "vindr": "breast-level_annotations.csv", "inbreast": "INbreast.csv", "mias": "labels.csv",
    "cbis_ddsm": "mass_case_description_train_set.csv", "archive": "classificacao.csv",
}  # fmt: skip


def damaged_table(root, name, rng):
    """A table with names in its cells, and one or two things wrong with it."""
    header = list(HEADERS[name])
    rows = []
    for number in range(rng.randint(1, 6)):
        image = f"{rng.choice(NAMES)}/{number}.png".replace("^", "")
        write_png(root / image)
        row = [image, rng.choice("ABCD1234"), rng.choice(NAMES), *(rng.choice((*NAMES, "L", "CC", "")) for _ in header)]
        rows.append(row[: len(header)])
    for _ in range(rng.randint(1, 2)):
        if not rows:
            break
        match rng.randrange(9):
            case 0:
                header = rng.choice(rows)  # no header line
            case 1:
                header[rng.randrange(len(header))] = rng.choice(NAMES)
            case 2:
                header[0] = header[-1] = rng.choice(NAMES)  # two equal ones
            case 3:
                for row in rows:
                    row[1] = rng.choice(NAMES)  # the wrong column
            case 4:
                rng.choice(rows)[1] = rng.choice((*NAMES, "0", "B"))
            case 5:
                rng.choice(rows).extend(NAMES)
            case 6:
                rng.choice(rows)[0] = rng.choice(("/etc/", "../", "C:\\", "http://", "")) + rng.choice(NAMES)
            case 7:
                rows.append([*rows[0][:-1], rng.choice(NAMES)])
            case 8:
                rows.clear()
    delimiter = rng.choice(",;\t|")
    lines = [delimiter.join(f'"{cell}"' if delimiter in cell else cell for cell in row) for row in (header, *rows)]
    files = [TABLES.get(name, f"{rng.choice(NAMES)}.csv")]
    if rng.random() < 0.4:
        files = [f"{one}.csv" for one in rng.sample(NAMES, rng.randint(0, 3))]
    for file in files:
        (root / file).write_bytes("\n".join(lines).encode(rng.choice(("utf-8", "utf-16", "latin-1"))))


def damaged_folders(root, name, rng):
    """Folders that are named after women, with label files whose lines name them."""
    for _ in range(rng.randint(1, 5)):
        folder = root / rng.choice(NAMES)
        image = write_png(
            folder / f"{rng.choice(NAMES)}.png" if name != "patches" else root / f"{rng.choice(NAMES)}.png"
        )
        lines = [image.stem, rng.choice(("0", "3", "A", *NAMES)), rng.choice(NAMES), rng.choice(("1", *NAMES))]
        if rng.random() < 0.8:
            place = image.parent if rng.random() < 0.8 else root
            (place / "featureS.txt").write_text("\n".join(lines[: rng.randint(1, 4)]))
    (root / f"{rng.choice(NAMES)}.{rng.choice(NAMES)}").write_bytes(b"")


def damaged_archive(root, name, rng):
    damaged_table(root, "archive", rng)
    for _ in range(rng.randint(1, 3)):
        woman = rng.choice(NAMES)
        write_dicom(
            root / woman / f"{rng.choice(NAMES)}.dcm", PatientID=woman, ViewPosition=rng.choice(("CC", "VANDERSLOOT")),
            Modality=rng.choice(("MG", "HOSPX7391")), Manufacturer=woman[:20],
        )  # fmt: skip


MAKERS = {
    **dict.fromkeys(("table", "rsna", "vindr", "inbreast", "mias", "cbis_ddsm"), damaged_table),
    **dict.fromkeys(("folders", "mamografias", "patches"), damaged_folders),
    "archive": damaged_archive,
}


def everything_said(options, root):
    """What would be written of a dataset, or the message that ends a run."""
    said = []
    try:
        manifest = read_manifest(options, root)
        said += [*manifest.notes, reasons_summary(manifest.left_out), *manifest.class_names]
        manifest = limit_patients(apply_task(manifest, options.task), 4)
        said += [*manifest.notes, *manifest.class_names]
        for split in (split_holdout, split_folds):
            amounts = (0.5, 0.0, 0) if split is split_holdout else (2, 0, 0.0)
            done = split(manifest.table, manifest.class_names, *amounts)
            said += done.notes if split is split_holdout else done[0].notes
    except DataError as error:
        said.append(str(error))
    return "\n".join(said)


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("name", MAKERS)
def test_no_message_names_a_person(name, seed, tmp_path, options_of):
    rng = random.Random(f"{name} {seed}")
    MAKERS[name](tmp_path, name, rng)
    changes = {"task": rng.choice(("density4", "labels")), "group_by": rng.choice(("patient", "image"))}
    if name == "mias":
        changes["classes"] = rng.choice((None, ["F", "G", "D"]))
    if rng.random() < 0.3:
        changes["views"] = None
    for read_as in (name, "auto"):
        said = everything_said(options_of(read_as, **changes), tmp_path)
        assert said
        assert [secret for secret in SECRETS if secret in said.lower()] == [], said


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (dict.fromkeys(NAMES, 1), "form of a name, a date or a number"),
        ({"Vandersloot": 4, "Obrecht": 4}, "at most 12 images"),
        ({"Tirila Brandvoldsen": 40, "Pim Obrecht": 40}, "several words"),
        ({f"Woman{'abcdefghijklmn'[i]}": 20 for i in range(12)}, "12 of them are no usual words"),
    ],
)
def test_folders_of_women_are_no_classes(labels, said, tmp_path, options_of):
    for name, number in labels.items():
        for image in range(number):
            write_png(tmp_path / name / f"{image}.png")
    with pytest.raises(DataError, match=said) as caught:
        read_manifest(options_of("folders", group_by="image", task="labels"), tmp_path)
    assert not any(name in str(caught.value) for name in labels)
    stated = options_of("folders", group_by="image", task="labels", classes=sorted(labels))
    assert set(read_manifest(stated, tmp_path).class_names) == set(labels)


def test_labels_that_follow_patients_are_no_classes(tmp_path, options_of):
    lines = ["image,label,patient_id"]
    for woman, name in enumerate(("Vandersloot", "Obrecht", "Quesadilla")):
        for image in range(20):
            write_png(tmp_path / f"{woman}-{image}.png")
            lines.append(f"{woman}-{image}.png,{name},{woman}")
    (tmp_path / "labels.csv").write_text("\n".join(lines))
    with pytest.raises(DataError, match="those of one patient each"):
        read_manifest(options_of("table", task="labels"), tmp_path)

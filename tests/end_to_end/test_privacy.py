"""Names, numbers and texts of patients go in with the images; none of them comes out in anything that is written."""

from __future__ import annotations

import base64
import contextlib
import csv
import json
import re
import stat
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
import timm
import torch
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.conftest import SMALL_NETWORK
from tests.data.formats.small_datasets import write_dicom
from tests.processes import run_module

QUICK = (
    "data=archive", *SMALL_NETWORK, "data.image_size=64", "data.batch_size=8", "data.val_fraction=0.4",
    "train.epochs=1", "train.threads=1", "data.num_workers=0", "cache_dir=cache",
)  # fmt: skip
# Tag and value of what must not get out. Every word that a file name or an id is made of is in one of them.
TAGS = {
    "PatientName": "Quesadilla^Ximenia", "PatientID": "HOSPX7391", "OtherPatientIDs": "ALTID55812",
    "PatientBirthDate": "19570314", "PatientAddress": "Falsastrasse 7428", "PatientTelephoneNumbers": "0049551778812",
    "PatientComments": "Zwillingsschwester erkrankt", "PatientMotherBirthName": "Obrecht",
    "InstitutionName": "Klinikum Nordhafenau", "InstitutionAddress": "Kaiwall 99", "StationName": "STATIONQ8",
    "InstitutionalDepartmentName": "Senologie Ost", "OperatorsName": "Brandvoldsen^Tirila",
    "PhysiciansOfRecord": "Vandersloot^Pim", "ReferringPhysicianName": "Okonkwoh^Chideraa",
    "PerformingPhysicianName": "Lindqvistad^Ebbah", "RequestingPhysician": "Marchetto^Luigia",
    "StudyDescription": "Zweitmeinung Tastbefund", "SeriesDescription": "Stanzbiopsieserie", "StudyID": "STDY90210",
    "ProtocolName": "Protokollhaus", "ImageComments": "Narbe nach Exzision", "AccessionNumber": "ACCN558213",
    "DeviceSerialNumber": "SNR88417ZK", "StudyDate": "20190823", "SeriesDate": "20190824", "ContentDate": "20190825",
    "StudyTime": "134751", "Occupation": "Leuchtturmwaerterin", "EthnicGroup": "ETHNICVALUE",
    "AdditionalPatientHistory": "Mastektomie erwogen", "RequestedProcedureDescription": "Vorsorgeprogramm",
    "StudyInstanceUID": "1.2.826.0.1.3680043.77.4711", "SeriesInstanceUID": "1.2.826.0.1.3680043.77.4712",
    "FrameOfReferenceUID": "1.2.826.0.1.3680043.77.4713",
}  # fmt: skip
PRIVATE_TEXT = "Privatfeldnotiz"
SOP_INSTANCE_UID = "1.2.826.0.1.3680043.77.4714"
BROKEN_TEXT = "VERBOTENTEXT"
LARGE_BYTES = 2**20
IN_BASE64 = re.compile(rb";base64,([A-Za-z0-9+/=]{1000,})")
SECRETS = sorted(
    {PRIVATE_TEXT, SOP_INSTANCE_UID, BROKEN_TEXT}
    | {part for value in TAGS.values() for part in re.split(r"[\^ ]", value) if len(part) > 4}
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """An archive of 20 exams, their folders and files named after patients, 4 files of them broken."""
    root = tmp_path_factory.mktemp("archive")
    random = np.random.default_rng(0)
    rows = []
    for number in range(20):
        accession = f"{TAGS['AccessionNumber']}-{number}"
        rows.append([accession, "1234"[number % 4]])
        file = root / accession / "Quesadilla" / f"Ximenia_HOSPX7391_{number}_19570314.dcm"
        tags = {**TAGS, "PatientID": f"{TAGS['PatientID']}-{number}", "BurnedInAnnotation": "YES"}
        y, x = np.mgrid[:96, :72]
        breast = ((y - 48) / 42) ** 2 + (x / 60) ** 2 < 1
        pixels = (breast * random.integers(800, 2500, (96, 72))).astype(np.uint16)
        write_dicom(file, pixels, **tags)
        _mark(file, broken=number >= 16, kind=number % 4)
    with (root / "classificacao.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([["AccessionNumber", "Classification"], *rows])
    return root


def _mark(file: Path, *, broken: bool, kind: int) -> None:
    """Private tags and an instance UID; in a broken file the name also stands where a code should be."""
    dataset = pydicom.dcmread(file)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = SOP_INSTANCE_UID
    block = dataset.private_block(0x0019, "MYVENDOR", create=True)
    block.add_new(1, "LO", PRIVATE_TEXT)
    if broken:
        setattr(dataset, ("Modality", "PhotometricInterpretation", "VOILUTFunction", "ViewPosition")[kind], BROKEN_TEXT)
        dataset.WindowCenter, dataset.WindowWidth = "1234567890.5", 2000
    dataset.save_as(file)
    if broken and kind == 3:
        file.write_bytes(file.read_bytes().replace(b"1234567890.5", BROKEN_TEXT.encode())[:-500])


def start(folder: Path, *arguments: str, program: str = "mammo.train", umask: int = 0) -> subprocess.CompletedProcess:
    done = run_module(program, *arguments, folder=folder, umask=umask, COLUMNS="300")
    name = f"{len(list(folder.glob('*.output')))}.output"
    (folder / name).write_text(done.stdout + done.stderr)
    return done


def contents(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Everything below a folder: names, bytes, and what is packed in archives and pictures."""
    for file in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = str(file.relative_to(folder))
        yield f"name of {name}", name.encode()
        content = file.read_bytes()
        # Megabytes of pictures in base64 hold every short word by chance.
        yield name, IN_BASE64.sub(b"", content)
        yield from ((f"{name} (in base64)", base64.b64decode(found[1])) for found in IN_BASE64.finditer(content))
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                compressed = [entry for entry in packed.infolist() if entry.compress_type != zipfile.ZIP_STORED]
                yield from ((f"{name}/{entry.filename}", packed.read(entry)) for entry in compressed)
        if content.startswith(b"%PDF"):
            yield from ((f"{name} (packed)", part) for part in drawn_text(content))
        for start_at in [found.start() for found in re.finditer(rb"(iTXt|zTXt|tEXt)", content)]:
            decompress = zlib.decompressobj()
            for offset in range(4, 84):
                try:
                    yield f"{name} (packed text)", decompress.decompress(content[start_at + offset :])
                    break
                except zlib.error:
                    decompress = zlib.decompressobj()


def drawn_text(pdf: bytes) -> Iterator[bytes]:
    """The unpacked parts of a PDF, and the text of each, which is in pieces because of the spaces between letters."""
    for found in re.finditer(rb"stream\r?\n", pdf):
        with contextlib.suppress(zlib.error):
            part = zlib.decompressobj().decompress(pdf[found.end() :])
            yield part
            yield b"".join(re.findall(rb"\(([^()]*)\)", part))


def forms(secret: str) -> set[bytes]:
    """A text in the encodings in which it could be hidden, all in lower case."""
    found = {secret.lower().encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be", "latin-1")}
    for shift in range(3):  # base64 of a text depends on where in the whole it begins
        # The characters that neither what stands before nor what follows has a part in.
        first, last = -(-8 * shift // 6), (8 * (shift + len(secret))) // 6
        for text in (secret, secret.upper()):
            encoded = base64.b64encode(b"\0" * shift + text.encode())[first:last].lower()
            found |= {encoded} if len(encoded) > 6 else set()
    return found


def leaks(folder: Path, secrets: list[str]) -> list[str]:
    all_forms = {secret: forms(secret) for secret in secrets}
    found = []
    for name, content in contents(folder):
        if name.startswith(("cache/pseudonyms/", "cache/pseudonym.key")):
            continue
        lower = content.lower()
        for secret, ways in all_forms.items():
            # Large files are tensors: a text in them would not be base64.
            looked_for = ways if len(lower) < LARGE_BYTES else {secret.lower().encode()}
            if any(way in lower for way in looked_for):
                found.append(f"{secret} in {name}")
    return found


@pytest.mark.slow
def test_nothing_of_a_patient_gets_out(archive, tmp_path):
    root = f"data.root={archive}"
    few_bad = "data.max_bad_fraction=0.3"
    prepared = start(tmp_path, "data=archive", root, few_bad, "data.image_size=64", "cache_dir=cache",
                     program="mammo.prepare")  # fmt: skip
    assert prepared.returncode == 0, prepared.stderr
    trained = start(tmp_path, *QUICK, root, few_bad, "tracker=tensorboard")
    assert trained.returncode == 0, trained.stderr
    assert "20 images have text burned into their pixels" in trained.stdout
    assert start(tmp_path, *QUICK, root, "data.max_bad_fraction=0").returncode == 2
    assert start(tmp_path, "data=mias", root).returncode == 2
    state = timm.create_model("test_resnet").state_dict()
    state["conv1.0.weight"].fill_(3e38)  # a number still; what is computed with it is none
    torch.save(state, tmp_path / "huge.pth")
    swept = start(tmp_path, *QUICK, root, few_bad, "tracker=mlflow", "data.views=null", "model=timm",
                  "model.name=test_resnet", "strategy=head_only", "-m", "model.weights=none,huge.pth")  # fmt: skip
    assert swept.returncode == 1
    (error,) = tmp_path.glob("multirun/*/*/error.json")
    assert json.loads(error.read_text())["type"] == "NonFiniteLossError"

    assert leaks(tmp_path, SECRETS) == []
    _check_pseudonyms(tmp_path)


def _check_pseudonyms(folder: Path) -> None:
    """Key and table are for the user alone, whatever the umask; with the table an image is found again."""
    (run,) = (folder / "outputs").iterdir()
    key = folder / "cache" / "pseudonym.key"
    tables = list((folder / "cache" / "pseudonyms").iterdir())
    for file in (key, *tables):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    rows = list(csv.DictReader((run / "val_predictions.csv").open()))
    lookup = {row["pseudonym"]: row["id"] for file in tables for row in csv.DictReader(file.open())}
    for row in rows:
        assert re.fullmatch(r"[0-9a-f]{12}", row["image_id"])
        assert lookup[row["image_id"]].endswith("19570314.dcm")
        assert lookup[row["patient_id"]].startswith("HOSPX7391-")
    assert key.read_text() not in "".join(content.decode("latin-1") for _, content in contents(run))


def test_the_search_finds_what_is_hidden(tmp_path):
    hidden = {
        "plain.txt": b"Patient: HOSPX7391",
        "case.txt": b"hospx7391",
        "wide.bin": "\u00e9HOSPX7391".encode("utf-16-le"),
        **{f"{shift}.b64": base64.b64encode(b"x" * shift + b"HOSPX7391 and more") for shift in range(3)},
        "HOSPX7391.csv": b"",
    }
    for name, content in hidden.items():
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("record", b"HOSPX7391" * 100)
    text = PngInfo()
    text.add_text("Comment", "HOSPX7391" * 20, zip=True)
    Image.new("L", (4, 4)).save(tmp_path / "figure.png", pnginfo=text)
    found = leaks(tmp_path, ["HOSPX7391"])
    assert len(found) >= len(hidden) + 2
    assert {"HOSPX7391 in packed.pth/record", "HOSPX7391 in figure.png (packed text)"} <= set(found)


@pytest.mark.slow
def test_nothing_of_a_patient_gets_out_when_a_run_is_evaluated_explained_and_reported(archive, tmp_path):
    trained = start(tmp_path, *QUICK, f"data.root={archive}", "data.max_bad_fraction=0.3", "run.name=run")
    assert trained.returncode == 0, trained.stderr
    (run,) = (path.relative_to(tmp_path) for path in (tmp_path / "outputs").iterdir())
    for program, *words in (
        ("mammo.evaluate", run, "split=all"), ("mammo.predict", run, f"input={archive}"), ("mammo.explain", run),
        ("mammo.predict", run, f"input={archive}", "output=predictions.jsonl", "force=true"),
        ("mammo.embed", run), ("mammo.export", run, "format=onnx"),
    ):  # fmt: skip
        done = start(tmp_path, *map(str, words), "cache_dir=cache", "threads=1", program=program)
        assert done.returncode == 0, done.stderr
    done = start(tmp_path, str(run), program="mammo.report")
    assert done.returncode == 0, done.stderr
    html = (tmp_path / run / "report" / "report.html").read_text()
    assert "data:image/png" in html  # heat maps are in it
    assert len((tmp_path / "predictions_quarantine.csv").read_text().splitlines()) > 1
    assert leaks(tmp_path, SECRETS) == []
    assert b"/tmp/" not in html.encode()  # neither the data nor the run is named by its folder


def test_the_search_for_leaks_reads_what_is_drawn_in_a_pdf(tmp_path):
    figure = Figure()
    figure.text(0, 0, "Quesadilla")
    figure.savefig(tmp_path / "figure.pdf")
    assert leaks(tmp_path, ["Quesadilla", "Ximenia"]) != []


SWEPT = (
    "-m", "seed=1,2", "data=table", "data.image_size=64", "train.epochs=1", "train.threads=1", "model.weights=none",
    "model=efficientnet_lite0", "cache_dir=cache", "data.root=data",
)  # fmt: skip
LABELS = ["image,density,patient_id", *(f"Quesadilla_{i}.png,Ximenia 19570314,HOSPX7391-{i}" for i in range(8))]
# The lines of the label table, and options: each ends the runs of a sweep with a message.
WRONG_TABLES = {
    "no header line": (LABELS[1:], ()),
    "wrong label column": (LABELS, ()),
    "labels of people": (LABELS, ("data.task=labels",)),
    "two equal header cells": (["image,Ximenia 19570314,Ximenia 19570314", *LABELS[1:]], ()),
    "missing table": (LABELS, ("data.table.files=[lables.csv]",)),
}


@pytest.mark.slow
@pytest.mark.long
def test_a_sweep_over_a_wrong_table_names_nobody(tmp_path):
    for number, (lines, options) in enumerate(WRONG_TABLES.values()):
        folder = tmp_path / str(number)
        (folder / "data").mkdir(parents=True)
        (folder / "data" / "Quesadilla_Ximenia.csv").write_text("\n".join(lines))
        for i in range(8):
            Image.new("L", (4, 4)).save(folder / "data" / f"Quesadilla_{i}.png")
        done = start(folder, *SWEPT, *options)
        assert done.returncode != 0
        errors = [json.loads(error.read_text()) for error in folder.glob("multirun/*/*/error.json")]
        assert [error["type"] for error in errors] == ["DataError", "DataError"], done.stderr
        assert all("Traceback" not in (error["traceback"] or "") for error in errors)
        found = [leak for leak in leaks(folder, SECRETS) if " in data/" not in leak and "name of data/" not in leak]
        assert found == []


@pytest.mark.slow
def test_mistakes_at_the_terminal_name_nobody(archive, tmp_path):
    """A path that is nearly that of a patient's folder, and the findings of the doctor for scripts."""
    trained = start(tmp_path, *QUICK, f"data.root={archive}", "data.max_bad_fraction=0.3", "run.name=run")
    assert trained.returncode == 0, trained.stderr
    (run,) = (str(path.relative_to(tmp_path)) for path in (tmp_path / "outputs").iterdir())
    for file in archive.rglob("*.dcm"):
        with contextlib.suppress(Exception):  # some are broken on purpose
            dataset = pydicom.dcmread(file)
            dataset.Manufacturer = "Marchetto Luigia"
            dataset.save_as(file)
    nearly = archive / f"{TAGS['AccessionNumber']}-3" / "Quesadila"
    typed = str(nearly)
    table = tmp_path / "table"
    table.mkdir()
    (table / "Quesadilla_Ximenia.csv").write_text("\n".join(LABELS[1:]))  # without a header line
    wrong_table = (*SWEPT[2:-1], f"data.root={table}")
    commands = [
        ("mammo.train", *wrong_table), ("mammo.train", "data=archive", f"data.root={nearly}"),
        ("mammo.prepare", "data=archive", f"data.root={nearly}"),
        ("mammo.train", "-m", *wrong_table, "hpo=density", "hpo.trials=1", "sweep.name=search"),
        ("mammo.explain", run, f"image={nearly}"),
        ("mammo.export", run, "format=safetensors", f"output={nearly.parent}"),
        ("mammo.predict", run, f"input={nearly}"), ("mammo.predict", f"run={nearly}", f"input={archive}"),
        ("mammo.report", str(nearly)), ("mammo.embed", run, f"output={nearly.parent}"),
        ("mammo.evaluate", run, "data=folders", f"data.root={archive}", "data.group_by=image", "cache_dir=cache"),
        ("mammo.doctor", "json=true", "data=archive", f"data.root={archive}", "data.max_bad_fraction=0.5",
         "data.views=null", "data.image_size=64", "cache_dir=cache"),
    ]  # fmt: skip
    for program, *words in commands:
        done = start(tmp_path, *words, program=program)
        said = (done.stdout + done.stderr).replace(typed, "<typed>").replace(str(nearly.parent), "<typed>")
        assert done.returncode in (0, 1, 2), program
        assert "Traceback" not in said, said
        lower = said.lower()
        assert [secret for secret in SECRETS if secret.lower() in lower] == [], (program, words, said)
    assert "vendor in the DICOM header" in done.stdout
    assert "other" in done.stdout
    assert (tmp_path / "multirun" / "search").is_dir()
    assert leaks(tmp_path / "multirun", SECRETS) == []

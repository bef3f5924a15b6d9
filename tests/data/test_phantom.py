"""The synthetic exams: labels that follow from the masks, files that other software reads, folders that are whole."""

from __future__ import annotations

import csv
import itertools
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import generate_frames
from pydicom.uid import ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1

from mammo.data.phantom import (
    VIEWS,
    RenderedView,
    accession_of,
    convention_of,
    density_class,
    density_fraction,
    generate_phantom,
    render_view,
    stored_pixels,
)
from mammo.data.phantom_cache import differing, phantom_folder, sums_file
from mammo.support.errors import DataError

pytestmark = pytest.mark.slow  # many generated exams

NUM_WOMEN, SEED = 12, 0  # of the exams that all tests share
# As many as there are conventions; with their views they have every transfer syntax.
NUM_RENDERED = 4
Renders = dict[tuple[int, str, str], RenderedView]


@pytest.fixture(scope="module")
def archive(generated_exams: Path) -> Path:
    return generated_exams


@pytest.fixture(scope="module")
def renders() -> Renders:
    keys = [(number, laterality, view) for number in range(NUM_RENDERED) for laterality, view in VIEWS]
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(keys, pool.map(lambda key: render_view(SEED, *key), keys), strict=True))


def read_labels(folder: Path) -> dict[str, str]:
    with (folder / "classificacao.csv").open(newline="") as handle:
        return {row["AccessionNumber"]: row["Classification"] for row in csv.DictReader(handle)}


def decode_independently(dataset: pydicom.Dataset) -> np.ndarray:
    if dataset.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian:
        return np.frombuffer(dataset.PixelData, "<u2").reshape(dataset.Rows, dataset.Columns)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=1))
    assert len(frames) == 1
    is_jpeg2000 = dataset.file_meta.TransferSyntaxUID == JPEG2000Lossless
    return imagecodecs.jpeg2k_decode(frames[0]) if is_jpeg2000 else imagecodecs.jpegsof3_decode(frames[0])


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("fraction", "expected"),
    [(0.0, "A"), (0.0999, "A"), (0.10, "B"), (0.3499, "B"), (0.35, "C"), (0.5999, "C"), (0.60, "D"), (1.0, "D")],
)
def test_density_class(fraction: float, expected: str) -> None:
    assert density_class(fraction) == expected


def test_density_fraction_counts_tissue_inside_the_breast_only() -> None:
    breast = np.array([[1, 1, 1, 1], [1, 0, 0, 0]], bool)
    tissue = np.array([[1, 1, 0, 0], [0, 0, 0, 1]], bool)
    assert density_fraction(tissue, breast) == pytest.approx(2 / 5)


def test_every_label_follows_from_the_tissue_masks(archive: Path, renders: Renders) -> None:
    labels = read_labels(archive)
    for number in range(NUM_RENDERED):
        views = [renders[number, laterality, view] for laterality, view in VIEWS]
        fractions = [density_fraction(one.tissue_mask, one.breast_mask) for one in views]
        expected = "ABCD".index(density_class(float(np.mean(fractions)))) + 1
        assert labels[accession_of(number)] == str(expected)
        assert {density_class(fraction) for fraction in fractions} == {"ABCD"[expected - 1]}


def test_classes_are_balanced_in_every_block_of_four(archive: Path) -> None:
    labels = read_labels(archive)
    for first in range(0, NUM_WOMEN, 4):
        assert sorted(labels[accession_of(number)] for number in range(first, first + 4)) == ["1", "2", "3", "4"]


def test_same_seed_same_bytes_and_a_smaller_phantom_is_a_prefix(archive: Path, tmp_path: Path) -> None:
    generate_phantom(tmp_path / "again", 2, SEED)
    again, whole = files_of(tmp_path / "again"), files_of(archive)
    assert whole["classificacao.csv"].startswith(again.pop("classificacao.csv"))
    assert len(again) == 8
    assert all(whole[name] == content for name, content in again.items())


def test_seeds_and_women_differ() -> None:
    images = [render_view(seed, number, "L", "CC").image for seed, number in [(1, 0), (2, 0), (1, 2)]]
    for first, second in itertools.combinations(images, 2):
        assert np.mean(first != second) > 0.1


def test_files_hold_exactly_what_was_rendered(archive: Path, renders: Renders) -> None:
    syntaxes = set()
    for (number, laterality, view), rendered in renders.items():
        dataset = pydicom.dcmread(archive / accession_of(number) / f"{laterality}{view}.dcm")
        syntaxes.add(dataset.file_meta.TransferSyntaxUID)
        np.testing.assert_array_equal(
            decode_independently(dataset), stored_pixels(rendered.image, convention_of(number))
        )
    assert syntaxes == {ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLosslessSV1}


def test_jpeg_lossless_is_process_14_selection_value_1(archive: Path) -> None:
    seen = 0
    for path in archive.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        if dataset.file_meta.TransferSyntaxUID != JPEGLosslessSV1:
            continue
        stream = next(generate_frames(dataset.PixelData, number_of_frames=1))
        frame_header, scan_header = stream.index(b"\xff\xc3"), stream.index(b"\xff\xda")
        assert stream[frame_header + 4] == 12  # bits
        assert stream[scan_header + 7] == 1  # selection value of a scan of one component
        seen += 1
    assert seen > 0


def test_display_by_the_dicom_formulas_gives_the_rendered_image(archive: Path, renders: Renders) -> None:
    kinds = set()
    for number in range(4):
        dataset = pydicom.dcmread(archive / accession_of(number) / "LCC.dcm")
        shown = decode_independently(dataset).astype(float)
        kinds.add((dataset.PhotometricInterpretation, "WindowCenter" in dataset))
        tolerance = 0.0
        if "WindowCenter" in dataset:  # PS3.3 C.11.2.1.2.1
            centre, width = float(dataset.WindowCenter), float(dataset.WindowWidth)
            shown = np.clip((shown - (centre - 0.5)) / (width - 1) + 0.5, 0, 1) * 4095
            tolerance = 0.5 * 4095 / (width - 1) + 1e-6
        if dataset.PhotometricInterpretation == "MONOCHROME1":
            shown = 4095 - shown
        assert np.abs(shown - renders[number, "L", "CC"].image).max() <= tolerance
    assert kinds == set(itertools.product(("MONOCHROME1", "MONOCHROME2"), (True, False)))


def test_pixel_padding_marks_the_background_only(archive: Path, renders: Renders) -> None:
    dataset = pydicom.dcmread(archive / accession_of(1) / "RMLO.dcm")
    assert dataset.PixelPaddingValue == 4095
    rendered = renders[1, "R", "MLO"]
    np.testing.assert_array_equal(decode_independently(dataset) == 4095, rendered.image == 0)
    assert np.mean(rendered.image[rendered.breast_mask] == 0) < 0.01  # the antialiased rim


def test_layout_and_headers(archive: Path) -> None:
    labels = read_labels(archive)
    assert sorted(path.name for path in archive.iterdir()) == [*sorted(labels), "classificacao.csv"]
    header = (archive / "classificacao.csv").read_text().splitlines()[0]
    assert header == "AccessionNumber,Classification,ClassificationDate"
    uids, patients, manufacturers = set(), set(), set()
    for accession in labels:
        assert len(accession) == 6
        assert accession.startswith("0")
        datasets = [pydicom.dcmread(path) for path in sorted((archive / accession).iterdir())]
        assert sorted((one.ImageLaterality, one.ViewPosition) for one in datasets) == sorted(VIEWS)
        assert len({one.StudyInstanceUID for one in datasets}) == 1
        (patient,) = {one.PatientID for one in datasets}
        assert patient != accession
        patients.add(patient)
        for one in datasets:
            assert one.AccessionNumber == accession
            assert (one.Modality, one.BodyPartExamined) == ("MG", "BREAST")
            assert (one.BitsAllocated, one.BitsStored, one.HighBit) == (16, 12, 11)
            assert one.PresentationIntentType == "FOR PRESENTATION"
            assert one.PatientOrientation[0] == {"L": "A", "R": "P"}[one.ImageLaterality]
            assert 1024 <= one.Rows <= 1280
            assert one.Rows > one.Columns
            uids.add(one.SOPInstanceUID)
            manufacturers.add(one.Manufacturer)
    assert len(uids) == 4 * NUM_WOMEN
    assert len(patients) == NUM_WOMEN
    assert manufacturers == {"Phantom Vendor 1", "Phantom Vendor 2"}


@pytest.mark.parametrize(("laterality", "view"), VIEWS)
def test_a_view_hangs_as_it_should(renders: Renders, laterality: str, view: str) -> None:
    for number in range(NUM_RENDERED):
        rendered = renders[number, laterality, view]
        assert rendered.image.max() == 4095
        assert not np.any(rendered.tissue_mask & ~rendered.breast_mask)
        # From here on with the chest wall at the left.
        turn = slice(None, None, -1 if laterality == "R" else 1)
        image, breast = rendered.image[:, turn], rendered.breast_mask[:, turn]
        assert breast[:, 0].any()
        assert not breast[:, -1].any()
        muscle_corner = (image[:20, :20] > 0).mean()
        assert not breast[:20, :20].any()
        assert muscle_corner == (1.0 if view == "MLO" else 0.0)
        marker = image[:, -image.shape[1] // 3 :] > 2000
        assert (marker & ~breast[:, -image.shape[1] // 3 :]).sum() > 100


def test_the_breasts_of_one_woman_are_alike(renders: Renders) -> None:
    def thumbnail(number: int, laterality: str) -> np.ndarray:
        image = renders[number, laterality, "CC"].image
        oriented = image[:, ::-1] if laterality == "R" else image
        picture = Image.fromarray((oriented // 16).astype(np.uint8)).resize((52, 64), Image.Resampling.BOX)
        return np.asarray(picture, float).ravel()

    left = np.stack([thumbnail(number, "L") for number in range(NUM_RENDERED)])
    right = np.stack([thumbnail(number, "R") for number in range(NUM_RENDERED)])
    correlation = np.corrcoef(left, right)[:NUM_RENDERED, NUM_RENDERED:]
    own = np.diag(correlation)
    others = correlation[~np.eye(NUM_RENDERED, dtype=bool)]
    assert own.mean() > others.mean() + 0.1
    assert own.min() > np.median(others)


def test_an_interrupted_generation_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        generate_phantom(tmp_path / "archive", 2, SEED, interrupt)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(DataError, match="already exists"):
        generate_phantom(tmp_path, 1, SEED)
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_the_cache_is_filled_once_by_whoever_comes_first(tmp_path: Path) -> None:
    remains_of_a_killed_process = tmp_path / ".phantom-v1-n2-s0.partial-abc"
    remains_of_a_killed_process.mkdir()
    (remains_of_a_killed_process / "classificacao.csv").write_text("AccessionNumber,Classification\n")
    calls: list[tuple[int, int]] = []

    def ask() -> Path:
        return phantom_folder(tmp_path, 2, SEED, lambda done, total: calls.append((done, total)))

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(ask), pool.submit(ask)
        assert first.result() == second.result() == tmp_path / "phantom-v1-n2-s0"
    assert ask() == first.result()
    assert calls == [(1, 2), (2, 2)]
    assert not remains_of_a_killed_process.exists()
    assert len(list(first.result().rglob("*.dcm"))) == 8


def test_what_is_damaged_in_the_cache_is_generated_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = phantom_folder(tmp_path, 1, SEED)
    sums = sums_file(folder)
    original, digests = files_of(folder), sums.read_text()
    assert len(original) == len(digests.splitlines()) == 5
    views = sorted(folder.rglob("*.dcm"))
    labels = folder / "classificacao.csv"

    def flip(path: Path, at: int) -> None:
        content = bytearray(path.read_bytes())
        content[at] ^= 1
        path.write_bytes(content)

    damages = [
        lambda: flip(views[1], -5000),
        lambda: views[2].write_bytes(views[2].read_bytes()[:-7]),
        lambda: shutil.copy(views[0], views[1]),
        lambda: views[3].unlink(),
        lambda: labels.write_text(labels.read_text()[:-2]),
        lambda: flip(labels, -13),
        lambda: flip(sums, 5),
        lambda: flip(sums, 70),
        lambda: sums.write_bytes(b"\xff"),
        lambda: flip(views[0], 200),
    ]
    for damage in damages:
        damage()
        assert differing(folder, lambda path: None)
        if damage is not damages[-1]:
            sums.write_text(digests)
            for name, content in original.items():
                (folder / name).write_bytes(content)
    caplog.clear()
    assert phantom_folder(tmp_path, 1, SEED) == folder
    assert "generated files in phantom-v1-n1-s0 in the cache folder are damaged" in caplog.text
    assert (files_of(folder), sums.read_text()) == (original, digests)
    caplog.clear()
    sums.unlink()  # as of an earlier version
    phantom_folder(tmp_path, 1, SEED)
    assert (sums.read_text(), caplog.text) == (digests, "")
    shutil.copy(views[0], views[0].with_name("more.dcm"))
    with pytest.raises(DataError, match="1 files in phantom-v1-n1-s0 in the cache folder are not generated ones"):
        phantom_folder(tmp_path, 1, SEED)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        ".phantom-v1-n1-s0.lock", "phantom-v1-n1-s0", "phantom-v1-n1-s0.sha256"
    ]  # fmt: skip

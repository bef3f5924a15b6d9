"""The image store: decoded once, found again by content, never stale."""

from __future__ import annotations

import dataclasses
import errno
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammo.data import content_hashes, pixels, store
from mammo.data.content_hashes import ContentHashes
from mammo.data.pixels import PixelSettings
from mammo.data.preprocess import prepare
from mammo.data.store import ImageFile, ImageStore, Shard
from mammo.support.errors import DamagedFile, DataError
from mammo.support.keyed_rows import KeyedRows
from tests.conftest import REPOSITORY
from tests.data.dicom_files import RAMP, build, save
from tests.data.reading import read_image
from tests.support.damage_to_rows import DAMAGES, damage

SETTINGS = PixelSettings(size_px=48, crop=True, orient=True)


def write_png(path: Path, seed: int) -> None:
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:80, :60]
    breast = ((y - 40) / 35) ** 2 + (x / (30 + 5 * seed)) ** 2 < 1
    grey = breast * random.integers(90, 220, (80, 60))
    Image.fromarray(grey.astype(np.uint8)).save(path)


@pytest.fixture
def files(tmp_path) -> list[ImageFile]:
    (tmp_path / "images").mkdir()
    for i in range(5):
        write_png(tmp_path / "images" / f"{i}.png", i)
    return [ImageFile(f"{i}.png", tmp_path / "images" / f"{i}.png", "L") for i in range(5)]


def fill(tmp_path, files, settings=SETTINGS, num_workers=0, **options):
    result = ImageStore(tmp_path / "stores", settings).fill(files, num_workers, **options)
    return result, result.num_decoded


def folder_in(tmp_path: Path, settings: PixelSettings = SETTINGS) -> Path:
    return ImageStore(tmp_path / "stores", settings).folder


def test_what_there_is_to_say_of_an_image_is_said_again_of_the_stored_one(tmp_path):
    headers = [{"Modality": None}, {"ViewPosition": "RCC", "ImageLaterality": "L"}, {"ImageLaterality": "R"}, {}]
    files = [
        ImageFile(str(i), save(build(RAMP.T // 2 + i, **changes), tmp_path / f"{i}.dcm"), "L" if i == 2 else "")
        for i, changes in enumerate(headers)
    ]
    expected = [
        "1 image: no Modality in the header, taken for a mammogram by SOP class or view",
        "1 image: two sides named in the header (laterality, texts of the view)",
        "1 image: the header names another side than the label table, which comes first",
    ]
    for num_new in (4, 0):
        result, num_decoded = fill(tmp_path, files)
        assert (num_decoded, result.remarks) == (num_new, expected)
    with (folder_in(tmp_path) / "remarks.jsonl").open("a") as stream:
        stream.write('{"key": 3}\n[1]\n{"key": "x", "remarks": ["two_sides"]}\nno json')
    assert fill(tmp_path, files[:1])[0].remarks == expected[:1]
    assert fill(tmp_path, files, dataclasses.replace(SETTINGS, accept=("unstated_mg",)))[0].remarks == expected[1:]


def num_keys(tmp_path: Path) -> int:
    return len(KeyedRows(folder_in(tmp_path), (SETTINGS.size_px,) * 2, "u1"))


def expected(file: ImageFile, settings: PixelSettings = SETTINGS) -> np.ndarray:
    grey, _ = read_image(file.path, ())
    return prepare(grey, file.laterality, settings.size_px, settings.crop, settings.orient)


@pytest.mark.parametrize(("num_workers", "files_per_process"), [(0, 16), (3, 16), (2, 1)])
def test_stored_pixels_are_the_prepared_ones_in_order(tmp_path, files, num_workers, files_per_process, monkeypatch):
    monkeypatch.setattr(store, "FILES_PER_PROCESS", files_per_process)
    result, decoded = fill(tmp_path, files, num_workers=num_workers)
    assert decoded == 5
    assert result.kept == [0, 1, 2, 3, 4]
    assert np.array_equal(result.images.read([3, 0]), np.stack([expected(files[3]), expected(files[0])]))


def test_a_second_fill_decodes_nothing_and_a_subset_finds_its_images(tmp_path, files):
    fill(tmp_path, files)
    result, decoded = fill(tmp_path, [files[4], files[1]])
    assert decoded == 0
    assert np.array_equal(result.images.read([0, 1]), np.stack([expected(files[4]), expected(files[1])]))


def test_a_changed_file_never_meets_stale_pixels(tmp_path, files):
    """Same name, size and modification time; other content."""
    past = time.time() - 1000
    os.utime(files[2].path, (past, past))
    fill(tmp_path, files)
    before = files[2].path.read_bytes()
    changed = bytearray(before)
    with Image.open(files[2].path) as picture:
        other = 255 - np.asarray(picture)
    Image.fromarray(other).save(files[2].path)
    content = files[2].path.read_bytes()
    files[2].path.write_bytes(content.ljust(len(changed), b"\0"))
    os.utime(files[2].path, (past, past))
    result, decoded = fill(tmp_path, files)
    assert decoded == 1
    assert np.array_equal(result.images.read([2])[0], expected(files[2]))


def test_a_renamed_file_is_found_again_and_equal_files_share_their_pixels(tmp_path, files):
    fill(tmp_path, files)
    moved = ImageFile("moved.png", files[0].path.rename(tmp_path / "moved.png"), "L")
    result, decoded = fill(tmp_path, [moved, files[1], moved])
    assert decoded == 0
    assert result.images.rows[0] == result.images.rows[2]


@pytest.mark.parametrize(
    "settings",
    [
        PixelSettings(32, True, True),
        PixelSettings(48, False, True),
        PixelSettings(48, True, False),
        PixelSettings(48, True, True, decode="exact"),
    ],
)
def test_another_setting_is_another_store(tmp_path, files, settings):
    fill(tmp_path, files)
    result, decoded = fill(tmp_path, files, settings)
    assert decoded == 5
    assert np.array_equal(result.images.read([1])[0], expected(files[1], settings))


def test_another_version_of_the_preprocessing_is_another_store(tmp_path, files, monkeypatch):
    fill(tmp_path, files)
    monkeypatch.setattr(pixels, "PREPROCESS_VERSION", 999)
    assert fill(tmp_path, files)[1] == 5


def test_another_laterality_is_decoded_anew(tmp_path, files):
    fill(tmp_path, files[:1])
    assert fill(tmp_path, [ImageFile("0.png", files[0].path, "R")])[1] == 1


def test_bad_files_are_left_out_with_their_reason_and_the_rest_is_kept(tmp_path, files):
    files[1].path.write_bytes(b"not an image")
    Image.fromarray(np.full((80, 60), 7, np.uint8)).save(files[3].path)
    files[4].path.unlink()
    result, _ = fill(tmp_path, files)
    assert result.kept == [0, 2]
    assert len(result.images) == len(result.content_keys) == 2
    stages = {item.image_id: (item.stage, item.reason) for item in result.left_out}
    assert stages["4.png"][0] == "file"
    assert stages["1.png"][0] == "pixels"
    assert "constant" in stages["3.png"][1]
    assert not any(str(tmp_path) in reason for _, reason in stages.values())


def test_what_is_no_file_or_too_large_is_left_out_unread(tmp_path, files):
    os.mkfifo(tmp_path / "pipe.png")
    with (tmp_path / "huge.png").open("wb") as stream:
        stream.truncate(content_hashes.MAX_FILE_BYTES + 1)
    strange = [ImageFile(name, tmp_path / name, "L") for name in ("pipe.png", "huge.png")]
    result, _ = fill(tmp_path, [*files, *strange])
    assert len(result.kept) == 5
    reasons = {item.image_id: (item.stage, item.reason) for item in result.left_out}
    assert reasons["pipe.png"] == ("file", "the file cannot be read (not a regular file)")
    assert reasons["huge.png"] == ("file", "the file cannot be read (too large)")


@pytest.mark.parametrize("cut", [1, 10, 32])
def test_keys_that_a_crash_has_cut_off_are_mended(tmp_path, files, cut):
    fill(tmp_path, files[:3])
    keys = folder_in(tmp_path) / "keys.bin"
    keys.write_bytes(keys.read_bytes()[:-cut])
    result, decoded = fill(tmp_path, files)
    assert decoded == 3, "the image whose key was cut off and the two new ones"
    for i, file in enumerate(files):
        assert np.array_equal(result.images.read([i])[0], expected(file))
    again, decoded = fill(tmp_path, files)
    assert decoded == 0
    assert np.array_equal(again.images.read(range(5)), result.images.read(range(5)))


def test_files_that_have_not_changed_are_not_read_again(tmp_path, files, monkeypatch):
    monkeypatch.setattr(content_hashes, "YOUNG_FILE_SECONDS", -1)
    fill(tmp_path, files)
    progress: list[tuple[int, int]] = []
    fill(tmp_path, files, progress=lambda done, of: progress.append((done, of)))
    assert progress == []


def test_shards_make_the_same_store_side_by_side(tmp_path, files):
    whole, _ = fill(tmp_path / "whole", files)
    for number in (1, 0):
        shard, decoded = fill(tmp_path, files, shard=Shard(number, 2))
        assert shard.kept == [[0, 2, 4], [1, 3]][number]
        assert decoded == len(shard.kept)
    together, decoded = fill(tmp_path, files)
    assert decoded == 0
    assert together.content_keys == whole.content_keys
    assert np.array_equal(together.images.read(range(5)), whole.images.read(range(5)))


def test_what_another_process_stores_meanwhile_is_found(tmp_path, files):
    """A shard and a whole fill hold other locks: each finds images that the other has stored since it began."""

    def meanwhile(done: int, total: int) -> None:
        if done == 1:
            fill(tmp_path, files, shard=Shard(0, 1))

    result, _ = fill(tmp_path, files, num_workers=0, progress=meanwhile)
    assert result.kept == [0, 1, 2, 3, 4]
    assert result.left_out == []
    assert result.num_decoded == 1
    assert np.array_equal(result.images.read([4]), expected(files[4])[None])


def test_nothing_is_written_where_everything_is_stored(tmp_path, files, monkeypatch):
    """The folder may be read-only then."""
    monkeypatch.setattr(content_hashes, "YOUNG_FILE_SECONDS", -1)
    fill(tmp_path, files)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "stores").rglob("*")}
    fill(tmp_path, files)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "stores").rglob("*")} == before


def test_room_is_asked_for_before_anything_is_decoded(tmp_path, files):
    """Squares of a terabyte each fit on no disk that runs tests."""
    with pytest.raises(DataError, match=r"the prepared images need \d000\.00 GB, and .* are free") as caught:
        fill(tmp_path, files[:6], dataclasses.replace(SETTINGS, size_px=10**6))
    assert "cache_dir=DIR" in str(caught.value)


def test_equal_files_are_stored_once(tmp_path, files):
    files[3].path.write_bytes(files[0].path.read_bytes())
    result, decoded = fill(tmp_path, files)
    assert decoded == 4
    assert result.images.rows[0] == result.images.rows[3]


def test_the_store_names_no_file(tmp_path, files, monkeypatch):
    monkeypatch.setattr(content_hashes, "YOUNG_FILE_SECONDS", -1)
    fill(tmp_path, files)
    hashes, keys = tmp_path / "stores" / "content_hashes.jsonl", folder_in(tmp_path) / "keys.bin"
    assert num_keys(tmp_path) == len(hashes.read_text().splitlines()) == 5
    written = hashes.read_bytes() + keys.read_bytes()
    assert b"images" not in written
    assert b".png" not in written


def test_two_processes_fill_one_store(tmp_path, files):
    script = (
        "import sys; from pathlib import Path; from mammo.data.store import *; "
        "files = [ImageFile(p.name, p, 'L') for p in sorted(Path(sys.argv[1]).glob('*.png'))]; "
        "r = ImageStore(Path(sys.argv[2]), PixelSettings(48, True, True)).fill(files, 1); "
        "print(r.images.read(range(5)).sum())"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "images"), str(tmp_path / "stores")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) for _ in range(2)]
    sums = {process.communicate()[0] for process in both}
    assert sums == {str(sum(int(expected(file).sum()) for file in files)).encode() + b"\n"}
    assert num_keys(tmp_path) == 5


@pytest.fixture(scope="module")
def kept_store(tmp_path_factory) -> tuple[Path, np.ndarray]:
    """A folder with five files and their store, and the pixels in it."""
    folder = tmp_path_factory.mktemp("kept")
    for i in range(5):
        write_png(folder / f"{i}.png", i)
    time.sleep(content_hashes.YOUNG_FILE_SECONDS)
    result, _ = fill(folder, files_in(folder))
    return folder, result.images.read(range(5))


def files_in(folder: Path) -> list[ImageFile]:
    return [ImageFile(f"{i}.png", folder / f"{i}.png", "L") for i in range(5)]


@pytest.mark.parametrize("when", ["before filling", "after filling"])
@pytest.mark.parametrize(("file", "name"), DAMAGES, ids=lambda one: one)
def test_a_damaged_store_gives_the_same_pixels(kept_store, tmp_path, file, name, when, caplog):
    """Also when nobody notices before an image is read; two processes later everything is well."""
    original, expected = kept_store
    shutil.copytree(original / "stores", tmp_path / "stores")
    if when == "before filling":
        damage(folder_in(tmp_path), file, name, SETTINGS.size_px**2)
    result, _ = fill(tmp_path, files_in(original))
    if when == "after filling":
        damage(folder_in(tmp_path), file, name, SETTINGS.size_px**2)
    for order in ([4, 0, 2], range(5), range(5)):
        assert np.array_equal(result.images.read(order), expected[order])
    assert len(caplog.records) <= 2
    for _ in range(2):
        caplog.clear()
        again, _ = fill(tmp_path, files_in(original))
        assert np.array_equal(again.images.read(range(5)), expected)
    assert caplog.records == []


@pytest.mark.parametrize("change", ["removed", "changed"])
def test_what_is_damaged_and_cannot_be_decoded_again_is_an_error(tmp_path, files, change):
    result, _ = fill(tmp_path, files)
    damage(folder_in(tmp_path), "rows", "first byte of middle row", SETTINGS.size_px**2)
    if change == "removed":
        files[2].path.unlink()
    else:
        write_png(files[2].path, 9)
    reason = "cannot be read" if change == "removed" else "has changed since"
    with pytest.raises(DamagedFile, match=rf"stores/\w+-2 in the cache folder is damaged.*{reason}.*delete stores"):
        result.images.read(range(5))
    assert np.array_equal(result.images.read([0])[0], expected(files[0]))


def test_where_nothing_can_be_written_what_is_damaged_is_decoded_each_time(tmp_path, files, monkeypatch):
    result, _ = fill(tmp_path, files)
    damage(folder_in(tmp_path), "rows", "all is zeros", SETTINGS.size_px**2)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    for _ in range(2):
        assert np.array_equal(result.images.read(range(5)), np.stack([expected(file) for file in files]))


def test_threads_that_find_damage_at_once(tmp_path, files, caplog):
    result, _ = fill(tmp_path, files)
    damage(folder_in(tmp_path), "rows", "every second byte", SETTINGS.size_px**2)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda i: result.images.read([i % 5])[0], range(40)):
            assert any(np.array_equal(found, expected(file)) for file in files)
        assert [found.sum() for found in pool.map(lambda i: result.images.read([i % 5]), range(5))] == [
            expected(file).sum() for file in files
        ]
    assert len(caplog.records) == 1
    assert num_keys(tmp_path) == 5


@pytest.mark.parametrize("field", ["file", "hash", "sum", "a line over another", "no sum", "a line end", "removed"])
def test_damaged_hashes_of_files_are_not_believed(kept_store, tmp_path, field):
    """Each image keeps its own pixels, whatever the remembered hashes say."""
    original, expected = kept_store
    shutil.copytree(original / "stores", tmp_path / "stores")
    hashes = tmp_path / "stores" / "content_hashes.jsonl"
    entries = [json.loads(line) for line in hashes.read_text().splitlines()]
    assert len(entries) == 5
    if field == "file":
        entries[0]["file"], entries[1]["file"] = entries[1]["file"], entries[0]["file"]
    elif field == "hash":
        entries[0]["hash"][-1], entries[1]["hash"][-1] = entries[1]["hash"][-1], entries[0]["hash"][-1]
    elif field == "sum":
        entries[0]["sum"] ^= 1
    elif field == "a line over another":
        entries[0]["hash"][-1] = entries[1]["hash"][-1]
    elif field == "no sum":  # as earlier versions wrote them
        entries[0] = {"file": entries[0]["file"], "hash": [*entries[0]["hash"][:-1], entries[1]["hash"][-1]]}
    text = "".join(json.dumps(entry) + "\n" for entry in entries)
    hashes.write_text(text.replace("\n", " ", 1) if field == "a line end" else text)
    if field == "removed":
        hashes.unlink()
    result, decoded = fill(tmp_path, files_in(original))
    assert decoded == 0
    assert np.array_equal(result.images.read(range(5)), expected)


def test_every_byte_of_the_hashes_of_files(kept_store, tmp_path):
    """No change of a byte makes another hash of a file: it is the right one, or there is none."""
    original, _ = kept_store
    content = b"".join((original / "stores" / "content_hashes.jsonl").read_bytes().splitlines(keepends=True)[:2])
    right = {file.path: ContentHashes(original / "stores").known_hash(file.path) for file in files_in(original)}
    assert None not in right.values()
    for at in range(len(content)):
        changed = content[at] ^ 1 << at % 8
        (tmp_path / "content_hashes.jsonl").write_bytes(content[:at] + bytes([changed]) + content[at + 1 :])
        hashes = ContentHashes(tmp_path)
        assert all(hashes.known_hash(path) in (digest, None) for path, digest in right.items())

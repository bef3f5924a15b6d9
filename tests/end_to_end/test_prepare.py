"""`python -m mammo.prepare`: a store that training finds, however it was filled."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf
from PIL import Image

from mammo.config.composition import checked_config, prepare_hydra
from mammo.config.prepare import PREPARE
from mammo.data.data_options import DataOptions
from mammo.data.dataset import load_dataset
from mammo.data.image_list import list_images
from mammo.data.store import IMAGES_PER_FLUSH, ImageStore
from mammo.support.row_files import ENTRY, HEADER_BYTES
from tests.conftest import REPOSITORY
from tests.end_to_end.runs import TINY
from tests.processes import run_module, start_module

NUM_MANY = 3 * IMAGES_PER_FLUSH + 8
FOLDERS = ("data=folders", "data.group_by=image", "data.image_size=64")


def start(
    *arguments: str, folder: Path, program: str = "mammo.prepare", site: Path | None = None, **options: object
) -> subprocess.Popen[str]:
    """Start a command; `site` is a folder with a `sitecustomize.py` for it and all its processes."""
    further = {"PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}"} if site is not None else {}
    return start_module(
        program, *arguments, folder=folder, env=further, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options
    )


def prepare(*arguments: str, folder: Path, status: int = 0, site: Path | None = None) -> str:
    """Run the command; its output, that of mistakes for another status than 0."""
    further = {"PYTHONPATH": f"{site}{os.pathsep}{REPOSITORY}"} if site is not None else {}
    done = run_module("mammo.prepare", *arguments, folder=folder, **further)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout if status == 0 else done.stderr


@contextmanager
def counted(label: str):
    """Fails when images have to be prepared; the other parts of reading a dataset may take as long as they like."""

    def count(done: int, of: int) -> None:
        assert label != "Preparing images", "something was read again"

    yield count


def options(root: Path) -> DataOptions:
    return DataOptions(format="folders", root=str(root), group_by="image", image_size=64, pseudonymize=False)


def stored(root: Path, cache: Path) -> np.ndarray:
    """The pixels of all images of class folders, in order; they must all be in the store."""
    dataset = load_dataset(options(root), cache, 0, counted)
    return dataset.images.read(range(len(dataset.images)))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many different pictures in four classes that the store is written several times."""
    root = tmp_path_factory.mktemp("many")
    random = np.random.default_rng(1)
    y, x = np.mgrid[:480, :360]
    breast = (((y - 240) / 200) ** 2 + (x / 250) ** 2 < 1) * 80
    for number in range(NUM_MANY):
        file = root / "ABCD"[number % 4] / f"{number}.png"
        file.parent.mkdir(exist_ok=True)
        Image.fromarray((breast + random.integers(0, 60, breast.shape)).astype(np.uint8)).save(file, compress_level=1)
    time.sleep(2.1)  # the hash of a younger file is not remembered
    return root


def test_training_finds_what_was_prepared(class_folders, tmp_path):
    cache = tmp_path / "cache"
    arguments = [*FOLDERS, f"data.root={class_folders}", "model=efficientnet_lite0", f"cache_dir={cache}"]
    output = prepare(*arguments, folder=tmp_path)
    assert "32 images in the store, 0.1 MB" in output
    assert "newly decoded: 32" in output
    assert "python -m mammo.train finds them" in output
    assert [path.name for path in tmp_path.iterdir()] == ["cache"], "nothing else is left"
    (keys,) = cache.glob("stores/*/keys.bin")
    before = (keys.read_bytes(), keys.with_name("rows.bin").stat().st_mtime_ns)
    rest = (f"data.root={class_folders}", f"cache_dir={cache}", "train.epochs=1")
    training = start(*TINY, *rest, folder=tmp_path, program="mammo.train")
    _, errors = training.communicate(timeout=300)
    assert training.returncode == 0, errors
    assert (keys.read_bytes(), keys.with_name("rows.bin").stat().st_mtime_ns) == before
    assert len(list(cache.glob("stores/*/keys.bin"))) == 1, "training asks for the same size"
    assert "newly decoded: none" in prepare(*arguments, folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "size_px"),
    [
        (["data=phantom"], 256),
        (["data=folders", "data.root=ROOT"], 512),
        (["data=folders", "data.root=ROOT", "model=timm", "model.name=vit_tiny_patch16_224"], 224),
    ],
)
def test_the_size_is_that_of_training(arguments, size_px, class_folders, tmp_path):
    shown = prepare(*[word.replace("ROOT", str(class_folders)) for word in arguments], "--cfg", "job", folder=tmp_path)
    assert "image_size: null" in shown
    prepare_hydra(PREPARE)
    assert checked_config(OmegaConf.create(shown), PREPARE).data.image_size == size_px


def num_stored(cache: Path) -> int:
    """Images in the store, also while it is being filled."""
    sizes = [file.stat().st_size for file in cache.glob("stores/*/keys.bin")]
    return sum(max(0, size - HEADER_BYTES) // ENTRY.itemsize for size in sizes)


@pytest.mark.slow
def test_killed_at_any_time_it_goes_on(many, tmp_path):
    cache = tmp_path / "cache"
    arguments = [*FOLDERS, f"data.root={many}", f"cache_dir={cache}", "prepare.workers=2"]
    process = start(*arguments, folder=tmp_path, start_new_session=True)
    flushed = 0
    while flushed == 0:
        assert process.poll() is None, "done before it could be killed"
        time.sleep(0.01)
        flushed = num_stored(cache)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    flushed = num_stored(cache)
    assert 0 < flushed < NUM_MANY
    wait_until_nobody_is_left(process.pid)
    output = prepare(*arguments, folder=tmp_path)
    assert f"newly decoded: {NUM_MANY - flushed} in" in output
    assert f"{NUM_MANY} images in the store" in output
    alone = tmp_path / "alone"
    prepare(*FOLDERS, f"data.root={many}", f"cache_dir={alone}", "prepare.workers=1", folder=tmp_path)
    np.testing.assert_array_equal(stored(many, cache), stored(many, alone))


def wait_until_nobody_is_left(process_group: int) -> None:
    """The workers of a killed command end by themselves."""
    for _ in range(3000):
        try:
            os.killpg(process_group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.01)
    pytest.fail("a worker process outlived its parent")


@pytest.mark.slow
@pytest.mark.long
def test_two_shards_at_once_make_the_whole(many, tmp_path):
    cache, alone = tmp_path / "cache", tmp_path / "alone"
    common = [*FOLDERS, f"data.root={many}"]
    shards = [
        start(*common, f"cache_dir={cache}", f"prepare.shard={number}", "prepare.num_shards=2", folder=tmp_path)
        for number in (0, 1)
    ]
    for number, shard in enumerate(shards):
        output, errors = shard.communicate(timeout=300)
        assert shard.returncode == 0, errors
        assert f"shard {number} of 2: {NUM_MANY // 2} images in the store" in output
        assert f"newly decoded: {NUM_MANY // 2}" in output
        assert "waiting" not in output
    prepare(*common, f"cache_dir={alone}", folder=tmp_path)
    np.testing.assert_array_equal(stored(many, cache), stored(many, alone))


@pytest.mark.parametrize("sweep", ["prepare.shard=0,1,2", "prepare.shard=range(3)"])
def test_a_sweep_knows_how_many_shards_it_starts(sweep, class_folders, tmp_path):
    cache = tmp_path / "cache"
    output = prepare("-m", *FOLDERS, f"data.root={class_folders}", f"cache_dir={cache}", sweep, folder=tmp_path)
    assert [int(number) for number in re.findall(r"newly decoded: (\d+)", output)] == [11, 11, 10]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "multirun"]
    assert stored(class_folders, cache).shape == (32, 64, 64)


def test_what_is_left_out_is_told_with_its_reason(class_folders, tmp_path):
    for name in "ABCD":
        (tmp_path / "data" / name).mkdir(parents=True)
        for file in (class_folders / name).iterdir():
            (tmp_path / "data" / name / file.name).write_bytes(file.read_bytes())
    (tmp_path / "data" / "A" / "A0.png").write_bytes(b"no picture at all")
    arguments = [*FOLDERS, f"data.root={tmp_path / 'data'}", f"cache_dir={tmp_path / 'cache'}"]
    output = prepare(*arguments, folder=tmp_path)
    assert "31 images in the store" in output
    assert "1  pixels: neither a DICOM file nor a readable picture" in output
    # Training would stop, and so the command says it now.
    assert "at most data.max_bad_fraction=0.01" in prepare(
        *arguments, "data.max_bad_fraction=0.01", folder=tmp_path, status=2
    )
    wanted = list_images(options(tmp_path / "data"), tmp_path / "cache", counted)
    assert len(ImageStore(tmp_path / "cache" / "stores", wanted.settings).fill(wanted.files, 0).images) == 31


# A decoder of PGM files, registered as an extension of Pillow is, in every process of the command: what it does with a
# picture depends on the first byte.
CRASHING_DECODER = """
import ctypes, os, re, signal
from pathlib import Path
from PIL import Image, PpmImagePlugin

class Decoder(PpmImagePlugin.PpmDecoder):
    def decode(self, buffer):
        start = self.fd.tell()
        first = self.fd.read(1)[0]
        self.fd.seek(start)
        if first == 1:
            ctypes.string_at(0)
        elif first == 2:
            re.match("(a+)+$", 60 * "a" + "b")
        elif first == 3 and not Path(MARKER).exists():
            Path(MARKER).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(buffer)

Image.register_decoder("ppm", Decoder)
"""


@pytest.mark.slow
def test_files_that_crash_or_hang_their_decoder_are_left_out_and_nothing_else(class_folders, tmp_path):
    shutil.copytree(class_folders, tmp_path / "data")
    (tmp_path / "sitecustomize.py").write_text(CRASHING_DECODER.replace("MARKER", repr(str(tmp_path / "killed"))))
    random = np.random.default_rng(0)
    for first in (0, 1, 2, 3):
        pixels = bytes([first, *random.integers(4, 255, 40 * 30 - 1).tolist()])
        # Grey levels up to 254: Pillow has another decoder for 255.
        (tmp_path / "data" / "B" / f"picture{first}.pgm").write_bytes(b"P5 30 40 254 " + pixels)
    arguments = [
        *FOLDERS, f"data.root={tmp_path / 'data'}", f"cache_dir={tmp_path / 'cache'}", "prepare.workers=2",
        "data.max_bad_fraction=0.1",
    ]  # fmt: skip
    output = prepare(*arguments, "data.file_timeout_seconds=2", folder=tmp_path, site=tmp_path)
    assert "1  pixels: the decoder crashed (SIGSEGV)" in output
    assert "1  pixels: not decoded within 2 seconds" in output
    assert "34 images in the store" in output, "all but the two, also the one whose process was once killed"
    assert (tmp_path / "killed").exists()
    with_all_files = prepare(*arguments, folder=tmp_path)
    assert "newly decoded: 2 in" in with_all_files, "with a decoder that works"
    assert "36 images in the store" in with_all_files


MISTAKES = {
    "a key of training": (["train.epochs=3"], ["no key 'train'", "valid: cache_dir, data, experiment, model"]),
    "a group of training": (["optimizer=sgd"], ["optimizer"]),
    "a typo": (["prepare.worker=3"], ["did you mean workers?"]),
    "a typo behind a plus": (["+data.rooot=x"], ["did you mean root?"]),
    "an unknown dataset": (["data=miass"], ["did you mean mias"]),
    "out of range": (["prepare.workers=0"], ["at least 1"]),
    "one shard of how many": (["prepare.shard=1"], ["set prepare.num_shards", "-m prepare.shard=0,1,2,3"]),
    "some shards of how many": (["-m", "prepare.shard=1,2"], ["set prepare.num_shards"]),
    "no such shard": (["prepare.shard=4", "prepare.num_shards=4"], ["4 of 4", "0 to 3"]),
    "shards without one": (["prepare.num_shards=4"], ["has no effect without prepare.shard"]),
    "several shards without -m": (["prepare.shard=0,1"], ["--multirun"]),
    "a network without a name": (["model=timm"], ["model.name=convnext_tiny"]),
    "a size that the network does not take": (
        ["model=timm", "model.name=vit_tiny_patch16_224", "data.image_size=256"],
        ["set data.image_size=224"],
    ),
    "an option of another dataset": (["data.kind=mass"], ["it belongs to data=cbis_ddsm"]),
    "no folder": (["data=mias", "data.root=nowhere"], ["does not exist"]),
    "a flag": (["--workers", "3"], ["--workers", "prepare.workers"]),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered(mistake, tmp_path):
    arguments, expected = MISTAKES[mistake]
    errors = prepare(*arguments, f"cache_dir={tmp_path / 'cache'}", folder=tmp_path, status=2)
    assert errors.startswith("error: ")
    for words in expected:
        assert words in errors
    assert list(tmp_path.glob("cache/*")) == []


def test_help_needs_neither_torch_nor_data(tmp_path):
    text = prepare("--help", folder=tmp_path)
    assert "prepare.workers=null" in text
    assert "train." not in text.replace("mammo.train", "")
    assert max(len(line) for line in text.splitlines()) <= 80


def test_preparing_needs_no_torch():
    script = "import sys, mammo.data.preparation; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "PYTHONPATH": str(REPOSITORY)})

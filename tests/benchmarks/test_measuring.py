"""The parts measure the real commands; nothing is said about how long they take."""

import json
import time
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.pixels import get_decoder

from benchmarks.decoding import compare, project_way, write_dicom
from benchmarks.growth import growth_table, measure_commands
from benchmarks.processes import run_python
from benchmarks.samples import BenchmarkError, Settings
from benchmarks.startup import run_to_first_step
from benchmarks.training import Row, measure_row

needs_proc = pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is sampled on Linux only")


@pytest.fixture
def settings(tmp_path) -> Settings:
    return Settings(tmp_path, quick=True, rounds=1, threads=1, device="cpu")


@pytest.mark.slow
@pytest.mark.long
def test_a_row_runs_the_command_and_the_plain_loop_on_as_many_images(settings):
    row = Row("efficientnetb0", "head_only", {"streaming": 1.0}, num_patients=8)
    (compared,), raw = measure_row(settings, row, 0, modes={"streaming": []})
    assert compared.name == "efficientnetb0 head_only, streaming"
    assert compared.ratio is not None
    assert compared.ratio > 0
    assert 0 < raw["num_train_images"] < 32
    assert [len(epochs) for epochs in raw["images_per_second_by_epoch"]["streaming"]] == [1]
    assert [len(epochs) for epochs in raw["images_per_second_by_epoch"]["plain"]] == [1]


@pytest.mark.slow
@pytest.mark.long
def test_growth_runs_the_real_command(settings):
    points = measure_commands(settings, (8,), {"train": ["-m", "mammo.train"]})
    assert [row[:2] for row in growth_table(points).rows] == [["train", "32"]]


@pytest.mark.slow
@pytest.mark.long
def test_the_first_step_comes_before_the_end_of_the_run(settings):
    first_step_seconds, all_seconds = run_to_first_step(settings, "once")
    assert 0 < first_step_seconds < all_seconds


@needs_proc
def test_memory_of_children_counts_and_files_do_not(tmp_path):
    (tmp_path / "file").write_bytes(bytes(200_000_000))
    hold = "x = bytearray(b'1') * 100_000_000; import time; time.sleep(0.5)"
    parent = (
        "import mmap, subprocess, sys; f = open('file', 'rb'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); "
        f"sum(m[::4096]); subprocess.run([sys.executable, '-c', {hold!r}], check=True)"
    )
    done = run_python(["-c", parent], tmp_path, sample_memory=True)
    assert done.peak_memory_bytes is not None
    assert 100e6 < done.peak_memory_bytes < 180e6


def test_a_command_that_fails_says_why(tmp_path):
    with pytest.raises(BenchmarkError, match="no such thing"):
        run_python(["-c", "raise SystemExit('no such thing')"], tmp_path)


def test_what_a_failed_command_started_is_ended(tmp_path):
    code = (
        "import subprocess, sys; "
        "p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print(p.pid); sys.stdout.flush()"
    )
    child = int(run_python(["-c", code], tmp_path).stdout)
    state = Path(f"/proc/{child}/stat")
    deadline = time.monotonic() + 5
    while (runs := state.exists() and ") Z " not in state.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not runs


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEG2000Lossless])
def test_decoding_compares_both_ways_on_the_same_pixels(settings, tmp_path, syntax):
    rows, columns = np.mgrid[:640, :512]
    breast = ((rows - 320) / 280) ** 2 + (columns / 400) ** 2 < 1
    noise = np.random.default_rng(0).integers(0, 30, breast.shape)
    pixels = (breast * (1000 + rows) + noise).astype(np.uint16)
    path = tmp_path / "image.dcm"
    assert write_dicom(path, pixels, syntax) > 0
    assert np.array_equal(pydicom.dcmread(path).pixel_array, pixels)
    assert project_way(path).shape == (512, 512)
    compared = compare("image", path, settings, target=2.0)
    assert len(compared.project) == len(compared.other) == 1


@pytest.mark.skipif(get_decoder(uid.JPEGLSLossless).is_available, reason="pydicom has a decoder of JPEG-LS here")
def test_a_file_that_pydicom_cannot_decode_is_said_to_be_so(settings, tmp_path):
    path = tmp_path / "image.dcm"
    write_dicom(path, np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16), uid.JPEGLSLossless)
    compared = compare("image", path, settings, target=2.0)
    assert len(compared.project) == 1
    assert compared.other == []
    assert compared.ratio is None
    assert "pip install" in compared.note


@pytest.mark.slow
@pytest.mark.long
def test_a_quick_part_leaves_samples_document_and_chart(tmp_path):
    arguments = ["--quick", "--only=decoding", "--threads=1", "--device=cpu", f"--output={tmp_path}"]
    run_python(["-m", "benchmarks", *arguments], tmp_path)
    (file,) = (tmp_path / "benchmarks" / "results").iterdir()
    decoding = json.loads(file.read_text())["parts"]["decoding"]
    assert len(decoding["comparisons"]) == 5
    compression = {name: ratio for name, ratio in decoding["raw"]["compression"].items() if name.startswith("JPEG")}
    assert all(2 < ratio < 4 for ratio in compression.values()), compression
    document = (tmp_path / "docs" / "performance.md").read_text()
    assert "## How it is measured" in document
    assert "| JPEG 2000 lossless |" in document
    assert (tmp_path / "docs" / "images" / "performance.png").exists()
    for text in (document, file.read_text()):
        assert str(tmp_path) not in text

"""With the bank or without: the same inputs, to the last bit."""

from __future__ import annotations

import json
import math
import shutil
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from mammo.data.augment import AugmentOptions
from mammo.data.batches import EvaluationBatches, LabelledImages, Preparation, TrainingBatches
from mammo.data.sampler import Uniform, Weighted
from mammo.data.store import StoredImages
from mammo.models.build import build_model
from mammo.models.model_options import ModelOptions
from mammo.models.strategy import FrozenLastBlock, FullFinetune, HeadOnly
from mammo.models.trunk import FrozenTrunk
from mammo.support.errors import ConfigError
from mammo.support.row_files import survey
from mammo.training.engine import Inputs
from mammo.training.inputs import Source
from tests.support.damage_to_rows import DAMAGES, damage

AUGMENT = AugmentOptions(flip_probability=0.5, rotation_degrees=5.0, contrast_fraction=0.1)
PIXELS = {"key": "k", "size_px": 64}
EPOCHS = range(5)


@contextmanager
def counting(label: str):
    yield lambda done, total: None


def labelled(count: int, first: int = 0, images_of_samples: list[int] | None = None) -> LabelledImages:
    """A sample an image, or samples of several images each, `count` in all."""
    pixels = np.random.default_rng(1).integers(0, 256, (30, 64, 64), dtype=np.uint8)
    rows = np.arange(first, first + count)
    ids = [f"image{row}" for row in rows]
    sample_of = None
    if images_of_samples is not None:
        sample_of = np.repeat(np.arange(len(images_of_samples)), images_of_samples)
    targets = (rows if sample_of is None else np.arange(len(images_of_samples or []))) % 3
    content = [f"content{row}" for row in rows]
    return LabelledImages(StoredImages(pixels, rows), targets, ids, content, sample_of=sample_of)


def make_source(
    strategy=None,
    dtype=torch.float32,
    sampler=None,
    augment=AUGMENT,
    num_variants=3,
    seed=42,
    mean=0.5,
    max_batches=None,
    samples=(None, None),
) -> Source:
    options = ModelOptions(family="timm", name="test_efficientnet", weights="none")
    network = build_model(options, strategy or FrozenLastBlock(), 3, 64, seed=0).network
    train = TrainingBatches(
        labelled(11, 0, samples[0]), sampler or Weighted(), augment, num_variants, 4, seed, 0, max_batches
    )
    validation = EvaluationBatches(labelled(5, 11, samples[1]), 4, 0)
    trunk, exact = FrozenTrunk(network, dtype, 4), FrozenTrunk(network, torch.float32, 4)
    return Source(train, validation, Preparation((mean,) * 3, (0.25,) * 3, torch.device("cpu")), trunk, exact)


def banked(source: Source, folder, epochs: range = EPOCHS, choice: str = "on") -> Inputs:
    return source.with_bank(choice, 1.0, folder, PIXELS, epochs, counting)


def num_features(folder) -> int:
    return sum(part.num_sound for bank in folder.glob("*/keys.bin") for part in survey(bank.parent))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"dtype": torch.bfloat16},
        {"strategy": HeadOnly()},
        {"strategy": HeadOnly(), "dtype": torch.bfloat16},
        {"sampler": Uniform()},
        {"augment": AugmentOptions()},
        {"num_variants": 1},
        {"max_batches": 2},
        {"samples": ([1, 2, 1, 3, 2, 2], [2, 1, 2])},
        {"samples": ([1, 2, 1, 3, 2, 2], [2, 1, 2]), "strategy": FullFinetune(), "augment": AugmentOptions()},
    ],
    ids=str,
)
def test_banked_inputs_are_the_streamed_ones(tmp_path, changes):
    source = make_source(**changes)
    one, other = source.streamed(), banked(source, tmp_path)
    assert other.train.sizes == one.train.sizes
    for epoch in EPOCHS:
        for a, b in zip(one.train.epoch(epoch), other.train.epoch(epoch), strict=True):
            (expected, targets, sample_of), (found, found_targets, found_sample_of) = one.prepare(a), other.prepare(b)
            assert (sample_of is None) == (found_sample_of is None) == ("samples" not in changes)
            assert sample_of is None or torch.equal(found_sample_of, sample_of)
            assert torch.equal(found, expected)
            assert found.stride() == expected.stride()
            assert torch.equal(found_targets, targets)
            assert np.array_equal(a.positions, b.positions)
    for a, b in zip(one.validation, other.validation, strict=True):
        (expected, targets, _), (found, found_targets, _) = one.prepare_validation(a), other.prepare_validation(b)
        assert torch.equal(found, expected)
        assert found.dtype == torch.float32
        assert torch.equal(found_targets, targets)


def test_the_bank_holds_what_the_epochs_show_and_no_more(tmp_path):
    source = make_source()
    shown = {
        (int(i), int(view)) for epoch in EPOCHS for i, view in zip(*source.train.drawn(epoch), strict=True)
    }  # fmt: skip
    banked(source, tmp_path)
    assert num_features(tmp_path) == len(shown) + 5


def test_runs_share_what_they_have_in_common(tmp_path):
    banked(make_source(), tmp_path)
    before = num_features(tmp_path)
    again = make_source()
    banked(again, tmp_path)
    assert num_features(tmp_path) == before
    banked(make_source(seed=43), tmp_path)
    after = num_features(tmp_path)
    assert before < after <= 11 * 3 + 5, "another seed adds only the views that it alone draws"


@pytest.mark.parametrize(
    ("changes", "num_new_banks"),
    [
        ({"mean": 0.4}, 2),
        ({"strategy": HeadOnly()}, 2),
        ({"dtype": torch.bfloat16}, 1),
        ({"augment": AugmentOptions(rotation_degrees=3.0)}, 1),
        ({"num_variants": 5}, 0),
    ],
    ids=str,
)
def test_what_changes_the_features_changes_the_bank(tmp_path, changes, num_new_banks):
    """The bank of the validation images knows neither augmentation nor the precision of training."""
    banked(make_source(), tmp_path)
    assert num_banks(tmp_path) == 2
    banked(make_source(**changes), tmp_path)
    assert num_banks(tmp_path) == 2 + num_new_banks


def num_banks(folder) -> int:
    return len(list(folder.glob("*/bank.json")))


def test_a_folder_that_cannot_be_used_costs_time_and_no_result(tmp_path):
    in_the_way = tmp_path / "features"
    in_the_way.write_text("")
    source = make_source()
    assert banked(source, in_the_way, choice="auto").train is source.train
    with pytest.raises(ConfigError, match="cannot be written or read: File exists"):
        banked(source, in_the_way, choice="on")


def all_of(inputs: Inputs) -> list[torch.Tensor]:
    trained = [inputs.prepare(batch)[0] for epoch in EPOCHS for batch in inputs.train.epoch(epoch)]
    return [*trained, *(inputs.prepare_validation(batch)[0] for batch in inputs.validation)]


@pytest.fixture(scope="module")
def full_bank(tmp_path_factory) -> tuple[Path, list[torch.Tensor]]:
    """A folder of banks, and what comes out of it."""
    folder = tmp_path_factory.mktemp("banks")
    return folder, all_of(banked(make_source(**SMALL), folder))


SMALL = {"strategy": HeadOnly(), "dtype": torch.bfloat16}


@pytest.mark.parametrize("when", ["before filling", "after filling"])
@pytest.mark.parametrize(("file", "name"), DAMAGES[::6], ids=lambda one: one)
def test_a_damaged_bank_gives_the_same_inputs(full_bank, tmp_path, file, name, when, caplog):
    """All classes of damage are tried on the rows themselves; here is what a run makes of some."""
    original, expected = full_bank
    folder = tmp_path / "banks"
    shutil.copytree(original, folder)
    source = make_source(**SMALL)
    inputs = banked(source, folder) if when == "after filling" else None
    for bank in folder.glob("*/bank.json"):
        damage(bank.parent, file, name, feature_bytes(bank))
    found = all_of(inputs or banked(source, folder))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert len(caplog.records) <= 2 * 2, "once for each of the two banks, and for its header"


def feature_bytes(bank: Path) -> int:
    described = json.loads(bank.read_text())
    return math.prod(described["shape"]) * (2 if described["dtype"] == "torch.bfloat16" else 4)


def test_what_is_damaged_while_training_is_computed_once(full_bank, tmp_path, caplog):
    original, expected = full_bank
    folder = tmp_path / "banks"
    shutil.copytree(original, folder)
    source = make_source(**SMALL)
    inputs = banked(source, folder)
    for bank in folder.glob("*/bank.json"):
        damage(bank.parent, "rows", "every second byte", feature_bytes(bank))
    for _ in range(2):
        assert all(torch.equal(a, b) for a, b in zip(expected, all_of(inputs), strict=True))
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "30 of its 30 rows are computed anew when they are needed",
        "5 of its 5 rows are computed anew when they are needed",
    ]
    caplog.clear()
    assert all(torch.equal(a, b) for a, b in zip(expected, all_of(banked(make_source(**SMALL), folder)), strict=True))
    assert caplog.records == []
    assert num_features(folder) == 35


@pytest.mark.parametrize("content", [b"", b"{", b"null"])
def test_the_description_of_a_bank_decides_nothing(full_bank, tmp_path, content):
    original, expected = full_bank
    shutil.copytree(original, tmp_path / "banks")
    for bank in (tmp_path / "banks").glob("*/bank.json"):
        bank.write_bytes(content)
    found = all_of(banked(make_source(**SMALL), tmp_path / "banks"))
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


def test_auto_computes_at_every_step_when_every_input_is_new(tmp_path):
    """One epoch: nothing would be used twice."""
    source = make_source(sampler=Uniform())
    assert banked(source, tmp_path, range(1), "auto").train is source.train
    assert source.seconds_feature_bank is None
    assert banked(source, tmp_path, range(6), "auto").train is not source.train
    assert source.seconds_feature_bank > 0

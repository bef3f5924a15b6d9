"""Batches and augmentation: pure functions, the same with any number of workers."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mammo.data.augment import VIEW_COLUMNS, AugmentOptions, draw_view, view_of
from mammo.data.batches import (
    EvaluationBatches,
    LabelledImages,
    Preparation,
    TrainingBatches,
    change,
    make_batch,
    plan_batches,
)
from mammo.data.sampler import Uniform, Weighted
from mammo.data.store import StoredImages

STANDARD = AugmentOptions(
    flip_probability=0.5, rotation_degrees=5.0, contrast_fraction=0.1, brightness_fraction=0.1
)  # fmt: skip


def labelled(count: int = 11, size_px: int = 32) -> LabelledImages:
    pixels = np.random.default_rng(0).integers(0, 256, (count, size_px, size_px), dtype=np.uint8)
    targets = np.arange(count) % 3
    return LabelledImages(StoredImages(pixels, np.arange(count)), targets, [f"image{i}" for i in range(count)])


@pytest.mark.parametrize(
    ("images", "batch", "sizes"),
    [(10, 4, [4, 4, 2]), (9, 4, [4, 5]), (8, 4, [4, 4]), (1, 4, [1]), (3, 4, [3]), (5, 2, [2, 3])],
)
def test_no_batch_of_one_image(images, batch, sizes):
    plan = plan_batches(images, batch)
    assert [part.stop - part.start for part in plan] == sizes
    assert [i for part in plan for i in range(part.start, part.stop)] == list(range(images))


def training(num_workers: int, num_variants: int | None = 4, seed: int = 42) -> TrainingBatches:
    return TrainingBatches(labelled(), Weighted(), STANDARD, num_variants, 4, seed, num_workers)


def test_batches_do_not_depend_on_the_workers():
    for epoch in range(3):
        for one, other in zip(training(0).epoch(epoch), training(3).epoch(epoch), strict=True):
            assert np.array_equal(one.positions, other.positions)
            assert torch.equal(one.images, other.images)
            assert torch.equal(one.changes, other.changes)


def test_a_batch_holds_the_stored_pixels_and_labels():
    data = labelled()
    for batch in training(0).epoch(1):
        assert np.array_equal(batch.images.numpy(), data.images.pixels[batch.positions])
        assert batch.targets.tolist() == [data.targets[i] for i in batch.positions]


def test_evaluation_shows_every_image_once_in_order():
    seen = np.concatenate([batch.positions for batch in EvaluationBatches(labelled(), 4, 2)])
    assert seen.tolist() == list(range(11))


def test_views_follow_the_rule():
    draws = np.array([0, 1, 2, 0])
    assert view_of(6, draws, 8).tolist() == [6, 7, 0, 6]
    unique = {int(view) for epoch in range(50) for view in view_of(epoch, np.arange(20), None)}
    assert len(unique) == 50 * 20


def test_a_repeated_image_is_changed_differently_and_epochs_come_round():
    changes_by_epoch = [torch.cat([batch.changes for batch in training(0).epoch(epoch)]) for epoch in range(2)]
    order = np.concatenate([batch.positions for batch in training(0).epoch(0)])
    twice = next(i for i in order if (order == i).sum() > 1)
    first, second = np.flatnonzero(order == twice)[:2]
    assert not torch.equal(changes_by_epoch[0][first], changes_by_epoch[0][second])
    assert np.array_equal(draw_view(STANDARD, "image3", 1), draw_view(STANDARD, "image3", 1))


@pytest.mark.parametrize("other", [("image4", 1, 0), ("image3", 2, 0), ("image3", 1, 1)])
def test_a_view_depends_on_image_view_and_seed_alone(other):
    image_id, view, seed = other
    options = AugmentOptions(seed=seed, rotation_degrees=5.0, flip_probability=0.5)
    first = AugmentOptions(seed=0, rotation_degrees=5.0, flip_probability=0.5)
    assert not np.array_equal(draw_view(first, "image3", 1), draw_view(options, image_id, view))


def test_drawn_changes_fill_their_ranges():
    drawn = np.stack([draw_view(STANDARD, f"i{n}", n % 7) for n in range(4000)])
    column = {name: drawn[:, i] for i, name in enumerate(VIEW_COLUMNS)}
    assert column["flip"].mean() == pytest.approx(0.5, abs=0.03)
    for name, low, high in [("rotation_degrees", -5, 5), ("contrast", 0.9, 1.1), ("brightness", 0.9, 1.1)]:
        assert low <= column[name].min() < low + 0.02 * (high - low)
        assert high >= column[name].max() > high - 0.02 * (high - low)
    assert (column["zoom"] == 1).all()
    assert (column["shift_x"] == 0).all()


def drawn(**changes: float) -> torch.Tensor:
    neutral = dict.fromkeys(VIEW_COLUMNS, 0.0) | {"zoom": 1.0, "contrast": 1.0, "brightness": 1.0}
    return torch.tensor([list((neutral | changes).values())])


def test_changes_by_hand():
    image = torch.rand(1, 16, 16, generator=torch.Generator().manual_seed(0)) * 0.8 + 0.1
    assert torch.allclose(change(image, drawn()), image, atol=1e-6)
    assert torch.allclose(change(image, drawn(flip=1.0)), image.flip(2), atol=1e-5)
    assert torch.allclose(change(image, drawn(rotation_degrees=90.0)), image.rot90(-1, (1, 2)), atol=1e-5) or (
        torch.allclose(change(image, drawn(rotation_degrees=90.0)), image.rot90(1, (1, 2)), atol=1e-5)
    )
    assert torch.allclose(change(image, drawn(brightness=0.5)), image * 0.5, atol=1e-6)
    by_hand = ((image - image.mean()) * 0.5 + image.mean()).clamp(0, 1)
    assert torch.allclose(change(image, drawn(contrast=0.5)), by_hand, atol=1e-6)
    assert torch.allclose(change(image, drawn(shift_x=0.25))[..., :12], image[..., 4:], atol=1e-5)


def test_the_background_stays_black():
    image = torch.zeros(1, 16, 16)
    image[..., 4:12, :8] = 0.5
    changed = change(image, drawn(contrast=0.7, brightness=1.1))
    assert changed[image == 0].max() == 0
    # The mean of the breast is 0.5, so contrast leaves it there and brightness makes it 0.55.
    assert torch.allclose(changed[image > 0], torch.tensor(0.55), atol=1e-6)


def test_three_normalised_channels():
    data = labelled()
    batch = next(iter(EvaluationBatches(data, 4, 0)))
    images, targets, _ = Preparation((0.5, 0.4, 0.3), (0.2, 0.25, 0.5), torch.device("cpu"))(batch)
    assert images.shape == (4, 3, 32, 32)
    assert images.is_contiguous(memory_format=torch.channels_last)
    expected = (data.images.pixels[2, 5, 7] / 255 - 0.3) / 0.5
    assert images[2, 2, 5, 7].item() == pytest.approx(expected, abs=1e-5)
    assert targets.tolist() == [0, 1, 2, 0]


@pytest.mark.parametrize("size_px", [32, 200, 520])
def test_a_prepared_image_does_not_depend_on_the_others(size_px):
    """To the last bit, for any company and number of threads: what is kept of it serves every batch."""
    data = labelled(5, size_px)
    drawn_changes = torch.from_numpy(np.stack([draw_view(STANDARD, image_id, 3) for image_id in data.image_ids]))
    prepare = Preparation((0.5, 0.4, 0.3), (0.2, 0.25, 0.5), torch.device("cpu"))

    def prepared(*positions: int) -> torch.Tensor:
        return prepare(make_batch(data, np.array(positions), drawn_changes[list(positions)].numpy()))[0]

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        together = prepared(0, 1, 2, 3, 4)
        assert torch.equal(prepared(4), together[4:])
        assert torch.equal(prepared(3, 1), together[[3, 1]])
        torch.set_num_threads(1)
        assert torch.equal(prepared(4, 0, 2), together[[4, 0, 2]])
    finally:
        torch.set_num_threads(threads)


def test_uniform_training_without_augmentation_has_no_changes():
    batches = TrainingBatches(labelled(), Uniform(), AugmentOptions(), 1, 4, 0, 0)
    assert all(batch.changes is None for batch in batches.epoch(0))

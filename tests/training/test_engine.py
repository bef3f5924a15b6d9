"""The training loop on real batches and a real network, against plain PyTorch written out by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from mammo.data.augment import AugmentOptions
from mammo.data.batches import EvaluationBatches, LabelledImages, Preparation, TrainingBatches
from mammo.data.sampler import Uniform
from mammo.data.store import StoredImages
from mammo.models.build import build_model
from mammo.models.model_options import ModelOptions
from mammo.models.strategy import FrozenLastBlock, FullFinetune, HeadOnly
from mammo.models.trunk import FrozenTrunk
from mammo.support.hardware import Hardware
from mammo.tasks.multiclass import LABELS
from mammo.training.engine import EpochState, Inputs, LoopSettings, Predictions, Trainer
from mammo.training.finite_guard import NonFiniteLossError
from mammo.training.inputs import Source
from mammo.training.losses import CrossEntropy
from mammo.training.optimizers import AdamW
from mammo.training.schedulers import Constant, Cosine, Plateau

CPU = Hardware(torch.device("cpu"), "fp32", 1, True)
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def quiet(items, label, total):
    return items


def labelled(count: int = 10) -> LabelledImages:
    pixels = np.random.default_rng(1).integers(0, 256, (count, 64, 64), dtype=np.uint8)
    return LabelledImages(StoredImages(pixels, np.arange(count)), np.arange(count) % 3, [str(i) for i in range(count)])


def make_trainer(strategy=None, dropout=0.0, schedule=None, settings=None, hardware=CPU, class_weights=None) -> Trainer:
    options = ModelOptions(family="timm", name="test_efficientnet", weights="none", dropout=dropout)
    network = build_model(options, strategy or HeadOnly(), 3, 64, seed=0).network
    optimizer = AdamW(lr=1e-2, backbone_lr=1e-3)
    default = LoopSettings(epochs=2, accumulate=1, clip_norm=0.0, head_only_epochs=0, seed=0)
    return Trainer(
        network=network,
        loss=CrossEntropy(),
        task=LABELS,
        class_weights=class_weights,
        optimizer=optimizer.build(optimizer.groups(network.layers())),
        scaler=hardware.gradient_scaler(),
        schedule=schedule or Constant(),
        settings=dataclasses.replace(default, **(settings or {})),
        hardware=hardware,
        track=quiet,
    )


def batches(batch_size: int = 4, max_batches: int | None = None) -> TrainingBatches:
    return TrainingBatches(labelled(), Uniform(), AugmentOptions(), 1, batch_size, 42, 0, max_batches)


def inputs(trainer: Trainer, batch_size: int = 4, validation_batch_size: int = 4) -> Inputs:
    """Streamed: every batch is prepared and passes the trunk of the network."""
    preparation = Preparation(MEAN, STD, trainer.hardware.device)
    trunk, exact_trunk = (
        FrozenTrunk(trainer.network, dtype, batch_size) for dtype in (trainer.hardware.dtype, torch.float32)
    )
    validation = EvaluationBatches(labelled(), validation_batch_size, 0)
    return Source(batches(batch_size), validation, preparation, trunk, exact_trunk).streamed()


def no_losses() -> list[float]:
    return []


def never_stop() -> None:
    """What is called wherever training could be left."""


def run(trainer: Trainer, batch_size: int = 4):
    return list(trainer.fit(inputs(trainer, batch_size), no_losses, never_stop))


def predictions(trainer: Trainer, validation_batch_size: int = 4) -> Predictions:
    images = inputs(trainer, validation_batch_size=validation_batch_size)
    return trainer.predict(images.validation, images.prepare_validation, lambda: None)


def head(trainer: Trainer) -> torch.Tensor:
    return trainer.network.head.weight.detach().clone()


def test_an_epoch_is_what_plain_pytorch_does():
    trainer = make_trainer()
    by_hand = make_trainer()
    result = run(trainer)[0]

    network = by_hand.network.train()
    optimizer = torch.optim.AdamW(network.head.parameters(), lr=1e-2, weight_decay=0.01)
    optimizer.param_groups[0]["params"] = [network.head.weight]
    optimizer.add_param_group({"params": [network.head.bias], "weight_decay": 0.0})
    total, correct, epochs = 0.0, 0, []
    for epoch in range(2):
        total, correct = 0.0, 0
        for batch in batches().epoch(epoch):
            images, targets, _ = Preparation(MEAN, STD, CPU.device)(batch)
            logits = network(images)
            loss = torch.nn.functional.cross_entropy(logits, targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(targets)
            correct += int((logits.argmax(1) == targets).sum())
        epochs.append((total / 10, correct / 10))
    assert result.train_loss == pytest.approx(epochs[0][0], rel=1e-5)
    assert result.train_acc == epochs[0][1]
    assert torch.allclose(head(trainer), head(by_hand), atol=1e-5)


@pytest.mark.parametrize(("batch_size", "accumulate"), [(5, 2), (2, 5)])
def test_accumulated_batches_are_one_large_batch(batch_size, accumulate):
    """Of a network without BatchNorm in what learns, whatever the sizes of the batches."""
    whole = make_trainer(settings={"epochs": 1})
    parts = make_trainer(settings={"epochs": 1, "accumulate": accumulate})
    one, other = run(whole, batch_size=10)[0], run(parts, batch_size=batch_size)[0]
    assert one.train_loss == pytest.approx(other.train_loss, rel=1e-5)
    assert torch.allclose(head(whole), head(parts), atol=1e-5)


def test_an_incomplete_last_group_is_a_step_of_its_own_mean():
    trainer, by_hand = make_trainer(settings={"epochs": 1, "accumulate": 2}), make_trainer(settings={"epochs": 1})
    run(trainer, batch_size=4)  # batches of 4, 4, 2: steps of 8 and of 2 images
    order = Uniform().order(labelled().targets, 42, 0)
    by_hand.network.train()
    for part in (slice(0, 8), slice(8, 10)):
        positions = order[part]
        data = labelled()
        images = torch.from_numpy(data.images.read(positions)).unsqueeze(1) / 255
        logits = by_hand.network(((images - 0.5) / 0.25).expand(-1, 3, -1, -1))
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(data.targets[positions]))
        by_hand.optimizer.zero_grad()
        loss.backward()
        by_hand.optimizer.step()
    assert torch.allclose(head(trainer), head(by_hand), atol=1e-5)


def test_the_gradient_is_clipped():
    """SGD without momentum: the step is the rate times the clipped gradient."""
    trainer = make_trainer(settings={"epochs": 1, "clip_norm": 1e-3})
    parameters = list(trainer.network.head.parameters())
    trainer.optimizer = torch.optim.SGD([{"params": parameters, "lr": 1.0, "base_lr": 1.0, "name": "head"}])
    before = torch.cat([p.detach().flatten().clone() for p in parameters])
    run(trainer, batch_size=10)
    step = torch.cat([p.detach().flatten() for p in parameters]) - before
    assert step.norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_rates_by_part_are_those_used_in_the_epoch():
    trainer = make_trainer(strategy=FrozenLastBlock(), schedule=Cosine(warmup_epochs=2), settings={"epochs": 2})
    rates = [result.learning_rates for result in run(trainer)]
    assert rates == [
        {"head": pytest.approx(5e-3), "backbone": pytest.approx(5e-4)},
        {"head": pytest.approx(1e-2), "backbone": pytest.approx(1e-3)},
    ]


def test_the_loss_may_fall_and_the_predictions_are_those_of_the_trained_network():
    trainer = make_trainer(settings={"epochs": 6})
    results = run(trainer)
    assert results[-1].train_loss < results[0].train_loss
    again = predictions(trainer)
    assert np.array_equal(results[-1].validation.outputs, again.outputs)
    assert results[-1].validation.probabilities.sum(axis=1) == pytest.approx(np.ones(10))


@pytest.mark.parametrize("batch_size", [2, 3, 10])
def test_validation_does_not_depend_on_the_batch_size(batch_size):
    trainer = make_trainer()
    reference = predictions(trainer)
    other = predictions(trainer, batch_size)
    assert np.allclose(reference.outputs, other.outputs, atol=1e-4)
    assert np.array_equal(reference.targets, other.targets)


@pytest.mark.parametrize("strategy", [FrozenLastBlock(), FullFinetune()])
def test_training_from_the_middle_repeats_the_rest(strategy):
    """Dropout, order and rates are functions of seed and epoch: only weights and moments are carried over."""
    whole = make_trainer(strategy, dropout=0.5, schedule=Cosine(), settings={"epochs": 3})
    expected = run(whole)
    half = make_trainer(strategy, dropout=0.5, schedule=Cosine(), settings={"epochs": 3})
    steps = half.fit(inputs(half), no_losses, never_stop)
    next(steps)
    fresh = make_trainer(strategy, dropout=0.5, schedule=Cosine(), settings={"epochs": 3})
    fresh.load_state_dict(half.state_dict(batches_per_epoch=3))
    torch.rand(17)  # whatever else drew random numbers in between
    rest = run(fresh)
    assert [result.train_loss for result in rest] == [result.train_loss for result in expected[1:]]
    assert torch.equal(head(fresh), head(whole))


class Left(Exception):
    """Training was left within an epoch."""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "accumulate"),
    [(FrozenLastBlock(), 1), (FullFinetune(), 2), (FullFinetune(), 1)],
)
def test_training_can_be_left_after_any_step_and_in_the_validation(strategy, accumulate):
    """Three batches an epoch, three batches of validation: left at each place where it may be, gone on from there."""
    settings = {"epochs": 2, "accumulate": accumulate}
    whole = make_trainer(strategy, dropout=0.5, schedule=Cosine(per_step=True), settings=settings)
    expected = run(whole)
    places = 2 * (whole.steps(3) + 3)
    for place in range(places):
        left = make_trainer(strategy, dropout=0.5, schedule=Cosine(per_step=True), settings=settings)
        rests = iter(range(place + 1))

        def leave(rests=rests, place=place):
            if next(rests) == place:
                raise Left

        done: list = []
        with pytest.raises(Left):
            done.extend(left.fit(inputs(left), no_losses, leave))
        fresh = make_trainer(strategy, dropout=0.5, schedule=Cosine(per_step=True), settings=settings)
        fresh.load_state_dict(left.state_dict(batches_per_epoch=3))
        torch.rand(17)  # whatever else drew random numbers in between
        rest = list(fresh.fit(inputs(fresh), no_losses, never_stop))
        for result, other in zip(rest, expected[-len(rest) :], strict=True):
            assert (result.train_loss, result.train_acc) == (other.train_loss, other.train_acc), place
            assert np.array_equal(result.validation.outputs, other.validation.outputs), place
        assert torch.equal(head(fresh), head(whole)), place


def test_a_sample_of_several_images_is_learnt_from_the_mean_of_their_features():
    """The head alone learns: as on the means of the features, one for each sample, taken by hand."""
    pixels = np.random.default_rng(1).integers(0, 256, (10, 64, 64), dtype=np.uint8)
    sample_of = np.array([0, 0, 1, 2, 2, 2, 3, 4, 5, 5])
    data = LabelledImages(
        StoredImages(pixels, np.arange(10)), np.arange(6) % 3, [str(i) for i in range(10)], sample_of=sample_of
    )
    trainer = make_trainer(settings={"epochs": 1})
    preparation, trunk = Preparation(MEAN, STD, CPU.device), FrozenTrunk(trainer.network, torch.float32, 4)
    batches_of = TrainingBatches(data, Uniform(), AugmentOptions(), 1, 4, 42, 0)
    source = Source(batches_of, EvaluationBatches(data, 4, 0), preparation, trunk, trunk)
    (result,) = trainer.fit(source.streamed(), no_losses, never_stop)

    by_hand = make_trainer(settings={"epochs": 1})
    features = trunk(preparation.images(torch.from_numpy(pixels), None))
    means = torch.stack([features[torch.from_numpy(sample_of == sample)].mean(dim=0) for sample in range(6)])
    total = 0.0
    for part in (slice(0, 4), slice(4, 6)):
        samples = batches_of.drawn(0)[0][part]
        logits = by_hand.network.head(means[samples])
        loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(samples % 3))
        by_hand.optimizer.zero_grad()
        loss.backward()
        by_hand.optimizer.step()
        total += loss.item() * len(samples)
    assert result.train_loss == pytest.approx(total / 6, rel=1e-5)
    assert torch.allclose(head(trainer), head(by_hand), atol=1e-6)
    expected = by_hand.network.head(means).softmax(dim=1).detach().numpy()
    assert result.validation.probabilities == pytest.approx(expected, abs=1e-5)


def test_only_the_head_moves_in_head_only_epochs():
    trainer = make_trainer(strategy=FrozenLastBlock(), settings={"epochs": 2, "head_only_epochs": 1})
    body = {k: v.clone() for k, v in trainer.network.state_dict().items() if not k.startswith("head.")}
    epochs = trainer.fit(inputs(trainer), no_losses, never_stop)
    before = head(trainer)
    next(epochs)
    assert all(torch.equal(trainer.network.state_dict()[k], v) for k, v in body.items())
    assert not torch.equal(head(trainer), before)
    next(epochs)
    assert not all(torch.equal(trainer.network.state_dict()[k], v) for k, v in body.items())


def test_bf16_trains_nearly_the_same():
    bf16 = Hardware(torch.device("cpu"), "bf16", 1, True)
    one, other = run(make_trainer())[0], run(make_trainer(hardware=bf16))[0]
    assert one.train_loss == pytest.approx(other.train_loss, rel=0.05)
    assert other.validation.outputs.dtype == np.float32


def test_a_loss_that_is_not_finite_names_the_images():
    trainer = make_trainer(class_weights=torch.tensor([1.0, float("inf"), 1.0]))
    with pytest.raises(NonFiniteLossError) as caught:
        run(trainer)
    first = next(iter(batches().epoch(0)))
    assert caught.value.positions == [int(i) for i in first.positions if i % 3 == 1]


def test_a_gradient_that_is_not_finite_names_the_images_of_the_step():
    """Losses are finite, a weight's gradient is not: at once, before a state with such weights can be saved."""
    trainer = make_trainer(settings={"accumulate": 2})
    trainer.network.head.weight.register_hook(lambda gradient: gradient * float("inf"))
    states: list[EpochState] = []
    with pytest.raises(NonFiniteLossError, match="gradient of 8 images") as caught:
        list(trainer.fit(inputs(trainer), no_losses, lambda: states.append(trainer.position)))
    first, second, _ = batches().epoch(0)
    assert caught.value.positions == [*first.positions, *second.positions]
    assert not states


def test_steps_that_overflow_in_fp16_are_skipped_and_counted():
    """A scale of 2**100 makes every gradient infinite: it is halved at each step until they fit."""
    trainer = make_trainer(hardware=Hardware(torch.device("cpu"), "fp16", 1, True), settings={"epochs": 40})
    trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**100)
    before = head(trainer)
    results = trainer.fit(inputs(trainer), no_losses, never_stop)
    assert next(results).skipped_steps == 3
    assert torch.equal(head(trainer), before), "a step that is skipped changes no weight"
    rest = list(results)
    assert trainer.scaler.get_scale() == 2.0 ** (100 - 3 - sum(result.skipped_steps for result in rest))
    assert rest[-1].skipped_steps == 0
    assert not torch.equal(head(trainer), before)
    assert torch.isfinite(head(trainer)).all()


def test_class_weights_weigh_the_images():
    weights = torch.tensor([1.0, 2.0, 0.5])
    trainer = make_trainer(settings={"epochs": 1}, class_weights=weights)
    result = run(trainer, batch_size=10)[0]
    by_hand = make_trainer()
    data = labelled()
    images = torch.from_numpy(data.images.pixels).unsqueeze(1) / 255
    logits = by_hand.network(((images - 0.5) / 0.25).expand(-1, 3, -1, -1))
    targets = torch.from_numpy(data.targets)
    expected = (torch.nn.functional.cross_entropy(logits, targets, reduction="none") * weights[targets]).mean()
    assert result.train_loss == pytest.approx(expected.item(), rel=1e-4)


def test_the_schedule_sees_the_losses_of_the_epochs_before():
    """Asked when an epoch begins: what the consumer has noted by then halves the rate of the third epoch."""
    trainer = make_trainer(schedule=Plateau(warmup_epochs=0, patience=0), settings={"epochs": 4})
    losses: list[float] = []
    rates = []
    for result in trainer.fit(inputs(trainer), lambda: losses, never_stop):
        rates.append(result.learning_rates["head"])
        losses.append([1.0, 2.0, 0.5, 0.4][result.epoch])
    assert rates == pytest.approx([1e-2, 1e-2, 5e-3, 5e-3])

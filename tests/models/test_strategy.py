"""What each strategy trains: exact counts, and frozen parts that do not move."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
import torchvision
from torch import nn

from mammo.models.build import build_model
from mammo.models.families import FAMILIES
from mammo.models.model_options import ModelOptions
from mammo.models.strategy import FrozenLastBlock, FullFinetune, HeadOnly, LinearProbe
from mammo.support.errors import ConfigError

RESNET50 = ModelOptions(family="torchvision", name="resnet50", weights="none")
EFFICIENTNETB0 = ModelOptions(family="torchvision", name="efficientnet_b0", weights="none")
LITE0 = ModelOptions(family="efficientnet_lite0", name="efficientnet_lite0", weights="none")

COUNTS = [
    (FullFinetune(), RESNET50, 23_516_228),
    (FullFinetune(), EFFICIENTNETB0, 4_012_672),
    (FullFinetune(), LITE0, 3_376_132),
    (FrozenLastBlock(blocks=1), RESNET50, 14_972_932),
    (FrozenLastBlock(blocks=1), EFFICIENTNETB0, 417_284),
    (FrozenLastBlock(blocks=1), LITE0, 417_284),
    (FrozenLastBlock(blocks=2), RESNET50, 22_071_300),
    (FrozenLastBlock(blocks=2), EFFICIENTNETB0, 1_134_516),
    (FrozenLastBlock(blocks=2), LITE0, 1_022_724),
    (HeadOnly(), RESNET50, 8_196),
    (HeadOnly(), EFFICIENTNETB0, 5_124),
    (HeadOnly(), LITE0, 5_124),
    (LinearProbe(), LITE0, 5_124),
]


@pytest.mark.parametrize(("strategy", "options", "expected"), COUNTS)
def test_parameters_that_learn(strategy, options, expected):
    network = build_model(options, strategy, 4, 64, seed=0).network
    assert network.count_parameters()[1] == expected


def timm_options(name: str) -> ModelOptions:
    return ModelOptions(family="timm", name=name, weights="none")


# name, size, parameters of the last block with the final norm, taken from the published network
TIMM = [
    ("vit_tiny_patch16_224", 224, lambda m: [m.blocks[-1], m.norm]),
    ("deit_tiny_patch16_224", 224, lambda m: [m.blocks[-1], m.norm]),
    ("swin_tiny_patch4_window7_224", 224, lambda m: [m.layers[-1], m.norm]),
    ("convnext_atto", 64, lambda m: [m.stages[-1], m.head.norm]),
    ("resnet18", 64, lambda m: [m.layer4]),
]


@pytest.mark.parametrize(("name", "size_px", "last_block"), TIMM)
def test_the_last_block_of_timm_networks(name, size_px, last_block):
    published = timm.create_model(name)
    own = sum(p.numel() for module in last_block(published) for p in module.parameters())
    network = build_model(timm_options(name), FrozenLastBlock(), 4, size_px, seed=0).network
    head = sum(p.numel() for p in network.head.parameters())
    assert network.count_parameters()[1] == own + head


@pytest.mark.parametrize(("name", "size_px"), [(name, size_px) for name, size_px, _ in TIMM])
def test_cutting_a_network_does_not_change_what_it_computes(name, size_px):
    published = timm.create_model(name).eval()
    reference = timm.create_model(name, num_classes=0).eval()
    reference.load_state_dict({k: v for k, v in published.state_dict().items() if k in reference.state_dict()})
    parts = FAMILIES["timm"].parts(published, needs_blocks=True)
    body = nn.Sequential(*parts.stages, parts.pool).eval()
    images = torch.randn(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.allclose(body(images), reference(images), atol=1e-5)


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0"])
def test_cutting_a_torchvision_network_does_not_change_what_it_computes(name):
    published = torchvision.models.get_model(name).eval()
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    head = published.fc if name == "resnet50" else published.classifier
    with torch.inference_mode():
        expected = published(images)
        parts = FAMILIES["torchvision"].parts(published, needs_blocks=True)
        assert torch.allclose(head(nn.Sequential(*parts.stages, parts.pool)(images)), expected, atol=1e-5)


def _give_statistics(network) -> None:
    """Running statistics as pretrained ones are: without them a random network in eval mode computes zeros."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    nn.Module.train(network)
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64, generator=torch.Generator().manual_seed(99)))
    for norm in norms:
        norm.momentum = 0.1


def train_a_few_steps(strategy, options=LITE0, steps: int = 3):
    network = build_model(options, strategy, 3, 64, seed=0).network
    _give_statistics(network)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    network.train()
    for step in range(steps):
        images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(step))
        torch.nn.functional.cross_entropy(network(images), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
        optimizer.zero_grad()
    changed = {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}
    return network, changed


@pytest.mark.parametrize("options", [LITE0, EFFICIENTNETB0, timm_options("resnet18")])
@pytest.mark.parametrize("strategy", [FrozenLastBlock(), FrozenLastBlock(blocks=2), HeadOnly(), LinearProbe()])
def test_frozen_parts_are_bit_identical_after_training(strategy, options):
    network, changed = train_a_few_steps(strategy, options)
    cut = network.num_frozen_stages
    frozen = {name for name in network.state_dict() if name.startswith("stages.") and int(name.split(".")[1]) < cut}
    assert any("running_mean" in name for name in frozen)
    assert not changed & frozen
    assert {"head.weight", "head.bias"} <= changed
    learning = {name for name in network.state_dict() if name.startswith(f"stages.{cut}.")}
    assert learning <= changed or not learning


def test_full_finetune_moves_everything_running_statistics_included():
    network, changed = train_a_few_steps(FullFinetune())
    assert changed == set(network.state_dict())


def test_dropout_is_off_in_frozen_parts_and_in_a_linear_probe():
    network = build_model(dataclasses.replace(EFFICIENTNETB0, dropout=0.5), FrozenLastBlock(), 4, 64, seed=0).network
    network.train()
    assert network.dropout.training
    assert network.dropout.p == 0.5
    assert not any(module.training for stage in network.trunk for module in stage.modules())
    assert build_model(LITE0, LinearProbe(), 4, 64, seed=0).network.dropout.p == 0.0


def test_only_the_head_learns_at_first_when_asked_for():
    network = build_model(LITE0, FrozenLastBlock(head_only_epochs=1), 3, 64, seed=0).network
    network.tail.only_head_learns = True
    network.train()
    statistics = {k: v.clone() for k, v in network.state_dict().items() if "running" in k}
    network(torch.randn(4, 3, 64, 64)).sum().backward()
    assert network.head.weight.grad is not None
    assert all(p.grad is None for _, layer in network.layers()[:-1] for p in layer)
    assert all(torch.equal(network.state_dict()[k], v) for k, v in statistics.items())


def test_more_blocks_than_there_are():
    with pytest.raises(ConfigError, match=r"strategy\.blocks=6, but resnet50 has 5 blocks"):
        build_model(RESNET50, FrozenLastBlock(blocks=6), 4, 64, seed=0)


def test_a_network_of_unknown_anatomy_serves_every_strategy_but_one():
    mobilenet = timm_options("mobilenetv3_small_050")
    with pytest.raises(ConfigError, match="strategy=head_only"):
        build_model(mobilenet, FrozenLastBlock(), 4, 64, seed=0)
    network = build_model(mobilenet, HeadOnly(), 4, 64, seed=0).network
    assert network(torch.randn(2, 3, 64, 64)).shape == (2, 4)


def test_the_head_is_a_function_of_the_seed_alone():
    one, same = (build_model(LITE0, HeadOnly(), 4, 64, seed=7).network.head.weight for _ in range(2))
    torch.rand(100)
    other_weights = build_model(dataclasses.replace(LITE0, weights="auto"), HeadOnly(), 4, 64, seed=7)
    assert torch.equal(one, same)
    assert torch.equal(one, other_weights.network.head.weight)
    assert not torch.equal(one, build_model(LITE0, HeadOnly(), 4, 64, seed=8).network.head.weight)


@pytest.mark.parametrize(
    ("options", "num_layers"),
    [(LITE0, 9 + 2), (ModelOptions(family="timm", name="mobilenetv3_small_050", weights="none"), 14 + 2)],
    ids=["stages", "asked of timm"],
)
def test_layers_go_from_the_input_to_the_head_and_have_each_parameter_once(options, num_layers):
    network = build_model(options, FullFinetune(), 4, 64, seed=0).network
    layers = network.layers()
    assert [name for name, _ in layers][-2:] == ["pool", "head"]
    assert len(layers) == len({name for name, _ in layers}) == num_layers
    found = [id(parameter) for _, parameters in layers for parameter in parameters]
    assert sorted(found) == sorted(id(parameter) for parameter in network.parameters())
    first, last = next(network.parameters()), network.head.weight
    assert any(parameter is first for parameter in layers[0][1])
    assert any(parameter is last for parameter in layers[-1][1])

"""The fast trunk against the plain one: the same function, in fp32 to the last bit."""

from __future__ import annotations

import shutil

import pytest
import torch

from mammo.models.build import build_model
from mammo.models.model_options import ModelOptions
from mammo.models.network import Network
from mammo.models.strategy import FrozenLastBlock, FullFinetune, HeadOnly
from mammo.models.trunk import FrozenTrunk, images_at_once

LITE0 = ("efficientnet_lite0", "efficientnet_lite0", 64)
NETWORKS = [
    LITE0,
    ("torchvision", "efficientnet_b0", 64),
    ("torchvision", "resnet18", 64),
    ("timm", "resnet18", 64),
    ("timm", "convnext_atto", 64),
    ("timm", "vit_tiny_patch16_224", 224),
]


def network_of(family: str, name: str, size_px: int, strategy=None) -> Network:
    weights = "auto" if family == "efficientnet_lite0" else "none"
    options = ModelOptions(family=family, name=name, weights=weights)
    return build_model(options, strategy or FrozenLastBlock(), 4, size_px, seed=0).network.eval()


def images(count: int, size_px: int) -> torch.Tensor:
    random = torch.rand(count, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))
    return (random - 0.5).contiguous(memory_format=torch.channels_last) * 4


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.float() - expected).norm() / expected.norm())


@pytest.mark.parametrize(("family", "name", "size_px"), NETWORKS)
@pytest.mark.parametrize("strategy", [FrozenLastBlock(), HeadOnly()], ids=["frozen_last_block", "head_only"])
def test_fp32_is_the_network_itself_and_bf16_is_as_good_as_autocast(family, name, size_px, strategy):
    network = network_of(family, name, size_px, strategy)
    batch = images(4, size_px)
    expected = network.forward_trunk(batch)
    assert torch.equal(FrozenTrunk(network, torch.float32, 4)(batch), expected)
    with torch.autocast("cpu", torch.bfloat16):
        by_autocast = network.forward_trunk(batch)
    found = FrozenTrunk(network, torch.bfloat16, 4)(batch)
    assert found.dtype == torch.bfloat16
    assert relative_error(found, expected) < 1.5 * relative_error(by_autocast, expected) + 1e-3


@pytest.mark.parametrize(
    ("family", "name", "size_px", "is_folded"),
    [(*network, network[1] not in ("convnext_atto", "vit_tiny_patch16_224")) for network in NETWORKS]
    + [("timm", "densenet121", 64, False), ("timm", "inception_v3", 128, True)],
)
def test_batchnorm_is_folded_where_it_follows_a_convolution(family, name, size_px, is_folded):
    """Not in a DenseNet, whose norms come before the convolutions; an Inception takes no small images."""
    network = network_of(family, name, size_px, HeadOnly())
    before = {key: value.clone() for key, value in network.state_dict().items()}
    assert FrozenTrunk(network, torch.bfloat16, 4).is_folded == is_folded
    assert not FrozenTrunk(network, torch.float32, 4).is_folded
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("family", "name", "size_px"), [LITE0, ("torchvision", "efficientnet_b0", 64)])
def test_an_output_does_not_depend_on_the_other_images(family, name, size_px, dtype):
    """To the last bit, for any company, place and number of images."""
    trunk = FrozenTrunk(network_of(family, name, size_px), dtype, 16)
    batch = images(21, size_px)
    together = trunk(batch)
    order = torch.randperm(21, generator=torch.Generator().manual_seed(0))
    assert torch.equal(trunk(batch[order]), together[order])
    for part in (slice(0, 1), slice(3, 5), slice(4, 21)):
        assert torch.equal(trunk(batch[part]), together[part])


@pytest.mark.parametrize(("batch_size", "expected"), [(2, 2), (16, 16), (17, 9), (24, 12), (32, 16), (50, 13)])
def test_batches_are_cut_into_equal_parts_with_little_waste(batch_size, expected):
    assert images_at_once(batch_size) == expected


def test_what_learns_can_be_trained_on_the_output():
    network = network_of(*LITE0).train()
    network.head(torch.zeros(1, network.head.in_features))
    output = FrozenTrunk(network, torch.float32, 4)(images(4, 64))
    network.tail(output).sum().backward()
    learning = [p for p in network.parameters() if p.requires_grad]
    assert all(p.grad is not None for p in learning)
    assert all(p.grad is None for p in network.parameters() if not p.requires_grad)


def test_a_network_that_learns_as_a_whole_has_no_trunk():
    batch = images(3, 64)
    assert FrozenTrunk(network_of(*LITE0, FullFinetune()), torch.bfloat16, 4)(batch) is batch


def test_the_identity_follows_weights_cut_precision_and_threads():
    trunks = {
        "plain": FrozenTrunk(network_of(*LITE0), torch.float32, 16),
        "cut": FrozenTrunk(network_of(*LITE0, FrozenLastBlock(blocks=2)), torch.float32, 16),
        "precision": FrozenTrunk(network_of(*LITE0), torch.bfloat16, 16),
    }
    other = network_of(*LITE0)
    with torch.no_grad():
        next(iter(other.trunk[0].parameters()))[0] += 1e-3
    trunks["weights"] = FrozenTrunk(other, torch.float32, 16)
    identities = [str(trunk.identity()) for trunk in trunks.values()]
    assert len(set(identities)) == len(identities)
    head = network_of(*LITE0)
    with torch.no_grad():
        head.head.weight += 1
    assert FrozenTrunk(head, torch.float32, 16).identity() == trunks["plain"].identity()
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        assert str(trunks["plain"].identity()) not in identities
    finally:
        torch.set_num_threads(threads)


@pytest.mark.slow
@pytest.mark.skipif(not any(map(shutil.which, ("g++", "clang++"))), reason="torch.compile needs a C++ compiler")
def test_a_compiled_trunk_computes_the_same():
    network = network_of("torchvision", "resnet18", 64, HeadOnly())
    batch = images(6, 64)
    expected = FrozenTrunk(network, torch.float32, 4)(batch)
    found = FrozenTrunk(network, torch.float32, 4, compiled=True)(batch)
    assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5)

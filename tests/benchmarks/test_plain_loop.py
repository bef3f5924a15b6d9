"""The plain loop is what it says it is: it trains, and what is frozen takes no step."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from benchmarks.plain_loop import ImagesInMemory, build_loader, build_network, build_optimizer, train_epoch
from tests.conftest import REPOSITORY

HEAD = {"efficientnet_b0": "classifier.", "resnet50": "fc."}
LAST_BLOCK = {"efficientnet_b0": "features.8.", "resnet50": "layer4."}
CPU = torch.device("cpu")


@pytest.mark.parametrize("architecture", ["efficientnet_b0", "resnet50"])
def test_only_the_last_block_and_the_head_learn_and_all_statistics_move(architecture):
    torch.manual_seed(0)
    network = build_network(architecture, "frozen_last_block")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    loader = build_loader(ImagesInMemory(16, 64), 8, 0, pin_memory=False)
    train_epoch(network, loader, build_optimizer(network, architecture), CPU)
    learning = (LAST_BLOCK[architecture], HEAD[architecture])
    parameters = {name for name, _ in network.named_parameters()}
    for name, tensor in network.state_dict().items():
        changed = not torch.equal(tensor, before[name])
        if name in parameters:
            assert changed == name.startswith(learning), name
        elif name.endswith("running_mean"):
            assert changed, name


@pytest.mark.parametrize(
    ("architecture", "strategy", "count"),
    [
        ("resnet50", "full_finetune", 23_516_228),
        ("resnet50", "frozen_last_block", 14_972_932),
        ("resnet50", "head_only", 8_196),
        ("efficientnet_b0", "full_finetune", 4_012_672),
        ("efficientnet_b0", "frozen_last_block", 417_284),
        ("efficientnet_b0", "head_only", 5_124),
    ],
)
def test_the_same_parameters_learn_as_in_the_project(architecture, strategy, count):
    network = build_network(architecture, strategy)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == count
    optimizer = build_optimizer(network, architecture)
    assert sum(p.numel() for group in optimizer.param_groups for p in group["params"]) == count


def test_its_images_have_all_classes_and_can_be_told_apart():
    images = ImagesInMemory(64, 32)
    assert set(images.labels.tolist()) == {0, 1, 2, 3}
    picture, label = images[0]
    assert picture.shape == (3, 32, 32)
    assert picture.dtype == torch.float32
    assert label == 0
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4))
    loader = build_loader(images, 16, 0, pin_memory=False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=0.1)
    torch.manual_seed(0)
    losses = [train_epoch(network, loader, optimizer, CPU)[0] for _ in range(20)]
    assert losses[-1] < 0.7 * losses[0]


def test_the_sampler_balances_the_classes():
    torch.manual_seed(0)
    images = ImagesInMemory(400, 8)
    drawn = torch.cat([labels for _, labels in build_loader(images, 50, 0, pin_memory=False)])
    counts = torch.bincount(drawn, minlength=4)
    assert len(drawn) == 400
    assert counts.min() > 60
    assert (images.labels == 0).sum() < 40


def test_the_command_prints_its_times_without_the_first_epoch_and_without_the_project():
    arguments = [
        "--num-images=8",
        "--size-px=32",
        "--batch-size=4",
        "--epochs=2",
        "--threads=1",
        "--strategy=head_only",
    ]
    code = (
        "import runpy, sys; runpy.run_module('benchmarks.plain_loop', run_name='__main__', alter_sys=True); "
        "assert not [name for name in sys.modules if name.partition('.')[0] == 'mammo']"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert result["images_per_epoch"] == 8
    assert len(result["seconds"]) == 2
    assert len(result["losses"]) == 3
    assert result["threads"] == 1

"""The other side of the comparison: the training loop as tutorials and most published code have it.

    python -m benchmarks.plain_loop --architecture resnet50 --strategy frozen_last_block

Float32 in the default memory layout, `model.train()` on the whole network, `requires_grad = False` for what is
frozen, a DataLoader with a WeightedRandomSampler, torchvision's transforms image by image, AdamW with a rate for the
head and a tenth of it for the backbone, and the loss asked for after each step. It has one advantage over such code:
its images are in memory, decoded, grey, at the size they are trained at. It uses nothing of the project.
Prints JSON; validation is not part of the times.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, WeightedRandomSampler
from torchvision import transforms

NUM_CLASSES = 4
CLASS_FREQUENCIES = (0.05, 0.25, 0.5, 0.2)  # so that the sampler has something to balance
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
HEAD_LR, BACKBONE_LR, WEIGHT_DECAY = 1e-4, 1e-5, 0.01
LAST_BLOCKS = {"efficientnet_b0": "features.8.", "resnet50": "layer4."}
HEADS = {"efficientnet_b0": "classifier.", "resnet50": "fc."}
STRATEGIES = ("frozen_last_block", "head_only", "full_finetune")


class ImagesInMemory(Dataset[tuple[Tensor, int]]):
    """Grey uint8 images [N, S, S] of four classes: smooth random fields, brighter from class to class."""

    def __init__(self, num_images: int, size_px: int) -> None:
        generator = np.random.default_rng(0)
        # Every class at least once: the sampler divides by their counts.
        drawn = generator.choice(NUM_CLASSES, num_images - NUM_CLASSES, p=CLASS_FREQUENCIES)
        self.labels = np.concatenate([np.arange(NUM_CLASSES), drawn])
        coarse = generator.uniform(0, 100, (num_images, 1, 8, 8)) + 50 * self.labels[:, None, None, None]
        fine = nn.functional.interpolate(torch.from_numpy(coarse), size=(size_px, size_px), mode="bilinear")
        self.images = fine[:, 0].to(torch.uint8).numpy()
        self.transform = transforms.Compose(
            [
                transforms.ToPILImage(),
                transforms.RandomHorizontalFlip(0.5),
                transforms.RandomRotation(5),
                transforms.ColorJitter(brightness=0.1, contrast=0.1),
                transforms.ToTensor(),
                transforms.Lambda(lambda grey: grey.expand(3, -1, -1)),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(self.images[index]), int(self.labels[index])


def build_network(architecture: str, strategy: str) -> nn.Module:
    """A torchvision network for four classes whose frozen parameters take no gradient."""
    network = torchvision.models.get_model(architecture, weights=None)
    if architecture == "resnet50":
        network.fc = nn.Linear(network.fc.in_features, NUM_CLASSES)
    else:
        network.classifier[1] = nn.Linear(network.classifier[1].in_features, NUM_CLASSES)
    learning = {
        "full_finetune": "",
        "frozen_last_block": (LAST_BLOCKS[architecture], HEADS[architecture]),
        "head_only": HEADS[architecture],
    }[strategy]
    for name, parameter in network.named_parameters():
        parameter.requires_grad = name.startswith(learning)
    return network


def build_optimizer(network: nn.Module, architecture: str) -> torch.optim.Optimizer:
    """AdamW over what learns, the head at ten times the rate of the backbone."""
    groups: dict[bool, list[nn.Parameter]] = {True: [], False: []}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups[name.startswith(HEADS[architecture])].append(parameter)
    rates = {True: HEAD_LR, False: BACKBONE_LR}
    chosen = [{"params": parameters, "lr": rates[key]} for key, parameters in groups.items() if parameters]
    return torch.optim.AdamW(chosen, betas=(0.9, 0.999), weight_decay=WEIGHT_DECAY)


def build_loader(images: ImagesInMemory, batch_size: int, num_workers: int, pin_memory: bool) -> DataLoader[Any]:
    """Batches in which the classes are balanced; as many images an epoch as there are."""
    counts = np.bincount(images.labels, minlength=NUM_CLASSES)
    weights = (1.0 / counts[images.labels]).tolist()
    sampler = WeightedRandomSampler(weights, num_samples=len(images), replacement=True)
    return DataLoader(
        images, batch_size, sampler=sampler, num_workers=num_workers, pin_memory=pin_memory,
        persistent_workers=num_workers > 0,
    )  # fmt: skip


def train_epoch(
    network: nn.Module, loader: DataLoader[Any], optimizer: torch.optim.Optimizer, device: torch.device
) -> tuple[float, float]:
    """Train one epoch; returns the mean loss and the accuracy over the images."""
    network.train()
    criterion = nn.CrossEntropyLoss()
    total_loss, num_correct, num_images = 0.0, 0, 0
    for batch, labels in loader:
        images, targets = batch.to(device, non_blocking=True), labels.to(device, non_blocking=True)
        optimizer.zero_grad()
        logits = network(images)
        loss = criterion(logits, targets)
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(images)
        num_correct += (logits.argmax(dim=1) == targets).sum().item()
        num_images += len(images)
    return total_loss / num_images, num_correct / num_images


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Train one epoch to warm up and then those that are timed."""
    torch.manual_seed(0)
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    network = build_network(arguments.architecture, arguments.strategy).to(device)
    optimizer = build_optimizer(network, arguments.architecture)
    images = ImagesInMemory(arguments.num_images, arguments.size_px)
    loader = build_loader(images, arguments.batch_size, arguments.num_workers, device.type == "cuda")
    seconds, losses = [], []
    for _ in range(1 + arguments.epochs):
        started = time.perf_counter()
        loss, _accuracy = train_epoch(network, loader, optimizer, device)
        seconds.append(time.perf_counter() - started)
        losses.append(loss)
    return {
        "images_per_epoch": len(images),
        "warmup_seconds": seconds[0],
        "seconds": seconds[1:],
        "losses": losses,
        "threads": torch.get_num_threads(),
        "device": str(device),
    }


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plain_loop", description="Time the plain loop.")
    parser.add_argument("--architecture", choices=sorted(HEADS), default="efficientnet_b0")
    parser.add_argument("--strategy", choices=STRATEGIES, default="frozen_last_block")
    parser.add_argument("--num-images", type=int, default=192, help="images of an epoch")
    parser.add_argument("--size-px", type=int, default=224)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=2, help="timed epochs, after one that warms up")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads of torch; 0: its own choice")
    parser.add_argument("--num-workers", type=int, default=0, help="worker processes of the DataLoader")
    parser.add_argument("--device", default="cpu")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    print(json.dumps(measure(parse())))

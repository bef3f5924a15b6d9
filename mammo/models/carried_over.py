"""EfficientNet-B0 from the ImageNet weights of EfficientNet-Lite0, which are installed with the project.

The convolutions and norms of both have the same shapes in the same order. B0 has SiLU where Lite0 has ReLU6, and gates
(squeeze and excitation) that Lite0 lacks. Here the gates are open, and what enters a SiLU is scaled up, as
SiLU(8 x) / 8 is nearly ReLU(x). Without the upper bound of ReLU6 the channels drift from layer to layer: their means
and spreads on images of noise are made those of Lite0, layer by layer. No data is needed, so the weights are the same
for every dataset and split.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
import torchvision
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation, SqueezeExcitation

OPEN_GATE = 4.0  # before the sigmoid, which makes 0.98 of it and still lets the gate learn
SCALE = 8.0
LITE0_EPSILON = 1e-3  # of its BatchNorm; torchvision's B0 has another
NUM_IMAGES, SIDE_PX = 16, 160
# Sides of the grids of which the noise is a sum: structure of all sizes, as pictures have it.
GRIDS_PX = (4, 8, 16, 32, 64)


def efficientnet_b0_from_lite0(lite0: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The state dict of torchvision's EfficientNet-B0 that does nearly what Lite0 does, without its head.

    `lite0` has the tensors of Lite0 in the order of the network; those of its head, the last two, are not used.
    """
    with torch.random.fork_rng(devices=[]), _one_thread(), torch.no_grad():
        torch.manual_seed(0)
        network = torchvision.models.efficientnet_b0(weights=None).features.eval()
        _carry_over(network, list(lite0.values())[:-2])
        # With the activations of Lite0 and without gates it is that network.
        model = _as_lite0(network)
        _match(network, model, _noise())
    return {f"features.{name}": tensor for name, tensor in network.state_dict().items()}


def _carry_over(network: nn.Module, lite0: list[Tensor]) -> None:
    """Load the tensors of Lite0 and open the gates."""
    own = network.state_dict()
    shared = [name for name in own if not any(f".{gate}." in name for gate in ("fc1", "fc2"))]
    network.load_state_dict(own | dict(zip(shared, lite0, strict=True)))
    for module in network.modules():
        if isinstance(module, SqueezeExcitation):
            nn.init.zeros_(module.fc2.weight)
            nn.init.constant_(module.fc2.bias, OPEN_GATE)
        elif isinstance(module, nn.BatchNorm2d) and module.running_var is not None:
            module.running_var += LITE0_EPSILON - module.eps


def _as_lite0(network: nn.Module) -> nn.Module:
    """A copy with ReLU6 for SiLU and without gates."""
    replaced = copy.deepcopy(network)
    for module in list(replaced.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.SiLU):
                setattr(module, name, nn.ReLU6())
            elif isinstance(child, SqueezeExcitation):
                setattr(module, name, nn.Identity())
    return replaced


def _layers(network: nn.Module) -> list[Conv2dNormActivation]:
    """Convolutions with norm and perhaps activation, in the order in which an image passes them."""
    return [module for module in network.modules() if isinstance(module, Conv2dNormActivation)]


def _match(network: nn.Module, model: nn.Module, images: Tensor) -> None:
    """Give every norm of a network, for some images, the means and spreads of those of the model, first to last."""
    wanted: list[tuple[Tensor, Tensor]] = []
    for layer in _layers(model):
        layer[1].register_forward_hook(lambda _, __, output: wanted.append(_moments(output)))
    model(images)
    layers = _layers(network)
    # The output of the last layer feeds the head, which learns: it is as large as that of Lite0.
    scales = [SCALE if len(layer) > 2 else 1.0 for layer in layers[:-1]] + [1.0]

    def mend(norm: nn.BatchNorm2d, inputs: tuple[Tensor], _: Tensor) -> Tensor:
        position = len(layers) - len(handles)
        (mean, variance), scale = wanted[position], scales[position]
        norm.running_mean, norm.running_var = _moments(inputs[0])
        norm.weight.copy_(variance.sqrt() * scale)
        norm.bias.copy_(mean * scale)
        handles.pop(norm).remove()
        return norm.forward(inputs[0])

    handles = {layer[1]: layer[1].register_forward_hook(mend) for layer in layers}
    network(images)


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each channel of maps [N, C, H, W]."""
    return maps.mean(dim=(0, 2, 3)), maps.var(dim=(0, 2, 3))


def _noise() -> Tensor:
    """Grey images [N, 3, H, W] in -2..2, about as bright and as rough as pictures are."""
    total = torch.zeros(NUM_IMAGES, 1, SIDE_PX, SIDE_PX)
    for side_px in GRIDS_PX:
        grid = torch.randn(NUM_IMAGES, 1, side_px, side_px)
        total += nn.functional.interpolate(grid, SIDE_PX, mode="bicubic") * 2 / side_px**0.5
    return (4 * total.sigmoid() - 2).expand(-1, 3, -1, -1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in one order, whatever the number of processors."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Class activation maps of any network of the project, through the library grad-cam.

All stages up to the map run once and without gradients. The library is given only what comes after it, with the map
as its input: so gradients arrive whatever is frozen, nothing is computed twice, and it never has to know how an
architecture holds its maps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from pytorch_grad_cam import EigenCAM, GradCAM, GradCAMPlusPlus, HiResCAM, LayerCAM
from pytorch_grad_cam.base_cam import BaseCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import Tensor, nn

from mammo.explanation.explain_options import Method
from mammo.models.network import Network
from mammo.models.stages import WholeBackbone
from mammo.support.errors import ConfigError
from mammo.tasks.outputs import SOFTMAX, OutputSpace

Step = Callable[[Tensor], Tensor]

METHODS: dict[Method, type[BaseCAM]] = {
    "gradcam": GradCAM,
    "gradcam++": GradCAMPlusPlus,
    "layercam": LayerCAM,
    "hirescam": HiResCAM,
    "eigencam": EigenCAM,
}


class _KeepsValues:
    """Keeps the values of a map: the library hands out maps that it has shifted and scaled."""

    values: np.ndarray

    def get_cam_image(self, *arguments: Any) -> np.ndarray:
        """As in the library."""
        self.values = super().get_cam_image(*arguments)  # type: ignore[misc]
        return self.values


class _Rest(nn.Module):
    """What comes after the map, as a network from maps [N, C, H, W] to a score of each class [N, K]."""

    def __init__(self, network: Network, space: OutputSpace, steps: Sequence[Step], output: Tensor) -> None:
        super().__init__()
        self._space = space
        self.target = nn.Identity()
        # The library asks for the device of the parameters.
        self.head = network.head
        self._steps, self._output, self._layout = list(steps), output, network.layout

    def forward(self, maps: Tensor) -> Tensor:
        """Scores [N, K] of maps."""
        result = self._layout.with_map(self._output, self.target(maps))
        for step in self._steps:
            result = step(result)
        return self._space.class_scores(self.head(result))


def chosen_layer(network: Network, layer: int | None) -> int:
    """The stage whose map is shown, counted from the last, which is 1; `layer` None is the last that makes sense.

    Raises ConfigError for a stage that is not there, and for one on which no class depends.
    """
    count, first = len(network.stages), 1 if network.layout.is_pooled else 2
    if layer is None:
        return first
    if layer < first:
        raise ConfigError(
            f"layer={layer}: the classes of this transformer depend on the class token alone, not on the last map",
            f"{first} to {count}",
            f"layer={first} shows what the last block reads",
        )
    if layer > count:
        raise ConfigError(f"layer={layer}, but the network has {count} blocks", f"{first} to {count}")
    return layer


def heat_maps(
    network: Network,
    images: Tensor,
    classes: Sequence[int],
    method: Method = "gradcam",
    layer: int | None = None,
    space: OutputSpace = SOFTMAX,
) -> np.ndarray:
    """Where in each image the network finds what speaks for a class: float32 [N, H, W], at least 0, not scaled.

    Arguments:
        network: in eval mode; neither its parameters nor their gradients are changed.
        images: normalised float32 [N, 3, S, S] on the device of the network.
        classes: index of a class for each image; `eigencam` does not depend on it.
        method: `gradcam` (Selvaraju et al. 2017), `gradcam++` (Chattopadhay et al. 2018), `layercam` (Jiang et al.
            2021), `hirescam` (Draelos & Carin 2020), `eigencam` (Muhammad & Yeasin 2020).
        layer: see `chosen_layer`.
        space: what the outputs of the network mean.

    Raises ConfigError as `chosen_layer`, and for a network or method that gives no map.
    """
    before, after = _ways(network, chosen_layer(network, layer))
    with torch.no_grad():
        output = images
        for step in before:
            output = step(output)
    if network.layout.kind != "tokens" and output.ndim != 4:
        raise ConfigError(
            "where the maps of this network are is not known",
            "a convolutional network, or a ViT, DeiT, Swin or ConvNeXt of timm",
        )
    maps = network.layout.map_of(output).detach().clone().requires_grad_()
    kind = type(METHODS[method].__name__, (_KeepsValues, METHODS[method]), {})
    rest = _Rest(network, space, after, output)
    cam: Any = kind(rest, [rest.target])
    with torch.enable_grad(), _parameters_at_rest(network):
        cam(maps, [ClassifierOutputTarget(index) for index in classes])
    values = np.asarray(cam.values, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ConfigError(f"method={method} gives values that are not finite here", to_do="choose method=gradcam")
    if method == "eigencam":
        # A principal component has no sign of its own: the larger extreme is positive (Chung & Ying 2025, eq. 13).
        axes = (1, 2)
        is_negative = np.abs(values.min(axis=axes)) > np.abs(values.max(axis=axes))
        values = np.where(is_negative[:, None, None], -values, values)
    return np.maximum(values, 0)


def _ways(network: Network, layer: int) -> tuple[list[Step], list[Step]]:
    """What leads from images to the map of a stage, and from there to features."""
    stages: list[Step] = list(network.stages)
    pooling: list[Step] = [network.pool]
    whole = network.stages[0]
    if isinstance(whole, WholeBackbone):
        stages, pooling = [whole.maps], [whole.pooled, network.pool]
    cut = len(stages) - layer + 1
    return stages[:cut], [*stages[cut:], *pooling]


@contextmanager
def _parameters_at_rest(network: Network) -> Iterator[None]:
    """Parameters without gradients, so that none are computed for them; as they were afterwards."""
    learning = [parameter for parameter in network.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)

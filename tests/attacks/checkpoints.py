"""Checkpoints that hold something else than a run has saved."""

from __future__ import annotations

import collections
import hashlib
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tests.attacks.values import RAW, Random, changed_tree, chosen, hostile_value, shown
from tests.mutations.damage_anywhere import EVERYWHERE

Content = dict[str, Any]


class Payload:
    """Pickled, it makes a folder when it is read."""

    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.mkdir, (self.marker,)


def attack_checkpoint(file: Path, random: Random, marker: str) -> str:
    """Replace a checkpoint by a hostile one; its sum is that of the new file, or is missing."""
    content = torch.load(file, weights_only=True)
    kind = random.integers(10)
    if kind < 4:
        what = _change_plain(content, random, marker)
    elif kind < 7:
        what = _change_tensors(content, random)
    elif kind < 8:
        what = _change_model(content, random)
    else:
        new, what = _damaged(file.read_bytes(), content, random, marker)
        _replace(file, new, random)
        return f"{file.name}: {what}"
    _replace(file, _saved(content), random)
    return f"{file.name}: {what}"


def _saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    try:
        torch.save(content, stream, **options)
    except RecursionError:  # what torch cannot write down nobody sends in this way
        return _saved({"model_state_dict": {}}, **options)
    return stream.getvalue()


def _replace(file: Path, content: bytes, random: Random) -> None:
    file.unlink()
    file.write_bytes(content)
    sums = file.with_name("SHA256SUMS")
    if random.random() < 0.5:
        sums.unlink(missing_ok=True)
    else:
        sums.write_text(f"{hashlib.sha256(content).hexdigest()}  {file.name}\n")


def _change_plain(content: Content, random: Random, marker: str) -> str:
    """What is no tensor: configuration, classes, history, states."""
    plain = {key: value for key, value in content.items() if not key.endswith("state_dict") and key != "rng"}
    if random.random() < 0.3:
        key = chosen(random, ["rng", "optimizer_state_dict", "scheduler_state_dict", "scaler_state_dict", *plain])
        content[key] = _as_python(hostile_value(random, marker))
        return f"{key} is {shown(content[key])}"
    if random.random() < 0.1:
        which = chosen(random, ["deep", "cycle", "references", "keys"])
        value: Any = {"deep": _deep, "cycle": _cycle, "references": _references, "keys": _odd_keys}[which]()
        key = chosen(random, [*plain, "rng", "unknown"])
        content[key] = value
        return f"{key} is {which}"
    tree, what = changed_tree(plain, random, marker, int(random.integers(1, 3)))
    for key in plain:
        content.pop(key)
    if isinstance(tree, dict):
        content.update(_as_python(tree))
    return what


def _as_python(value: Any) -> Any:
    """Raw texts as the numbers that they are."""
    if isinstance(value, dict):
        return {_as_python(key): _as_python(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_python(item) for item in value]
    if isinstance(value, str) and value.startswith(RAW):
        text = value.removeprefix(RAW)
        return 10 ** len(text) if text.isdigit() else float(text)
    # torch cannot store it as text.
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value


def _deep() -> Any:
    value: Any = 1
    for _ in range(20_000):
        value = [value]
    return value


def _cycle() -> Any:
    value: dict[str, Any] = {}
    value["a"] = value
    return value


def _references() -> Any:
    value: Any = ["x"] * 10
    for _ in range(12):
        value = [value] * 10
    return value


def _odd_keys() -> Any:
    return {1: 2, (1, 2): 3, None: 4, 2.5: "x"}


def _change_tensors(content: Content, random: Random) -> str:
    """Weights, the state of the optimizer, the state of the generators."""
    key = chosen(random, ["model_state_dict"] * 4 + ["optimizer_state_dict", "rng"])
    if key == "rng":
        name = chosen(random, ["torch", "numpy", "python", "cuda"])
        content["rng"][name] = chosen(random, [_odd_tensor(random, torch.zeros(5)), [1], None, "x", [3, [1, 2], None]])
        return f"rng.{name} is {_shown(content['rng'][name])}"
    if key == "optimizer_state_dict":
        return _change_optimizer(content[key], random)
    state = content[key]
    name = chosen(random, list(state))
    what = random.integers(6)
    if what == 0:
        del state[name]
        return f"the weights lack {name}"
    if what == 1:
        state[chosen(random, [f"{name}.x", "", "x" * 10_000, "\x1b[31m", 7, None])] = state[name]
        return "the weights have one more"
    if what == 2:
        other = chosen(random, [None, 1, "x", [1.0], {"a": 1}, [state[name]]])
        content[key] = other if random.random() < 0.3 else {**state, name: other}
        return f"{name} or all of the weights: {_shown(other)}"
    state[name] = _odd_tensor(random, state[name])
    return f"{name} is {_shown(state[name])}"


def _odd_tensor(random: Random, tensor: torch.Tensor) -> Any:
    tensor = tensor.detach().float()
    kinds: list[Callable[[], Any]] = [
        lambda: tensor.to(torch.complex64), lambda: tensor.to(torch.int8), lambda: tensor.bool(),
        lambda: tensor.double(), lambda: tensor.half(), lambda: tensor.to("meta"), lambda: tensor.to_sparse(),
        lambda: torch.zeros(0), lambda: torch.zeros(()), lambda: tensor.unsqueeze(0), lambda: tensor.flatten(),
        lambda: torch.zeros(1).expand(10**12), lambda: torch.zeros(()).expand(tensor.shape),
        lambda: tensor.reshape(-1)[:1], lambda: torch.nn.Parameter(tensor), lambda: tensor.tolist(),
        lambda: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8), lambda: tensor.to(torch.float8_e4m3fn),
    ]  # fmt: skip
    return chosen(random, kinds)()


def _change_optimizer(state: Content, random: Random) -> str:
    groups = state["param_groups"]
    what = random.integers(6)
    if what == 0:
        state["param_groups"] = chosen(random, [[], None, {}, groups[:-1], [*groups, groups[0]], [1]])
        return "other groups of parameters"
    if what == 1:
        key = chosen(random, list(groups[0]))
        groups[0][key] = chosen(random, [None, "x", -1, 1e300, [], {}, True, [1, 2, 3], float("nan")])
        return f"{key} of the optimizer is {_shown(groups[0][key])}"
    if what == 2:
        key = chosen(random, list(groups[0]))
        del groups[0][key]
        return f"the optimizer lacks {key}"
    if what == 3 and state["state"]:
        number = chosen(random, list(state["state"]))
        state["state"][number] = chosen(random, [None, {}, [], {"step": "x"}, 1])
        return f"state {number} of the optimizer is {_shown(state['state'][number])}"
    if what == 4 and state["state"]:
        of_one = state["state"][chosen(random, list(state["state"]))]
        key = chosen(random, list(of_one))
        of_one[key] = _odd_tensor(random, torch.as_tensor(of_one[key]))
        return f"{key} of the optimizer is {_shown(of_one[key])}"
    state["state"] = chosen(random, [None, [], {"x": 1}, {999: {}}, 3])
    return "the state of the optimizer is another"


def _change_model(content: Content, random: Random) -> str:
    """A configuration of another network, another place, another size."""
    config = content["config"]
    name = chosen(random, [
        "resnet18.hf-hub:a", "hf-hub:a/b", "local-dir:/tmp", "resnet18.", "resnet18.no_such_tag", "../resnet18", "",
        "a" * 9999,
        "resnet18:x", "timm/resnet18", "vit_giant_patch14_clip_224", "eva_giant_patch14_224", "test_resnet",
        "file:///etc",
        "RESNET18", "resnet18\n", "hub:x", ".", "..", "schema:a", "http://127.0.0.1:9/x", "test_vit",
    ])  # fmt: skip
    places = [
        ("model", "name", name), ("model", "family", chosen(random, ["timm", "torchvision", "efficientnet_lite0",
        "os"])),
        ("data", "image_size", chosen(random, [1, 16, 32, 33, 4096, 10**6, "model"])), ("data", "batch_size", 10**9),
        ("model", "weights", chosen(random, ["/etc/passwd", "imagenet", "../x.pth", "auto"])),
        ("strategy", "blocks", chosen(random, [0, 99, 3])), ("strategy", "name", chosen(random, ["head_only", "x",
        "full_finetune"])),
        ("data", "root", "/etc"), ("data", "csv", "/etc/passwd"), ("data", "format", chosen(random, ["x", "folders",
        "phantom"])),
    ]  # fmt: skip
    said = []
    for section, key, value in [places[0] if random.random() < 0.6 else chosen(random, places)]:
        config[section][key] = value
        said.append(f"config.{section}.{key} is {shown(value)}")
    if random.random() < 0.3:
        content["class_names"] = chosen(random, [
            [], ["A"], ["A", "A"], ["A", "B"], [str(i) for i in range(10_000)], ["A", "B", "C", "D\nE"],
            ["a" * 10**5] * 4,
            ["A", "B", "C", 4], "ABCD", {"A": 1}, ["$\\frac{", "B", "C", "D"], ["A", "B", "C", ""], ["\x1b[31m", "B",
            "C", "D"],
        ])  # fmt: skip
        said.append(f"classes {shown(content['class_names'])}")
    return "; ".join(said)


def _damaged(good: bytes, content: Content, random: Random, marker: str) -> tuple[bytes, str]:
    what = chosen(
        random, ["bytes"] * 3 + ["object", "legacy", "pickle", "bomb", "text", "other entry", "objects", "list"]
    )
    if what == "bytes":
        damage = chosen(random, EVERYWHERE)
        return damage(good, random), damage.__name__
    if what in ("object", "legacy"):
        return _saved({**content, "x": Payload(marker)}, _use_new_zipfile_serialization=what == "object"), what
    if what == "pickle":
        return pickle.dumps(
            chosen(random, [Payload(marker), {"model_state_dict": Payload(marker)}, content["config"]])
        ), what
    if what == "bomb":
        return _compressed(_saved({**content, "x": torch.zeros(2**26)})), what
    if what == "other entry":
        return _with_entry(good, marker), what
    if what == "objects":
        odd = [collections.Counter("abc"), collections.OrderedDict(a=1), np.float64(1.0), torch.Size([1]),
        torch.float32,
               torch.device("cpu"), b"bytes", {1, 2}, 1j, (1, 2), bytearray(b"x")]  # fmt: skip
        content[chosen(random, list(content))] = chosen(random, odd)
        return _saved(content), what
    if what == "list":
        return _saved(chosen(random, [[content], torch.zeros(3), "x", None, {}, {"schema_version": 1}])), what
    return b"[" * 100_000, what


def _compressed(saved: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(saved)) as one, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as other:
        for name in one.namelist():
            other.writestr(name, one.read(name))
    return stream.getvalue()


def _with_entry(good: bytes, marker: str) -> bytes:
    stream = io.BytesIO(good)
    with zipfile.ZipFile(stream, "a") as archive:
        archive.writestr(f"../../../..{marker}", "x")
        archive.writestr("archive/constants.pkl", pickle.dumps(Payload(marker)))
    return stream.getvalue()


def attack_portable(file: Path, random: Random, marker: str) -> str:
    """Change the header or the bytes of a file of safetensors."""
    content = file.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    kind = random.integers(4)
    if kind == 0:
        damage = chosen(random, EVERYWHERE)
        file.write_bytes(damage(content, random))
        return f"{file.name}: {damage.__name__}"
    if kind == 1:
        facts = json.loads(header["__metadata__"]["checkpoint"])
        facts, what = changed_tree(facts, random, marker)
        header["__metadata__"]["checkpoint"] = json.dumps(facts)
    elif kind == 2:
        header["__metadata__"]["checkpoint"] = chosen(random, ["", "[" * 90_000, "7", "{}", '{"config": NaN}', "x"])
        what = "another header"
    else:
        header, what = changed_tree(header, random, marker)
    packed = json.dumps(header).encode("utf-8", "replace")
    file.write_bytes(struct.pack("<Q", len(packed)) + packed + data)
    return f"{file.name}: {what}"


def _shown(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        return f"a {value.layout} {value.dtype} tensor of {list(value.shape)} on {value.device}"
    return repr(value)[:60]

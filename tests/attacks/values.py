"""Hostile values, and trees of plain values in which something is another than it should be."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np

from tests.attacks.sources import SECRET

Random = np.random.Generator
# In JSON such a text stands without quotes.
RAW = "@raw@"
DEEP, WIDE = 3000, 20_000


def chosen(random: Random, values: Any) -> Any:
    """One of several things of any kind."""
    return values[int(random.integers(len(values)))]


def shown(value: Any) -> str:
    """The beginning of a value as text; Python writes out no whole number of thousands of digits."""
    try:
        return str(value)[:50]
    except ValueError:
        return f"a huge value ({type(value).__name__})"


def hostile_value(random: Random, marker: str) -> Any:
    """A value that is not what was expected; `marker` is a path at which nothing may come into being."""
    return copy.deepcopy(chosen(random, _values(marker)))


def _values(marker: str) -> list[Any]:
    return [
        None, True, False, -1, 0, 1, 7, 2**31, 2**63, -(2**63) - 1, 10**30, 0.5, -0.5, 1e308, -1e308,
        f"{RAW}NaN", f"{RAW}-Infinity", f"{RAW}1e999", f"{RAW}{'9' * 6000}", f"{RAW}{'9' * 400}",
        "", " ", "1", "nan", "inf", "true", "null", "x" * 100_000, "\0", "\x1b]0;owned\x07\x1b[31mred", "a\nb\r\nc",
        "\u202egpj.exe", "\ud800", "\u0301" * 500, "../../../../etc/passwd", "/etc/passwd", marker, f"{marker}/x",
        "=cmd|' /C calc'!A0", "{{7*7}}{% for x in y %}", "${oc.env:CANARY_SECRET}", "${CANARY_SECRET}",
        "$\\frac{1}{$", "\\input{/etc/passwd}", "<script>alert(1)</script>", "%s%n%(x)s", "{0.__class__}",
        "os.system", f"mkdir {marker}", "__import__('os').mkdir('x')", "hf-hub:a/b", "local-dir:/tmp",
        "!!python/object/apply:os.mkdir", "http://127.0.0.1:9/x", "file:///etc/passwd", "sqlite:///x.db",
        [], [None], [1], [1, 2, 3], ["a", "a"], [[]], [[1, 2], [3]], [{}], ["a"] * WIDE, list(range(200)),
        {}, {"": 1}, {"a": 1}, {"a": {"b": {"c": None}}}, {"_target_": "os.mkdir", "path": marker},
        {"__class__": "os.system"}, {str(i): i for i in range(2000)}, {"x" * 5000: 1}, {"p_$\\frac{": [1]},
    ]  # fmt: skip


def changed_tree(tree: Any, random: Random, marker: str, times: int = 1) -> tuple[Any, str]:
    """A tree with one or a few changes, and what they are."""
    tree, said = copy.deepcopy(tree), []
    for _ in range(times):
        tree, what = _one_change(tree, random, marker)
        said.append(what)
    return tree, "; ".join(said)


def _one_change(tree: Any, random: Random, marker: str) -> tuple[Any, str]:
    places = list(_places(tree, (), 0))
    if not places or random.random() < 0.02:
        value = hostile_value(random, marker)
        return value, f"all is {_shown(value)}"
    # Not always in the longest list: first how deep, then which.
    depths = sorted({len(path) for path in places})
    depth = chosen(random, depths)
    path = chosen(random, [path for path in places if len(path) == depth])
    parent = tree
    for part in path[:-1]:
        parent = parent[part]
    key, value = path[-1], parent[path[-1]]
    where = ".".join(map(str, path))[:80]
    what = random.integers(10)
    if what == 0:
        del parent[key]
        return tree, f"{where} is missing"
    if what == 1 and isinstance(value, list):
        parent[key] = value[:-1] if random.random() < 0.5 else [*value, *(value[:1] or [1])]
        return tree, f"{where} has another length"
    if what == 2:
        parent[key] = [value] if random.random() < 0.5 else {"a": value}
        return tree, f"{where} is wrapped"
    if what == 3 and isinstance(value, int | float) and not isinstance(value, bool):
        parent[key] = chosen(random, [-value, value + 1, value * 1e6, str(value), bool(value), float(value) + 0.5])
        return tree, f"{where} is {_shown(parent[key])} instead of {_shown(value)}"
    if what == 4 and isinstance(parent, dict):
        other = chosen(random, list(parent))
        parent[key] = parent[other]
        return tree, f"{where} has the value of {str(other)[:40]}"
    if what == 5 and isinstance(value, dict) and value:
        value[chosen(random, ["", "\ud800", "a.b", "_target_", "\x1b[31m", "name", "x" * 3000])] = 1
        return tree, f"{where} has a key more"
    parent[key] = hostile_value(random, marker)
    return tree, f"{where} is {_shown(parent[key])}"


def _places(tree: Any, path: tuple[Any, ...], depth: int) -> Any:
    if depth > 6:
        return
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:40]) if isinstance(tree, list) else ()
    for key, value in items:
        yield (*path, key)
        yield from _places(value, (*path, key), depth + 1)


def _shown(value: Any) -> str:
    return repr(value)[:60]


def json_text(tree: Any) -> str:
    """JSON that may be none: raw texts stand without quotes."""
    text = json.dumps(tree, indent=1)
    for raw in ("NaN", "-Infinity", "1e999", "9" * 6000, "9" * 400):
        text = text.replace(f'"{RAW}{raw}"', raw)
    return text


Damage = Callable[[bytes, Random], bytes]


def damaged_text(content: bytes, random: Random) -> tuple[bytes, str]:
    """A text file that is no longer one, or says another thing, whatever its format."""
    kinds: dict[str, Damage] = {
        "empty": lambda c, r: b"",
        "cut off": lambda c, r: c[: int(r.integers(max(1, len(c))))],
        "with a byte order mark": lambda c, r: b"\xef\xbb\xbf" + c,
        "in UTF-16": lambda c, r: c.decode("utf-8", "replace").encode("utf-16"),
        "with bytes that are no text": _with_noise,
        "with NULs": lambda c, r: c[:10] + b"\0\0\0" + c[10:],
        "nested deeply (lists)": lambda c, r: b"[" * 100_000 + b"]" * 100_000,
        "nested deeply (mappings)": lambda c, r: b'{"a":' * DEEP + b"1" + b"}" * DEEP,
        "nested just so": lambda c, r: b'{"a":' * 400 + b"1" + b"}" * 400,
        "twice": lambda c, r: c + c,
        "a list": lambda c, r: b"[1, 2, 3]",
        "a number": lambda c, r: b"7",
        "null": lambda c, r: b"null",
        "an empty mapping": lambda c, r: b"{}",
        "with each line twice": lambda c, r: b"".join(line * 2 for line in c.splitlines(keepends=True)),
        "with lines left out": lambda c, r: b"".join(x for x in c.splitlines(keepends=True) if r.random() < 0.7),
        "one long line": lambda c, r: b"a," * 200_000,
        "with a hostile cell": _with_hostile_text,
        "with a secret": lambda c, r: c.replace(b"e", SECRET[:3].encode(), 1),
    }
    name = chosen(random, list(kinds))
    return kinds[name](content, random), name


def _with_noise(content: bytes, random: Random) -> bytes:
    where = int(random.integers(len(content) + 1))
    return content[:where] + bytes(random.integers(128, 256, 8).astype(np.uint8)) + content[where:]


def _with_hostile_text(content: bytes, random: Random) -> bytes:
    """Something strange between two separators."""
    text = content.decode("utf-8", "replace")
    value = chosen(random, [v for v in _values("/nowhere") if isinstance(v, str | int | float) and v is not None])
    parts = text.split(",") if "," in text else text.split(" ")
    parts[int(random.integers(len(parts)))] = str(value).replace(RAW, "")
    return (("," if "," in text else " ").join(parts)).encode("utf-8", "surrogatepass")

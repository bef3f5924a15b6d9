"""Whether plain values that were read from a file have the types that their readers build on.

A shape is a type annotation: a TypedDict for a mapping with known keys, `list[...]`, `dict[str, ...]`, unions, Literal,
numbers, text, None, and `Annotated[..., AtLeast(n)]`. What is found wrong is said by key, found and expected type, and
never by content: it may be that of a stranger. Keys that a shape does not know are for later versions, and pass.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

MAX_DEPTH = 64
MAX_VALUES = 5_000_000


@dataclasses.dataclass(frozen=True)
class AtLeast:
    """The lowest value of a number, or the least length of a list."""

    bound: int


@dataclasses.dataclass(frozen=True)
class Length:
    """How long a list is."""

    exactly: int


Whole = Annotated[int, AtLeast(0)]
Number = float | int
# Numbers beyond it are in no file of ours, and overflow where they are computed with.
MAX_WHOLE = 2**63 - 1


def require_bounded(tree: Any) -> None:
    """Raises ValueError for values that are nested too deeply, or that stand for too many by references."""
    level, num_values = [tree], 1
    for _ in range(MAX_DEPTH):
        groups = [node.values() if isinstance(node, dict) else node for node in level if _is_group(node)]
        num_values += sum(map(len, groups))
        if num_values > MAX_VALUES:
            raise ValueError(f"more than {MAX_VALUES} values")
        level = [value for group in groups for value in group]
        if not level:
            return
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _is_group(node: Any) -> bool:
    return isinstance(node, dict | list | tuple)


def faults(value: Any, shape: Any, *, complete: bool = False, key: str = "") -> Iterator[str]:
    """What of a value is not as its shape says, a line each; with `complete` also required keys that are missing."""
    if typing.get_origin(shape) is Annotated:
        shape, *bounds = typing.get_args(shape)
        found = list(faults(value, shape, complete=complete, key=key))
        yield from found or _out_of_bounds(value, bounds, key)
    elif typing.is_typeddict(shape):
        yield from _mapping_faults(value, shape, complete, key)
    elif typing.get_origin(shape) in (typing.Union, types.UnionType):
        # Of a mapping or null: what is wrong within the mapping says more than that it is none of both.
        members = typing.get_args(shape)
        tried = [list(faults(value, member, complete=complete, key=key)) for member in members]
        if all(tried):
            of_kind = [found for found, member in zip(tried, members, strict=True) if _has_kind(value, member)]
            yield from of_kind[0] if of_kind else [_fault(value, shape, key)]
    elif not _has_kind(value, shape):
        yield _fault(value, shape, key)
    elif typing.get_origin(shape) is list:
        (member,) = typing.get_args(shape)
        for i, item in enumerate(value):
            yield from faults(item, member, complete=complete, key=f"{key}[{i}]")
    elif typing.get_origin(shape) is dict:
        of_key, of_value = typing.get_args(shape)
        for name, item in value.items():
            # The names may be anybody's.
            yield from faults(name, of_key, key=f"a key of {key}")
            yield from faults(item, of_value, complete=complete, key=f"an entry of {key}")


def lacking(tree: Any, keys: tuple[str, ...]) -> Iterator[str]:
    """Which of some dotted keys are not there, in words."""
    for key in keys:
        node = tree
        for part in key.split("."):
            if not isinstance(node, Mapping) or part not in node:
                yield f"{key} is missing"
                break
            node = node[part]


@functools.cache
def _fields(shape: Any) -> dict[str, tuple[Any, bool]]:
    """The type of each key of a TypedDict, and whether the key is required."""
    hints = typing.get_type_hints(shape, include_extras=True)
    optional = {key for key, member in hints.items() if typing.get_origin(member) is typing.NotRequired}
    return {
        key: (typing.get_args(member)[0] if key in optional else member, key in shape.__required_keys__ - optional)
        for key, member in hints.items()
    }


def required_keys(shape: Any) -> tuple[str, ...]:
    """The keys of a TypedDict that are not marked as optional, in order."""
    return tuple(key for key, (_, is_required) in _fields(shape).items() if is_required)


def _mapping_faults(value: Any, shape: Any, complete: bool, key: str) -> Iterator[str]:
    if not isinstance(value, Mapping):
        yield _fault(value, dict, key)
        return
    for name, (member, is_required) in _fields(shape).items():
        inner = f"{key}.{name}" if key else name
        if name in value:
            yield from faults(value[name], member, complete=complete, key=inner)
        elif complete and is_required:
            yield f"{inner} is missing"


def _out_of_bounds(value: Any, bounds: list[Any], key: str) -> Iterator[str]:
    size = len(value) if isinstance(value, list) else value
    for one in bounds:
        if isinstance(one, Length) and len(value) != one.exactly:
            yield f"{key or 'all of it'} is a list of {len(value)}, expected {one.exactly}"
        if isinstance(one, AtLeast) and isinstance(size, int | float) and size < one.bound:
            what = f"a list of {size}" if isinstance(value, list) else "lower"
            yield f"{key or 'all of it'} is {what}, expected at least {one.bound}"


def _has_kind(value: Any, shape: Any) -> bool:
    """Whether a value is of a kind, whatever is in it."""
    if typing.get_origin(shape) is Annotated:
        shape = typing.get_args(shape)[0]
    if shape is Any:
        return True
    if typing.get_origin(shape) is Literal:
        return isinstance(value, str) and value in typing.get_args(shape)
    if shape is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and abs(value) <= sys.float_info.max
    if shape is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_WHOLE
    if typing.is_typeddict(shape):
        return isinstance(value, dict)
    kind = typing.get_origin(shape) or shape or type(None)
    return isinstance(value, list | tuple if kind is list else kind)


def _fault(value: Any, shape: Any, key: str) -> str:
    return f"{key or 'all of it'} is {_found(value)}, expected {wanted(shape)}"


_WORDS = {str: "text", bool: "true or false", int: "a whole number", float: "a number", type(None): "null",
          list: "a list", tuple: "a list", dict: "a mapping"}  # fmt: skip


def _found(value: Any) -> str:
    """The type of a value in words, and nothing of its content."""
    if isinstance(value, int | float) and not isinstance(value, bool) and not _has_kind(value, float):
        return "no finite number"
    if isinstance(value, int) and not _has_kind(value, int) and not isinstance(value, bool):
        return "a number beyond 64 bits"
    return _WORDS.get(type(value), f"of the type {type(value).__name__}")


def wanted(shape: Any) -> str:
    """Words for a type."""
    origin = typing.get_origin(shape)
    if origin is Annotated:
        return wanted(typing.get_args(shape)[0])
    if origin in (typing.Union, types.UnionType):
        words = [wanted(member) for member in typing.get_args(shape)]
        return " or ".join(dict.fromkeys(word for word in words if not ("a number" in words and word == _WORDS[int])))
    if origin is Literal:
        return f"one of {', '.join(typing.get_args(shape))}"
    if typing.is_typeddict(shape) or origin is dict:
        return "a mapping"
    return _WORDS.get(origin or shape, f"a {getattr(shape, '__name__', shape)}")

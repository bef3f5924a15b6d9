"""Turning a tree of plain values into dataclasses of options, with every problem reported.

The types that options may have: int, float, str, bool, None, Literal, list, dict, unions of these,
nested dataclasses, and a choice among the registered dataclasses of a group.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from mammo.support.dotted_keys import flatten
from mammo.support.errors import nearest, nearest_key
from mammo.support.option_registry import defaults_of, registered
from mammo.support.type_checks import faults, wanted

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Problem:
    """One mistake: the dotted key, what was found there, what would be valid."""

    key: str
    found: str
    expected: str = ""


class _WrongValue(Exception):
    def __init__(self, expected: str) -> None:
        self.expected = expected
        super().__init__(expected)


@functools.cache  # of hundreds of configurations in a row this would be nearly all of the time
def types_of(options_class: type) -> dict[str, Any]:
    """The types of the fields of a dataclass, with names in annotations resolved."""
    return typing.get_type_hints(options_class)


def build(options_class: type[T], tree: Any, problems: list[Problem], *, is_stored: bool = False) -> T:
    """An instance of a dataclass from a mapping; mistakes are appended to `problems`.

    Keys that are absent take their defaults, and so do values that are wrong (the caller stops when
    there are problems). Of a tree that an earlier version may have stored (`is_stored`), options that are absent
    have the value with which everything was as it was then.
    """
    return _build(options_class, tree, "", problems, _Reading(list(flatten(key_tree(options_class))), is_stored))


@dataclasses.dataclass(frozen=True)
class _Reading:
    """All keys that there are, for messages, and whether the tree was stored."""

    keys: list[str]
    is_stored: bool


def _build(options_class: type[T], tree: Any, path: str, problems: list[Problem], reading: _Reading) -> T:
    if tree is None:
        tree = {}
    if not isinstance(tree, Mapping):
        problems.append(
            Problem(path, f"found {tree!r}", f"a section with the keys {', '.join(key_tree(options_class))}")
        )
        tree = {}
    fields = {field.name: field for field in dataclasses.fields(options_class)}  # type: ignore[arg-type]
    for key in tree:
        if key not in fields and not (key == "name" and hasattr(options_class, "name")):
            full = _join(path, key)
            problems.append(Problem(full, "there is no such key", nearest_key(full, fields, reading.keys)))
    values: dict[str, Any] = {}
    for name, field in fields.items():
        key, annotation = _join(path, name), types_of(options_class)[name]  # type: ignore[arg-type]
        if "group" in field.metadata:
            chosen = tree.get(name)
            if name not in tree and reading.is_stored and "since_default" in field.metadata:
                chosen = {"name": field.metadata["since_default"]}
            values[name] = _choose(field.metadata["group"], chosen, key, problems, reading)
        elif dataclasses.is_dataclass(annotation):
            values[name] = _build(annotation, tree.get(name), key, problems, reading)  # type: ignore[arg-type]
        elif name in tree:
            try:
                values[name] = _checked(tree[name], annotation, field.metadata)
            except _WrongValue as wrong:
                problems.append(Problem(key, f"found {_shown(tree[name])}", f"expected {wrong.expected}"))
        elif reading.is_stored and "since_default" in field.metadata:
            values[name] = copy.copy(field.metadata["since_default"])
    return options_class(**values)


def _choose(group: str, tree: Any, path: str, problems: list[Problem], reading: _Reading) -> Any:
    choices = registered(group)
    name = tree.get("name") if isinstance(tree, Mapping) else None
    if not isinstance(name, str) or name not in choices:
        problems.append(Problem(f"{path}.name", f"found {name!r}", nearest(str(name), choices)))
        return None
    return _build(choices[name], tree, path, problems, reading)


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _shown(value: Any) -> str:
    """A value with the name of its type where the two could be confused ('10' and 10)."""
    if value is None or isinstance(value, list | Mapping):
        return repr(value)
    return f"{value!r} ({ {'str': 'text', 'bool': 'true or false'}.get(type(value).__name__, type(value).__name__) })"


def _checked(value: Any, annotation: Any, metadata: Mapping[str, Any]) -> Any:
    """The value as its type says, or _WrongValue with a description of what is expected."""
    value = _numbers_as_text(value, annotation)
    among = metadata.get("among")
    if any(faults(value, annotation)) or (among is not None and value not in among):
        raise _WrongValue(describe(annotation, metadata))
    for number in value if isinstance(value, list) else [value]:
        if isinstance(number, int | float) and not isinstance(number, bool) and not _in_range(number, metadata):
            raise _WrongValue(describe(annotation, metadata))
    if isinstance(value, list) and list[float] in _members(annotation):
        return [float(number) for number in value]
    return float(value) if _wants_float(annotation) and isinstance(value, int) else value


def _numbers_as_text(value: Any, annotation: Any) -> Any:
    """A list or mapping of texts in which YAML and Hydra have taken some for numbers: `{1: A}` and `[1.0, 2]`."""
    if isinstance(value, list) and list[str] in _members(annotation):
        return [_text_of_number(item) for item in value]
    if isinstance(value, Mapping) and dict[str, str] in _members(annotation):
        return {_text_of_number(key): _text_of_number(item) for key, item in value.items()}
    return value


def _text_of_number(value: Any) -> Any:
    """A number as text, a whole one without a fraction; anything else as it is."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _wants_float(annotation: Any) -> bool:
    return float in _members(annotation) and int not in _members(annotation)


def _members(annotation: Any) -> tuple[Any, ...]:
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return typing.get_args(annotation)
    return (annotation,)


# How a bound of an option is called, and what a number is to it.
_BOUNDS: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
    "at_least": ("at least", operator.ge),
    "above": ("above", operator.gt),
    "at_most": ("at most", operator.le),
    "below": ("below", operator.lt),
}


def _in_range(number: float, metadata: Mapping[str, Any]) -> bool:
    return all(is_so(number, metadata[key]) for key, (_, is_so) in _BOUNDS.items() if metadata.get(key) is not None)


def describe(annotation: Any, metadata: Mapping[str, Any]) -> str:
    """Words for a type and its range, with the option's documentation: for error messages."""
    words = " or ".join(_describe_one(member) for member in _members(annotation))
    if metadata.get("among") is not None:
        words = f"one of {', '.join(metadata['among'])}"
    bounds = [f"{word} {metadata[key]:g}" for key, (word, _) in _BOUNDS.items() if metadata.get(key) is not None]
    doc = f" ({metadata['doc']})" if metadata.get("doc") else ""
    return words + (f", {', '.join(bounds)}" if bounds else "") + doc


def _describe_one(kind: Any) -> str:
    arguments = typing.get_args(kind)
    if typing.get_origin(kind) is list:
        return f"a list of {_describe_one(arguments[0]).removeprefix('a ')}"
    return "a mapping (yes, no, true and false in quotes)" if kind == dict[str, str] else wanted(kind)


def key_tree(options_class: type) -> dict[str, Any]:
    """The keys of a dataclass of options as a tree; for a choice the union over all choices of its group."""
    tree: dict[str, Any] = {}
    for field in dataclasses.fields(options_class):
        annotation = types_of(options_class)[field.name]
        if "group" in field.metadata:
            union: dict[str, Any] = {"name": None}
            for choice in registered(field.metadata["group"]).values():
                union.update(key_tree(choice))
            tree[field.name] = union
        else:
            tree[field.name] = key_tree(annotation) if dataclasses.is_dataclass(annotation) else None  # type: ignore[arg-type]
    return tree


def guarded_keys(options_class: type, path: str = "") -> dict[str, Any]:
    """Dotted key and default of the options that are declared with `guarded=True`."""
    found: dict[str, Any] = {}
    for field in dataclasses.fields(options_class):
        key, annotation = _join(path, field.name), types_of(options_class)[field.name]
        if "group" in field.metadata:
            for choice in registered(field.metadata["group"]).values():
                found |= guarded_keys(choice, key)
        elif dataclasses.is_dataclass(annotation):
            found |= guarded_keys(annotation, key)  # type: ignore[arg-type]
        elif field.metadata.get("guarded"):
            found[key] = defaults_of(options_class)[field.name]
    return found


def to_tree(options: Any, *, only_run_id: bool = False, as_before: bool = False) -> dict[str, Any]:
    """The plain values of a dataclass of options; `only_run_id` leaves out what cannot change a result.

    `as_before` leaves out options that came later and have the value with which everything is as it was before them,
    and sections and choices of which nothing else is left.
    """
    tree: dict[str, Any] = {}
    if hasattr(options, "name") and "name" not in {f.name for f in dataclasses.fields(options)}:
        tree["name"] = options.name
    for field in dataclasses.fields(options):
        if only_run_id and not field.metadata.get("in_run_id", True):
            continue
        value = getattr(options, field.name)
        if only_run_id and "since_default" in field.metadata and value == field.metadata["since_default"]:
            continue
        is_nested = dataclasses.is_dataclass(value) and not isinstance(value, type)
        plain = to_tree(value, only_run_id=only_run_id, as_before=as_before) if is_nested else value
        if not (as_before and _is_as_before(plain, field.metadata, is_nested)):
            tree[field.name] = plain
    return tree


def _is_as_before(plain: Any, metadata: Mapping[str, Any], is_nested: bool) -> bool:
    """Whether a value is that with which everything is as it was before its option, section or choice."""
    if "since_default" not in metadata:
        return is_nested and plain == {}
    return plain == ({"name": metadata["since_default"]} if is_nested else metadata["since_default"])

"""How the parts of the project declare their options, without importing anything heavy.

An option lives in one place: a field of the dataclass of the part that owns it, which gives its name,
type, range, default and documentation. `mammo.config.check` checks a composed configuration against these
classes; the YAML files only choose values. A part that can be chosen by name (a loss, a scheduler, ...)
registers its dataclass with `@register(group, name)` and needs nothing else to be selectable.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Any, TypeVar

T = TypeVar("T", bound=type)

_REGISTRY: dict[str, dict[str, type]] = {}
# Of an option that the first release had.
_ALWAYS_THERE = object()


def option(
    default: Any,
    doc: str,
    *,
    at_least: float | None = None,
    above: float | None = None,
    at_most: float | None = None,
    below: float | None = None,
    in_run_id: bool = True,
    since_default: Any = _ALWAYS_THERE,
    guarded: bool = False,
    among: Collection[str] | None = None,
) -> Any:
    """A dataclass field with a documented range.

    `in_run_id=False` marks what cannot change a result (device, threads, paths): it is left out of
    the run id. Bounds apply to numbers and to each number of a list. `guarded=True` marks what weakens a
    protection, destroys something or sends data elsewhere when it differs from the default: a configuration
    from elsewhere cannot set it, see `mammo.config.foreign`. `among` are the names that a text may be, for what is
    registered elsewhere; it is looked at when a value is checked.

    An option that comes later than the first release gives the value with which everything is as it was before
    the option as `since_default`: configurations that were stored without it have that value, and with it the
    option is not in the run id, so that finished runs stay finished.
    """
    metadata = {
        "doc": doc,
        "at_least": at_least,
        "above": above,
        "at_most": at_most,
        "below": below,
        "in_run_id": in_run_id,
        "guarded": guarded,
        "among": among,
    }
    if since_default is not _ALWAYS_THERE:
        metadata["since_default"] = since_default
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(options_class: type, *, in_run_id: bool = True) -> Any:
    """A dataclass field that holds a nested group of options."""
    return dataclasses.field(default_factory=options_class, metadata={"in_run_id": in_run_id})


def choice(group: str, *, in_run_id: bool = True, since_default: str | None = None) -> Any:
    """A dataclass field that holds the options of one registered choice of a group.

    A group that comes later names as `since_default` the choice with which everything is as before, see `option`.
    """
    metadata: dict[str, Any] = {"group": group, "in_run_id": in_run_id}
    if since_default is not None:
        metadata["since_default"] = since_default
    return dataclasses.field(metadata=metadata)


def register(group: str, name: str) -> Callable[[T], T]:
    """Make a dataclass of options selectable as `group=name`."""

    def decorate(options_class: T) -> T:
        options_class.name = name  # type: ignore[attr-defined]
        _REGISTRY.setdefault(group, {})[name] = options_class
        return options_class

    return decorate


def registered(group: str) -> dict[str, type]:
    """Name to dataclass of all choices of a group."""
    return dict(_REGISTRY.get(group, {}))


def registered_groups() -> list[str]:
    """Names of the groups whose choices are registered in code."""
    return sorted(_REGISTRY)


def defaults_of(options_class: type) -> dict[str, Any]:
    """The options of a class with their default values, nested classes included.

    The key `name` comes first for classes that are chosen by name; fields made by `choice` are left
    out, as they have no default.
    """
    values: dict[str, Any] = {}
    if hasattr(options_class, "name") and "name" not in {f.name for f in dataclasses.fields(options_class)}:
        values["name"] = options_class.name
    for field in dataclasses.fields(options_class):
        if field.default is not dataclasses.MISSING:
            values[field.name] = field.default
        elif field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
            is_nested = dataclasses.is_dataclass(default) and not isinstance(default, type)
            values[field.name] = defaults_of(type(default)) if is_nested else default
    return values

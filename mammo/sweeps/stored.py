"""What `sweep.json` must be like for its readers: the plan of a sweep, from disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NotRequired, TypedDict

from mammo.runs.folders import PLAN_FILE
from mammo.runs.stored import MAX_SAID, Malformed
from mammo.support.files import read_json
from mammo.support.type_checks import Number, Whole, faults


class Job(TypedDict):
    """A job of a sweep: its run directory and what was typed for it."""

    run: str
    overrides: NotRequired[list[str]]


class FinishedTrial(TypedDict):
    """A trial of a search; `value` is null where it failed."""

    number: Whole
    params: NotRequired[dict[str, Any]]
    value: NotRequired[Number | None]
    failed: NotRequired[str | None]
    runs: NotRequired[list[str]]


class SearchPlan(TypedDict):
    """What a search is to do and has done."""

    trials: NotRequired[Whole]
    folds: NotRequired[Whole | None]
    seed: NotRequired[Whole | None]
    direction: NotRequired[str]
    storage: NotRequired[str]
    finished: NotRequired[list[FinishedTrial]]


class SweepPlan(TypedDict):
    """`sweep.json`."""

    name: NotRequired[str]
    command: NotRequired[str]
    monitor: NotRequired[str]
    on_error: NotRequired[str]
    # As it was typed; what is not understood of it is said where it is shown.
    published: NotRequired[list[dict[str, Any]] | None]
    reference: NotRequired[str | None]
    search: NotRequired[SearchPlan | None]
    jobs: list[Job]


def read_plan(folder: Path) -> dict[str, Any]:
    """The plan of the sweep in a folder; raises OSError, ValueError for what is no JSON, and its subclass Malformed."""
    tree = read_json(folder / PLAN_FILE)
    if wrong := list(faults(tree, SweepPlan, complete=True)):
        raise Malformed("; ".join(wrong[:MAX_SAID]))
    return tree

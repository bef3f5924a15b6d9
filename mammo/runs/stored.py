"""The files of a run and of a sweep by type: one description for who reads them and for who checks them.

Required keys are those that this version writes; files of other versions may lack them, and have others. A reader names
the keys that it cannot do without; whatever is there has its type.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired, TypedDict

from mammo.support.files import parse_json, read_json, read_text
from mammo.support.type_checks import AtLeast, Length, Number, Whole, faults, lacking
from mammo.training.epoch_records import Record, ScoreTree

MAX_SAID = 4
MAX_HISTORY_BYTES = 64 * 2**20
# Two limits, or null where a score is undefined.
Interval = Annotated[list[Number], Length(2)] | None
Fraction = Number | None
UNITS = {"patient": "patients", "exam": "exams", "image": "images"}


class Malformed(ValueError):
    """A file holds values of other types than it should; the message names keys and types."""


class Git(TypedDict):
    """The code."""

    commit: str | None
    branch: str | None
    dirty: bool | None
    diff_sha256: str | None


class Environment(TypedDict):
    """Machine and versions."""

    python: str
    mammo: NotRequired[str]
    torch: str
    torchvision: str
    timm: str
    hydra: str
    platform: str
    device: str
    device_name: str
    amp_dtype: str
    threads: int
    deterministic: bool


class DataSummary(TypedDict):
    """What was learnt from."""

    name: str
    root_basename: str | None
    num_images: Whole
    num_patients: Whole
    num_exams: Whole
    class_counts: dict[str, Whole]
    num_quarantined: Whole
    fingerprint: str
    group_by: Literal["patient", "exam", "image"]
    notes: NotRequired[list[str]]


class Part(TypedDict):
    """A part of the split."""

    images: Whole
    patients: Whole
    class_counts: dict[str, Whole]


class SplitSummary(TypedDict):
    """How it was divided."""

    fingerprint: str
    folds_fingerprint: NotRequired[str | None]
    train: Part
    val: Part
    test: NotRequired[Part]
    notes: NotRequired[list[str]]


class Weights(TypedDict):
    """Where a network started from."""

    source: str
    sha256: str | None
    reason: NotRequired[str | None]
    file_sha256: NotRequired[str | None]


class Model(TypedDict):
    """The network."""

    name: str
    weights: Weights
    parameters_total: Whole
    parameters_trainable: Whole


class Balance(TypedDict):
    """What was done about rare classes."""

    sampler: str
    class_weights: list[Number] | None


class Monitor(TypedDict):
    """By what the epoch was chosen that is evaluated."""

    name: str
    value: Number | None
    rule: NotRequired[str]
    # best in earlier versions.
    select: NotRequired[Literal["best", "last"]]


class Collapse(TypedDict):
    """Whether a class is never predicted, or worse."""

    detected: bool
    reason: str | None


class Scalars(ScoreTree):
    """Metrics without the matrices."""

    per_class_loss: list[Fraction]
    per_class_precision: list[Fraction]
    per_class_recall: list[Fraction]
    per_class_f1: list[Fraction]
    true_counts: list[Whole]
    pred_counts: list[Whole]
    pred_unique: Whole
    num_images: Whole
    num_patients: Whole
    ci95: dict[str, Interval] | None


class ValMetrics(Scalars):
    """`metrics/val_metrics.json`."""

    confusion_matrix: list[list[Whole]]
    class_names: list[str]


class Identified(TypedDict):
    """What `summary.json` says of a run in whatever state."""

    schema_version: int
    status: Literal["running", "completed", "failed", "interrupted"]
    run_id: str
    name: str
    seed: int
    fold: NotRequired[int | None]
    started_at: str
    overrides: list[str]


class Started(TypedDict):
    """What is known as soon as a run has its data."""

    command: str
    git: Git
    environment: Environment
    data: DataSummary
    split: SplitSummary
    model: Model
    strategy: str
    balance: Balance
    epochs_planned: Whole
    resumed: NotRequired[list[dict[str, Any]]]


class Outcome(TypedDict, total=False):
    """How far a run without results has come."""

    finished_at: str | None
    seconds: Number | None
    epochs_run: Whole
    best_epoch: Whole
    monitor: Monitor | None
    objective: Number | None
    metrics: Scalars | None
    last_metrics: dict[str, Any] | None
    collapse: Collapse | None


class Results(TypedDict):
    """What a run has come to."""

    finished_at: str
    seconds: Number
    epochs_run: Whole
    best_epoch: Whole
    monitor: Monitor
    objective: Number
    metrics: Scalars
    throughput: dict[str, Number | None]
    last_metrics: dict[str, Any]
    collapse: Collapse


class EarlySummary(Identified, Outcome):
    """Of a run that has failed before it had its data."""


class Summary(Identified, Started, Outcome):
    """Of a run that has its data."""


class CompletedSummary(Identified, Started, Results):
    """Of a run with results."""


# What is shown of a finished run, and given back for it.
RESULTS = (
    "objective", "best_epoch", "epochs_run", "data.group_by", "metrics.num_images", "metrics.num_patients",
)  # fmt: skip


class ErrorFile(TypedDict):
    """`error.json`."""

    type: str
    message: str
    traceback: str | None


class Calibration(TypedDict):
    """`metrics/calibration.json`."""

    temperature: Number
    fitted_on: NotRequired[str]
    num_images: NotRequired[Whole]


class SplitManifest(TypedDict):
    """`splits/manifest.json`."""

    fingerprint: str
    data_fingerprint: str
    folds_fingerprint: str | None
    num_folds: Annotated[int, AtLeast(2)] | None
    fold: Whole | None
    group_by: str
    pseudonymized_ids: bool
    train: Part
    val: Part
    test: Part


def shape_of(summary: dict[str, Any]) -> type:
    """What a summary must be like, from what it says of its state."""
    if summary.get("status") == "completed":
        return CompletedSummary
    return Summary if summary.get("status") != "failed" or "split" in summary else EarlySummary


def checked(tree: Any, shape: Any, needed: Sequence[str] = ()) -> Any:
    """The tree; raises Malformed where something in it is of another type than its shape says, or is needed."""
    wrong = [*faults(tree, shape), *lacking(tree, tuple(needed))]
    if wrong:
        raise Malformed("; ".join(wrong[:MAX_SAID]))
    return tree


def read_stored(path: Path, shape: Any, needed: Sequence[str] = ()) -> dict[str, Any]:
    """A file as its shape says; raises OSError, ValueError for what is no JSON, and its subclass Malformed."""
    return checked(read_json(path), shape, needed)


def read_summary(path: Path) -> dict[str, Any]:
    """`summary.json`; raises as `read_stored` does."""
    tree = read_json(path)
    return checked(tree, shape_of(tree), RESULTS if tree.get("status") == "completed" else ())


def read_history(path: Path) -> list[Record]:
    """`train_history.json`; raises as `read_stored` does."""
    return checked(parse_json(read_text(path, MAX_HISTORY_BYTES)), list[Record])

"""A run directory as its readers see it: each file read strictly and by type, when it is first asked for."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from mammo.config.check import check_stored
from mammo.config.tree import Config
from mammo.runs.json_access import look, mapping, number, text
from mammo.runs.layout import BEST, ERROR_FILE, EVALUATIONS, LOCK_FILE, SUMMARY_FILE, SUMS_FILE
from mammo.runs.stored import (
    ErrorFile,
    SplitManifest,
    ValMetrics,
    read_history,
    read_stored,
    read_summary,
)
from mammo.support.errors import ConfigError
from mammo.support.files import file_sha256, read_csv, read_json, read_text
from mammo.support.yaml_files import read_yaml
from mammo.tasks.multiclass import LABELS
from mammo.tasks.outputs import SOFTMAX
from mammo.tasks.task import TASKS
from mammo.training.epoch_records import Record

if TYPE_CHECKING:
    from mammo.evaluation.predictions import PredictionTable

PREDICTIONS_FILE, METRICS_FILE, HISTORY_FILE = "val_predictions.csv", "metrics/val_metrics.json", "train_history.json"
MANIFEST_FILE = "splits/manifest.json"
SPLIT_COLUMNS = ("image_id", "patient_id", "exam_id", "laterality", "view", "label")
_Read = TypeVar("_Read")


@dataclasses.dataclass(frozen=True)
class CsvTable:
    """A CSV file: a dict for each row."""

    columns: list[str]
    rows: list[dict[str, str]]

    def column(self, name: str) -> list[str]:
        """The cells of a column; raises KeyError."""
        return [row[name] for row in self.rows]


class RunReader:
    """The files of a run; None for what is missing or not as a run leaves it.

    Whatever is there has the type that `mammo.runs.stored` says, but keys that other versions do not write may be
    missing. `damaged` says of the files that were asked for why one could not be read, by its name.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.damaged: dict[str, str] = {}

    @functools.cached_property
    def summary(self) -> dict[str, Any] | None:
        """`summary.json`."""
        return self._read(SUMMARY_FILE, read_summary)

    @functools.cached_property
    def config(self) -> dict[str, Any] | None:
        """`config.yaml` as it is, whatever version has written it."""
        return self._read("config.yaml", _mapping_of_yaml)

    def checked_config(self) -> Config | None:
        """The configuration; raises ConfigError where it does not fit this version."""
        return None if self.config is None else check_stored(self.config)

    @functools.cached_property
    def history(self) -> list[Record] | None:
        """`train_history.json`."""
        return self._read(HISTORY_FILE, read_history)

    @functools.cached_property
    def metrics(self) -> dict[str, Any] | None:
        """`metrics/val_metrics.json`."""
        return self._read(METRICS_FILE, lambda path: read_stored(path, ValMetrics))

    @functools.cached_property
    def manifest(self) -> dict[str, Any] | None:
        """`splits/manifest.json`."""
        return self._read(MANIFEST_FILE, lambda path: read_stored(path, SplitManifest))

    @functools.cached_property
    def error(self) -> dict[str, Any] | None:
        """`error.json`."""
        return self._read(ERROR_FILE, lambda path: read_stored(path, ErrorFile))

    @functools.cached_property
    def predictions(self) -> PredictionTable | None:
        """`val_predictions.csv`."""
        return self._predictions(PREDICTIONS_FILE)

    @functools.cached_property
    def evaluations(self) -> dict[str, dict[str, Any]]:
        """What `mammo.evaluate` has left here: `evaluation.json` by the name of its folder below `evaluation/`."""
        names = [file.parent.name for file in sorted(self.folder.glob(f"{EVALUATIONS}/*/evaluation.json"))]
        found = {name: self._read(f"{EVALUATIONS}/{name}/evaluation.json", read_json) for name in names}
        return {name: content for name, content in found.items() if content is not None}

    @functools.cached_property
    def test(self) -> tuple[str, dict[str, Any]] | None:
        """The evaluation of the best checkpoint on the patients set aside, and the name of its folder."""
        of_test = [(name, one) for name, one in self.evaluations.items() if is_test(one)]
        return next((pair for pair in of_test if self._is_of_best_checkpoint(pair[1])), None)

    def _is_of_best_checkpoint(self, evaluation: Mapping[str, Any]) -> bool:
        networks = evaluation.get("networks")
        evaluated = [text(one, "checkpoint_sha256") for one in networks] if isinstance(networks, list) else []
        try:
            return evaluated == [file_sha256(self.folder / BEST)]
        except OSError:
            return False

    def comparison(self, name: str) -> dict[str, Any] | None:
        """`comparison.json` beside the evaluation of a name."""
        return self._read(f"{EVALUATIONS}/{name}/comparison.json", read_json)

    def evaluated(self, name: str) -> PredictionTable | None:
        """`predictions.csv` beside the evaluation of a name."""
        return self._predictions(f"{EVALUATIONS}/{name}/predictions.csv")

    @functools.cached_property
    def parts(self) -> dict[str, CsvTable]:
        """The tables of `splits/` by part."""
        found = {name: self._table(f"splits/{name}.csv", SPLIT_COLUMNS) for name in ("train", "val", "test")}
        return {name: table for name, table in found.items() if table is not None}

    @functools.cached_property
    def quarantine(self) -> CsvTable | None:
        """`quarantine.csv`."""
        return self._table("quarantine.csv", ("image_id", "stage", "reason"))

    @functools.cached_property
    def sums(self) -> dict[str, str] | None:
        """The SHA-256 of its files as a run that finished has listed it, by name."""
        return self._read(SUMS_FILE, _sums)

    @functools.cached_property
    def checkpoint_sums(self) -> dict[str, str] | None:
        """The SHA-256 of its checkpoints by name, as they were saved."""
        return self._read(f"checkpoints/{SUMS_FILE}", _sums)

    def read_all(self) -> None:
        """Read every file now, so that `damaged` names all that cannot be."""
        _ = (self.summary, self.config, self.history, self.metrics, self.manifest, self.error, self.predictions)
        _ = (self.parts, self.quarantine, self.sums)

    @property
    def status(self) -> str:
        """The status in the summary; empty where that cannot be read."""
        return str((self.summary or {}).get("status", ""))

    @property
    def is_completed(self) -> bool:
        """Whether it says that the results are there."""
        return self.status == "completed"

    def why_none(self, name: str) -> str:
        """What is wrong with a file that was asked for and is None, in words that follow its name."""
        return f"cannot be read: {self.damaged[name]}" if name in self.damaged else "is missing"

    def _predictions(self, name: str) -> PredictionTable | None:
        # Most readers want none, and pandas takes half a second.
        from mammo.evaluation.predictions import read_predictions

        try:
            config = self.checked_config()
        except ConfigError:  # of another version
            config = None
        known = (TASKS[config.data.task], config.loss) if config is not None else (LABELS, SOFTMAX)
        return self._read(name, lambda path: read_predictions(path, *known))

    def _table(self, name: str, columns: tuple[str, ...]) -> CsvTable | None:
        return self._read(name, lambda path: _csv_table(path, columns))

    def _read(self, name: str, reader: Callable[[Path], _Read]) -> _Read | None:
        try:
            return reader(self.folder / name)
        except FileNotFoundError:
            return None  # whether it must be there is asked later
        except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0] if str(error) else ""
            self.damaged[name] = reason or type(error).__name__
            return None


def is_test(evaluation: Mapping[str, Any]) -> bool:
    """Whether an evaluation is of patients set aside, none of whose images were learnt from."""
    is_own = look(evaluation, "data", "is_own") is True and look(evaluation, "data", "split") == "test"
    return is_own and not number(evaluation, "data", "num_trained_on") and bool(mapping(evaluation, "metrics"))


def is_held(folder: Path) -> bool:
    """Whether a process holds the lock of a run directory; nothing is written to find out."""
    try:
        import fcntl
    except ImportError:  # Windows
        return False
    try:
        descriptor = os.open(folder / LOCK_FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False


def _mapping_of_yaml(file: Path) -> dict[str, Any]:
    content = read_yaml(file)
    if not isinstance(content, dict):
        raise ValueError("not a configuration")
    return content


def _csv_table(file: Path, needed: tuple[str, ...]) -> CsvTable:
    columns, rows = read_csv(file)
    if len(set(columns)) != len(columns):
        raise ValueError("a column is there twice")
    if missing := [name for name in needed if name not in columns]:
        raise ValueError(f"has no column {', '.join(missing)}")
    return CsvTable(columns, [dict(zip(columns, row, strict=True)) for row in rows])


def _sums(file: Path) -> dict[str, str]:
    lines = [line.partition("  ") for line in read_text(file).splitlines()]
    return {name: digest for digest, _, name in lines if name}

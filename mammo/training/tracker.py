"""Experiment trackers: where the epoch records go besides the run directory.

Their packages are optional and imported when a tracker is opened. A tracker never changes a result.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError
from mammo.support.files import read_text, write_text
from mammo.support.option_registry import option, register

# In the folder of a run: which entry of MLflow is its own.
MLFLOW_RUN_FILE = "mlflow_run.txt"


class OpenTracker(Protocol):
    """A tracker that has been opened for one run."""

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Record the numbers of an epoch (1-based)."""
        ...

    def close(self, completed: bool) -> None:
        """Flush and release; `completed` is False for a run that failed or was interrupted."""
        ...


class Tracker(Protocol):
    """Options of a tracker that can be opened."""

    name: str

    def require(self) -> None:
        """Raise ConfigError when a package is missing, before any work is done."""
        ...

    def open(self, run_folder: Path, config: Mapping[str, Any]) -> OpenTracker | None:
        """Start tracking a run; None where nothing is tracked."""
        ...


@register("tracker", "none")
@dataclasses.dataclass(frozen=True)
class NoTracker:
    """Nothing besides the run directory."""

    name = "none"

    def require(self) -> None:
        """See `Tracker.require`."""

    def open(self, run_folder: Path, config: Mapping[str, Any]) -> OpenTracker | None:
        """See `Tracker.open`."""
        return None


@register("tracker", "tensorboard")
@dataclasses.dataclass(frozen=True)
class TensorBoard:
    """Event files in <run>/tensorboard: `tensorboard --logdir outputs`."""

    name = "tensorboard"

    def require(self) -> None:
        """See `Tracker.require`."""
        _require_package("tensorboard")

    def open(self, run_folder: Path, config: Mapping[str, Any]) -> OpenTracker | None:
        """See `Tracker.open`."""
        from torch.utils.tensorboard import SummaryWriter

        return _OpenTensorBoard(SummaryWriter(str(run_folder / "tensorboard")))


class _OpenTensorBoard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, epoch)

    def close(self, completed: bool) -> None:
        self._writer.close()


@register("tracker", "mlflow")
@dataclasses.dataclass(frozen=True)
class MLflow:
    """An MLflow experiment in a local database: `mlflow ui --backend-store-uri sqlite:///mlruns/mlflow.db`."""

    name = "mlflow"
    folder: str = option("mlruns", "folder of the local store", guarded=True)
    experiment: str = option("mammo", "name of the MLflow experiment")

    def require(self) -> None:
        """See `Tracker.require`."""
        _require_package("mlflow")

    def open(self, run_folder: Path, config: Mapping[str, Any]) -> OpenTracker | None:
        """See `Tracker.open`."""
        from mlflow import MlflowClient

        folder = Path(self.folder).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")
        return _OpenMLflow(client, self.experiment, run_folder, config)


class _OpenMLflow:
    def __init__(self, client: Any, experiment: str, run_folder: Path, config: Mapping[str, Any]) -> None:
        self._client = client
        known = client.get_experiment_by_name(experiment)
        experiment_id = known.experiment_id if known else client.create_experiment(experiment)
        earlier = self._earlier_run(run_folder)
        self._run_id = earlier or client.create_run(experiment_id, run_name=run_folder.name).info.run_id
        client.update_run(self._run_id, status="RUNNING")
        write_text(run_folder / MLFLOW_RUN_FILE, self._run_id)
        for key, value in flatten(config).items():
            client.log_param(self._run_id, key, value)

    def _earlier_run(self, run_folder: Path) -> str | None:
        """The entry that an earlier start of the run has made, in which it goes on."""
        from mlflow.exceptions import MlflowException

        try:
            run_id = read_text(run_folder / MLFLOW_RUN_FILE).strip()
            return self._client.get_run(run_id).info.run_id
        except (OSError, ValueError, MlflowException):
            return None

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        for key, value in values.items():
            self._client.log_metric(self._run_id, key, value, step=epoch)

    def close(self, completed: bool) -> None:
        self._client.set_terminated(self._run_id, "FINISHED" if completed else "FAILED")


def _require_package(name: str) -> None:
    if importlib.util.find_spec(name) is None:
        raise ConfigError(
            f"tracker={name} needs the package {name}, which is not installed",
            to_do=f"pip install -e '.[{name}]', or choose tracker=none",
        )


def numbers_of(record: Mapping[str, Any]) -> dict[str, float]:
    """The finite numbers of an epoch record, nested ones with dotted keys; flags and lists are left out."""
    return {
        key: float(value)
        for key, value in flatten(record).items()
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }

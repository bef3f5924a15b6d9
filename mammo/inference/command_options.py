"""Options of every command that starts from a trained network. No heavy imports: `--help` reads them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from mammo.data.data_options import DataOptions
from mammo.support.option_registry import option

Weighting = Literal["equal", "validation"]
WHERE: list[str] = option([], "which of the runs, by an option that they were trained with: where=optimizer.lr=1e-3")


@dataclasses.dataclass(frozen=True)
class TrainedOptions:
    """Which networks, and what computes them."""

    run: list[str] = option([], "run directory, checkpoint (.pth), or folder of a sweep: all of its runs")
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute")
    threads: int | None = option(None, "CPU threads; null: physical cores", at_least=1)
    cache_dir: str | None = option(None, "decoded images and pseudonyms; null: the user's cache folder")
    overwrite: bool = option(False, "replace files that this command has not written, or that were changed since")


@dataclasses.dataclass(frozen=True)
class DataChoice:
    """What a command line says about the data.

    `composed` is another dataset than that of the run, or None; `changes` are options of the run's data that are
    given anew, such as `root`.
    """

    composed: DataOptions | None = None
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def says_nothing(self) -> bool:
        """Whether the data is that of the run as it was."""
        return self.composed is None and not self.changes


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(TrainedOptions):
    """One call of `mammo.evaluate`."""

    split: Literal["val", "test", "all"] | None = option(
        None, "which images; null: val of the data of the run, all of another dataset"
    )
    where: list[str] = WHERE
    compare: list[str] = option([], "another run, or several, to compare with on the same images")
    compare_where: list[str] = option([], "which of them, as where does; without compare: of the runs that run names")
    compare_as: Literal["trainings", "ensemble"] = option(
        "trainings", "of several runs: each training by itself, the difference is their mean; or the ensemble of them"
    )
    each: bool = option(False, "each of several runs by itself, in its own directory, instead of their mean")
    recompute: bool | None = option(
        None,
        "predict once more what the runs have stored of these images; null: of a single run, which verifies it",
    )
    weights: Weighting = option("equal", "of several networks: equal, or by validation score")
    draws: int = option(2000, "resamplings of the patients for the intervals", at_least=100, at_most=100000)
    bootstrap_seed: int = option(0, "seed of the resamplings", at_least=0)
    output: str | None = option(
        None, "folder for the results; null: evaluation/ in the run directory, or here for several runs"
    )


@dataclasses.dataclass(frozen=True)
class PredictOptions(TrainedOptions):
    """One call of `mammo.predict`."""

    where: list[str] = WHERE
    input: str | None = option(None, "DICOM, PNG or JPEG file, or a folder with such files at any depth")
    output: str = option("predictions.csv", "the table to write: .csv, or .jsonl for a line of JSON an image")
    force: bool = option(False, "take images of another kind than those of training, such as CT or other views")
    pseudonymize: bool = option(True, "write keyed hashes instead of file names and patient ids")
    folders_are_exams: bool = option(False, "images of one folder are one exam; DICOM headers come first")
    calibrated: bool = option(False, "with the temperature that fits the validation set; of several that of their mean")
    weights: Weighting = option("equal", "of several networks: equal, or by validation score")
    workers: int | None = option(None, "processes that decode files; null: one for each usable core", at_least=1)
    file_timeout_seconds: float = option(60.0, "a file that takes longer to decode is left out", at_least=1)

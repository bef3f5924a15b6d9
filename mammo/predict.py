"""Classify new images with a trained network, from a run directory or a checkpoint alone.

    python -m mammo.predict run=outputs/NAME input=DIR output=preds.csv
    python -m mammo.predict run=best_model.pth input=image.dcm output=preds.jsonl
    python -m mammo.predict --help

An interrupted command goes on where it stopped. Research use only, not for diagnosis.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Literal

from mammo.errors import ConfigError
from mammo.inference.options import TrainedOptions
from mammo.options import option
from mammo.tools import CommandLine, Tool, run_tool

SUFFIXES = (".csv", ".jsonl")


@dataclasses.dataclass(frozen=True)
class PredictOptions(TrainedOptions):
    """One call of the command."""

    input: str | None = option(None, "DICOM, PNG or JPEG file, or a folder with such files at any depth")
    output: str = option("predictions.csv", "the table to write: .csv, or .jsonl for a line of JSON an image")
    force: bool = option(False, "take images of another kind than those of training, such as CT or other views")
    pseudonymize: bool = option(True, "write keyed hashes instead of file names and patient ids")
    folders_are_exams: bool = option(False, "images of one folder are one exam; DICOM headers come first")
    calibrated: bool = option(False, "divide the logits by the temperature that mammo.evaluate has fitted")
    weights: Literal["equal", "validation"] = option("equal", "of several networks: equal, or by validation score")
    workers: int | None = option(None, "processes that decode files; null: one for each usable core", at_least=1)
    file_timeout_seconds: float = option(60.0, "a file that takes longer to decode is left out", at_least=1)


TOOL = Tool(
    program="mammo.predict",
    options=PredictOptions,
    about="Predicts the class of each image. Architecture, classes and preprocessing come from the checkpoint. "
    "Several runs are averaged. Files that cannot be used are listed with the reason.",
    examples=(
        "run=outputs/NAME input=DIR output=preds.csv",
        "run=best_model.pth input=image.dcm output=preds.jsonl",
        "run=multirun/NAME input=DIR weights=validation",
    ),
    takes_data=False,
)


def work(line: CommandLine) -> None:
    """Predict, write the tables, say where they are."""
    options: PredictOptions = line.options
    output = Path(options.output).expanduser()
    if options.input is None:
        raise ConfigError("input is not set", "a file or a folder of images", "input=DIR")
    if output.suffix not in SUFFIXES:
        raise ConfigError(f"output={output}: unknown kind of table", " or ".join(SUFFIXES))
    from mammo.inference.find import find_checkpoints

    checkpoints = find_checkpoints(options.run)
    # Mistakes have been answered before torch is imported.
    from mammo.inference.new_predictions import Request, predict_to_file
    from mammo.progress import start_logging
    from mammo.runs.closing import show

    start_logging("info")
    request = Request(checkpoints, Path(options.input).expanduser(), output)
    show(predict_to_file(request, options))


if __name__ == "__main__":
    run_tool(TOOL, work, sys.argv[1:])

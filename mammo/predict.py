"""Classify new images with a trained network, from a run directory or a checkpoint alone.

    python -m mammo.predict run=outputs/NAME input=DIR output=preds.csv
    python -m mammo.predict run=best_model.pth input=image.dcm output=preds.jsonl
    python -m mammo.predict --help

An interrupted command goes on where it stopped. Research use only, not for diagnosis.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mammo.cli.tool import CommandLine, Tool, run_tool
from mammo.inference.command_options import PredictOptions
from mammo.support.errors import ConfigError

SUFFIXES = (".csv", ".jsonl")


TOOL = Tool(
    program="mammo.predict",
    options=PredictOptions,
    about="Predicts the class of each image. Architecture, classes and preprocessing come from the checkpoint. "
    "Several runs are averaged. Files that cannot be used are listed with the reason.",
    examples=(
        "run=outputs/NAME input=DIR output=preds.csv",
        "run=best_model.pth input=image.dcm output=preds.jsonl",
        "run=multirun/NAME input=DIR weights=validation",
        "run=multirun/NAME where=strategy=head_only input=DIR",
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

    checkpoints = find_checkpoints(options.run, options.where)
    # Mistakes have been answered before torch is imported.
    from mammo.inference.new_predictions import Request, predict_to_file
    from mammo.runs.closing import show
    from mammo.support.progress import start_logging

    start_logging("info")
    request = Request(checkpoints, Path(options.input).expanduser(), output)
    show(predict_to_file(request, options))


if __name__ == "__main__":
    run_tool(TOOL, work, sys.argv[1:])

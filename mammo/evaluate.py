"""How good a trained network is, and on whom it fails.

    python -m mammo.evaluate run=outputs/NAME
    python -m mammo.evaluate run=outputs/NAME split=test
    python -m mammo.evaluate run=outputs/NAME data=vindr data.root=DIR
    python -m mammo.evaluate --help

Architecture, classes and preprocessing come from the run, never from the command line.
"""

from __future__ import annotations

import dataclasses
import sys
from typing import Literal

from mammo.inference.options import TrainedOptions
from mammo.options import option
from mammo.tools import CommandLine, Tool, run_tool


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(TrainedOptions):
    """One call of the command."""

    split: Literal["val", "test", "all"] | None = option(
        None, "which images; null: val of the data of the run, all of another dataset"
    )
    compare: list[str] = option([], "another run (or several: their mean) to compare with on the same images")
    weights: Literal["equal", "validation"] = option("equal", "of several networks: equal, or by validation score")
    draws: int = option(2000, "resamplings of the patients for the intervals", at_least=100, at_most=100000)
    bootstrap_seed: int = option(0, "seed of the resamplings", at_least=0)
    output: str | None = option(
        None, "folder for the results; null: evaluation/ in the run directory, or here for several runs"
    )


TOOL = Tool(
    program="mammo.evaluate",
    options=EvaluateOptions,
    about="Metrics with 95% intervals by image and by exam, per class, per view, side, vendor and age band; "
    "calibration; curves. Several runs answer together: the mean of their probabilities.",
    examples=(
        "run=outputs/NAME",
        "run=outputs/NAME split=test",
        "run=outputs/NAME data=vindr data.root=DIR",
        "run=multirun/NAME split=test weights=validation",
        "run=outputs/NEW compare=outputs/OLD",
    ),
)


def work(line: CommandLine) -> None:
    """Predict, evaluate, write, show."""
    options: EvaluateOptions = line.options
    from mammo.inference.find import find_checkpoints

    checkpoints = find_checkpoints(options.run)
    others = find_checkpoints(options.compare) if options.compare else []
    # Mistakes have been answered before torch is imported.
    from mammo.inference.evaluating import Request, evaluate_runs
    from mammo.progress import start_logging
    from mammo.runs.closing import show

    start_logging("info")
    show(evaluate_runs(Request(checkpoints, others, line.data), options))


if __name__ == "__main__":
    run_tool(TOOL, work, sys.argv[1:])

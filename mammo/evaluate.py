"""How good a trained network is, and on whom it fails.

    python -m mammo.evaluate run=outputs/NAME
    python -m mammo.evaluate run=outputs/NAME split=test
    python -m mammo.evaluate run=outputs/NAME data=vindr data.root=DIR
    python -m mammo.evaluate --help

Architecture, classes and preprocessing come from the run, never from the command line.
"""

from __future__ import annotations

import sys

from mammo.cli.tool import CommandLine, Tool, run_tool
from mammo.inference.command_options import EvaluateOptions

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
        "run=multirun/NAME split=test each=true",
        "run=outputs/NEW compare=outputs/OLD",
        "run=multirun/NAME where=optimizer.lr=1e-3 compare_where=optimizer.lr=1e-4",
    ),
)


def work(line: CommandLine) -> None:
    """Predict, evaluate, write, show."""
    options: EvaluateOptions = line.options
    from mammo.inference.find import find_checkpoints

    checkpoints = find_checkpoints(options.run, options.where)
    compared = options.compare or (options.run if options.compare_where else [])
    others = find_checkpoints(compared, options.compare_where) if compared else []
    # Mistakes have been answered before torch is imported.
    from mammo.inference.evaluating import Request, evaluate_runs
    from mammo.runs.closing import show
    from mammo.support.progress import start_logging

    start_logging("info")
    show(evaluate_runs(Request(checkpoints, others, line.data), options))


if __name__ == "__main__":
    run_tool(TOOL, work, sys.argv[1:])

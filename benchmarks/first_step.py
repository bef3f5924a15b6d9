"""Runs `mammo.train` and writes how long after its start the first optimizer step was done.

    python -m benchmarks.first_step REPORT_FILE STARTED OVERRIDES...

STARTED is the time (seconds since 1970) at which the process was started, so that the interpreter's own start counts.
"""

import runpy
import sys
import time
from pathlib import Path
from typing import Any

from torch.optim.optimizer import register_optimizer_step_post_hook

if __name__ == "__main__":
    report, started = Path(sys.argv[1]), float(sys.argv[2])

    def note_first(*_: Any) -> None:
        """Write the seconds once."""
        handle.remove()
        report.write_text(repr(time.time() - started))

    handle = register_optimizer_step_post_hook(note_first)
    sys.argv = [sys.argv[0], *sys.argv[3:]]
    runpy.run_module("mammo.train", run_name="__main__", alter_sys=True)

"""What is written of an error that nobody foresaw: where it arose, and nothing of the data that led to it."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterator
from pathlib import Path

from mammo.support.errors import DamagedFile, TrainingError, UserError

_PROJECT = Path(__file__).resolve().parents[2]
# Code that is handed numbers and options alone. What arises elsewhere, or in what is called from there, may quote
# names, ids, headers and tables.
_KNOWS_NO_PATIENTS = (
    "mammo/training/engine.py", "mammo/training/losses.py", "mammo/training/optimizers.py",
    "mammo/training/schedulers.py", "mammo/training/inputs.py", "mammo/training/checkpoint.py",
    "mammo/training/tracker.py", "mammo/training/finite_guard.py", "mammo/tasks/outputs.py", "mammo/models/",
    "mammo/evaluation/metrics.py", "mammo/evaluation/score_formulas.py",
    "mammo/evaluation/intervals.py", "mammo/evaluation/selection.py",
    "mammo/support/hardware.py", "mammo/support/torch_files.py", "mammo/support/figures.py", "mammo/runs/figures.py",
)  # fmt: skip
_KNOWS_TABLES = ("mammo/data/", "pandas/", "pydicom/", "PIL/")
_ABSOLUTE_PATH = re.compile(r"""(?P<quote>['"])/.*?(?P=quote)|(?<![\w.:/])/[^\s'",;:)]+""")


def error_text(error: BaseException) -> str:
    """What an error says, without what may be a part of the data, and without paths."""
    if isinstance(error, UserError | TrainingError | DamagedFile):
        return str(error)  # written by us for this purpose
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__  # not the name of the file
    files = [_short(frame.filename) for frame in traceback.extract_tb(error.__traceback__)]
    own = [file for file in files if file.startswith("mammo/")]
    knows_none = bool(files) and (not own or own[-1].startswith(_KNOWS_NO_PATIENTS))
    if not knows_none or any(file.startswith(_KNOWS_TABLES) for file in files):
        return "its text is left out, as it may quote patient data"
    return _ABSOLUTE_PATH.sub("<path>", str(error))


def traceback_text(error: BaseException) -> str:
    """A traceback as Python prints it, with `error_text` and without the folders of this machine."""
    parts = []
    for one in reversed(list(_chain(error))):
        frames = traceback.extract_tb(one.__traceback__)
        short = [traceback.FrameSummary(_short(f.filename), f.lineno, f.name, line=f.line) for f in frames]
        head = "Traceback (most recent call last):\n"
        parts.append(f"{head}{''.join(traceback.format_list(short))}{type(one).__name__}: {error_text(one)}\n")
    return "\nwhich led to:\n\n".join(parts)


def _short(filename: str) -> str:
    """The path of a source file below its package."""
    path = Path(filename)
    if path.is_relative_to(_PROJECT) and "site-packages" not in path.parts:
        return path.relative_to(_PROJECT).as_posix()
    return filename.rpartition("site-packages/")[2] if "site-packages/" in filename else path.name


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

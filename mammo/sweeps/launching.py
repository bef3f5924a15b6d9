"""Running the jobs of a sweep with any launcher of Hydra, one after the other or several at once.

What became of a job is read from its run directory: it is the same whoever has run it, and whenever.
"""

from __future__ import annotations

import builtins
import dataclasses
import datetime
import logging
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.launcher import Launcher
from joblib.externals.loky.process_executor import TerminatedWorkerError

from mammo.runs.directory import RunDirectory
from mammo.support.errors import DataError, RunDirectoryError
from mammo.support.interruption import stop_if_asked
from mammo.support.progress import overall, start_logging
from mammo.support.tracebacks import error_text
from mammo.sweeps.plan import Job

SECONDS_BETWEEN_LOOKS = 2.0

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a job ended: its objective, or why there is none.

    `is_new` is False for a run that was finished before. An outage is what says nothing about the configuration:
    no data, no space, no memory, a killed process.
    """

    status: Literal["completed", "failed", "unfinished"]
    objective: float | None
    reason: str = ""
    is_new: bool = True
    is_outage: bool = False
    data_fingerprint: str | None = None


class Jobs:
    """Runs jobs and keeps count.

    Arguments:
        launcher: a launcher of Hydra that has been set up.
        folder: of the sweep; run directories are made in it.
        total: how many jobs there will be, for the progress.
        stop_on_error: whether a failure ends the sweep.
        at_once: jobs that are handed to the launcher together; None: as many as there are.
    """

    def __init__(
        self, launcher: Launcher, folder: Path, total: int, *, stop_on_error: bool, at_once: int | None
    ) -> None:
        self.launcher, self.folder, self.total = launcher, folder, total
        self.stop_on_error = stop_on_error
        self.at_once = 1 if isinstance(launcher, BasicLauncher) else at_once
        self.outcomes: dict[str, Outcome] = {}
        self._seconds: list[float] = []

    @property
    def failed(self) -> int:
        """How many jobs have ended without results."""
        return sum(outcome.status != "completed" for outcome in self.outcomes.values())

    @property
    def is_stopped(self) -> bool:
        """Whether no further job may start."""
        return self.stop_on_error and self.failed > 0

    def run(self, jobs: Sequence[Job]) -> list[Outcome]:
        """Run jobs, fewer where a failure ends the sweep; raises KeyboardInterrupt when asked to end."""
        outcomes: list[Outcome] = []
        size = self.at_once or max(1, len(jobs))
        with overall("Sweep", self.total) as show:
            for start in range(0, len(jobs), size):
                if self.is_stopped:
                    break
                show(len(self.outcomes), self._remark())
                outcomes += self._run_together(jobs[start : start + size], show)
                stop_if_asked()
        return outcomes

    def _run_together(self, jobs: Sequence[Job], show: Callable[[int, str], None]) -> list[Outcome]:
        number, started = len(self.outcomes), time.monotonic()
        for i, job in enumerate(jobs, start=number + 1):
            what = " ".join(shortened(override) for override in job.swept)
            say(f"Job {i} of {self.total}{self._remark(' (', ')')}: {what} -> {job.name}")
        before = [RunDirectory(self.folder / job.name).is_finished for job in jobs]
        place = [f"hydra.sweep.dir={_quoted(self.folder)}"]
        together = [[*job.overrides, *place, f"hydra.sweep.subdir={_quoted(job.name)}"] for job in jobs]
        with self._watched([job.name for job in jobs], show):
            returns = self._launched(together, number)
        found = [
            self._outcome(job, job_return, not was_finished)
            for job, job_return, was_finished in zip(jobs, returns, before, strict=True)
        ]
        self.outcomes.update({job.name: outcome for job, outcome in zip(jobs, found, strict=True)})
        if any(outcome.is_new for outcome in found):
            self._seconds.append((time.monotonic() - started) / len(jobs))
        return found

    def _launched(self, together: Sequence[Sequence[str]], number: int) -> Sequence[JobReturn]:
        """What the launcher returns; where one of its processes was killed, what each job has left tells."""
        try:
            return self.launcher.launch(together, initial_job_idx=number)
        except TerminatedWorkerError as error:
            say(f"a process was killed, and its launcher has ended the others: {str(error).splitlines()[0]}")
            return [JobReturn(status=JobStatus.UNKNOWN) for _ in together]

    @contextmanager
    def _watched(self, names: Sequence[str], show: Callable[[int, str], None]) -> Iterator[None]:
        """Count the finished ones of jobs that run at once: a launcher tells only when all have ended."""
        if len(names) == 1:
            yield
            return
        over, done_before = threading.Event(), len(self.outcomes)

        def watch() -> None:
            while not over.wait(SECONDS_BETWEEN_LOOKS):
                done = sum(RunDirectory(self.folder / name).is_finished for name in names)
                show(done_before + done, self._remark())

        thread = threading.Thread(target=watch, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _outcome(self, job: Job, job_return: JobReturn, is_new: bool) -> Outcome:
        if job_return.status == JobStatus.FAILED:
            # It was not the job's to write into the folder, so the reason is nowhere else.
            outcome = Outcome("failed", None, error_text(job_return._return_value), is_outage=True)
        else:
            outcome = outcome_on_disk(self.folder / job.name, is_new)
        was_shown = self.at_once == 1 and job_return.status != JobStatus.FAILED
        if outcome.status != "completed" and not was_shown:
            say(f"{outcome.status}: {job.name}: {outcome.reason.splitlines()[0] if outcome.reason else ''}")
        return outcome

    def _remark(self, before: str = "", after: str = "") -> str:
        """How many failed or were finished before, and the time that is left."""
        found = sum(not outcome.is_new for outcome in self.outcomes.values())
        parts = [f"{self.failed} failed"] if self.failed else []
        parts += [f"{found} finished before"] if found else []
        if self._seconds:
            left = datetime.timedelta(
                seconds=round(statistics.median(self._seconds) * (self.total - len(self.outcomes)))
            )
            parts.append(f"about {left} left")
        return f"{before}{', '.join(parts)}{after}" if parts else ""


def shortened(override: str) -> str:
    """An override for people: the last part of its key, and numbers with four digits."""
    key, _, value = override.partition("=")
    with suppress(ValueError):
        value = value if value.lstrip("-").isdigit() else f"{float(value):.4g}"
    return f"{key.split('.')[-1]}={value}"


def outcome_on_disk(folder: Path, is_new: bool = True) -> Outcome:
    """What a run directory says of its run."""
    directory = RunDirectory(folder)
    try:
        summary, error = directory.summary() or {}, directory.error()
    except RunDirectoryError as unreadable:
        return Outcome("failed", None, str(unreadable), is_outage=True)
    if summary.get("status") == "completed":
        fingerprint = summary["data"].get("fingerprint")
        return Outcome("completed", float(summary["objective"]), is_new=is_new, data_fingerprint=fingerprint)
    if error is not None:
        return Outcome("failed", None, error["message"], is_outage=_is_outage(error["type"]))
    reason = "it was not started" if not summary else "it was killed"
    return Outcome("unfinished", None, f"{reason}; the same command does the rest", is_outage=True)


def _is_outage(error_type: str) -> bool:
    """Whether an error of this name says nothing about the configuration."""
    known = getattr(builtins, error_type, None)
    is_of_the_system = isinstance(known, type) and issubclass(known, OSError | MemoryError)
    return is_of_the_system or error_type in (DataError.__name__, RunDirectoryError.__name__, "OutOfMemoryError")


def say(line: str) -> None:
    """A line about the sweep; runs replace the handlers of the log."""
    start_logging("info")
    log.info("%s", line)


def _quoted(text: object) -> str:
    """A value for Hydra's grammar, whatever characters are in it."""
    escaped = str(text).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"

"""Commands as a user starts them: each in a process of its own, with its duration and peak memory."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.samples import BenchmarkError

REPOSITORY = Path(__file__).resolve().parents[1]
SECONDS_BETWEEN_SAMPLES = 0.05
# Both sides set their threads themselves; a limit of the shell would hold for one of them only.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
MAX_MESSAGE_CHARACTERS = 2000


@dataclasses.dataclass(frozen=True)
class Finished:
    """What a command printed, how long it took, and the peak of `memory_bytes` (None where it was not sampled)."""

    stdout: str
    stderr: str
    seconds: float
    peak_memory_bytes: int | None


def run_python(arguments: Sequence[str], folder: Path, sample_memory: bool = False) -> Finished:
    """Run `python <arguments>` in `folder` to its end; raises BenchmarkError with its last words when it fails.

    With `sample_memory` the memory of the process and its descendants is read twenty times a second (Linux).
    """
    environment = {key: value for key, value in os.environ.items() if key not in THREAD_VARIABLES}
    environment |= {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "100"}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        started = time.perf_counter()
        # A session of its own: its processes can be found and ended together.
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder, env=environment, stdout=stdout, stderr=stderr, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            peak_bytes = _watch(process) if sample_memory else None
            process.wait()
            seconds = time.perf_counter() - started
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        stdout.seek(0)
        stderr.seek(0)
        done = Finished(stdout.read(), stderr.read(), seconds, peak_bytes)
    if process.returncode != 0:
        last_words = f"{done.stdout}\n{done.stderr}".strip()[-MAX_MESSAGE_CHARACTERS:]
        raise BenchmarkError(
            f"python {' '.join(arguments[:2])} ... ended with status {process.returncode}:\n{last_words}"
        )
    return done


def _watch(process: subprocess.Popen[str]) -> int | None:
    """The largest sample of `memory_bytes` until the process ends; None where there is no /proc."""
    if not Path("/proc/self/smaps_rollup").exists():
        return None
    peak_bytes = 0
    while process.poll() is None:
        peak_bytes = max(peak_bytes, memory_bytes(process.pid))
        time.sleep(SECONDS_BETWEEN_SAMPLES)
    return peak_bytes


def memory_bytes(session: int) -> int:
    """Memory of all processes of a session that the system could not drop: anonymous and shared pages.

    Pages that several processes share are counted once (as proportional shares). Pages of mapped files are left
    out: they are the system's file cache, which grows with whatever is read and shrinks when memory is needed.
    """
    total_kib = 0
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The name, in parentheses, may hold spaces: the fields after it are state, parent, group, session.
            if int((folder / "stat").read_text().rpartition(")")[2].split()[3]) != session:
                continue
            for line in (folder / "smaps_rollup").read_text().splitlines():
                if line.startswith(("Pss_Anon:", "Pss_Shmem:")):
                    total_kib += int(line.split()[1])
    return total_kib * 1024

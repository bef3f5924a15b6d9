"""Commands of the project as processes of their own, without the seconds that importing torch takes each time.

They are forked from one that has imported it already, and are in all else what `python -m` starts.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
# What commands import sooner or later.
PRELOADED = (
    "mammo.compose",
    "mammo.runs.training",
    "mammo.runs.failures",
    "mammo.sweeps.summary",
    "mammo.reporting.compose",
    "matplotlib.figure",
    "optuna",
)


def run_module(
    module: str, *arguments: object, folder: Path, timeout_seconds: float = 300, umask: int = -1, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m module` with some arguments in a folder, to its end; `environment` is added to that of the tests."""
    words = [module, *map(str, arguments)]
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80", **environment}
    if any(name.startswith("PYTHON") for name in environment):  # what the interpreter reads when it starts
        return subprocess.run(
            [sys.executable, "-m", *words], cwd=folder, env=variables, text=True, capture_output=True, check=False,
            timeout=timeout_seconds, umask=umask,
        )  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        outputs = [str(Path(temporary, name)) for name in ("stdout", "stderr")]
        request = {
            "words": words, "folder": str(folder), "variables": variables, "umask": umask, "outputs": outputs
        }  # fmt: skip
        status = _ask(request, timeout_seconds)
        stdout, stderr = (Path(path).read_text(encoding="utf-8", errors="replace") for path in outputs)
    return subprocess.CompletedProcess(["python", "-m", *words], status, stdout, stderr)


def _ask(request: Mapping[str, Any], timeout_seconds: float) -> int:
    server = _server()
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    process_id = int(server.stdout.readline())
    timer = threading.Timer(timeout_seconds, _kill, [process_id])
    timer.start()
    status = int(server.stdout.readline())
    if not timer.is_alive():
        raise subprocess.TimeoutExpired(request["words"], timeout_seconds)
    timer.cancel()
    return status


def _kill(process_id: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGKILL)


@functools.cache
def _server() -> subprocess.Popen[str]:
    """The process that forks, one for each process of the tests; it ends when its input does."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.processes"], cwd=REPOSITORY, text=True, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip


def _serve() -> None:
    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()
    for line in sys.stdin:
        process_id = os.fork()
        if not process_id:
            _end(_become(json.loads(line)))
        print(process_id, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process_id, 0)[1]), flush=True)


def _become(request: Mapping[str, Any]) -> int:
    """Be `python -m` with these words, in a process that was just forked; returns the status that it ends with."""
    os.environ.clear()
    os.environ.update(request["variables"])
    os.chdir(request["folder"])
    for number, path in enumerate([os.devnull, *request["outputs"]]):
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(file, number)
        os.close(file)
    if request["umask"] >= 0:
        os.umask(request["umask"])
    sys.argv[:] = ["-m", *request["words"][1:]]
    sys.orig_argv[:] = [sys.executable, "-m", *request["words"]]
    sys.path[0] = request["folder"]
    try:
        runpy._run_module_as_main(request["words"][0])  # what `-m` itself calls
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(status: int) -> None:
    """End as the interpreter does, but leave the memory to the system: taking torch down takes seconds."""
    threading._shutdown()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    _serve()

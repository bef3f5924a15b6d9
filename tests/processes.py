"""Commands of the project as processes of their own, without the seconds that importing torch takes each time.

They are forked from a process that has imported it already, and are in all else what `python -m` starts.
"""

from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

REPOSITORY = Path(__file__).resolve().parents[1]
# What commands import sooner or later.
PRELOADED = (
    "mammo.cli.entry", "mammo.runs.training", "mammo.runs.failures", "mammo.sweeps.summary",
    "mammo.reporting.assembly", "mammo.sweeps.search", "matplotlib.figure",
)  # fmt: skip
LARGEST_REQUEST_BYTES = 100_000


def start_module(module: str, *arguments: object, folder: Path, **options: Any) -> subprocess.Popen[str]:
    """`python -m module` with some arguments in a folder; `options` are those of Popen, and `env` is added to ours."""
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80", **options.pop("env", {})}
    words = ["-m", module, *map(str, arguments)]
    # What the interpreter reads when it starts cannot be said to one that has started.
    is_special = _at_start(variables) != _at_start({**os.environ, "PYTHONPATH": str(REPOSITORY)})
    popen = subprocess.Popen if is_special else _Forked
    return popen([sys.executable, *words], cwd=folder, env=variables, text=True, **options)


def run_module(
    module: str, *arguments: object, folder: Path, timeout_seconds: float = 300, umask: int = -1, **environment: str
) -> subprocess.CompletedProcess[str]:
    """`python -m module` with some arguments in a folder, to its end; `environment` is added to that of the tests."""
    process = start_module(
        module, *arguments, folder=folder, env=environment, umask=umask, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        output, errors = process.communicate(timeout=timeout_seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, output, errors)


def _at_start(variables: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in variables.items() if name.startswith("PYTHON")}


class _Forked(subprocess.Popen):  # type: ignore[type-arg]
    """A process that the server forks: not a child of this one, which therefore has its end told."""

    def _execute_child(self, args: Any, executable: Any, *more: Any) -> None:
        # The order of all versions of Python: cwd, env, four others, six ends of pipes, four others, umask, session.
        folder, variables, pipes, (umask, is_leader) = more[3], more[4], more[8:14], more[18:20]
        output, errors = (pipes[3] if pipes[3] >= 0 else 1), (pipes[5] if pipes[5] >= 0 else 2)
        status, told = os.pipe()
        request = {"words": args[2:], "folder": str(folder), "variables": dict(variables), "umask": umask,
                   "start_new_session": is_leader}  # fmt: skip
        socket.send_fds(_server(), [json.dumps(request).encode()], [output, errors, told])
        os.close(told)
        self._told = os.fdopen(status, "rb", buffering=0)
        self.pid = int(self._told.readline())
        self._child_created = True
        self._close_pipe_fds(*pipes)

    def _try_wait(self, wait_flags: int) -> tuple[int, int]:
        if wait_flags & os.WNOHANG and not select.select([self._told], [], [], 0)[0]:
            return 0, 0
        status = int(self._told.readline())
        self._told.close()
        return self.pid, status

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None:
            process_id, status = self._try_wait(os.WNOHANG)
            if process_id:
                self._handle_exitstatus(status)
        return self.returncode


@functools.cache
def _server() -> socket.socket:
    """The connection to the process that forks, one for each process of the tests; it ends with it."""
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * LARGEST_REQUEST_BYTES)
    subprocess.Popen(
        [sys.executable, "-m", "tests.processes", str(its.fileno())], cwd=REPOSITORY, stdin=subprocess.DEVNULL,
        pass_fds=[its.fileno()], env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    its.close()
    return ours


def _serve(connection: socket.socket) -> NoReturn:
    for module in PRELOADED:
        importlib.import_module(module)
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that watch
    while True:
        message, numbers, *_ = socket.recv_fds(connection, LARGEST_REQUEST_BYTES, 3)
        if not message:
            os._exit(0)
        output, errors, told = numbers
        if not os.fork():
            _watch(json.loads(message), connection, output, errors, told)
        for number in (output, errors, told):
            os.close(number)


def _watch(request: Mapping[str, Any], connection: socket.socket, output: int, errors: int, told: int) -> NoReturn:
    """Fork the process that was asked for, and tell its number and in the end its status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    process_id = os.fork()
    if not process_id:
        connection.close()
        os.close(told)
        for number, target in ((os.open(os.devnull, os.O_RDONLY), 0), (output, 1), (errors, 2)):
            os.dup2(number, target)
            os.close(number)
        _end(_become(request))
    os.close(output)
    os.close(errors)
    os.write(told, b"%d\n" % process_id)
    os.write(told, b"%d\n" % os.waitpid(process_id, 0)[1])
    os._exit(0)


def _become(request: Mapping[str, Any]) -> int:
    """Be `python -m` with these words; returns the status that the process ends with."""
    os.environ.clear()
    os.environ.update(request["variables"])
    os.chdir(request["folder"])
    if request["umask"] >= 0:
        os.umask(request["umask"])
    if request["start_new_session"]:
        os.setsid()
    module, *arguments = request["words"]
    sys.argv[:] = ["-m", *arguments]
    sys.orig_argv[:] = [sys.executable, "-m", module, *arguments]
    sys.path[0] = request["folder"]
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
    try:
        runpy._run_module_as_main(module)  # what `-m` itself calls
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
            return 1
        return end.code or 0
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def _end(status: int) -> NoReturn:
    """End as the interpreter does, but leave the memory to the system: taking torch down takes seconds."""
    threading._shutdown()
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            status = status or 120  # as the interpreter does where nobody reads any more
    os._exit(status)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))

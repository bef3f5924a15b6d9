"""Work that may crash or hang: done by processes that can be lost, with results in the order of the items.

Decoders are native code that reads bytes of unknown origin. A worker process has one item at a time, so that one
which ends without an answer names the item it had. That item is tried once more by a fresh process while all
others wait: what ran out of memory beside them, or was ended from outside, has its chance alone. The alarm of the
kernel ends what takes too long: it needs neither the interpreter, which a stuck decoder may hold, nor the parent.

Each process has a pipe of its own. Where they share one, as in the pool of pebble 5.2, a process that is killed amid an
answer leaves half a message and a held lock, and all results after it are waited for in vain.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import math
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple, TypeVar

from mammo.support.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

# Signals that no decoder raises: they come from the user, a scheduler or a kernel without memory.
_FROM_OUTSIDE = {"SIGKILL", "SIGTERM", "SIGHUP", "SIGINT", "SIGQUIT"}
_IS_READY = "ready"


@dataclasses.dataclass(frozen=True)
class Lost:
    """In place of the result of an item that took its process along, twice; `reason` says how."""

    reason: str


class _Answer(NamedTuple):
    result: Any
    error: Exception | None


def isolated(
    function: Callable[[Item], Result], items: Iterable[Item], num_processes: int, timeout_seconds: float
) -> Generator[Result | Lost, None, None]:
    """Results of a function in the order of the items, computed by processes whose loss costs one item.

    At most two items a process are ahead of what has been taken. Starting a process takes about a second; the
    function is sent to each once. `timeout_seconds` is for one item. An exception of the function is raised
    here. Raises DataError when processes cannot be started or are ended from outside again and again. With 0 processes
    everything is computed by this one, unprotected.
    """
    if num_processes == 0:
        yield from map(function, items)
        return
    pool = _Pool(function, num_processes, timeout_seconds)
    try:
        yield from pool.results(items)
    finally:
        pool.close()


def num_processes_for(num_items: int, items_per_process: int, num_workers: int) -> int:
    """How many processes some work is worth, of `num_workers` at most; 0 where a process may not start others.

    Raises RuntimeError in a process that is still reading a script which starts processes: it would wait for what
    its parent holds, and the parent for it.
    """
    this = multiprocessing.current_process()
    if getattr(this, "_inheriting", False):
        raise RuntimeError('a script that decodes images needs `if __name__ == "__main__":` around what it does')
    return 0 if this.daemon else min(num_workers, math.ceil(num_items / items_per_process))


class _Process:
    """A worker process and the item that it has, with its number."""

    def __init__(self, function: Callable[[Any], Any], timeout_seconds: float) -> None:
        # Not forked: a copy of a process with threads may hold locks that nobody will ever release.
        context = multiprocessing.get_context("spawn")
        if multiprocessing.get_start_method(allow_none=True) not in (None, *multiprocessing.get_all_start_methods()):
            # A process of a launcher may name a way of its own, which a new process does not know.
            multiprocessing.set_start_method("spawn", force=True)
        self.connection, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, function, timeout_seconds), daemon=True)
        self.process.start()
        theirs.close()
        self.is_ready = False
        self.task: tuple[int, Any] = -1, None

    def give(self, number: int, item: Any) -> None:
        """Hand over an item."""
        self.task = number, item
        with contextlib.suppress(OSError):  # ended while it had nothing to do: there is no answer
            self.connection.send(item)

    def receive(self) -> _Answer | str | None:
        """The next message: `_IS_READY`, then answers; None when the process has ended. Raises DataError if it
        never began."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            self.process.join()
            if self.is_ready or self.ended_by() in _FROM_OUTSIDE:
                return None
            raise DataError("a process for decoding images cannot be started", to_do="see the lines above") from None
        self.is_ready = True
        return message

    def ended_by(self) -> str:
        """The name of the signal that ended the process, else its exit status in words."""
        names = {-number: number.name for number in signal.Signals}
        return names.get(self.process.exitcode or 0, f"exit status {self.process.exitcode}")

    def end(self) -> None:
        """End the process; nothing of it is needed any more."""
        self.connection.close()
        self.process.kill()
        self.process.join()
        self.process.close()


class _Pool:
    """The processes, which are started when there is something to do for them."""

    def __init__(self, function: Callable[[Any], Any], num_processes: int, timeout_seconds: float) -> None:
        self._function, self._timeout_seconds = function, timeout_seconds
        self._num_processes = num_processes
        self._idle: list[_Process] = []
        self._busy: dict[Connection, _Process] = {}
        # Items that have lost a process.
        self._suspects: deque[tuple[int, Any]] = deque()

    def results(self, items: Iterable[Any]) -> Iterator[Any]:
        """See `isolated`."""
        numbered = enumerate(items)
        done: dict[int, Any] = {}
        num_given = num_taken = 0
        while True:
            # While there is a suspect nothing new begins, until it has been tried alone.
            num_free = 0 if self._suspects else self._num_processes - len(self._busy)
            num_ahead = 2 * self._num_processes - (num_given - num_taken)
            for number, item in itertools.islice(numbered, max(0, min(num_free, num_ahead))):
                self._give(number, item, self._idle.pop() if self._idle else self._start())
                num_given += 1
            if self._busy:
                done |= self._answers(is_last_try=False)
            elif self._suspects:
                self._give(*self._suspects.popleft(), self._start())
                while self._busy:
                    done |= self._answers(is_last_try=True)
            elif num_given == num_taken:
                return
            while num_taken in done:
                yield done.pop(num_taken)
                num_taken += 1

    def close(self) -> None:
        """End all processes."""
        for process in [*self._idle, *self._busy.values()]:
            process.end()

    def _start(self) -> _Process:
        return _Process(self._function, self._timeout_seconds)

    def _give(self, number: int, item: Any, process: _Process) -> None:
        self._busy[process.connection] = process
        process.give(number, item)

    def _answers(self, *, is_last_try: bool) -> dict[int, Any]:
        """Wait for answers of busy processes; items of those that ended instead become suspects, or are lost."""
        results = {}
        for connection in wait(list(self._busy)):
            process = self._busy[connection]  # type: ignore[index]
            message = process.receive()
            if message == _IS_READY:
                continue
            del self._busy[connection]  # type: ignore[arg-type]
            number, item = process.task
            if isinstance(message, _Answer):
                self._idle.append(process)
                if message.error is not None:
                    raise message.error
                results[number] = message.result
                continue
            ended_by = process.ended_by()
            process.end()
            if is_last_try:
                results[number] = self._lost(ended_by)
            else:
                self._suspects.append((number, item))
        return results

    def _lost(self, ended_by: str) -> Lost:
        """In place of the result of an item that has lost a second process, by which it was tried alone."""
        if ended_by in _FROM_OUTSIDE:
            raise DataError(
                f"processes that decode images were ended from outside ({ended_by}), twice with the same file",
                expected="enough memory for one file at least",
                to_do="the same command goes on where it stopped; if memory ran out, on a machine with more of it",
            )
        if ended_by == "SIGALRM":
            return Lost(f"not decoded within {self._timeout_seconds:g} seconds")
        return Lost(f"the decoder crashed ({ended_by})")


def _work(connection: Connection, function: Callable[[Any], Any], timeout_seconds: float) -> None:
    """What a worker process does: one item after the other until its parent closes the connection or ends."""
    # Interrupts are for the parent. The alarm must end the process without a word.
    for name, action in (("SIGINT", signal.SIG_IGN), ("SIGUSR1", signal.SIG_IGN), ("SIGALRM", signal.SIG_DFL)):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), action)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        connection.send(_IS_READY)
        while True:
            item = connection.recv()
            _set_alarm(timeout_seconds)
            try:
                answer = _Answer(function(item), None)
            except Exception as error:  # whatever it is, the parent raises it
                error.add_note(traceback.format_exc())
                answer = _Answer(None, error)
            _set_alarm(0)
            connection.send(answer)
    except (EOFError, OSError):
        return


def _set_alarm(seconds: float) -> None:
    if hasattr(signal, "setitimer"):  # not on Windows, where nothing ends what takes too long
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that was killed cannot tell its children, which would go on with what they have.
        parent.join()
        os._exit(1)

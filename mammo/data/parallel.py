"""Work for threads or processes whose results come in the order of the items, whatever worker is done first."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from mammo.errors import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")

_function_of_this_process: Callable[[Any], Any]


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], num_workers: int, *, use_processes: bool = False
) -> Iterator[Result]:
    """Results of a function in the order of the items; with 0 workers computed by this thread.

    At most two items a worker are ahead of what has been taken, so that memory does not grow with
    their number. Threads are enough where most of the time is spent in libraries that release the
    interpreter's lock. Processes start in a second; the function is sent to each once, and raises DataError
    when one of them is killed.
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    pool: Executor
    if use_processes:
        # Not forked: a copy of a process with threads may hold locks that nobody will ever release.
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(num_workers, context, initializer=_start_process, initargs=(function,))
    else:
        pool = ThreadPoolExecutor(num_workers)
    work = _call if use_processes else function
    try:
        with pool:
            ahead: deque[Future[Result]] = deque()
            for item in items:
                ahead.append(pool.submit(work, item))
                if len(ahead) > 2 * num_workers:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
    except BrokenProcessPool as error:
        raise DataError(
            "a worker process was ended from outside or by a decoder that crashed",
            to_do="the same command goes on where it stopped; if memory ran out, with fewer workers",
        ) from error


def _start_process(function: Callable[[Any], Any]) -> None:
    """Prepare a worker process: it leaves an interrupt to its parent, and ends when its parent does."""
    global _function_of_this_process
    _function_of_this_process = function
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        # A parent that was killed cannot tell its children, which would wait for work forever.
        parent.join()
        os._exit(1)


def _call(item: Any) -> Any:
    return _function_of_this_process(item)

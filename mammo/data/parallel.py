"""Work for threads whose results come in the order of the items, whatever thread is done first."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

HEADER_THREADS = 8  # reading headers waits for the disk, not for the processor

Item = TypeVar("Item")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]
"""Called with the number of what is done and of all."""


def in_order(function: Callable[[Item], Result], items: Iterable[Item], num_workers: int) -> Iterator[Result]:
    """Results of a function in the order of the items; with 0 workers computed by this thread.

    At most two items a worker are ahead of what has been taken, so that memory does not grow with
    their number. Threads are enough where most of the time is spent in libraries that release the
    interpreter's lock; what may crash is work for `mammo.data.crash_safe_pool`.
    """
    if num_workers == 0:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(num_workers) as pool:
        ahead: deque[Future[Result]] = deque()
        for item in items:
            ahead.append(pool.submit(function, item))
            if len(ahead) > 2 * num_workers:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def counted(results: Iterable[Result], total: int, progress: Progress | None) -> Iterator[Result]:
    """The results, each counted when it is taken."""
    for done, result in enumerate(results, start=1):
        if progress is not None:
            progress(done, total)
        yield result

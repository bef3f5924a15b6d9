"""Real crashes, hangs and kills of worker processes cost the item that caused them, and nothing else."""

from __future__ import annotations

import ctypes
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mammo.data.crash_safe_pool import Lost, isolated
from mammo.support.errors import BadFile, DataError


class Once:
    """Does something harmful to the process the first time that any process calls it."""

    def __init__(self, marker: Path, harm: Callable[[], object]) -> None:
        self.marker, self.harm = marker, harm

    def __call__(self) -> str:
        try:
            self.marker.touch(exist_ok=False)
        except FileExistsError:
            return "the second time"
        self.harm()
        return "unreachable"


def read_address_zero() -> None:
    ctypes.string_at(0)


def kill_by_the_kernel() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def never_return() -> None:
    """Inside the regular expression engine, which holds the interpreter's lock."""
    re.match(r"(a+)+$", 60 * "a" + "b")


def leave() -> None:
    os._exit(3)


def complain() -> None:
    raise BadFile("a reason")


def do(task: int | Callable[[], object]) -> object:
    """A number is answered after a moment, anything else is called."""
    if isinstance(task, int):
        time.sleep(0.001)
        return 10 * task
    return task()


def results(tasks: list, num_processes: int = 2, timeout_seconds: float = 60) -> list:
    return list(isolated(do, tasks, num_processes, timeout_seconds))


def test_results_come_in_order_and_from_other_processes() -> None:
    assert results([*range(50)]) == [10 * number for number in range(50)]
    assert os.getpid() not in results([os.getpid] * 5)
    assert results([]) == []


def test_what_takes_its_process_along_is_lost_alone() -> None:
    tasks = [*range(9), read_address_zero, *range(9), leave, 3, os.abort]
    found = results(tasks)
    assert [result.reason for result in found if isinstance(result, Lost)] == [
        "the decoder crashed (SIGSEGV)",
        "the decoder crashed (exit status 3)",
        "the decoder crashed (SIGABRT)",
    ]
    assert [result for result in found if not isinstance(result, Lost)] == [10 * n for n in [*range(9), *range(9), 3]]
    assert [type(found[i]) for i in (9, 19, 21)] == [Lost, Lost, Lost]


def test_what_never_ends_is_ended_even_if_it_holds_the_interpreter() -> None:
    found = results([1, never_return, 2, 3], timeout_seconds=1)
    assert found == [10, Lost("not decoded within 1 seconds"), 20, 30]


@pytest.mark.parametrize("harm", [kill_by_the_kernel, read_address_zero, never_return])
def test_bad_luck_costs_nothing(tmp_path: Path, harm: Callable[[], None]) -> None:
    """Killed for the memory of others, or too slow beside them: the second time, alone, it works."""
    found = results([1, 2, Once(tmp_path / "marker", harm), 3, 4], timeout_seconds=2)
    assert found == [10, 20, "the second time", 30, 40]


def test_the_second_try_is_alone(tmp_path: Path) -> None:
    """While the suspect is tried again no other item is at work."""
    log = tmp_path / "log"
    found = results([Slow(log, n) for n in range(6)] + [Suspect(log)] + [Slow(log, n) for n in range(6, 12)], 3)
    assert isinstance(found[6], Lost)
    lines = log.read_text().splitlines()
    second = [i for i, line in enumerate(lines) if line == "suspect"][1]
    begun = {line.split()[1] for line in lines[:second] if line.startswith("begin")}
    ended = {line.split()[1] for line in lines[:second] if line.startswith("end")}
    assert begun == ended


class Slow:
    def __init__(self, log: Path, number: int) -> None:
        self.log, self.number = log, number

    def __call__(self) -> int:
        note(self.log, f"begin {self.number}")
        time.sleep(0.2)
        note(self.log, f"end {self.number}")
        return self.number


class Suspect(Slow):
    def __init__(self, log: Path) -> None:
        super().__init__(log, -1)

    def __call__(self) -> int:
        note(self.log, "suspect")
        time.sleep(0.1)
        os.abort()


def note(log: Path, line: str) -> None:
    with log.open("a") as stream:
        stream.write(line + "\n")


def test_what_is_killed_from_outside_twice_is_nobodys_fault() -> None:
    with pytest.raises(DataError, match=r"ended from outside \(SIGKILL\), twice") as caught:
        results([1, kill_by_the_kernel, 2])
    assert "goes on where it stopped" in str(caught.value)


def test_an_exception_is_raised_here_with_the_traceback_of_there() -> None:
    with pytest.raises(BadFile, match="a reason") as caught:
        results([1, complain])
    assert "in complain" in "".join(caught.value.__notes__)


def test_a_function_that_cannot_be_sent_or_begun_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be started"):
        list(isolated(Unreadable(), [1, 2], 1, 60))


class Unreadable:
    """Arrives in no other process."""

    def __reduce__(self) -> tuple:
        return leave, ()

    def __call__(self, item: object) -> object:
        return item


def test_no_process_outlives_the_results(tmp_path: Path) -> None:
    running = isolated(do, [os.getpid, never_return, 1, 2, 3], 2, 60)
    process = next(running)
    running.close()
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)

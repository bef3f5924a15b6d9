"""The command, see the package."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path

from tests.pictures import write_class_folders
from tests.torture.chain import Result, torture
from tests.torture.matrix import combinations, shown


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="at least so many")
    parser.add_argument("--kills-per-run", type=int, default=7, help="at most so many")
    parser.add_argument("--seed", type=int, default=0, help="of the runs and of the places")
    parser.add_argument("--processes", type=int, default=2, help="runs at a time")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = write_class_folders(Path(temporary, "data"))
        results = _campaign(options, data, Path(temporary))
        _print_table(results)
        failed = [result for result in results if result.differences]
        for result in failed:
            print(f"\n{shown(result.arguments, data)}\n  killed {result.kills}\n  {result.differences}")
    return 1 if failed else 0


def _campaign(options: argparse.Namespace, data: Path, folder: Path) -> list[Result]:
    """Runs until there are enough kills: through the whole matrix, and again with other places and options."""
    results: list[Result] = []
    runs = enumerate(_endless(options.seed), start=1000 * options.seed)
    work = partial(_one_chain, data=data, folder=folder, num_kills=options.kills_per_run)
    # Forked: a process that has imported everything starts a run in no time.
    with ProcessPoolExecutor(options.processes, multiprocessing.get_context("fork")) as pool:
        under_way = {pool.submit(work, next(runs)) for _ in range(options.processes)}
        while under_way:
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            results += [chain.result() for chain in done]
            print(f"{len(results)} runs, {_num_kills(results)} kills", file=sys.stderr, flush=True)
            if _num_kills(results) < options.kills:
                under_way |= {pool.submit(work, next(runs)) for _ in done}
    return results


def _endless(seed: int) -> Iterator[list[str]]:
    for round_number in itertools.count():
        yield from combinations(seed + 1000 * round_number)


def _one_chain(numbered: tuple[int, list[str]], data: Path, folder: Path, num_kills: int) -> Result:
    number, arguments = numbered
    with tempfile.TemporaryDirectory(dir=folder) as own:
        return torture(arguments, data, Path(own), num_kills, seed=number)


def _num_kills(results: list[Result]) -> int:
    return sum(len(result.kills) for result in results)


def _print_table(results: list[Result]) -> None:
    kills = Counter(place.doing for result in results for place in result.kills)
    identical = sum(not result.differences for result in results)
    print(f"{'killed while':24}kills")
    for doing, count in sorted(kills.items()):
        print(f"{doing:24}{count:5}")
    print(
        f"{'in all':24}{kills.total():5}, in {len(results)} runs; {identical} of them identical to the bit in the end"
    )


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.mutations --count 3000 --seed 0`: exit status 1 if anything came of a file that must not."""

from __future__ import annotations

import argparse
import sys

from mammo.support.progress import counting
from tests.mutations.campaign import run, tasks


def main() -> int:
    """Run a campaign and print its table."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("--count", type=int, default=3000, help="damaged files, beside the bombs")
    parser.add_argument("--bombs", type=int, default=20, help="files that inflate to gigabytes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    with counting("Damaged files") as count:
        report = run(tasks(options.count, options.seed, options.bombs), options.processes, count)
    print(report.table())
    for line in report.failures:
        print(f"FAILED: {line}")
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())

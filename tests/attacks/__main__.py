"""`python -m tests.attacks --count 5000 --seed 0`: exit status 1 if anything came of a case that must not."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from mammo.support.progress import counting
from tests.attacks.campaign import Campaign, Task, Verdict, table, tasks
from tests.attacks.cases import KINDS


def main() -> int:
    """Run a campaign and print its table."""
    parser = argparse.ArgumentParser(prog="python -m tests.attacks")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--only", metavar="KIND:NUMBER", action="append", help="a single case, or KIND: all of a kind")
    parser.add_argument("--keep", type=Path, help="work here, and leave the harmless examples")
    options = parser.parse_args()
    work = _chosen(tasks(options.count), options.only)
    with tempfile.TemporaryDirectory() as temporary:
        campaign = Campaign(Path(options.keep or temporary).resolve(), options.seed)
        campaign.prepare(dict.fromkeys(kind for kind, _ in work))
        verdicts = []
        with counting("Hostile cases") as count:
            for verdict in campaign.run(work, options.processes, count):
                verdicts.append(verdict)
                if verdict.wrong or options.only:
                    _say(verdict, options.seed)
    print(table(verdicts))
    return 1 if any(verdict.wrong for verdict in verdicts) else 0


def _chosen(work: list[Task], only: list[str] | None) -> list[Task]:
    if not only:
        return work
    named = [word.partition(":") for word in only]
    assert all(kind in KINDS for kind, _, _ in named)
    single = [(kind, int(number)) for kind, _, number in named if number]
    return single or [task for task in work if task[0] in [kind for kind, _, _ in named]]


def _say(verdict: Verdict, seed: int) -> None:
    mark = "FAILED" if verdict.wrong else verdict.outcome
    print(f"{mark}: --seed {seed} --only {verdict.kind}:{verdict.number} ({verdict.command}, {verdict.seconds:.1f} s)")
    print(f"    {verdict.attack[:300]!a}")
    for what, text in verdict.wrong.items():
        print(f"    {what}: {text[:300]!a}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

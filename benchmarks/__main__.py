"""Measures this machine: `make bench`, or with choices

    python -m benchmarks [--quick] [--only training --only decoding] [--rounds 3]

Writes benchmarks/results/<machine>.json, docs/performance.md and its chart. With --quick everything runs once and
small, to see that it works; those numbers mean nothing and go to outputs/benchmark-check.
"""

from __future__ import annotations

import argparse
import importlib
import os
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks.machine import describe, slug
from benchmarks.processes import REPOSITORY
from benchmarks.report import PARTS, store_part, write_report
from benchmarks.samples import BenchmarkError, Settings, SkippedPart
from mammo.runs.provenance import git_state, utc_now
from mammo.support.hardware import physical_cores

BUSY_LOAD = 0.5
DOCUMENT = Path("docs") / "performance.md"


def main() -> int:
    """Measure the parts in turn; a part that fails is reported and does not take the others with it."""
    arguments = parse()
    output = arguments.output or (REPOSITORY / "outputs" / "benchmark-check" if arguments.quick else REPOSITORY)
    document, results = output / DOCUMENT, output / "benchmarks" / "results"
    if not document.exists():
        document.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPOSITORY / DOCUMENT, document)
    machine, git = describe(arguments.device, arguments.threads), git_state()
    failed = []
    load_before = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    if load_before is not None and load_before > BUSY_LOAD:
        print(f"warning: this machine is busy (load {load_before:.1f}); times will be noisy", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="mammo-benchmarks-") as folder:
        settings = Settings(
            folder=Path(folder),
            quick=arguments.quick,
            rounds=1 if arguments.quick else arguments.rounds,
            threads=arguments.threads,
            device=machine["device"],
            dicom_folder=arguments.dicom,
            mias_folder=arguments.mias and arguments.mias.resolve(),  # commands run in folders of their own
        )
        for name in arguments.only or PARTS:
            print(f"{name}:", flush=True)
            try:
                result = importlib.import_module(f"benchmarks.{name}").measure(settings)
            except SkippedPart as reason:
                print(f"  skipped: {reason}", flush=True)
                continue
            except BenchmarkError as error:
                failed.append(name)
                print(f"  failed: {error}", file=sys.stderr, flush=True)
                continue
            origin = {"measured_at": utc_now(), "git_commit": git["commit"], "git_dirty": git["dirty"]}
            origin["load_before"] = load_before
            store_part(results / f"{slug(machine)}.json", machine, name, result, origin)
    write_report(results, document)
    print(f"\nwritten: {document.relative_to(output)}, {results.relative_to(output)}/{slug(machine)}.json in {output}")
    if failed:
        print(f"not measured: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a functional check of about two minutes")
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be repeated")
    parser.add_argument("--rounds", type=int, default=3, help="how often project and other are measured in turn")
    parser.add_argument("--threads", type=int, default=physical_cores(), help="CPU threads (default: physical cores)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dicom", type=Path, metavar="FOLDER", help="time the decoding of real mammograms too")
    parser.add_argument("--mias", type=Path, metavar="FOLDER", help="mini-MIAS, for the part that measures a sweep")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="write there, not into this checkout")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())

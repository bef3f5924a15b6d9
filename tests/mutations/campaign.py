"""All tasks of a campaign, worked off in processes that can be lost, and the table of what came of them."""

from __future__ import annotations

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from mammo.data.crash_safe_pool import Lost, isolated
from tests.mutations.judge import Judge, Task, Verdict
from tests.mutations.sources import Source, image_sources, table_sources

TIMEOUT_SECONDS = 120  # to make a bomb of gigabytes takes most of it on a busy machine
# Beside what the interpreter and its libraries take: the largest image that is read has 80 million pixels.
MEMORY_BYTES = 2_000_000_000
MEGABYTE = 10**6


def tasks(count: int, seed: int, num_bombs: int) -> list[Task]:
    """`count` damaged files, as many of each source, and some bombs."""
    sources = [*image_sources(), *table_sources()]
    several = [Task(sources[i % len(sources)], seed * 1_000_003 + i) for i in range(count)]
    dicom, png = (next(source for source in sources if source.kind == kind) for kind in ("dicom", "png"))
    bombs = [Task((dicom, png)[i % 2], seed * 1_000_003 + i, is_bomb=True) for i in range(num_bombs)]
    return [*several, *bombs]


@dataclasses.dataclass(frozen=True)
class Report:
    """Verdicts of a campaign, by task."""

    judged: list[tuple[Task, Verdict | Lost]]

    def count(self, matches: Callable[[Verdict], bool], kind: str | None = None) -> int:
        """Verdicts that match, of all files or of one kind."""
        return sum(
            isinstance(verdict, Verdict) and matches(verdict)
            for task, verdict in self.judged
            if kind in (None, _group(task.source))
        )

    def lost(self, words: str, kind: str | None = None) -> int:
        """Files that took their process along in a way that these words describe."""
        return sum(
            isinstance(verdict, Lost) and words in verdict.reason
            for task, verdict in self.judged
            if kind in (None, _group(task.source))
        )

    @property
    def failures(self) -> list[str]:
        """Whatever must not be, one line each."""
        lines = []
        for task, verdict in self.judged:
            what = f"{task.source.name}, seed {task.seed}{', bomb' if task.is_bomb else ''}"
            if isinstance(verdict, Lost):
                lines.append(f"{what}: {verdict.reason}")
            elif verdict.outcome == "untyped error" or verdict.is_wrong:
                lines.append(f"{what}, {verdict.damage}: {verdict.detail}")
            elif verdict.peak_bytes > MEMORY_BYTES:
                lines.append(f"{what}, {verdict.damage}: {verdict.peak_bytes / MEGABYTE:.0f} MB")
        return lines

    def table(self) -> str:
        """The table of the campaign, reasons of refusals below."""
        head = ("files", "tried", "refused", "accepted", "of them as before", "untyped", "crashes", "hangs", "wrong")
        groups = list(dict.fromkeys(_group(task.source) for task, _ in self.judged))
        rows = [self._row(group, group) for group in groups] + [self._row("all", None)]
        lines = [" | ".join(head), " | ".join("---" for _ in head)]
        lines += [" | ".join(map(str, row)) for row in rows]
        verdicts = [verdict for _, verdict in self.judged if isinstance(verdict, Verdict)]
        slowest = max(verdicts, key=lambda verdict: verdict.seconds)
        largest = max(verdicts, key=lambda verdict: verdict.peak_bytes)
        reasons = Counter(verdict.detail for verdict in verdicts if verdict.outcome == "refused")
        accepted = Counter(verdict.detail for verdict in verdicts if verdict.outcome == "accepted")
        return "\n".join([
            *lines, "", f"slowest: {slowest.seconds:.1f} s ({slowest.damage}); "
            f"most memory for one file: {largest.peak_bytes / MEGABYTE:.0f} MB ({largest.damage})",
            "", "accepted because:", *_counted(accepted), "", "refused because:", *_counted(reasons),
        ])  # fmt: skip

    def _row(self, name: str, kind: str | None) -> tuple[object, ...]:
        tried = sum(kind in (None, _group(task.source)) for task, _ in self.judged)
        hangs = self.lost("not decoded within", kind)
        return (
            name, tried, self.count(lambda v: v.outcome == "refused", kind),
            self.count(lambda v: v.outcome == "accepted", kind),
            self.count(lambda v: v.detail == "the same pixels", kind),
            self.count(lambda v: v.outcome == "untyped error", kind),
            self.lost("", kind) - hangs, hangs, self.count(lambda v: v.is_wrong, kind),
        )  # fmt: skip


def _group(source: Source) -> str:
    names = {"dicom": "DICOM", "png": "PNG", "jpeg": "JPEG", "tiff": "TIFF", "csv": "CSV", "features": "featureS.txt"}
    return names[source.kind]


def _counted(counts: Counter[str]) -> list[str]:
    return [f"{number:>6}  {text}" for text, number in counts.most_common()]


def run(work: Sequence[Task], num_processes: int = 2, progress: Callable[[int, int], None] | None = None) -> Report:
    """Judge all tasks."""
    judged: list[tuple[Task, Verdict | Lost]] = []
    with tempfile.TemporaryDirectory() as folder:
        # Each process has label files of its own: one process, or they would read each other's.
        tables = [task for task in work if task.source.kind in ("csv", "features")]
        images = [task for task in work if task.source.kind not in ("csv", "features")]
        for part, processes in ((images, num_processes), (tables, 1)):
            for task, verdict in zip(
                part, isolated(Judge(Path(folder)), part, processes, TIMEOUT_SECONDS), strict=True
            ):
                judged.append((task, verdict))
                if progress is not None:
                    progress(len(judged), len(work))
    return Report(judged)

"""All cases of a campaign, some at a time, and what came of each."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.attacks.cases import SHARES, Case, Workshop
from tests.attacks.commands import import_all, import_everything, run_words
from tests.attacks.process import Ended, Place, Running, forked
from tests.attacks.sources import SECRET, Sources, identifiers_in, run_in

TIMEOUT_SECONDS = 90.0
# What the doctor says where a check has failed for a reason that nobody foresaw.
UNFORESEEN = "a file holds something else than expected"
Task = tuple[str, int]


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What came of a case; `wrong` is empty, or says what must not be, by kind."""

    kind: str
    number: int
    command: str
    attack: str
    outcome: str
    wrong: dict[str, str]
    seconds: float


def tasks(count: int) -> list[Task]:
    """`count` cases, of each kind its share."""
    total = sum(SHARES.values())
    sizes = {kind: count * share // total for kind, share in SHARES.items()}
    sizes["checkpoint"] += count - sum(sizes.values())
    # Mixed, so that quick and slow ones run beside each other.
    numbered = [(i / size, kind, i) for kind, size in sizes.items() for i in range(size)]
    return [(kind, i) for _, kind, i in sorted(numbered)]


class Campaign:
    """Runs cases in processes of their own and judges them."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.sources = Sources(folder / "sources")
        self.workshop = Workshop(self.sources, seed)
        self.roots = {"DATA": self.sources.data, "CACHE": self.sources.cache, "SOURCES": self.sources.folder}
        self._harmless: set[str] = set()
        self._num_places = 0

    def prepare(self, kinds: Iterable[str]) -> None:
        """Make the harmless examples and note what the commands do with them."""
        os.environ["CANARY_SECRET"] = SECRET
        import_everything()
        kinds = list(kinds)
        self.sources.make(kinds)
        threads = ["threads=1", f"cache_dir={self.sources.cache}", f"data.root={self.sources.data}"]
        portable = self.sources.folder / "model.safetensors"
        run = run_in(self.sources.finished)
        place = self._place()
        place.work.mkdir()
        portable.unlink(missing_ok=True)
        ended = forked(
            lambda: run_words("export", [f"run={run}", "format=safetensors", f"output={portable}", *threads]),
            place,
            100,
        )
        if ended.status != 0:
            raise RuntimeError(ended.output)
        noted = set()
        for kind in kinds:
            for command in self.workshop.commands(kind):
                # A checkpoint is read as the run that it lies in.
                of_run = (kind.replace("checkpoint", "run"), command)
                if of_run not in noted:
                    self._note_harmless(kind, command)
                noted.add(of_run)

    def _note_harmless(self, kind: str, command: str) -> None:
        for _ in range(2):  # the second time with the modules that the first one has imported
            place = self._place()
            case = self.workshop.harmless(kind, command, place)
            ended = forked(case.work, place, TIMEOUT_SECONDS, self.roots)
            shutil.rmtree(place.beside.parent)
            if ended.status not in (0, 1, 2) or "Traceback" in ended.output:
                raise RuntimeError(f"{kind}, {command} without an attack: {ended.output[-2000:]}")
            if not import_all(ended.modules):
                break
        # What another command does with it is harmless too: where a summary is damaged, for example, a run goes on.
        self._harmless |= ended.events

    def run(self, work: list[Task], processes: int, progress: Callable[[int, int], None]) -> Iterator[Verdict]:
        """Verdicts in the order in which cases end."""
        waiting, running, done = list(reversed(work)), list[tuple[Case, Running]](), 0
        while waiting or running:
            while waiting and len(running) < processes:
                place = self._place()
                case = self.workshop.make(*waiting.pop(), place)
                running.append((case, Running(case.work, place, TIMEOUT_SECONDS, self.roots)))
            for case, process in list(running):
                if (ended := process.poll()) is not None:
                    running.remove((case, process))
                    yield self._judge(case, ended, process.place)
                    shutil.rmtree(process.place.beside.parent, ignore_errors=True)
                    done += 1
                    progress(done, len(work))
            time.sleep(0.003)

    def _place(self) -> Place:
        self._num_places += 1
        folder = self.folder / f"case-{os.getpid()}-{self._num_places}"
        (folder / "beside").mkdir(parents=True)
        return Place(folder / "work", folder / "beside")

    def _judge(self, case: Case, ended: Ended, place: Place) -> Verdict:
        wrong: dict[str, str] = {}
        if ended.is_late:
            wrong["hang"] = f"not done in {TIMEOUT_SECONDS:.0f} s"
        elif ended.status < 0:
            wrong["crash"] = f"signal {-ended.status}"
        elif ended.status not in (0, 1, 2):
            wrong["untyped"] = f"status {ended.status}"
        written = "\n".join(_written(place))
        for text in (ended.output, written):
            if "Traceback (most recent call last)" in text:
                wrong["untyped"] = _last_of_traceback(text)
            elif (found := re.search(rf"{UNFORESEEN}.*", text)) is not None:
                wrong["unforeseen"] = found[0]
        if case.kind == "table":  # what is refused is written in a sweep
            written += ended.output
        if names := identifiers_in(written):
            wrong["identifiers"] = f"{', '.join(names)} written"
        if SECRET in ended.output:
            wrong["canary"] = "the secret is printed"
        if strange := sorted(event for event in ended.events - self._harmless if not _is_of_no_account(event)):
            wrong["events"] = "; ".join(strange[:6])
        if [path.name for path in place.canary.iterdir()] != ["secret.txt"]:
            wrong["canary"] = "something was made in the folder of the canary"
        elif (place.canary / "secret.txt").read_text() != SECRET:
            wrong["canary"] = "the canary was changed"
        outcome = {0: "read", 1: "problems found", 2: "refused"}.get(ended.status, "lost")
        return Verdict(case.kind, case.number, case.command, case.attack, outcome, wrong, ended.seconds)


def _is_of_no_account(event: str) -> bool:
    """Events that depend on how far a command comes, and do nothing."""
    name, _, what = event.partition(" ")
    if name in ("compile", "exec", "code.__new__", "marshal.loads", "import"):
        # Modules of Python, of the packages and of the project that are imported late, also for an error message.
        return not what.startswith("#")
    inside = what in ("WORK", "CACHE", "DATA", "REPOSITORY", "SYSTEM", "BESIDE")
    writes = name not in ("read", "os.listdir", "os.scandir")
    # A run keeps the images and features of the dataset in the cache.
    return event == "ctypes.dlopen None" or (inside and (not writes or what in ("WORK", "BESIDE", "CACHE")))


def _written(place: Place) -> Iterator[str]:
    """The text of what is in the folder of a case and was not there before, or is a result."""
    for path in place.work.rglob("*"):
        if path.suffix in (".pth", ".png", ".pdf", ".npy", ".db", ".safetensors") or "data" in path.parts[-2:]:
            continue
        with contextlib.suppress(OSError):
            if path.is_file() and not path.is_symlink() and path.stat().st_mtime > 0 and path.stat().st_size < 2**24:
                yield path.read_text(encoding="utf-8", errors="replace")


def _last_of_traceback(text: str) -> str:
    start = text.rindex("Traceback (most recent call last)")
    lines = text[start:].splitlines()
    frames = [line.strip() for line in lines if line.lstrip().startswith("File ") and "mammo" in line]
    error = next((line for line in lines[1:] if line and not line.startswith(" ")), "")
    place = re.sub(r'File "(.*/)?(?P<name>\w+/\w+\.py)", line (?P<line>\d+), in (?P<function>.*)',
                   r"\g<name>:\g<line> \g<function>", frames[-1]) if frames else ""  # fmt: skip
    return f"{error[:150]} [{place}]"


def table(verdicts: list[Verdict]) -> str:
    """Kinds and what came of them."""
    outcomes, wrongs = ("read", "problems found", "refused", "lost"), ("untyped", "unforeseen", "crash", "hang",
    "events",
                                                                      "canary", "identifiers")  # fmt: skip
    head = ("kind", "tried", *outcomes, *wrongs)
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for kind in (*SHARES, "all"):
        of_kind = [v for v in verdicts if kind in (v.kind, "all")]
        by_outcome, by_wrong = Counter(v.outcome for v in of_kind), Counter(name for v in of_kind for name in v.wrong)
        cells = [kind, len(of_kind), *(by_outcome[name] for name in outcomes), *(by_wrong[name] for name in wrongs)]
        lines.append(" | ".join(map(str, cells)))
    return "\n".join(lines)

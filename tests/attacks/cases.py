"""From a seed, a kind and a number to a hostile case: a folder in which a command is run, and that command."""

from __future__ import annotations

import dataclasses
import shutil
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import yaml

from tests.attacks.checkpoints import attack_checkpoint, attack_portable
from tests.attacks.commands import read_labels, run_train, run_words
from tests.attacks.files import attack_file, attack_folder, attack_place, attack_text
from tests.attacks.process import Place
from tests.attacks.sources import SECRET, Sources, run_in
from tests.attacks.texts import TABLES, attack_configuration, attack_labels, attack_study, write_labels
from tests.attacks.values import Random, chosen

KINDS = ("checkpoint", "run", "sweep", "study", "configuration", "table")
# What a campaign has of each, of a hundred.
SHARES = {"checkpoint": 30, "run": 27, "sweep": 11, "study": 8, "configuration": 12, "table": 12}
# Commands for each kind, the quick ones more often.
_OF_RUN = {"doctor": 24, "repeat": 24, "report": 12, "resume": 14, "evaluate": 8, "predict": 8, "export": 6, "embed": 2,
           "explain": 2}  # fmt: skip
_OF_CHECKPOINT = {"predict": 34, "doctor": 18, "resume": 18, "evaluate": 12, "export": 12, "embed": 3, "explain": 3}
_OF_SWEEP = {"report": 30, "doctor": 40, "repeat": 15, "predict": 15}
RUN_FILES = (
    "summary.json", "summary.json", "summary.json", "train_history.json", "train_history.csv",
    "metrics/val_metrics.json",
    "metrics/calibration.json", "splits/manifest.json", "splits/train.csv", "splits/val.csv", "val_predictions.csv",
    "quarantine.csv", "config.yaml", "config.yaml", ".hydra/config.yaml", ".hydra/overrides.yaml", "error.json",
    "optuna_trial.json", "run.log", "evaluation/val/evaluation.json", "evaluation/val/predictions.csv",
    "evaluation/val/comparison.json", "explanations/val/explanations.csv", "embeddings_val.npy",
    "checkpoints/SHA256SUMS",
    "checkpoints/MODEL_CARD.md", "report/figures.json", ".lock", ".lock_owner", "mlflow_run.json",
)  # fmt: skip
RUN_FOLDERS = (
    "checkpoints",
    "metrics",
    "splits",
    ".hydra",
    "report",
    "evaluation",
    "exports",
    "embeddings",
    "explanations",
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One case: what was done to a harmless example, which command reads it, and how."""

    kind: str
    number: int
    command: str
    attack: str
    work: Callable[[], int]


class Workshop:
    """Makes cases from the harmless examples."""

    def __init__(self, sources: Sources, seed: int) -> None:
        self.sources, self.seed = sources, seed

    def make(self, kind: str, number: int, place: Place) -> Case:
        """A hostile case in an empty place."""
        random = np.random.default_rng([self.seed, zlib.crc32(kind.encode()), number])
        return self._make(kind, number, place, random, None)

    def harmless(self, kind: str, command: str, place: Place) -> Case:
        """The same without an attack."""
        return self._make(kind, -1, place, np.random.default_rng(0), command)

    def commands(self, kind: str) -> list[str]:
        """The commands that a kind is read by."""
        known: dict[str, Sequence[str]] = {
            "checkpoint": [*_OF_CHECKPOINT, "predict-portable"], "run": list(_OF_RUN), "sweep": list(_OF_SWEEP),
            "study": ["search"], "configuration": ["compose"], "table": list(TABLES),
        }  # fmt: skip
        return list(known[kind])

    def _make(self, kind: str, number: int, place: Place, random: Random, command: str | None) -> Case:
        place.canary.mkdir(parents=True)
        (place.canary / "secret.txt").write_text(SECRET)
        make = {
            "checkpoint": self._checkpoint, "run": self._run, "sweep": self._sweep, "study": self._study,
            "configuration": self._configuration, "table": self._table,
        }[kind]  # fmt: skip
        command, attack, work = make(place, random, command)
        return Case(kind, number, command, attack, work)

    def _checkpoint(self, place: Place, random: Random, command: str | None) -> tuple[str, str, Callable[[], int]]:
        is_hostile = command is None
        portable = command == "predict-portable" or (is_hostile and random.random() < 0.12)
        command = command or ("predict-portable" if portable else _picked(random, _OF_CHECKPOINT))
        if portable:
            place.work.mkdir()
            shutil.copy(self.sources.folder / "model.safetensors", place.work)
            what = attack_portable(place.work / "model.safetensors", random, _marker(place)) if is_hostile else ""
            return command, what, self._tool("predict", ["run=model.safetensors"])
        self._copy(self.sources.unfinished if command == "resume" else self.sources.finished, place)
        run = run_in(place.work)
        file = (
            run
            / "checkpoints"
            / ("last_model.pth" if command == "resume" and random.random() < 0.7 else "best_model.pth")
        )
        what = attack_checkpoint(file, random, _marker(place)) if is_hostile else ""
        if is_hostile and command == "resume" and random.random() < 0.5:
            for other in file.parent.glob("*.pth"):
                if other != file:
                    other.unlink()
        alone = random.random() < 0.4 and command in ("predict", "export")
        named = f"outputs/{run.name}/checkpoints/best_model.pth" if alone else f"outputs/{run.name}"
        return command, what, self._read_run(command, named, place)

    def _run(self, place: Place, random: Random, command: str | None) -> tuple[str, str, Callable[[], int]]:
        is_hostile = command is None
        command = command or _picked(random, _OF_RUN)
        self._copy(self.sources.unfinished if command == "resume" else self.sources.finished, place)
        run, what = run_in(place.work), ""
        if is_hostile and random.random() < 0.08:
            what = attack_folder(run / chosen(random, RUN_FOLDERS), place.canary, random)
        elif is_hostile:
            for _ in range(int(random.integers(1, 3))):
                file = run / chosen(random, RUN_FILES)
                if file.parent.is_dir() or not file.parent.exists():
                    what += attack_file(file, place.canary, random, _marker(place)) + ". "
        return command, what, self._read_run(command, f"outputs/{run.name}", place)

    def _sweep(self, place: Place, random: Random, command: str | None) -> tuple[str, str, Callable[[], int]]:
        is_hostile = command is None
        command = command or _picked(random, _OF_SWEEP)
        is_search = is_hostile and command in ("report", "doctor") and random.random() < 0.4
        self._copy(self.sources.search if is_search else self.sources.sweep, place)
        (sweep,), what = (place.work / "multirun").iterdir(), ""
        if is_hostile:
            runs = sorted(path for path in sweep.iterdir() if (path / "summary.json").exists())
            names = ["sweep.json"] * 5 + ["sweep_summary.json", "cv_summary.json", "summary.md", "best_config.yaml"]
            file = sweep / chosen(random, names)
            if random.random() < 0.4:
                file = chosen(random, runs) / chosen(random, RUN_FILES)
            if file.parent.is_dir():
                what = attack_file(file, place.canary, random, _marker(place))
        if command == "repeat":
            return command, what, lambda: run_train(self.sources.sweep_words)
        if command == "predict":
            return command, what, self._tool("predict", [f"run=multirun/{sweep.name}"])
        return command, what, lambda: run_words(command, [f"multirun/{sweep.name}"])

    def _study(self, place: Place, random: Random, command: str | None) -> tuple[str, str, Callable[[], int]]:
        self._copy(self.sources.search, place)
        file = next((place.work / "multirun").iterdir()) / "study.db"
        what = ""
        if command is None:
            what = (
                attack_study(file, random, _marker(place))
                if random.random() < 0.97
                else attack_place(file, place.canary, random)
            )
        more = command is None and random.random() < 0.3
        words = [word.replace("hpo.trials=2", "hpo.trials=3") if more else word for word in self.sources.search_words]
        return "search", what, lambda: run_train(words)

    def _configuration(self, place: Place, random: Random, command: str | None) -> tuple[str, str, Callable[[], int]]:
        place.work.mkdir()
        (best,) = self.sources.search.glob("multirun/*/best_config.yaml")
        what = "the best configuration of a search"
        if command is None:
            honest = yaml.safe_load(best.read_text())
            what = attack_configuration(place.work / "friend", honest, random, _marker(place))
        else:
            (place.work / "friend" / "experiment").mkdir(parents=True)
            shutil.copy(best, place.work / "friend" / "experiment" / "x.yaml")
        words = ["--config-dir", "friend", "experiment=x", "--cfg", "job", "--resolve"]
        return "compose", what, lambda: run_train(words)

    def _table(self, place: Place, random: Random, command: str | None) -> tuple[str, str, Callable[[], int]]:
        name = command or chosen(random, list(TABLES))
        place.work.mkdir()
        file = write_labels(place.work / "data", name)
        what = ""
        if command is None:
            odd = random.random() < 0.06
            what = attack_place(file, place.canary, random) if odd else attack_labels(file, random, _marker(place))
        return name, what, lambda: read_labels(name, place.work / "data")

    def _read_run(self, command: str, named: str, place: Place) -> Callable[[], int]:
        if command in ("repeat", "resume"):
            return lambda: run_train(self.sources.train_words)
        if command in ("report", "doctor"):
            return lambda: run_words(command, [named.removesuffix("/checkpoints/best_model.pth")])
        return self._tool(command, [f"run={named}"])

    def _tool(self, command: str, words: list[str]) -> Callable[[], int]:
        more = {
            "predict": [f"input={self.sources.image}", "output=preds.csv"], "export": ["format=safetensors"],
            "explain": ["limit=2"], "embed": [], "evaluate": [],
        }[command]  # fmt: skip
        if command == "export" and words[0].endswith(".pth"):
            more += [f"data.root={self.sources.data}", "output=x.safetensors"]
        return lambda: run_words(command, [*words, *more, "threads=1", f"cache_dir={self.sources.cache}"])

    def _copy(self, source: Path, place: Place) -> None:
        shutil.copytree(source, place.work, symlinks=True)


def _picked(random: Random, weights: dict[str, int]) -> str:
    names = list(weights)
    shares = np.array(list(weights.values()), dtype=float)
    return names[int(random.choice(len(names), p=shares / shares.sum()))]


def _marker(place: Place) -> str:
    return str(place.canary / "PAYLOAD-RAN")


__all__ = ["KINDS", "SHARES", "Case", "Workshop", "attack_text"]

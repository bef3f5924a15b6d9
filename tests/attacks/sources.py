"""The harmless examples: small real runs on twelve women with the smallest network that works."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.attacks.commands import import_all, run_train, run_words
from tests.attacks.process import Place, forked

# Stand for what identifies a person: in the label table, in names of files, never in what is written.
IDENTIFIERS = ("KOWALSKA^JANINA", "19610203", "Nowak_Zofia", "990317")
IMAGES, WOMEN = 24, 12
SECRET = "canary-5f0c2d"
_NAME = "test_efficientnet"
# Two small epochs on the CPU.
TINY = (
    "data=table", "model=timm", f"model.name={_NAME}", "model.weights=none", "data.image_size=64",
    "data.batch_size=8", "train.epochs=2", "train.threads=1", "data.val_fraction=0.5", "optimizer.lr=1e-3",
    "train.keep_checkpoint_every_epochs=1", "device=cpu",
)  # fmt: skip
SEARCH = (
    "hpo.trials=2", "hydra/sweeper/sampler=random", "train.epochs=1", "sweep.name=search",
    "optimizer.lr=interval(1e-4, 1e-2)", "loss.label_smoothing=interval(0.0, 0.2)", "augment=choice(none, standard)",
)  # fmt: skip


class Sources:
    """The folders of the harmless examples below `folder`; `make` fills them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.cache = folder / "data", folder / "cache"
        self.finished, self.unfinished = folder / "finished", folder / "unfinished"
        self.sweep, self.search = folder / "sweep", folder / "search"

    @property
    def train_words(self) -> list[str]:
        """The options of the run."""
        return [*TINY, f"data.root={self.data}", f"cache_dir={self.cache}"]

    @property
    def image(self) -> Path:
        """One image of the dataset."""
        return sorted((self.data / "images").iterdir())[0]

    def make(self, kinds: Iterable[str]) -> None:
        """Write the dataset, train a run, and a sweep and a search where they are attacked.

        What an earlier campaign has made in this folder is used again. Raises RuntimeError when one of them fails.
        """
        self._make_run()
        if "sweep" in kinds and not self.sweep.is_dir():
            swept = ["-m", *self.train_words, "data.num_folds=2", "data.fold=0,1", "train.epochs=1", "sweep.name=sweep"]
            self._do(self.sweep, lambda: run_train([w for w in swept if not w.startswith("data.val_fraction")]))
        if {"sweep", "study", "configuration"}.intersection(kinds) and not self.search.is_dir():
            self._do(self.search, lambda: run_train(self.search_words))

    def _make_run(self) -> None:
        if self.unfinished.is_dir():
            return
        write_dataset(self.data)
        self._do(self.finished, lambda: run_train(self.train_words))
        run = f"run={run_in(self.finished).relative_to(self.finished)}"
        threads = ["threads=1", f"cache_dir={self.cache}"]
        self._do(self.finished, lambda: run_words("evaluate", [run, *threads]))
        self._do(self.finished, lambda: run_words("explain", [run, "limit=2", *threads]))
        shutil.copytree(self.finished, self.unfinished, symlinks=True)
        _as_after_the_first_epoch(run_in(self.unfinished))

    @property
    def sweep_words(self) -> list[str]:
        """The options of the sweep."""
        return [*_without(self.train_words, "data.val_fraction", "train.epochs"), "data.num_folds=2", "data.fold=0,1",
                "train.epochs=1", "sweep.name=sweep", "-m"]  # fmt: skip

    @property
    def search_words(self) -> list[str]:
        """The options of the search."""
        return [*_without(self.train_words, "optimizer.lr", "train.epochs"), *SEARCH, "-m"]

    def _do(self, folder: Path, work: Callable[[], int]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        ended = forked(work, Place(folder, folder.parent / f"{folder.name}-beside"), timeout_seconds=300)
        if ended.status != 0:
            raise RuntimeError(f"a harmless example cannot be made: {ended.output[-2000:]}")
        import_all(ended.modules)


def _without(words: Sequence[str], *keys: str) -> list[str]:
    return [word for word in words if word.partition("=")[0] not in keys]


def run_in(folder: Path) -> Path:
    """The only run in `outputs/`."""
    (run,) = (folder / "outputs").iterdir()
    return run


def write_dataset(root: Path) -> None:
    """Two images each of twelve women whose names are in the table and in the names of the files."""
    random = np.random.default_rng(0)
    y, x = np.mgrid[:96, :72]
    breast = ((y - 48) / 42) ** 2 + (x / 60) ** 2 < 1
    (root / "images").mkdir(parents=True)
    lines = ["path,label,patient_id,laterality,view"]
    for i in range(IMAGES):
        woman, label = i // 2, (i // 2) % 4
        tissue = random.random(breast.shape) < 0.1 + 0.25 * label
        grey = breast * (70 + 120 * tissue + random.normal(0, 8, breast.shape))
        name = f"images/Nowak_Zofia_990317_{i:02d}.png"
        Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(root / name)
        lines.append(f"{name},{'ABCD'[label]},KOWALSKA^JANINA{woman} 19610203,{'LR'[i % 2]},CC")
    (root / "labels.csv").write_text("\n".join([*lines, ""]))


def _as_after_the_first_epoch(run: Path) -> None:
    """What is there of the run when it was interrupted after its first epoch."""
    checkpoints = run / "checkpoints"
    first = checkpoints / "checkpoint_epoch_1.pth"
    for name in ("last_model.pth", "best_model.pth"):
        (checkpoints / name).unlink()
        os.link(first, checkpoints / name)
    for path in checkpoints.iterdir():
        if path.name not in ("last_model.pth", "best_model.pth"):
            path.unlink()
    history = json.loads((run / "train_history.json").read_text())[:1]
    (run / "train_history.json").write_text(json.dumps(history))
    summary = json.loads((run / "summary.json").read_text())
    summary |= {"status": "interrupted", "epochs_run": 1, "best_epoch": 1}
    (run / "summary.json").write_text(json.dumps(summary))
    for name in ("evaluation", "explanations"):
        shutil.rmtree(run / name, ignore_errors=True)


def identifiers_in(text: str) -> list[str]:
    """Which of the planted identifiers and secrets a text has; digits within a longer number are none."""
    return [word for word in (*IDENTIFIERS, SECRET) if re.search(_pattern(word), text, re.IGNORECASE)]


def _pattern(word: str) -> str:
    return rf"(?<!\d)(?<!\d\.){word}(?!\d)" if word.isdecimal() else re.escape(word)

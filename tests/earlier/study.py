"""The study that an earlier version has left, and the commands that it was made by."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

ARCHIVE = Path(__file__).with_name("5a690a5.tar.xz")
TINY = (
    "data=table", "data.root=data", "model=timm", "model.name=test_efficientnet", "model.weights=none",
    "data.image_size=64", "data.batch_size=8", "data.pseudonymize=false", "train.threads=1", "train.amp=off",
    "device=cpu", "cache_dir=cache",
)  # fmt: skip
SINGLE = (*TINY, "data.val_fraction=0.4", "optimizer.lr=1e-3")
FINISHED = (*SINGLE, "train.epochs=3", "run.name=finished")
INTERRUPTED = (*SINGLE, "train.epochs=6", "run.name=whole", "hydra.run.dir=interrupted")
SWEEP = (
    *TINY, "-m", "strategy=head_only", "train.epochs=2", "optimizer.lr=1e-2", "seed=42,43", "data.num_folds=2",
    "data.fold=all", "sweep.name=seeds-and-folds",
)  # fmt: skip
SEARCH = (
    *TINY, "-m", "data.val_fraction=0.4", "hpo=density", "strategy=head_only", "train.epochs=2", "hpo.trials=6",
    "sweep.name=search",
)  # fmt: skip


def unpack(folder: Path) -> Path:
    """The study, unpacked below a folder."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "study"


def load(file: Path) -> Any:
    return json.loads(file.read_text())

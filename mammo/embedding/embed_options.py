"""Options of `python -m mammo.embed`. No heavy imports: `--help` reads them."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mammo.inference.command_options import TrainedOptions
from mammo.support.option_registry import option


@dataclasses.dataclass(frozen=True)
class EmbedOptions(TrainedOptions):
    """Whose features, of which images, and where they go."""

    model: str | None = option(
        None,
        "instead of run: a choice of conf/model or a name of timm, as published, without training; needs data=NAME",
    )
    weights: str = option("auto", "of model: auto, imagenet (fail if they cannot be had), none, or a file")
    image_size: int | None = option(
        None, "of model: side of the images in pixels; null: as in training", at_least=32, at_most=4096
    )
    split: Literal["val", "test", "all"] | None = option(
        None, "part of the run's own data; null: val, and all of another dataset"
    )
    output: str | None = option(None, "folder of the results; null: <run>/embeddings/<split or dataset>")
    seed: int = option(42, "seed of folds, t-SNE, UMAP and k-means", at_least=0, at_most=2**31 - 1)
    umap: bool = option(False, "draw a UMAP too; needs pip install -e '.[umap]'")

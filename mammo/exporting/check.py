"""Whether an exported file says what the network says, on real images."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import numpy as np

from mammo.data.batches import LabelledImages
from mammo.data.phantom import VIEWS, render_view
from mammo.data.phantom_anatomy import WHITE
from mammo.data.preprocess import prepare
from mammo.data.store import StoredImages
from mammo.exporting.formats import open_onnx, open_torchscript
from mammo.inference.command_options import DataChoice
from mammo.inference.datasets import load_shown
from mammo.inference.trained import Trained, load_trained, predict_images, resolved_hardware
from mammo.support.errors import UserError
from mammo.support.progress import track

log = logging.getLogger(__name__)

NUM_IMAGES = 16
# Largest difference of a probability: an exporter may sum in another order, not compute something else.
TOLERANCE = 1e-3


@dataclasses.dataclass(frozen=True)
class CheckImages:
    """The images that a file is checked on; `words` say what they are, `are_real` whether anybody took them."""

    images: LabelledImages
    words: str
    are_real: bool


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Largest absolute differences between an exported file and the network, over images and classes."""

    max_abs_difference_probabilities: float
    max_abs_difference_logits: float

    @property
    def agrees(self) -> bool:
        """Whether the file may be used; not where a difference is no number."""
        return self.max_abs_difference_probabilities <= TOLERANCE


def check_images(trained: Trained, choice: DataChoice, cache_dir: str | None) -> CheckImages:
    """Up to 16 images, spread over the validation set or over the dataset that was chosen.

    Where the data of the run cannot be had and none is chosen, generated ones, with a warning; raises a UserError
    for data that was chosen and cannot be had.
    """
    try:
        shown = load_shown(trained, choice, None, cache_dir)
    except UserError as error:
        if not choice.says_nothing:
            raise
        log.warning(
            "the images of the run cannot be had (%s): the file is compared on GENERATED images; data.root=DIR or "
            "data=NAME data.root=DIR gives it real ones",
            error.found,
        )
        return CheckImages(generated_images(trained), "generated images, of no patient", False)
    data = choice.composed or trained.config.data
    is_phantom = data.format == "phantom"
    what = "validation images of the run" if shown.split == "val" else "images"
    spread = np.linspace(0, len(shown.rows) - 1, min(NUM_IMAGES, len(shown.rows))).round().astype(np.intp)
    words = f"{what} ({data.name}{', generated' if is_phantom else ''})"
    return CheckImages(shown.dataset.part(shown.rows[spread]), words, not is_phantom)


def generated_images(trained: Trained) -> LabelledImages:
    """As many generated views, four of each woman, prepared as the network wants them."""
    settings = trained.settings
    wanted = [(number, *view) for number in range(NUM_IMAGES // len(VIEWS)) for view in VIEWS]
    squares = [
        prepare(
            render_view(0, number, laterality, view).image.astype(np.float32) / WHITE,
            laterality, settings.size_px, settings.crop, settings.orient,
        )
        for number, laterality, view in track(wanted, "Generating images", len(wanted))
    ]  # fmt: skip
    images = StoredImages(np.stack(squares), np.arange(len(wanted)))
    return LabelledImages(images, np.zeros(len(wanted), dtype=np.int64), [f"{i}" for i in range(len(wanted))])


def compare(trained: Trained, path: Path, chosen: str, images: LabelledImages) -> Comparison:
    """A file of the format `chosen` against the network, on images all at once and on the first one alone."""
    expected = predict_images(trained, images, "The network")
    if chosen == "safetensors":
        again = predict_images(
            load_trained(path, resolved_hardware("cpu", trained.hardware.threads)), images, "The file"
        )
        pairs = [(again.outputs - expected.outputs, again.probabilities - expected.probabilities)]
    else:
        run = open_onnx(path, trained.hardware.threads) if chosen == "onnx" else open_torchscript(path)
        stored = images.images.read(np.arange(len(images)))
        squares = stored[:, None].astype(np.float32) / 255
        pairs = []
        for count in (len(squares), 1):
            logits, probabilities = run(squares[:count])
            pairs.append((logits - expected.outputs[:count], probabilities - expected.probabilities[:count]))
    return Comparison(
        max_abs_difference_probabilities=max(float(np.abs(difference).max()) for _, difference in pairs),
        max_abs_difference_logits=max(float(np.abs(difference).max()) for difference, _ in pairs),
    )

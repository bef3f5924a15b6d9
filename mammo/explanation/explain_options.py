"""Options of heat maps. No heavy imports: `--help` reads them."""

from __future__ import annotations

import dataclasses
from typing import Literal

from mammo.inference.command_options import TrainedOptions
from mammo.support.option_registry import option

# Which class a map is about, other than a class by its name.
PREDICTED, TRUE = "predicted", "true"
Method = Literal["gradcam", "gradcam++", "layercam", "hirescam", "eigencam"]


@dataclasses.dataclass(frozen=True)
class ExplainOptions(TrainedOptions):
    """Which images, and how their heat maps are made."""

    image: list[str] = option([], "image_id as in val_predictions.csv; none: the most confident right and wrong ones")
    limit: int = option(8, "how many images, where none is named", at_least=1)
    split: Literal["val", "test", "all"] | None = option(
        None, "images of the run's data; null: val, and of another dataset all"
    )
    method: Method = option("gradcam", "how a map is made of activations and gradients")
    layer: int | None = option(
        None, "block whose output is shown, 1 is the last; null: the last one on which the classes depend", at_least=1
    )
    target: str = option(PREDICTED, f"class that a map is about: {PREDICTED}, {TRUE}, or the name of a class")
    output: str | None = option(None, "folder to write to; null: explanations/ in the run directory")

"""Made-up cases for tests of what is drawn and written."""

from __future__ import annotations

import numpy as np

from mammo.explanation.cases import Case


def make_case(
    image_id: str = "p01_L", y_true: str = "B", y_pred: str = "C", confidence: float = 0.7, shape=(60, 40), **changes
) -> Case:
    """A grey ramp whose map is 1 in its upper left quarter; the network saw all but the last ten columns."""
    rows, columns = shape
    others = (1 - confidence) / 3
    heat = np.zeros(shape, dtype=np.float32)
    heat[: rows // 2, : columns // 2] = 1
    values = {
        "image_id": image_id,
        "y_true": y_true,
        "y_pred": y_pred,
        "probabilities": {name: confidence if name == y_pred else others for name in "ABCD"},
        "target": y_pred,
        "method": "gradcam",
        "layer": 1,
        "picture": np.linspace(0, 1, rows * columns, dtype=np.float32).reshape(shape),
        "heat": heat,
        "box_px": (0, rows, 0, columns - 10),
        "fraction_on_black": 0.254,
    }
    return Case(**{**values, **changes})

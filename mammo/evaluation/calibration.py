"""Whether probabilities mean what they say: reliability of them, and one temperature that mends them."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import brentq

from mammo.evaluation.predictions import PredictionTable
from mammo.evaluation.score_formulas import ECE_BINS, Floats, confidence_bins
from mammo.tasks.multiclass import LABELS
from mammo.tasks.outputs import SOFTMAX, OutputSpace
from mammo.tasks.task import Task

# Beyond these a network is not miscalibrated but useless, or the images are too few to tell.
TEMPERATURE_BOUNDS = (0.05, 20.0)
# Of log T: the slope is then good to ten digits.
SLOPE_STEP = 1e-5
# Where the minimum is looked for first: a loss of 708 nats, of a probability of 0, has no slope.
NUM_TRIED = 25


@dataclasses.dataclass(frozen=True)
class Bins:
    """What was said and what was so, in each of 15 equal-width bins (l, u] of a probability.

    `confidence` is the mean probability of the images in a bin and `accuracy` the fraction of them of which it was
    true, None in an empty bin; `ece` is the mean of their distance weighted by the number of images (0..1).
    """

    num_images: tuple[int, ...]
    confidence: tuple[float | None, ...]
    accuracy: tuple[float | None, ...]
    ece: float


@dataclasses.dataclass(frozen=True)
class Reliability:
    """Reliability of the top probability, and of the probability of each class (one against the rest).

    `top.ece` is the expected calibration error of Guo et al. 2017 as in `Metrics`; `classwise_ece` is the mean of
    that of the classes (Kull et al. 2019). `per_class` is in the order of `class_names`.
    """

    top: Bins
    per_class: tuple[Bins, ...]
    class_names: tuple[str, ...]

    @property
    def classwise_ece(self) -> float:
        return float(np.mean([bins.ece for bins in self.per_class]))


def reliability(predictions: PredictionTable) -> Reliability:
    """Reliability of N >= 1 predictions with true classes."""
    probabilities, targets, right = predictions.probabilities, predictions.targets, predictions.is_right
    return Reliability(
        top=_bins(probabilities.max(axis=1), right),
        per_class=tuple(_bins(column, targets == c) for c, column in enumerate(probabilities.T)),
        class_names=predictions.class_names,
    )


def _bins(probabilities: Floats, came_true: np.ndarray) -> Bins:
    of_image = confidence_bins(probabilities)
    counts = np.bincount(of_image, minlength=ECE_BINS)
    said = np.bincount(of_image, weights=probabilities, minlength=ECE_BINS)
    so = np.bincount(of_image, weights=came_true, minlength=ECE_BINS)
    return Bins(
        num_images=tuple(counts.tolist()),
        confidence=tuple(float(s / n) if n else None for s, n in zip(said, counts, strict=True)),
        accuracy=tuple(float(s / n) if n else None for s, n in zip(so, counts, strict=True)),
        ece=float(np.abs(so - said).sum() / counts.sum()),
    )


def fit_temperature(
    probabilities: np.ndarray, targets: np.ndarray, task: Task = LABELS, space: OutputSpace = SOFTMAX
) -> float:
    """The temperature with the least mean loss of `OutputSpace.with_temperature` (Guo et al. 2017).

    `probabilities` is [N, K], `targets` [N, ...] as of the task. Of a softmax the loss is convex in 1/T and has one
    minimum; where it is not within `TEMPERATURE_BOUNDS`, the nearer bound is returned: 0.05 when every prediction is
    right (surer is always better), 20 when the network is worse than guessing. 1 where T changes nothing, as when every
    prediction is uniform. Raises `ValueError` without an image.
    """
    if len(targets) == 0:
        raise ValueError("a temperature is fitted to at least one image")
    outputs = space.outputs_of(probabilities)

    def loss(log_temperature: float) -> float:
        return float(task.losses(space.probabilities(outputs / np.exp(log_temperature)), targets).mean())

    def slope(log_temperature: float) -> float:
        return (loss(log_temperature + SLOPE_STEP) - loss(log_temperature - SLOPE_STEP)) / (2 * SLOPE_STEP)

    low, high = TEMPERATURE_BOUNDS
    tried = np.linspace(np.log(low), np.log(high), NUM_TRIED)
    losses = [loss(log_temperature) for log_temperature in tried]
    if min(losses) == max(losses):
        return 1.0
    best = int(np.argmin(losses))
    if best in (0, NUM_TRIED - 1):
        return low if best == 0 else high
    return float(np.exp(brentq(slope, tried[best - 1], tried[best + 1], xtol=1e-10)))

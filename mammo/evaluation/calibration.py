"""Whether probabilities mean what they say: reliability of them, and one temperature that mends them."""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.optimize import brentq
from scipy.special import softmax

from mammo.evaluation.cases import ECE_BINS, Floats, confidence_bins, finite_log
from mammo.evaluation.predictions import PredictionTable

# Beyond these a network is not miscalibrated but useless, or the images are too few to tell.
TEMPERATURE_BOUNDS = (0.05, 20.0)


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
    probabilities, targets = predictions.probabilities, predictions.targets
    right = probabilities.argmax(axis=1) == targets
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


def fit_temperature(probabilities: np.ndarray, targets: np.ndarray) -> float:
    """The temperature T with the least mean cross-entropy of softmax(log p / T) (Guo et al. 2017).

    `probabilities` is [N, K], `targets` [N] class indices. The cross-entropy is convex in 1/T, so the zero of its
    derivative, sought over log T within `TEMPERATURE_BOUNDS`, is the one minimum; where there is none within, the
    nearer bound is returned: 0.05 when every prediction is right (surer is always better), 20 when the network is
    worse than guessing. 1 when every prediction is uniform, because then T changes nothing. A probability of 0
    counts as the smallest normal number. Raises `ValueError` without an image.
    """
    if len(targets) == 0:
        raise ValueError("a temperature is fitted to at least one image")
    logits = finite_log(np.asarray(probabilities, dtype=np.float64))
    logits -= logits.max(axis=1, keepdims=True)
    if not logits.any():
        return 1.0
    of_target = logits[np.arange(len(targets)), targets].mean()

    def slope(log_temperature: float) -> float:
        """Derivative of the mean cross-entropy by 1/T: the expected less the true logit."""
        expected = (softmax(logits / np.exp(log_temperature), axis=1) * logits).sum(axis=1)
        return float(expected.mean() - of_target)

    low, high = np.log(TEMPERATURE_BOUNDS)
    if slope(low) <= 0:
        return TEMPERATURE_BOUNDS[0]
    if slope(high) >= 0:
        return TEMPERATURE_BOUNDS[1]
    return float(np.exp(brentq(slope, low, high, xtol=1e-10)))


def with_temperature(probabilities: np.ndarray, temperature: float) -> Floats:
    """softmax(log p / T) of probabilities [N, K]: above 1 less sure, below 1 surer; the order of the classes stays.

    Raises `ValueError` unless the temperature is above 0.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature is above 0, not {temperature}")
    return softmax(finite_log(np.asarray(probabilities, dtype=np.float64)) / temperature, axis=1)

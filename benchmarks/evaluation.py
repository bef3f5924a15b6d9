"""What an evaluation costs besides the predictions, and its resampling against a loop over the draws."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pandas as pd

from benchmarks.samples import Comparison, PartResult, Settings, Table, median_and_spread
from mammo.evaluation.evaluation import evaluate
from mammo.evaluation.intervals import bootstrap_ci95
from mammo.evaluation.metrics import compute_metrics
from mammo.evaluation.predictions import PredictionTable, make_predictions

CLASSES = ("A", "B", "C", "D")
IMAGES_A_PATIENT = 4
NUM_IMAGES, QUICK_NUM_IMAGES = (1_000, 10_000), (200,)
DRAWS = 2_000
# Draws of the loop, whose time is that many times one draw.
LOOP_DRAWS, QUICK_LOOP_DRAWS = 100, 5


def measure(settings: Settings) -> PartResult:
    """`evaluate` on made-up predictions of several sizes, then both ways of resampling in turn."""
    sizes = QUICK_NUM_IMAGES if settings.quick else NUM_IMAGES
    rows = []
    for num_images in sizes:
        predictions = made_up(num_images)
        seconds = [seconds_of(lambda p=predictions: evaluate(p, temperature=1.2)) for _ in range(settings.rounds)]
        rows.append([f"{num_images:,}", f"{num_images // IMAGES_A_PATIENT:,}", median_and_spread(seconds)])
        print(f"  {num_images:,} images: {median_and_spread(seconds)} s", flush=True)
    loop_draws = QUICK_LOOP_DRAWS if settings.quick else LOOP_DRAWS
    compared = resampling(made_up(sizes[0]), settings.rounds, loop_draws)
    print(compared.line, flush=True)
    return PartResult(
        title="Evaluation",
        other_name="a draw after the other",
        comparisons=[compared],
        tables=[Table(["images", "patients", "seconds"], rows)],
        notes=[
            f"Made-up predictions of four classes, {IMAGES_A_PATIENT} images a patient. The table: everything that "
            f"`mammo.evaluate` computes from predictions, {DRAWS:,} draws of the patients for each interval: scores, "
            "classes, views, sides, four vendors, age bands, exams, curves.",
            f"Resampling: all scores of all images, {DRAWS:,} draws at once, against `compute_metrics` "
            f"on the images of one draw after the other, {loop_draws} of them; both as ms a draw.",
        ],
    )  # fmt: skip


def made_up(num_images: int) -> PredictionTable:
    """Predictions that are right more often than not."""
    random = np.random.default_rng(0)
    patients = np.arange(num_images) // IMAGES_A_PATIENT
    targets = random.choice(len(CLASSES), size=patients.max() + 1, p=(0.1, 0.4, 0.4, 0.1))[patients]
    logits = random.normal(size=(num_images, len(CLASSES)))
    logits[np.arange(num_images), targets] += 1.5
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    described = pd.DataFrame(
        {
            "image_id": [f"i{number:06}" for number in range(num_images)],
            "patient_id": [f"p{patient:06}" for patient in patients],
            "exam_id": [f"e{patient:06}" for patient in patients],
            "laterality": np.resize(["L", "L", "R", "R"], num_images),
            "view": np.resize(["CC", "MLO"], num_images),
            "manufacturer": np.array(["GE", "Hologic", "Siemens", "Fujifilm"])[patients % 4],
            "age_band": np.array(["40-49", "50-59", "60-69"])[patients % 3],
        }
    )
    return make_predictions(described, [CLASSES[target] for target in targets], probabilities, CLASSES)


def resampling(predictions: PredictionTable, rounds: int, loop_draws: int) -> Comparison:
    """Milliseconds a draw, of all draws at once and of one after the other."""
    arguments = (predictions.probabilities, predictions.targets, CLASSES, predictions.patient_ids)
    at_once, one_by_one = [], []
    for _ in range(rounds):
        at_once.append(1000 * seconds_of(lambda: bootstrap_ci95(*arguments, draws=DRAWS)) / DRAWS)
        one_by_one.append(1000 * seconds_of(lambda: loop(predictions, loop_draws)) / loop_draws)
    name = f"resampling {len(predictions):,} images"
    return Comparison(name, "ms a draw", False, at_once, one_by_one, None)


def loop(predictions: PredictionTable, draws: int) -> None:
    """Score the images of each draw of patients by themselves."""
    random = np.random.default_rng(0)
    rows = pd.Series(np.arange(len(predictions))).groupby(predictions.patient_ids).apply(np.array)
    for _ in range(draws):
        drawn = np.concatenate(rows.to_numpy()[random.integers(len(rows), size=len(rows))])
        patients = [predictions.patient_ids[row] for row in drawn]
        compute_metrics(predictions.probabilities[drawn], predictions.targets[drawn], CLASSES, patients)


def seconds_of(work: Callable[[], object]) -> float:
    """How long something takes."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started

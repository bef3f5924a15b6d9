"""How well simple classifiers read the classes off the features: what a representation holds, apart from its head.

Every image is predicted by classifiers fitted to other patients: folds are those of a cross-validation of this
project, stratified and grouped by patient. Features are standardised with the training part of each fold.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mammo.data.splits import split_folds
from mammo.evaluation.intervals import bootstrap_ci95
from mammo.evaluation.metrics import compute_metrics
from mammo.evaluation.scores import names_in
from mammo.support.errors import DataError
from mammo.support.progress import track

MAX_FOLDS = 5
MAX_INNER_FOLDS = 3
NUM_NEIGHBOURS = 10
# Inverse strengths of the penalty; the strongest first, which wins where several are equal.
CANDIDATES_C = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
# Where there are too few patients to choose one.
DEFAULT_C = 1e-2
MAX_ITERATIONS, GRADIENT_TOLERANCE = 5000, 1e-6
# To choose the penalty, a rough fit is enough, in a quarter of the time.
ROUGH_TOLERANCE = 1e-3
SHOWN_SCORES = names_in("headline")

Floats = NDArray[np.float64]
Fold = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclasses.dataclass(frozen=True)
class Probe:
    """A classifier of features: what it is, and its probabilities [N, K] for images it was not fitted to.

    `probabilities` is None where it could not be fitted, for the `reason` that is given.
    """

    name: str
    words: str
    probabilities: Floats | None
    num_folds: int
    reason: str | None = None
    chosen_c: list[float] | None = None


def patient_folds(table: pd.DataFrame, class_names: Sequence[str], max_folds: int, seed: int) -> list[Fold]:
    """Rows to fit and rows to predict of each fold; as many folds as the rarest class has patients, or `max_folds`.

    `table` has image_id, patient_id and label. Classes without images are left out. Raises DataError where no two
    folds can be made.
    """
    present = [name for name in class_names if (table["label"] == name).any()]
    if len(present) < 2:
        raise DataError(f"all images are of class {', '.join(present)}")
    patients_of = table.groupby("label")["patient_id"].nunique()
    rarest = min(present, key=lambda name: patients_of[name])
    if patients_of[rarest] < 2:
        raise DataError(f"class {rarest} has a single patient")
    # A part that the dataset prescribes is of no account here.
    folds = split_folds(table.assign(split=""), present, int(min(max_folds, patients_of[rarest])), seed, 0)
    return [(fold.train, fold.val) for fold in folds]


def run_probes(features: np.ndarray, table: pd.DataFrame, class_names: Sequence[str], seed: int) -> list[Probe]:
    """k-NN and logistic regression on features [N, F] of the images in `table` [N rows], in this order."""
    knn_words = f"k-NN, k = {NUM_NEIGHBOURS}, Euclidean distance of standardised features"
    regression_words = "logistic regression, L2 penalty, classes weighted equally, standardised features"
    try:
        folds = patient_folds(table, class_names, MAX_FOLDS, seed)
    except DataError as error:
        return [
            Probe(name, words, None, 0, error.found)
            for name, words in (("knn", knn_words), ("logistic_regression", regression_words))
        ]
    targets = pd.Categorical(table["label"], categories=list(class_names)).codes
    features = features.astype(np.float64)
    nearest, regression = (np.zeros((len(table), len(class_names))) for _ in range(2))
    chosen_c = []
    for fit, rest in track(folds, "Probes", len(folds)):
        knn = make_pipeline(StandardScaler(), KNeighborsClassifier(min(NUM_NEIGHBOURS, len(fit))))
        nearest[rest] = _of_all_classes(knn.fit(features[fit], targets[fit]), features[rest], len(class_names))
        c = _choose_c(features[fit], table.iloc[fit], targets[fit], class_names, seed)
        chosen_c.append(c if c is not None else DEFAULT_C)
        regression[rest] = logistic_regressions(features[fit], targets[fit])(chosen_c[-1])(
            features[rest], len(class_names)
        )
    return [
        Probe("knn", knn_words, nearest, len(folds)),
        Probe("logistic_regression", regression_words, regression, len(folds), chosen_c=chosen_c),
    ]


Predict = Callable[[np.ndarray, int], Floats]


def logistic_regressions(
    features: np.ndarray, targets: np.ndarray, tolerance: float = GRADIENT_TOLERANCE
) -> Callable[[float], Predict]:
    """From C to a classifier fitted to features [n, F].

    With fewer images than features the fit is made in the space that the images span: the penalty keeps the
    coefficients there, so it is the same classifier, found faster.
    """
    scaler = StandardScaler().fit(features)
    standardised = scaler.transform(features)
    axes = np.eye(features.shape[1])
    if len(features) < features.shape[1]:
        axes = np.linalg.svd(standardised, full_matrices=False)[2].T
    inputs = standardised @ axes

    def fitted(c: float) -> Predict:
        classifier = LogisticRegression(C=c, class_weight="balanced", max_iter=MAX_ITERATIONS, tol=tolerance)
        with warnings.catch_warnings():
            # Far from separable or nearly unpenalised fits go on in the last digits.
            warnings.simplefilter("ignore", ConvergenceWarning)
            classifier.fit(inputs, targets)
        return lambda rest, num_classes: _of_all_classes(classifier, scaler.transform(rest) @ axes, num_classes)

    return fitted


def _of_all_classes(classifier: Any, inputs: np.ndarray, num_classes: int) -> Floats:
    """Probabilities [n, K]; 0 for classes that the classifier has not seen."""
    probabilities = np.zeros((len(inputs), num_classes))
    probabilities[:, classifier.classes_] = classifier.predict_proba(inputs)
    return probabilities


def _choose_c(
    features: np.ndarray, table: pd.DataFrame, targets: np.ndarray, class_names: Sequence[str], seed: int
) -> float | None:
    """The C with the lowest loss, classes weighted equally, in folds of the training part; None where it has none."""
    try:
        folds = patient_folds(table.reset_index(drop=True), class_names, MAX_INNER_FOLDS, seed)
    except DataError:
        return None
    predicted = {c: np.zeros((len(table), len(class_names))) for c in CANDIDATES_C}
    for fit, rest in folds:
        fitted = logistic_regressions(features[fit], targets[fit], ROUGH_TOLERANCE)
        for c in CANDIDATES_C:
            predicted[c][rest] = fitted(c)(features[rest], len(class_names))
    return min(CANDIDATES_C, key=lambda c: _balanced_loss(predicted[c], targets))


def _balanced_loss(probabilities: Floats, targets: np.ndarray) -> float:
    """Mean over the classes of the mean -log of the target's probability."""
    losses = -np.log(np.maximum(probabilities[np.arange(len(targets)), targets], np.finfo(np.float64).tiny))
    return float(np.mean([losses[targets == c].mean() for c in np.unique(targets)]))


def scores(
    probabilities: np.ndarray | None, targets: np.ndarray, class_names: Sequence[str], patient_ids: Sequence[str]
) -> dict[str, Any]:
    """The scores of some predictions and their `ci95` from resampling patients; all None without predictions."""
    if probabilities is None:
        return {**dict.fromkeys(SHOWN_SCORES), "ci95": None}
    metrics = compute_metrics(probabilities, targets, class_names, patient_ids).to_dict()
    intervals = bootstrap_ci95(probabilities, targets, class_names, patient_ids)
    return {
        **{name: metrics[name] for name in SHOWN_SCORES},
        "ci95": {name: intervals[name] for name in SHOWN_SCORES},
        "confusion_matrix": metrics["confusion_matrix"],
    }

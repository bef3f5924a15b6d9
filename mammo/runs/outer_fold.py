"""The fold that a run has set aside from every choice, scored at its end as `mammo.evaluate split=test` would."""

from __future__ import annotations

from typing import Any

import numpy as np

from mammo.data.dataset import Dataset
from mammo.evaluation.evaluation import evaluate
from mammo.evaluation.predictions import make_predictions
from mammo.runs.directory import RunDirectory
from mammo.runs.evaluation import write_evaluation
from mammo.runs.layout import BEST, EVALUATIONS
from mammo.runs.provenance import evaluation_provenance
from mammo.support.files import file_sha256
from mammo.support.hardware import Hardware
from mammo.support.outputs import Outputs
from mammo.training.engine import Predictions

SPLIT = "test"
DRAWS, SEED = 2000, 0


def write_outer_fold(
    directory: RunDirectory,
    dataset: Dataset,
    rows: np.ndarray,
    predictions: Predictions,
    temperature: float,
    hardware: Hardware,
    facts: dict[str, Any],
) -> None:
    """`evaluation/test/` of the run, from what its evaluated epoch says of the images of the test part.

    `temperature` was fitted on the validation set; `facts` are `run_id` and `epoch`.
    """
    described = dataset.described(rows)
    targets, manifest = described.pop("label").tolist(), dataset.manifest
    names, space = manifest.class_names, predictions.space
    table = make_predictions(described, targets, predictions.probabilities, names, manifest.task, space)
    digest = file_sha256(directory.path / BEST)
    network = {"name": directory.path.name, **facts, "checkpoint_sha256": digest, "weight": 1.0}
    data = {
        "name": manifest.name,
        "split": SPLIT,
        "is_own": True,
        "group_by": manifest.group_by,
        "num_trained_on": 0,
        "num_of_other_views": 0,
        "num_quarantined": len(manifest.left_out),
        "fingerprints": [dataset.fingerprint],
    }
    folder = directory.path / EVALUATIONS / SPLIT
    outputs = Outputs(folder, "evaluate", inside=directory.path)
    evaluation = evaluate(table, temperature, DRAWS, SEED)
    provenance = evaluation_provenance([network], data, hardware, was_fitted=False)
    write_evaluation(outputs, table, evaluation, provenance, manifest.group_by)

"""What travels inside an exported file: how images become its input, what it answers, where it is from."""

from __future__ import annotations

import json
from typing import Any

from mammo.evaluation.scores import SCORE_NAMES
from mammo.inference.trained import Trained
from mammo.models.families import licence_of
from mammo.runs.directory import RunDirectory
from mammo.support.files import read_json

USE = "Research use only. Not a medical device; no result is meant for diagnosis."
INPUT, LOGITS, PROBABILITIES = "images", "logits", "probabilities"


def describe(trained: Trained) -> dict[str, str]:
    """Metadata of an exported network, all of it text; what is structured is JSON."""
    facts, config = trained.facts, trained.config
    structured = {
        "class_names": list(trained.class_names),
        "preprocessing": {**facts["preprocessing"], "decode": trained.settings.decode},
        "metrics": metrics_of(trained),
    }
    return {
        "use": USE,
        "task": "breast density of a mammogram, one class for each image",
        "input": input_words(trained.image_size_px),
        "output": f"{LOGITS} and {PROBABILITIES} [N, {len(trained.class_names)}], classes in the order of class_names",
        "preprocessing_in_words": preprocessing_words(trained),
        **{key: json.dumps(value) for key, value in structured.items()},
        "model_name": str(config.model.name),
        "model_family": config.model.family,
        "strategy": config.strategy.name,
        "data_name": config.data.name,
        "run": trained.name,
        "run_id": str(facts.get("run_id")),
        "epoch": str(facts.get("epoch")),
        "git_commit": str(facts.get("git_commit")),
        "data_fingerprint": str(facts.get("data_fingerprint")),
        "split_fingerprint": str(facts.get("split_fingerprint")),
        "licence_of_weights": licence_of(str(facts.get("weights_source") or "")),
    }


def input_words(size_px: int) -> str:
    """What the exported graph is given."""
    return (
        f"{INPUT}: float32 [N, 1, {size_px}, {size_px}], grey levels from 0 (black) to 1: prepared squares of 8 bit, "
        "divided by 255. The normalisation by mean and std is inside; do not apply it before."
    )


def preprocessing_words(trained: Trained) -> str:
    """How a mammogram becomes a square that the network is given, in words."""
    settings, size_px = trained.settings, trained.image_size_px
    steps = [
        "grey levels as a viewer shows them (DICOM: modality and VOI lookup table or window, MONOCHROME1 inverted; "
        "other pictures: turned by their EXIF orientation), dark background"
    ]
    if settings.crop:
        steps.append("cut out the box of the breast, black beside the breast and its margin")
    if settings.orient:
        steps.append("mirror so that the chest wall is at the left")
    steps += [
        f"scale the long side to {size_px} px with an antialiasing bilinear filter, aspect ratio kept",
        f"place on a black square of {size_px} px, at the left and centred from top to bottom, 8 bit",
    ]
    if settings.decode == "fast":
        steps.append("JPEG 2000 may be decoded at a fraction of its size")
    return "; ".join(f"{number}. {step}" for number, step in enumerate(steps, 1)) + ". As mammo.data.preprocess does."


def metrics_of(trained: Trained) -> dict[str, Any] | None:
    """The scores of the run's validation with their 95 % intervals; None where they are of another checkpoint."""
    facts = trained.facts
    if "metrics" in facts:
        return facts["metrics"]
    if (facts.get("monitor_state") or {}).get("best_epoch") != facts.get("epoch"):
        return None
    scores = {name: (facts.get("best_metrics") or {}).get(name) for name in SCORE_NAMES}
    found = {"of": f"validation images of {trained.config.data.name}, {trained.config.train.select} epoch", **scores}
    if trained.run_folder is None or not RunDirectory(trained.run_folder).is_finished:
        return found
    try:
        stored = read_json(trained.run_folder / "metrics" / "val_metrics.json")
    except (OSError, ValueError):
        return found
    return found | {key: stored[key] for key in (*SCORE_NAMES, "num_images", "num_patients", "ci95") if key in stored}

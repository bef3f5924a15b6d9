"""Predictions for image files without labels, by one network or several, in groups that are saved as they come."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mammo.data.batches import LabelledImages
from mammo.data.crash_safe_pool import Lost, isolated, num_processes_for
from mammo.data.pseudonyms import Rename
from mammo.data.spelling import compare_key, tidy
from mammo.data.store import StoredImages
from mammo.inference.ensemble import Ensemble
from mammo.inference.new_files import Demands, NewFile, NewImage, Reader
from mammo.inference.partial import PartialResults
from mammo.inference.trained import predict_images
from mammo.support.progress import counting

log = logging.getLogger(__name__)

# Starting a process takes about a second, in which another one decodes about as many files as this.
FILES_PER_PROCESS = 16
# Predicted together and then saved: about a second or two of work on a CPU.
IMAGES_PER_GROUP = 64
NOT_FINITE = "the network's prediction is not finite"


class Names(NamedTuple):
    """How ids are written, and the names and states of files in what an interrupted command leaves."""

    rename: Rename
    key_of: Rename


def predict_files(
    ensemble: Ensemble,
    files: Sequence[NewFile],
    demands: Sequence[Demands],
    partial: PartialResults,
    names: Names,
    num_workers: int,
    timeout_seconds: float,
    *,
    folders_are_exams: bool = False,
) -> list[dict[str, Any]]:
    """A result for each file, in their order.

    A result has `image_id`, and either `error` (the reason why there is no prediction) or `patient_id`, `patient_key`
    (equal for all spellings of an id), `exam_id`, `laterality`, `view`, `remarks` (in words, what makes the prediction
    doubtful), `p` (probabilities [K]) and `num_networks` (how many these are the mean of: those that accept the image).
    `demands` are those of the members, in their order. What `partial` holds already is not computed again.
    """
    keys = {file: names.key_of(_state(file)) for file in files}
    to_do = [file for file in files if keys[file] not in partial.results]
    if len(to_do) < len(files):
        log.info("going on: %d of %d files are done", len(files) - len(to_do), len(files))
    num_processes = max(1, num_processes_for(len(to_do), FILES_PER_PROCESS, max(1, num_workers)))
    with counting("Predicting") as count, closing(_read(to_do, demands, num_processes, timeout_seconds)) as contents:
        done = len(files) - len(to_do)
        pairs = zip(to_do, contents, strict=True)
        while group := list(itertools.islice(pairs, IMAGES_PER_GROUP)):
            results = _predicted(ensemble, group, names.rename, folders_are_exams)
            partial.add([(keys[file], result) for (file, _), result in zip(group, results, strict=True)])
            done += len(group)
            count(done, len(files))
    return [partial.results[keys[file]] for file in files]


def _read(
    files: Sequence[NewFile], demands: Sequence[Demands], num_processes: int, timeout_seconds: float
) -> Generator[NewImage | str | Lost, None, None]:
    yield from isolated(Reader(demands), files, num_processes, timeout_seconds) if files else ()


def _state(file: NewFile) -> str:
    """Another text for a file that has changed."""
    try:
        stat = file.path.stat()
        state = f"{stat.st_size} bytes, changed at {stat.st_mtime_ns} ns"
    except OSError:
        state = "gone"
    return f"{file.name}, {state}"


def _predicted(
    ensemble: Ensemble, group: Sequence[tuple[NewFile, NewImage | str | Lost]], rename: Rename, folders_are_exams: bool
) -> list[dict[str, Any]]:
    images = [content for _, content in group if isinstance(content, NewImage)]
    probabilities = iter(_probabilities(ensemble, images).tolist() if images else [])
    results = []
    for file, content in group:
        result: dict[str, Any] = {"image_id": rename(file.name)}
        if isinstance(content, NewImage):
            exam_id = content.study_uid or (str(Path(file.name).parent) if folders_are_exams else "")
            found = next(probabilities)
            if not np.isfinite(found).all():
                results.append(result | {"error": NOT_FINITE})
                continue
            result |= {"patient_id": rename(tidy(content.patient_id)), "exam_id": rename(exam_id)}
            result["patient_key"] = rename(compare_key(content.patient_id))  # however it is written
            result |= {"laterality": content.laterality, "view": content.view, "p": found}
            result["remarks"] = list(content.remarks)
            result["num_networks"] = sum(pixels is not None for pixels in content.pixels)
        else:
            result["error"] = content.reason if isinstance(content, Lost) else content
        results.append(result)
    return results


def _probabilities(ensemble: Ensemble, images: Sequence[NewImage]) -> np.ndarray:
    """Probabilities [N, K], of each image the weighted mean over the members that accept it, with the temperature of
    the ensemble; NaN where one of these says what is not finite."""
    total = np.zeros((len(images), len(ensemble.class_names)))
    total_weight = np.zeros((len(images), 1))
    for number, (member, weight) in enumerate(zip(ensemble.members, ensemble.weights, strict=True)):
        squares = {i: square for i, image in enumerate(images) if (square := image.pixels[number]) is not None}
        if not squares:
            continue
        rows = list(squares)
        pixels, places = np.stack(list(squares.values())), np.arange(len(rows))
        shown = LabelledImages(StoredImages(pixels, places), np.zeros(len(rows), dtype=np.int64), [""] * len(rows))
        predictions = predict_images(member, shown, allow_not_finite=True)
        with np.errstate(invalid="ignore"):
            probabilities = predictions.probabilities
        total[rows] += weight * np.where(predictions.is_finite[:, None], probabilities, np.nan)
        total_weight[rows] += weight
    mean = total / total_weight
    return mean if ensemble.temperature == 1 else ensemble.space.with_temperature(mean, ensemble.temperature)

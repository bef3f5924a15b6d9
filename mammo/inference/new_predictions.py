"""`python -m mammo.predict`, step by step: from files to tables of predictions of images and exams."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import entropy

from mammo.data.patients import Link, patients_of_exams
from mammo.data.pseudonyms import renamer, unchanged, write_lookup
from mammo.evaluation.exams import exam_predictions
from mammo.evaluation.predictions import DESCRIPTION, PredictionTable, make_predictions
from mammo.inference.command_options import PredictOptions
from mammo.inference.ensemble import Ensemble, load_ensemble
from mammo.inference.new_files import Demands, find_files, forced
from mammo.inference.new_images import Names, predict_files
from mammo.inference.partial import PartialResults
from mammo.inference.temperature import temperature_of
from mammo.inference.trained import Trained, resolved_hardware
from mammo.support.cache import user_cache_folder
from mammo.support.cores import usable_cores
from mammo.support.errors import RunDirectoryError
from mammo.support.outputs import Outputs
from mammo.support.ownership import Owner, one_owner
from mammo.support.plain_text import wrapped

REASONS_SHOWN = 5
# Of the hash that tells files apart in what an interrupted command leaves: no two of them share it.
KEY_DIGITS = 64


class Request(NamedTuple):
    """Which networks, for which file or folder, into which table."""

    checkpoints: Sequence[Path]
    images: Path
    output: Path


def predict_to_file(request: Request, options: PredictOptions) -> list[str]:
    """Predict all images and write the tables; returns lines for the terminal.

    Raises UserError for what cannot be read or written at all; files that cannot be used are listed instead.
    """
    files, num_others = find_files(request.images, may_name_others=not options.pseudonymize)
    hardware = resolved_hardware(options.device, options.threads)
    ensemble = load_ensemble(request.checkpoints, hardware, options.weights)
    if options.calibrated:
        ensemble = dataclasses.replace(ensemble, temperature=temperature_of(ensemble))
    counting = ensemble.counting
    demands = [_demands(member, force=options.force) for member in counting.members]
    cache_folder = user_cache_folder(options.cache_dir)
    rename = renamer(cache_folder) if options.pseudonymize else unchanged
    key_of = renamer(cache_folder, KEY_DIGITS) if options.pseudonymize else unchanged
    output = request.output
    inputs = [*(file.path for file in files), *request.checkpoints]
    outputs = Outputs(output.parent, "predict", overwrite=options.overwrite, inputs=inputs)
    made_with = ensemble.made_with() | {
        name: getattr(options, name) for name in ("force", "pseudonymize", "folders_are_exams")
    }
    with _only_writer_of(output) as owner:
        outputs.require_free(_names(output))
        partial = PartialResults(output, made_with)
        workers = options.workers or usable_cores()
        results = predict_files(
            counting,
            files,
            demands,
            partial,
            Names(rename, key_of),
            workers,
            options.file_timeout_seconds,
            folders_are_exams=options.folders_are_exams,
        )
        owner.require()
        written = _write(output, outputs, results, counting)
        if options.pseudonymize:
            lookup = f"pseudonyms/predicted-{rename(str(output.absolute()))}.csv"
            write_lookup(cache_folder / lookup, rename, [file.name for file in files])
            written += wrapped(f"  ids are pseudonyms; {lookup} in the cache folder leads back to file names")
        partial.remove()
    others = f" ({_files(num_others)} beside them {'is no image' if num_others == 1 else 'are no images'})"
    first = f"{_files(len(files))}{others if num_others else ''}, {ensemble.name}"
    return ["", *wrapped(first), *_counts(results, counting), *written]


def _files(number: int) -> str:
    return f"{number} file" if number == 1 else f"{number} files"


@contextmanager
def _only_writer_of(output: Path) -> Iterator[Owner]:
    """Hold a lock beside the output, in a folder that is made; raises RunDirectoryError where that is not possible."""
    lock_file = output.with_name(f".{output.name}.lock")
    with ExitStack() as stack:
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            owner = stack.enter_context(one_owner(lock_file, _refusal))
        except OSError as error:
            raise RunDirectoryError(
                f"output={output} cannot be written ({error.strerror or type(error).__name__})",
                "a file in a folder in which this user may write",
                "choose another: output=FILE",
            ) from error
        try:
            yield owner
        finally:
            owner.remove_file()


def _refusal(holder: str) -> RunDirectoryError:
    return RunDirectoryError(f"another process is writing this output: {holder}", to_do="wait for it")


def _demands(member: Trained, *, force: bool) -> Demands:
    if force:
        return Demands(forced(member.settings), None)
    data = member.config.data
    views = None if data.views is None else tuple(sorted(data.views))
    return Demands(member.settings, views, data.implants == "include")


def _names(output: Path) -> tuple[str, str, str]:
    """The table of images, and beside it that of exams and that of files without a prediction."""
    return output.name, f"{output.stem}_exams.csv", f"{output.stem}_quarantine.csv"


def _write(output: Path, outputs: Outputs, results: Sequence[Mapping[str, Any]], ensemble: Ensemble) -> list[str]:
    """Write the tables; returns lines that say what is where."""
    good = [result for result in results if "error" not in result]
    bad = [result for result in results if "error" in result]
    lines = []
    outputs.require_free(_names(output))
    predictions = _table(good, ensemble)
    if len(ensemble.members) > 1:
        predictions.table["num_networks"] = [result["num_networks"] for result in good]
    if any(map(_remarks, good)):
        predictions.table["remark"] = ["; ".join(_remarks(result)) for result in good]
    if output.suffix == ".jsonl":
        rows = iter(predictions.table.to_dict("records"))
        records = [result if "error" in result else next(rows) for result in results]
        outputs.write_text(output.name, "".join(json.dumps(record) + "\n" for record in records))
        lines.append(f"  {output}: a line for each file, with its error where it has no prediction")
    else:
        outputs.write_csv(output.name, *predictions.cells())
        lines.append(f"  {output}: {len(good)} images")
    exam_file, bad_file = (output.with_name(name) for name in _names(output)[1:])
    for beside in (exam_file, bad_file):
        outputs.remove(beside.name)  # of an earlier command
    if (predictions.table[["exam_id", "patient_id"]] != "").any(axis=None):
        exams = exam_predictions(_by_exam(predictions, good)).predictions
        outputs.write_csv(exam_file.name, *exams.cells())
        lines.append(f"  {exam_file}: {len(exams)} exams, the mean over their images")
    if bad:
        outputs.write_csv(bad_file.name, ["image_id", "reason"], [[one["image_id"], one["error"]] for one in bad])
        lines.append(f"  {bad_file}: {_files(len(bad))} without a prediction, with the reason")
    return lines


def _remarks(result: Mapping[str, Any]) -> list[str]:
    return result.get("remarks", [])  # what an earlier version has left has none


def _by_exam(predictions: PredictionTable, results: Sequence[Mapping[str, Any]]) -> PredictionTable:
    """The predictions with one id for each patient, and one patient for each exam: headers spell her differently."""
    table = predictions.table
    keys = [str(result.get("patient_key", result["patient_id"])) for result in results]  # older: without
    shown = dict(sorted(zip(keys, table["patient_id"], strict=True), reverse=True))  # the first in sorted order
    rows = zip(table["image_id"], keys, table["exam_id"], strict=True)
    patients = patients_of_exams([Link(image, key, exam, "") for image, key, exam in rows])
    assigned = table.assign(patient_id=[shown.get(patient, "") for patient in patients])
    return dataclasses.replace(predictions, table=assigned)


def _table(results: Sequence[Mapping[str, Any]], ensemble: Ensemble) -> PredictionTable:
    described = pd.DataFrame(results, columns=list(DESCRIPTION), dtype=str)
    probabilities = np.array([result["p"] for result in results]).reshape(len(results), len(ensemble.class_names))
    predictions = make_predictions(described, None, probabilities, ensemble.class_names, ensemble.task, ensemble.space)
    predictions.table["entropy"] = entropy(probabilities, axis=1)
    return predictions


def _counts(results: Sequence[Mapping[str, Any]], ensemble: Ensemble) -> list[str]:
    """How often each class was predicted, by fewer networks than there are, and why files have no prediction."""
    good = [result for result in results if "error" not in result]
    probabilities = np.array([result["p"] for result in good]).reshape(len(good), len(ensemble.class_names))
    counted = ensemble.task.class_counts(ensemble.task.decide(probabilities), len(ensemble.class_names))
    counts = ", ".join(f"{name} {count}" for name, count in zip(ensemble.class_names, counted, strict=True))
    lines = wrapped(f"  predicted: {counts}")
    num_networks = len(ensemble.members)
    num_by_fewer = sum(result["num_networks"] < num_networks for result in good)
    if num_by_fewer:
        lines.append(
            f"  {num_by_fewer:>6}  by fewer than {num_networks} networks: the others have seen none of the kind"
        )
    remarks = pd.Series([remark for result in good for remark in _remarks(result)], dtype=str).value_counts()
    for remark, count in remarks.items():
        lines += wrapped(f"  {count:>6}  predicted, with a remark in the table: {remark}")
    reasons = pd.Series([result["error"] for result in results if "error" in result], dtype=str).value_counts()
    for reason, count in reasons.head(REASONS_SHOWN).items():
        lines += wrapped(f"  {count:>6}  no prediction: {reason}")
    if len(reasons) > REASONS_SHOWN:
        lines.append(f"          and {len(reasons) - REASONS_SHOWN} more reasons")
    return lines

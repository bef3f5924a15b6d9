"""`python -m mammo.evaluate`, step by step: from runs to an evaluation on disk and on the terminal."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mammo.evaluation.comparison import compare
from mammo.evaluation.evaluation import Evaluation, evaluate
from mammo.evaluation.paired import adjusted, compare_trainings
from mammo.evaluation.scores import names_in
from mammo.evaluation.selection import ModelSelection
from mammo.evaluation.trainings import Resampling
from mammo.inference.command_options import DataChoice, EvaluateOptions
from mammo.inference.datasets import NOT_KNOWN
from mammo.inference.ensemble import Ensemble, load_ensemble
from mammo.inference.labelled import LabelledPredictions, predict_labelled, stored_predictions
from mammo.inference.stored import are_several, stored_labelled, trainings_of
from mammo.inference.temperature import temperature_of
from mammo.inference.trained import resolved_hardware
from mammo.runs.comparison import comparison_lines, paired_lines, sides, write_comparison, write_paired
from mammo.runs.evaluation import (
    FILE,
    FOLDER,
    OWN_FILES,
    evaluation_lines,
    write_evaluation,
)
from mammo.runs.provenance import evaluation_provenance
from mammo.support.errors import ConfigError, DataError, RunDirectoryError
from mammo.support.files import file_sha256, safe_name
from mammo.support.hardware import Hardware
from mammo.support.outputs import Outputs
from mammo.support.plain_text import wrapped
from mammo.support.progress import track
from mammo.support.table import Table, columns, row, terminal_lines, three_decimals

log = logging.getLogger(__name__)

# Equal arithmetic gives equal probabilities; other threads or another device change the last digits.
AGREEMENT = 1e-3


Side = tuple[Ensemble, LabelledPredictions]
NOT_CONFIGURATIONS = "It is about these {}: another training of the same configuration may turn it round."


class Request(NamedTuple):
    """Which networks, compared with which others, on which data."""

    checkpoints: Sequence[Path]
    others: Sequence[Path]
    data: DataChoice


def evaluate_runs(request: Request, options: EvaluateOptions) -> list[str]:
    """Evaluate and write everything; returns lines for the terminal."""
    return _evaluate_each(request, options) if options.each else _evaluated(request, options)[0]


def _evaluated(request: Request, options: EvaluateOptions) -> tuple[list[str], str, Evaluation]:
    """Lines for the terminal, what was evaluated, and what came out."""
    if options.output is not None:
        _require_evaluation(Path(options.output).expanduser())
        _outputs_in(Path(options.output).expanduser(), options)
    hardware = resolved_hardware(options.device, options.threads)
    use_stored = options.recompute is False or (
        options.recompute is None and max(len(request.checkpoints), len(request.others)) > 1
    )
    ensemble, shown = _predicted(request.checkpoints, request.data, options, hardware, use_stored)
    outputs = _outputs_in(_folder(ensemble, shown, options.output), options, ensemble.members[0].run_folder)
    others, theirs = None, None
    if request.others:
        others, theirs = _predicted(request.others, request.data, options, hardware, use_stored)
    temperature = _temperature(ensemble)
    evaluation = evaluate(shown.predictions, temperature, options.draws, options.bootstrap_seed)
    agreement = _difference_from_run(ensemble, shown)
    provenance = _provenance(ensemble, shown, hardware) | {"max_difference_from_run": agreement}
    write_evaluation(outputs, shown.predictions, evaluation, provenance, shown.group_by)
    lines = ["", *_about(ensemble, shown, agreement), *evaluation_lines(evaluation, shown.group_by)]
    if temperature is not None and _chose_them(shown):
        lines.append("  (the temperature was fitted to these very images)")
    if others is not None and theirs is not None:
        lines += _compared((others, theirs), (ensemble, shown), outputs, options)
    lines += [
        "",
        f"Results: {outputs.folder}",
        "  evaluation.json  everything, with the curves; predictions.csv; figures",
    ]
    return lines, ensemble.name, evaluation


def _evaluate_each(request: Request, options: EvaluateOptions) -> list[str]:
    """Each run by itself; returns a table of them."""
    if request.others or options.output is not None:
        raise ConfigError("each=true together with compare or output", "each run alone, in its own directory")
    names, rows = names_in("headline"), []
    for checkpoint in track(request.checkpoints, "Evaluating", len(request.checkpoints)):
        _, name, evaluation = _evaluated(Request([checkpoint], [], request.data), options)
        rows.append(row(name, *(three_decimals(evaluation.metrics.scores[score]) for score in names)))
    table = Table("", columns("run", numbers=names), tuple(rows))
    return ["", *terminal_lines(table), "", "Each has its own in its directory; mammo.report shows them together."]


def _compared(other: Side, this: Side, outputs: Outputs, options: EvaluateOptions) -> list[str]:
    """Compare what was shown to two sides: networks, or, where one has several trainings, configurations."""
    (others, theirs), (ensemble, shown) = other, this
    learnt = theirs.num_trained_on, shown.num_trained_on
    if options.compare_as == "ensemble" or not are_several([others, ensemble]):
        comparison = compare(theirs.predictions, shown.predictions, options.draws, options.bootstrap_seed)
        both = sides((others.name, ensemble.name), learnt)
        write_comparison(outputs, comparison, both)
        kind = "ensembles" if are_several([others, ensemble]) else "networks"
        return [*comparison_lines(comparison, both), *wrapped(f"  {NOT_CONFIGURATIONS.format(kind)}")]
    resampling = Resampling(options.draws, options.bootstrap_seed)
    first, second = (trainings_of(*side) for side in (other, this))
    (found,) = adjusted([compare_trainings(first, second, resampling)])
    names = others.name, ensemble.name
    both = sides(names, learnt, (", ".join(options.compare_where), ", ".join(options.where)))
    write_paired(outputs, found, both, shown.group_by)
    score = ModelSelection(ensemble.members[0].config.train.monitor).name
    return paired_lines(found, both, shown.group_by, score)


def _predicted(
    checkpoints: Sequence[Path], data: DataChoice, options: EvaluateOptions, hardware: Hardware, use_stored: bool
) -> Side:
    ensemble = load_ensemble(checkpoints, hardware, options.weights)
    if use_stored and (stored := stored_labelled(ensemble, data, options.split)) is not None:
        return ensemble, stored
    return ensemble, predict_labelled(ensemble, data, options.split, options.cache_dir)


def _require_evaluation(folder: Path) -> None:
    """Raises ConfigError for a folder of something else, in which an evaluation would be lost."""
    if not folder.exists():
        return
    if not folder.is_dir() or (any(folder.iterdir()) and not (folder / FILE).exists()):
        found = "holds something else than an evaluation" if folder.is_dir() else "is no folder"
        raise ConfigError(f"output={folder} {found}", "a folder that is new or empty, or one of an evaluation")


def _outputs_in(folder: Path, options: EvaluateOptions, run_folder: Path | None = None) -> Outputs:
    """Where the results go; raises OutputError where they cannot, before anything is computed."""
    inside = run_folder if run_folder in folder.parents else None
    outputs = Outputs(folder, "evaluate", overwrite=options.overwrite, inside=inside)
    outputs.require_free(OWN_FILES)
    return outputs


def _chose_them(shown: LabelledPredictions) -> bool:
    """Whether the epochs, and whatever was fitted, were chosen on these images."""
    return shown.is_own and shown.split == "val"


def _temperature(ensemble: Ensemble) -> float | None:
    try:
        return temperature_of(ensemble)
    except (RunDirectoryError, DataError) as error:
        log.info("no temperature is known: %s", error.found)
        return None


def _folder(ensemble: Ensemble, shown: LabelledPredictions, output: str | None) -> Path:
    if output is not None:
        return Path(output).expanduser()
    what = shown.split if shown.is_own else f"data-{safe_name(shown.data_name)}"
    of_run = ensemble.members[0].folder(FOLDER)
    if len(ensemble.members) == 1 and of_run is not None:
        return of_run / what
    return Path(FOLDER) / f"{safe_name(ensemble.name)}-{what}"


def _difference_from_run(ensemble: Ensemble, shown: LabelledPredictions) -> float | None:
    """The largest difference of a probability from what the run itself has written; None where it has not."""
    is_of_one = len(ensemble.members) == 1 and _chose_them(shown) and not shown.is_stored
    written = stored_predictions(ensemble.members[0]) if is_of_one else None
    if written is None or written.table["image_id"].tolist() != shown.predictions.table["image_id"].tolist():
        return None
    return float(np.abs(written.probabilities - shown.predictions.probabilities).max())


def _provenance(ensemble: Ensemble, shown: LabelledPredictions, hardware: Hardware) -> dict[str, Any]:
    networks = [
        {
            "name": member.name,
            "run_id": member.facts.get("run_id"),
            "checkpoint_sha256": file_sha256(member.checkpoint),
            "epoch": member.facts.get("epoch"),
            "weight": float(weight),
        }
        for member, weight in zip(ensemble.members, ensemble.weights, strict=True)
    ]
    data = {
        "name": shown.data_name,
        "split": shown.split,
        "is_own": shown.is_own,
        "group_by": shown.group_by,
        "num_trained_on": shown.num_trained_on,
        "num_of_other_views": shown.num_of_other_views,
        "num_quarantined": shown.num_left_out,
        "fingerprints": list(shown.fingerprints),
    }
    return evaluation_provenance(networks, data, hardware, was_fitted=_chose_them(shown))


def _about(ensemble: Ensemble, shown: LabelledPredictions, agreement: float | None) -> list[str]:
    """What was evaluated on what, and what has to be known before a number is believed."""
    where = f"{shown.split} of {shown.data_name}" if shown.is_own else shown.data_name
    lines = [f"{ensemble.name}", f"on {where}: {len(shown.predictions)} images"]
    if not all(member.is_best for member in ensemble.members):
        epochs = ", ".join(str(member.facts.get("epoch")) for member in ensemble.members)
        lines.append(f"of a checkpoint that is not the best of its run: epoch {epochs}")
    if shown.is_stored:
        lines.append("as the runs have stored them (recompute=true predicts again)")
    if shown.num_trained_on is None:
        lines.append(NOT_KNOWN)
    elif shown.num_trained_on:
        lines.append(f"WARNING: it was trained on {shown.num_trained_on} of these images: the numbers are too good")
    if _chose_them(shown) and any(member.config.train.select == "best" for member in ensemble.members):
        lines.append("the best epoch was chosen on these images: the numbers are a little too good")
    if shown.num_of_other_views:
        lines.append(f"WARNING: {shown.num_of_other_views} images are of views that it was not trained on")
    if shown.num_left_out:
        lines.append(f"{shown.num_left_out} images or label rows of the dataset are left out")
    if agreement is not None:
        words = "those" if agreement <= AGREEMENT else "NOT those"
        lines.append(f"the predictions are {words} that the run has written (largest difference {agreement:.1g})")
    return lines

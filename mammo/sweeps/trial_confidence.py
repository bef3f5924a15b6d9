"""How sure it is that the best trial of a search is the best, and how that can be confirmed."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mammo.evaluation.intervals import ERROR
from mammo.evaluation.paired import compare_trainings
from mammo.evaluation.significance import holm
from mammo.evaluation.trainings import Estimate, Resampling, Training, mean_scores
from mammo.runs.json_access import number
from mammo.runs.reading import RunReader
from mammo.runs.trainings import training_of
from mammo.support.errors import ComparisonError, TrainingError
from mammo.support.table import limits
from mammo.sweeps.findings import MAX_LISTED, best_trial, model_selection
from mammo.sweeps.reading import SweepResults, Trial


@dataclasses.dataclass(frozen=True)
class Confidence:
    """What is known of the best trial beside its value.

    `estimate` is of its score on all images that its runs were validated on, with the interval over patients. `level`
    are the trials that cannot be told from it, of `num_compared`: over the folds (`is_over_folds`) by the corrected
    resampled t test, else on other patients alone, adjusted for their number (Holm). `confirm` is the command that
    scores it on patients whom the search has not seen, `has_test` whether such were set aside.
    """

    number: int
    score: str
    unit: str
    estimate: Estimate
    level: tuple[int, ...]
    num_compared: int
    is_over_folds: bool
    has_test: bool
    has_collapsed: bool
    confirm: str

    def sentences(self) -> list[str]:
        """What a reader has to know who would take the trial for the answer."""
        found = []
        if self.estimate.value is not None:
            found.append(
                f"Trial {self.number} has {self.score} {self.estimate.value:.3f} {limits(self.estimate.ci95)} on all "
                f"its validation images [95% interval over {self.unit}s], as the best of many, which flatters."
                f"{'' if self.has_collapsed else ' None of its runs has collapsed.'}"
            )
        if self.num_compared:
            by, once = "the corrected resampled t test over the folds", ""
            if not self.is_over_folds:
                by, once = f"a t test over {self.unit}s", "; each was trained once, another seed may turn it round"
            n, others = len(self.level), f"the {self.num_compared} other trials"
            listed = ", ".join(map(str, self.level[:MAX_LISTED])) + (", ..." if n > MAX_LISTED else "")
            which = f"{n} of {others} cannot be told from it ({listed})"
            if n in (0, self.num_compared):
                which = f"{'All' if n == 0 else 'None'} of {others} can be told from it"
            found.append(f"{which} by {by}, adjusted for their number (Holm){once}.")
        how = f"To confirm it on {self.unit}s that the search has not seen:"
        if not self.has_test:
            how = f"No {self.unit}s were set aside (data.test_fraction=0.2 does). To confirm it on another dataset:"
        return [*found, f"{how} {self.confirm}"]

    def to_dict(self) -> dict[str, Any]:
        """Strict JSON."""
        return {
            "score_of_all_images": self.estimate.value,
            "ci95": self.estimate.ci95,
            "cannot_be_told_from_it": list(self.level),
            "num_compared": self.num_compared,
            "test": "splits" if self.is_over_folds else "patients",
        }


def confidence(results: SweepResults) -> Confidence | None:
    """What can be said of the best trial; None where none has worked, or its predictions are not there."""
    best = best_trial(results) if results.is_search else None
    if best is None:
        return None
    score, resampling = model_selection(results).name, Resampling()
    readers = {run.name: RunReader(run.folder) for run in results.runs if run.is_completed}
    own = _trainings(best.trial, readers)
    try:
        estimate = mean_scores(resampling.pools(own), resampling)[score] if own else None
    except (ValueError, TrainingError):  # probabilities that are none
        estimate = None
    if estimate is None:
        return None
    p_values: dict[int, float] = {}
    over_folds = []
    for trial in results.trials:
        others = [] if trial is best.trial or trial.failed is not None else _trainings(trial, readers)
        try:
            found = compare_trainings(own, others, resampling) if others else None
        except (ComparisonError, ValueError, TrainingError):
            continue
        if found is not None:
            one = found.scores[score]
            p = one.p_value if found.test is not None else one.p_patients
            over_folds.append(found.test is not None)
            # What has no p is not told apart.
            p_values[trial.number] = 1.0 if p is None else p
    adjusted = dict(zip(p_values, holm(list(p_values.values())), strict=True))
    summary = next((readers[name].summary for name in best.trial.runs if name in readers), None) or {}
    has_test = bool(number(summary, "split", "test", "images"))
    where = "split=test" if has_test else "data=NAME data.root=DIR"
    return Confidence(
        number=best.trial.number,
        score=score,
        unit=next(run.group_by for run in results.runs if run.name in best.trial.runs),
        estimate=estimate,
        level=tuple(sorted(number for number, p in adjusted.items() if p is not None and p >= ERROR)),
        num_compared=len(adjusted),
        is_over_folds=bool(over_folds) and all(over_folds),
        has_test=has_test,
        has_collapsed=best.has_collapsed,
        confirm=f"python -m mammo.evaluate {_shown(results.folder)} where=trial={best.trial.number} {where}",
    )


def _shown(folder: Path) -> str:
    """`multirun/NAME`: what lies above is nobody's business who reads a summary."""
    path = folder.resolve()
    return shlex.quote(f"{path.parent.name}/{path.name}")


def _trainings(trial: Trial, readers: Mapping[str, RunReader]) -> Sequence[Training]:
    found = (training_of(readers[name]) for name in trial.runs if name in readers)
    return [one for one in found if one is not None]

"""Which configuration is better: all trainings of each, compared in pairs on the same splits and images."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from mammo.evaluation.paired import PairedDifference, ScoreDifference, adjusted, compare_trainings
from mammo.evaluation.scores import BY_NAME
from mammo.evaluation.trainings import Estimate, Resampling, Training, mean_scores
from mammo.runs.reading import RunReader
from mammo.runs.trainings import TEST, VAL, training_of
from mammo.support.errors import ComparisonError, ConfigError, TrainingError
from mammo.sweeps.findings import Finding, model_selection
from mammo.sweeps.reading import SweepResults
from mammo.sweeps.reference import position_of

Pair = tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Comparisons:
    """Configurations compared on the patients set aside (`test`) or out of fold (`val`).

    `positions` are those of the findings that take part; `estimates` has the scores of each, as means over trainings.
    `pairs` has what was compared: every pair (i, j) with i < j, j minus i, or each configuration with the `reference`
    where one `is_named`. Otherwise the reference is the one with the best `score`. `problems` say what could not be
    compared and why.
    """

    part: str
    score: str
    unit: str
    labels: Mapping[int, str]
    estimates: Mapping[int, Mapping[str, Estimate]]
    num_trainings: Mapping[int, int]
    pairs: Mapping[Pair, PairedDifference]
    reference: int
    is_named: bool
    problems: tuple[str, ...]

    @property
    def positions(self) -> list[int]:
        """The configurations, the best first."""
        sign = 1.0 if BY_NAME[self.score].lower_is_better else -1.0

        def rank(i: int) -> tuple[bool, float, int]:
            value = self.estimates[i][self.score].value
            return value is None, sign * (value or 0.0), i

        return sorted(self.estimates, key=rank)

    def of(self, position: int, other: int) -> PairedDifference | None:
        """A configuration minus another; None where they were not compared."""
        if (other, position) in self.pairs:
            return self.pairs[other, position]
        found = self.pairs.get((position, other))
        return None if found is None else found.swapped

    def difference(self, position: int, score: str) -> ScoreDifference | None:
        """A score of a configuration minus that of the reference."""
        found = self.of(position, self.reference)
        return None if found is None else found.scores.get(score)

    def is_better(self, position: int, other: int) -> bool:
        """Whether a configuration is better than another in the score that was monitored."""
        found = self.of(position, other)
        return found is not None and found.scores[self.score].better == "second"


def compare_configurations(
    results: SweepResults, findings: Sequence[Finding], readers: Mapping[str, RunReader] | None = None
) -> list[Comparisons]:
    """The comparisons on patients set aside, where two configurations were tested, and out of fold.

    `readers` has the files of the runs by name, where they have been read. Empty for a search, and for a single
    configuration.
    """
    if results.is_search or len(findings) < 2:
        return []
    if readers is None:
        readers = {run.name: RunReader(run.folder) for run in results.runs if run.is_completed}
    labels_of_all, reference, problems = [one.configuration.label for one in findings], None, []
    if results.reference is not None:
        try:
            reference = position_of(results.reference, labels_of_all)
        except ConfigError as error:
            problems.append(f"{error.found}; all pairs are compared")
    found = []
    for part in (TEST, VAL):
        trainings = {i: trainings_of(finding, readers, part) for i, finding in enumerate(findings)}
        trainings = {i: those for i, those in trainings.items() if those}
        # Where epochs were chosen inside, what they were chosen on is no result.
        is_inner = part == VAL and any(run.has_outer_fold for one in findings for run in one.configuration.runs)
        if len(trainings) > 1 and not is_inner:
            labels = {i: findings[i].configuration.label for i in trainings}
            unit = next(run.group_by for finding in findings for run in finding.configuration.completed)
            one = _compared(part, model_selection(results).name, unit, labels, trainings, reference)
            found.append(dataclasses.replace(one, problems=(*problems, *one.problems)))
    return found


def trainings_of(finding: Finding, readers: Mapping[str, RunReader], part: str) -> list[Training]:
    """The trainings of a configuration with predictions for a part; none where its runs are of different data."""
    if finding.configuration.problem is not None:
        return []
    read = (training_of(readers[run.name], part) for run in finding.configuration.completed if run.name in readers)
    return [one for one in read if one is not None]


def _compared(
    part: str,
    score: str,
    unit: str,
    labels: Mapping[int, str],
    trainings: Mapping[int, Sequence[Training]],
    named: int | None,
) -> Comparisons:
    resampling, problems = Resampling(), []
    estimates: dict[int, Mapping[str, Estimate]] = {}
    for i, those in trainings.items():
        try:
            estimates[i] = mean_scores(resampling.pools(those), resampling)
        except (ValueError, TrainingError) as error:  # probabilities that are none
            problems.append(f"{labels[i]} is not compared: {error}")
    reference = named if named in estimates else None
    pairs: dict[Pair, PairedDifference] = {}
    failed: dict[str, list[str]] = {}
    for i, j in itertools.combinations(estimates, 2):
        if reference is not None and reference not in (i, j):
            continue
        try:
            pairs[i, j] = compare_trainings(trainings[i], trainings[j], resampling)
        except ComparisonError as error:
            failed.setdefault(error.found, []).append(f"{labels[j]} is not compared with {labels[i]}")
    for reason, which in failed.items():
        problems.append(f"{which[0] if len(which) == 1 else f'{len(which)} pairs are not compared'}: {reason}")
    pairs = dict(zip(pairs, adjusted(list(pairs.values())), strict=True))
    counts = {i: len(those) for i, those in trainings.items()}
    found = Comparisons(part, score, unit, labels, estimates, counts, pairs, reference or 0, True, tuple(problems))
    if reference is None:
        found = dataclasses.replace(found, reference=next(iter(found.positions), 0), is_named=False)
    return found

"""Configurations beside each other: what each reaches, how far it is from the reference, what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mammo.evaluation.scores import BY_NAME
from mammo.evaluation.trainings import mean_or_none
from mammo.runs.paired_words import how_compared, outcome, short_p
from mammo.runs.trainings import TEST
from mammo.support.plain_text import markdown_text
from mammo.support.table import Cell, Table, columns, estimate, markdown_lines, mean_and_std, row
from mammo.sweeps.comparisons import Comparisons
from mammo.sweeps.findings import EQUAL, Finding, how_selected, metrics_of_figure
from mammo.sweeps.reading import Cost, SweepResults
from mammo.sweeps.tables import ELSEWHERE

PART_WORDS = {"test": "patients set aside", "val": "validation images"}
# No more sentences, and no more names in one.
MAX_SENTENCES = 8


def comparison_table(found: Comparisons, findings: Sequence[Finding], *, is_compact: bool = False) -> Table:
    """A row for each configuration, the best first: score, difference to the reference, p, cost.

    `is_compact` puts what it costs into one column, for 80 columns of a terminal.
    """
    rows = []
    for i in found.positions:
        n, one = found.num_trainings[i], found.estimates[i][found.score]
        difference = found.difference(i, found.score)
        head = Cell(found.labels[i], below=f"{n} run{'' if n == 1 else 's'}")
        if i == found.reference and found.pairs:
            compared = [Cell("reference"), Cell("")]
        elif difference is None:
            compared = [Cell("-"), Cell("-")]
        else:
            compared = [
                estimate(difference.difference, difference.ci95, sign="+"),
                Cell(short_p(difference.p_adjusted)),
            ]
        cost = mean_cost(findings[i])
        costs = _cost_cells(cost)
        if is_compact:
            costs = [Cell(_duration(cost.minutes), below=", ".join(_short_cost(cost)))]
        rows.append(row(head, estimate(one.value, one.ci95), *compared, *costs))
        if (published := findings[i].configuration.published.get(found.score)) is not None:
            rows.append(row(ELSEWHERE, mean_and_std(*published), *[""] * (len(costs) + 2)))
    to = f"difference to {found.labels[found.reference]}"
    numbers = [BY_NAME[found.score].name if is_compact else BY_NAME[found.score].title, to, "p"]
    numbers += ["a run"] if is_compact else ["minutes", "images a second", "parameters", "of them learning"]
    if is_compact:
        numbers[1] = "difference"
    heads = columns("configuration", numbers=numbers)
    runs = [run for i in found.positions for run in findings[i].configuration.completed]
    note = " ".join(filter(None, (how_selected(runs, on_others=found.part == TEST), note_of(found))))
    return Table(f"Configurations on {PART_WORDS[found.part]}", heads, tuple(rows), note=note)


def note_of(found: Comparisons) -> str:
    """How the numbers came about."""
    if not found.pairs:
        return ""
    pair = max(found.pairs.values(), key=lambda one: sum(one.num_trainings))
    words = how_compared(pair, found.unit, len(found.pairs))
    if any(
        (one.num_trainings, one.num_images) != (pair.num_trainings, pair.num_images) for one in found.pairs.values()
    ):
        words += " Where trainings are missing, a pair is compared on those that both have."
    if found.is_named or len(found.pairs) < 2:
        return words
    return f"{words} A reference that is named beforehand (sweep.reference) takes {len(found.estimates) - 1}."


def mean_cost(finding: Finding) -> Cost:
    """What a run of a configuration takes on average; the numbers of parameters are alike."""
    costs = [run.cost for run in finding.configuration.completed]
    return Cost(
        *(
            mean_or_none([value for value in values if value is not None])
            for values in zip(
                *((one.minutes, one.images_per_second, one.parameters, one.trainable_parameters) for one in costs),
                strict=True,
            )
        )
    )


def _cost_cells(cost: Cost) -> list[Cell]:
    minutes = "" if cost.minutes is None else f"{cost.minutes:.2f}"
    rest = (cost.images_per_second, cost.parameters, cost.trainable_parameters)
    return [Cell(minutes), *(Cell("" if value is None else f"{value:,.0f}") for value in rest)]


def _duration(minutes: float | None) -> str:
    if minutes is None:
        return ""
    return f"{minutes:.0f} min" if minutes >= 10 else f"{minutes:.1f} min" if minutes >= 2 else f"{minutes * 60:.0f} s"


def _short_cost(cost: Cost) -> list[str]:
    found = [] if cost.images_per_second is None else [f"{cost.images_per_second:,.0f}/s"]
    return found + ([] if cost.parameters is None else [f"{cost.parameters / 1e6:.1f} M"])


def pairs_table(found: Comparisons, score: str) -> Table:
    """A row for each pair that was compared, in a score."""
    rows = []
    for (i, j), pair in found.pairs.items():
        one = pair.scores[score]
        wins = "" if one.wins is None else f"{one.wins.second} of {one.wins.total}"
        effect = "" if one.effect_size is None else f"{one.effect_size:+.2f}"
        rows.append(
            row(f"{found.labels[j]} minus {found.labels[i]}", estimate(one.difference, one.ci95, sign="+"),
                wins, effect, short_p(one.p_value), short_p(one.p_adjusted))
        )  # fmt: skip
    heads = columns("difference", numbers=(BY_NAME[score].title, "splits ahead", "effect size", "p", "p (Holm)"))
    return Table("Pairs", heads, tuple(rows), note=EFFECT_SIZE)


EFFECT_SIZE = "Effect size: mean over the splits of the difference, over its standard deviation (ddof=1)."


def verdicts(found: Comparisons) -> list[str]:
    """What the comparison says in sentences; the numbers of many stand in the table."""
    if not found.pairs:
        return []
    of, labels, score = found.reference, found.labels, BY_NAME[found.score]
    value, others = found.estimates[of][found.score].value, [i for i in found.positions if i != of]
    sentences = []
    if not found.is_named and value is not None:
        order = "lowest" if score.lower_is_better else "highest"
        values = {i: found.estimates[i][found.score].value for i in others}
        equals = [i for i, other in values.items() if other is not None and math.isclose(other, value, abs_tol=EQUAL)]
        level = f" It is level with {_listed(labels, equals, 'and')}." if equals else ""
        n = len(found.estimates)
        sentences.append(f"Of {n} configurations, {labels[of]} has the {order} {score.sentence}, {value:.3f}.{level}")
    if len(others) == 1 and (pair := found.of(others[0], of)) is not None:
        return [*sentences, outcome(pair, found.score, labels[of], labels[others[0]])]
    tested = [i for i in others if (pair := found.of(i, of)) is not None and pair.test is not None]
    groups = {
        "better": [i for i in tested if found.is_better(i, of)],
        "worse": [i for i in tested if found.is_better(of, i)],
    }
    alike = [i for i in tested if not found.is_better(i, of) and not found.is_better(of, i)]
    for words, members in groups.items():
        if members:
            verb = "is" if len(members) == 1 else "are"
            sentences.append(f"{_listed(labels, members, 'and')} {verb} {words} than {labels[of]}.")
    if alike:
        sentences.append(f"{labels[of]} cannot be told apart from {_listed(labels, alike, 'or')}.")
    for i, j in found.pairs:
        if of not in (i, j) and (found.is_better(i, j) or found.is_better(j, i)):
            better, worse = (i, j) if found.is_better(i, j) else (j, i)
            sentences.append(f"{labels[better]} is better than {labels[worse]}.")
    why = dict.fromkeys(pair.why_no_test for pair in found.pairs.values() if pair.why_no_test)
    return [*sentences[:MAX_SENTENCES], *(f"No conclusion about configurations: {reason}." for reason in why)]


def _listed(labels: Mapping[int, str], members: Sequence[int], last: str) -> str:
    """`A; B and C`: labels have commas."""
    names = [labels[i] for i in members[:MAX_SENTENCES]]
    names += [f"{len(members) - len(names)} others"] if len(members) > len(names) else []
    return names[0] if len(names) == 1 else f"{'; '.join(names[:-1])} {last} {names[-1]}"


def markdown_of(found: Comparisons, findings: Sequence[Finding], results: SweepResults) -> list[str]:
    """Tables and sentences for `summary.md`."""
    lines = markdown_lines(comparison_table(found, findings))
    for sentence in [*verdicts(found), *found.problems]:
        lines += [f"- {markdown_text(sentence)}"]
    lines += [""]
    if len(found.pairs) > 1:
        for name in dict.fromkeys([found.score, *metrics_of_figure(results)]):
            lines += markdown_lines(pairs_table(found, name))
    return lines

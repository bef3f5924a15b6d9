"""The words at the head of a report, all of them computed: what was found."""

from __future__ import annotations

from collections.abc import Sequence

from mammo.evaluation.scores import BY_NAME, names_in
from mammo.reporting.document import Tile
from mammo.reporting.report_data import ReportData, ReportedRun, best_position
from mammo.runs.json_access import count, interval, number, text
from mammo.runs.stored import UNITS
from mammo.support.table import span
from mammo.sweeps.comparison_tables import verdicts
from mammo.sweeps.findings import best_trial, is_minimised, model_selection
from mammo.sweeps.statistics import Spread

# What follows a result of patients set aside.
SELECTED_ON = "What follows is of the validation images, on which the epochs were selected: it flatters a little."
NOT_SELECTED_ON = "What follows is of the validation images; no epoch was chosen on them."
NO_INTERVAL = "no interval: resampling patients gives none"
FLATTERS = "It is the best of many on the same images, which flatters: confirm it on patients the search has not seen."
DISCLAIMER = "Research use only. Nothing here is a medical device, and no result is meant for diagnosis."


def title(data: ReportData) -> str:
    """What the report is about."""
    if len(data.runs) == 1:
        return data.runs[0].result.name
    return data.title


def listed(words: Sequence[object]) -> str:
    """`a, b and c`."""
    texts = [str(word) for word in words]
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}" if texts else "none"


def _named(score: str) -> str:
    """What a score is called in a sentence; the tables have its title and its key in val_metrics.json."""
    return BY_NAME[score].sentence


def plural(n: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def unit_of(run: ReportedRun) -> str:
    """What was kept together in the split: patients, exams or images."""
    return UNITS.get(text(run.summary, "data", "group_by"), "patients")


def validated_on(run: ReportedRun) -> str:
    """On what a run was validated: `64 images of 32 patients of mias`."""
    part = "test" if run.result.has_outer_fold else "val"
    images, patients = count(run.summary, "split", part, "images"), count(run.summary, "split", part, "patients")
    unit = unit_of(run)
    of_whom = "" if unit == "images" else f" of {patients} {unit}"
    return f"{images} images{of_whom} of the dataset {text(run.summary, 'data', 'name') or 'unknown'}"


def finding(data: ReportData) -> tuple[str, ...]:
    """What was found, in sentences."""
    best = best_position(data)
    if data.results.is_search and data.results.trials:
        return (*_of_test(data, best), *_of_search(data))
    if best is None:
        if not data.is_comparable:
            return _not_ranked(data)
        if n := len(data.completed):
            runs = "A run is finished, but its" if n == 1 else f"{n} runs are finished, but their"
            return (f"{runs} configuration cannot be read by this version; the metrics stand below.",)
        return ("No run is finished, so there is no result to report.",)
    sentences = _of_test(data, best)
    with_results = [i for i, one in enumerate(data.findings) if one.configuration.completed]
    if len(with_results) > 1:
        sentences += _of_several(data, best, with_results)
    else:
        sentences.append(_of_one(data, best))
    sentences += _of_pooled(data, best) or _over_patients(data, best)
    others = [name for name in names_in("headline")[1:] if name != model_selection(data.results).name]
    shown = [f"{_named(name)} {mean:.3f}" for name in others if (mean := data.spread(best, name).mean) is not None]
    averaged = "On average over its runs: " if len(data.of(best)) > 1 else "Further: "
    return (*sentences, *([f"{averaged}{listed(shown)}."] if shown else []))


def _of_test(data: ReportData, position: int | None) -> list[str]:
    """What the best configuration scores on the patients set aside; nothing where it was not tested."""
    found = None if position is None else data.held_out[position]
    if found is None or position is None:
        return []
    runs, name = data.of(position), model_selection(data.results).name
    unit, limits = unit_of(runs[0]), found.over_patients(name)
    of_whom = "" if unit == "images" else f" of {plural_of(found.num_patients, unit)}"
    subject = network(data, position)
    if len(data.findings) > 1:
        subject = data.name_of(position)
    mean = "mean " if found.num_runs > 1 else ""
    over = f" over {found.num_runs} of {plural(found.of_runs, 'run')}" if found.of_runs > 1 else ""
    without = NO_INTERVAL if found.intervals else "no interval: the predictions do not allow it"
    inside = f" (95% interval {span(limits)} over {unit})" if limits else f" ({without})"
    return [
        f"On {plural(found.num_images, 'test image')}{of_whom}, set aside from training and selection, {subject} "
        f"reached a {mean}{_named(name)} of {_value(found.mean(name))}{inside}{over}.{_against_chance(name, limits)}",
        _of_validation(runs),
    ]


def _of_validation(runs: Sequence[ReportedRun]) -> str:
    return SELECTED_ON if chose_epochs(runs) else NOT_SELECTED_ON


def chose_epochs(runs: Sequence[ReportedRun]) -> bool:
    """Whether the epoch of a run was chosen on its validation images."""
    return any(run.result.select == "best" for run in runs)


def plural_of(n: int, unit: str) -> str:
    """`1 patient`, `8 patients`: a number of what `unit_of` names."""
    return plural(n, unit.removesuffix("s"))


def network(data: ReportData, position: int) -> str:
    """The network of a configuration and how much of it learns."""
    identity = data.findings[position].configuration.runs[0].identity or {}
    return f"{identity.get('model.name')} (strategy {identity.get('strategy.name')})"


def _of_one(data: ReportData, position: int) -> str:
    """The finding of the only configuration."""
    runs, name = data.of(position), model_selection(data.results).name
    spread = data.spread(position, name)
    subject = network(data, position)
    if len(runs) == 1:
        limits = interval(runs[0].metrics, "ci95", name)
        inside = f" (95% interval {span(limits)} over {unit_of(runs[0])})" if limits else ""
        epoch = f"{count(runs[0].summary, 'best_epoch')} of {count(runs[0].summary, 'epochs_run')}"
        return (
            f"{subject} reached a {_named(name)} of {_value(spread.mean)}{inside} at epoch {epoch}, validated on "
            f"{validated_on(runs[0])}.{_against_chance(name, limits)}"
        )
    return (
        f"Over {_runs_in_words(runs)}, {subject} reached a mean {_named(name)} of {_value(spread.mean)}"
        f"{_spread_in_words(spread, runs)}, validated on {_validation_in_words(runs)}."
    )


def _value(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _runs_in_words(runs: Sequence[ReportedRun]) -> str:
    parts = []
    for what, values in (
        ("seeds", {run.result.seed for run in runs}),
        ("folds", {run.result.fold for run in runs}),
    ):
        known = sorted(value for value in values if value is not None)
        if len(known) > 1:
            parts.append(f"{what} {listed(known)}")
    return plural(len(runs), "run") + (f" ({'; '.join(parts)})" if parts else "")


def _spread_in_words(spread: Spread, runs: Sequence[ReportedRun]) -> str:
    if spread.std is None:
        return ""
    if spread.ci95 is None:
        return f" (standard deviation {spread.std:.3f} {over_trainings(runs)})"
    return f" (standard deviation {spread.std:.3f}; 95% interval {span(spread.ci95)} {over_trainings(runs)})"


def over_trainings(runs: Sequence[ReportedRun]) -> str:
    """What an interval over runs is about: the chance of another training, not that of other patients."""
    whom = unit_of(runs[0])
    if _are_of_one_split(runs):
        images = "images" if whom == "images" else f"{count(runs[0].summary, 'split', 'val', 'patients')} {whom}"
        return f"over {plural(len(runs), 'training')} on the same {images}, not over {whom}"
    return f"over {plural(len(runs), 'training')}, not over {whom}"


def _are_of_one_split(runs: Sequence[ReportedRun]) -> bool:
    return len({text(run.summary, "split", "fingerprint") for run in runs}) == 1


def _over_patients(data: ReportData, position: int) -> list[str]:
    """What the mean of several trainings on the same images says of other patients."""
    runs, name = data.of(position), model_selection(data.results).name
    limits = data.over_patients(position, name)
    if len(runs) < 2 or limits is None:
        return []
    return [
        f"Over {unit_of(runs[0])}, the 95% interval of this mean is {span(limits)} (resampled, the same draws for "
        f"every training).{_against_chance(name, limits)}"
    ]


NOT_COMPARABLE = "validated on different images: not comparable"
MAX_LISTED = 6


def _not_ranked(data: ReportData) -> tuple[str, ...]:
    """Each configuration by itself."""
    name = model_selection(data.results).name
    positions = [i for i in range(len(data.findings)) if data.of(i)]
    sentences = [f"The {len(positions)} configurations were {NOT_COMPARABLE}. None is the best."]
    for i in positions[:MAX_LISTED]:
        sentences += _of_test(data, i)[:1]
    if len(sentences) > 1:
        sentences.append(_of_validation(data.completed))
    for i in positions[:MAX_LISTED]:
        runs = data.of(i)
        mean = "mean " if len(runs) > 1 else ""
        sentences.append(
            f"{data.name_of(i)}: {mean}{_named(name)} "
            f"{_value(data.spread(i, name).mean)} over {_runs_in_words(runs)}, validated on "
            f"{_validation_in_words(runs)}."
        )
    return tuple(sentences)


def _validation_in_words(runs: Sequence[ReportedRun]) -> str:
    if _are_of_one_split(runs):
        return validated_on(runs[0])
    return f"a different part of the dataset {text(runs[0].summary, 'data', 'name')} in each fold"


def _against_chance(name: str, limits: tuple[float, float] | None) -> str:
    chance = BY_NAME[name].chance
    if limits is None or chance is None:
        return ""
    if limits[0] > chance:
        return " The interval lies above chance."
    if limits[1] < chance:
        return f" The interval lies below chance ({chance:g})."
    return f" The interval includes chance ({chance:g}): that the network does better than guessing is not shown."


def _of_several(data: ReportData, best: int, with_results: Sequence[int]) -> list[str]:
    """The best configuration, and which of the others it can be told from."""
    runs, name = data.of(best), model_selection(data.results).name
    sentences = [sentence for one in data.comparisons[:1] for sentence in verdicts(one)]
    if not sentences:
        spread, label = data.spread(best, name), data.findings[best].configuration.label
        order = "lowest" if BY_NAME[name].lower_is_better else "highest"
        sentences = [
            f"Of {len(with_results)} configurations, {label} has the {order} mean {_named(name)}: {_value(spread.mean)}"
            f"{_spread_in_words(spread, runs)}, over {_runs_in_words(runs)}, validated on {_validation_in_words(runs)}."
        ]
    if collapsed := sum(run.result.has_collapsed for run in runs):
        sentences[0] += " It collapsed." if len(runs) == 1 else f" {collapsed} of its {len(runs)} runs collapsed."
    return sentences


def _of_pooled(data: ReportData, position: int) -> list[str]:
    pooled = data.findings[position].pooled
    if pooled is None or pooled.mean is None:
        return []
    name = model_selection(data.results).name
    seeds = f" (mean of {pooled.repetitions})" if pooled.repetitions else ""
    limits = interval(pooled.mean, "ci95", name)
    inside = f" (95% interval {span(limits)} over {unit_of(data.of(position)[0])})" if limits else ""
    return [
        f"All {count(pooled.mean, 'num_images')} images, each predicted by a network that had not seen it, give"
        f"{seeds} {_value(number(pooled.mean, name))}{inside}.{_against_chance(name, limits)}"
    ]


def _of_search(data: ReportData) -> tuple[str, ...]:
    results = data.results
    name, found = model_selection(results).name, best_trial(results)
    order = "lowest" if is_minimised(results) else "highest"
    n = len([trial for trial in results.trials if trial.value is not None])
    if found is None:
        return (f"None of {plural(len(results.trials), 'trial')} has worked.",)
    who = f"{len(found.equals) + 1} share" if found.equals else f"trial {found.trial.number} has"
    sure = data.best_trial_confidence
    return (
        f"Of {plural(n, 'trial')}, {who} the {order} {_named(name)}: {_value(found.trial.value)}.",
        *found.remarks(_named(name)),
        *(sure.sentences() if sure is not None else (FLATTERS,)),
    )


def tiles(data: ReportData) -> tuple[Tile, ...]:
    """The four numbers that stand first: of the best configuration.

    They are of the patients set aside where it was tested, with validation beside; else pooled over folds where that
    can be done.
    """
    best = best_position(data)
    if best is None:
        return ()
    found = []
    names = dict.fromkeys([model_selection(data.results).name, *names_in("headline")])
    for name in list(names)[:4]:
        value, limits, what = _validation(data, best, name)
        title, unit = BY_NAME[name].title, unit_of(data.of(best)[0])
        if (tested := data.held_out[best]) is not None:
            which = ", which selected the epochs" if chose_epochs(data.of(best)) else ""
            before = f"{_value(value)}, {span(limits)}" if limits else _value(value)
            what = f"{plural_of(tested.num_patients, unit)} set aside; on validation{which}: {before}"
            what = f"mean of {plural(tested.num_runs, 'run')}; {what}" if tested.num_runs > 1 else what
            value, limits, title = tested.mean(name), tested.over_patients(name), f"Test: {title}"
        shown = span(limits) if limits else f"no interval over {unit}"
        found.append(Tile(title, _value(value), shown, "; ".join(filter(None, (what, BY_NAME[name].hint)))))
    return tuple(found)


def _validation(data: ReportData, position: int, name: str) -> tuple[float | None, tuple[float, float] | None, str]:
    """A validation score of a configuration, its interval over patients, and which estimate it is."""
    runs, pooled, spread = data.of(position), data.findings[position].pooled, data.spread(position, name)
    value, what = spread.mean, f"resampled {unit_of(runs[0])}"
    if pooled is not None and pooled.mean is not None:
        value, what = number(pooled.mean, name), f"out of fold; {what}"
    elif len(runs) > 1:
        what = f"mean of {plural(spread.n, 'run')}; {what}"
        what += f"; over trainings {span(spread.ci95)}" if spread.ci95 else ""
    return value, data.over_patients(position, name), what

"""Every score in one table: what it is called, which way it goes, where it is shown.

Whoever shows, writes or compares scores selects from here. Nothing heavy is imported: the check of a configuration
reads the names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Literal, get_args

# auto: what `monitor=auto` compares, in this order; history: also of every epoch; headline: the few that stand first;
# elsewhere: of other images; subgroups, exams: of parts of the images, and of exams; compared: of models beside each
# other; run: of a run beside others; card: of a model card; sweep: with means and spread over runs.
Place = Literal["auto", "history", "headline", "elsewhere", "subgroups", "exams", "compared", "run", "card", "sweep"]
EVERYWHERE = frozenset(get_args(Place))
MULTICLASS = "multiclass"  # the kind of a task: each image is of one of K classes


def _zero(num_classes: int) -> float:
    return 0.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    """A score of a set of predictions.

    Adding one is adding an entry to `SCORES` and a property of that name to the cases of the `kinds` of task that have
    it (`mammo.evaluation.cases`): its value, and what it is in every draw of the bootstrap. `name` is its key in files,
    `title` heads a table or figure, `short` fits beside numbers into 80 columns, `sentence` names it in a sentence and
    `log` in the line of an epoch (empty: not there), there with `log_digits`. `rank` orders the scores where they are
    shown, 1 first; files have them in the order of the table. `hint` says what its values mean and `chance` what
    guessing gets, None where that depends on the images. `worst` is the worst value with K classes.
    """

    name: str
    title: str
    sentence: str
    rank: int
    shown_in: frozenset[Place]
    short: str = ""
    log: str = ""
    log_digits: int = 3
    hint: str = ""
    chance: float | None = None
    worst: Callable[[int], float] = _zero
    lower_is_better: bool = False
    kinds: frozenset[str] = frozenset({MULTICLASS})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ClassScore:
    """A score of each class; `is_metric` puts it into `val_metrics.json`, `is_drawn` gives it intervals."""

    name: str
    title: str
    is_metric: bool = True
    is_drawn: bool = True
    kinds: frozenset[str] = frozenset({MULTICLASS})

    @property
    def key(self) -> str:
        """What it is called where scores of all images are too."""
        return f"per_class_{self.name}"


def _in(*places: Place) -> frozenset[Place]:
    return frozenset(places)


SCORES = (
    Score(
        name="loss",
        title="Loss",
        sentence="loss",
        rank=11,
        shown_in=_in("history", "run", "card", "sweep"),
        log="Loss",
        log_digits=4,
        worst=lambda _: 1e6,
        lower_is_better=True,
    ),
    Score(
        name="acc",
        title="Accuracy",
        short="accuracy",
        sentence="accuracy",
        rank=8,
        shown_in=EVERYWHERE,
        log="Acc",
        log_digits=4,
        hint="fraction right",
    ),
    Score(
        name="bal_acc",
        title="Balanced accuracy",
        sentence="balanced accuracy",
        rank=7,
        shown_in=_in("history", "sweep"),
    ),
    Score(
        name="bal_acc_adj",
        title="Balanced accuracy, chance-adjusted",
        short="balanced accuracy, adjusted",
        sentence="chance-adjusted balanced accuracy",
        rank=1,
        shown_in=EVERYWHERE,
        log="BalAccAdj",
        hint="0 guessing, 1 perfect",
        chance=0.0,
        worst=lambda num_classes: -1.0 / (num_classes - 1),
    ),
    Score(
        name="kappa",
        title="Kappa",
        sentence="kappa",
        rank=3,
        shown_in=_in("history", "exams", "sweep"),
        log="Kappa",
        chance=0.0,
        worst=lambda _: -1.0,
    ),
    Score(
        name="kappa_quadratic",
        title="Quadratic kappa",
        short="quadratic kappa",
        sentence="quadratic kappa",
        rank=2,
        shown_in=EVERYWHERE,
        log="QWK",
        hint="0 chance, 1 perfect",
        chance=0.0,
        worst=lambda _: -1.0,
    ),
    Score(
        name="macro_f1",
        title="Macro F1",
        sentence="macro F1",
        rank=6,
        shown_in=_in("auto", "history", "exams", "compared", "run", "card", "sweep"),
        log="MacroF1",
    ),
    Score(
        name="auc_ovr",
        title="AUC, one class against the rest",
        short="AUC, one class vs rest",
        sentence="AUC (one class against the rest)",
        rank=4,
        shown_in=EVERYWHERE - {"subgroups"},
        log="AUC",
        hint="0.5 chance, 1 perfect",
        chance=0.5,
    ),
    Score(
        name="auc_ovo",
        title="AUC, pairs of classes",
        sentence="AUC (pairs of classes)",
        rank=5,
        shown_in=_in("history"),
        chance=0.5,
    ),
    Score(
        name="mae",
        title="Mean distance in classes",
        sentence="mean distance in classes",
        rank=9,
        shown_in=_in("exams", "card", "sweep"),
        worst=lambda num_classes: float(num_classes - 1),
        lower_is_better=True,
    ),
    Score(
        name="ece",
        title="Calibration error",
        sentence="calibration error",
        rank=10,
        shown_in=_in("elsewhere", "exams", "compared", "run", "card", "sweep"),
        worst=lambda _: 1.0,
        lower_is_better=True,
    ),
)
# Scores of each class against the rest.
CLASS_SCORES = (
    ClassScore(name="loss", title="loss", is_drawn=False),
    ClassScore(name="precision", title="precision"),
    ClassScore(name="recall", title="recall"),
    ClassScore(name="f1", title="F1"),
    ClassScore(name="auc", title="AUC", is_metric=False),
    ClassScore(name="average_precision", title="average precision", is_metric=False),
)
BY_NAME = {score.name: score for score in SCORES}
SCORE_NAMES = tuple(BY_NAME)


def scores_of(kind: str) -> tuple[Score, ...]:
    """The scores of a kind of task, in the order of the table."""
    return tuple(score for score in SCORES if kind in score.kinds)


def class_scores_of(kind: str) -> tuple[ClassScore, ...]:
    """The scores of single classes, or labels, of a kind of task."""
    return tuple(score for score in CLASS_SCORES if kind in score.kinds)


def shown_in(place: Place, kind: str = MULTICLASS) -> tuple[Score, ...]:
    """The scores that are shown in a place, in the order in which they are shown."""
    shown = [score for score in scores_of(kind) if place in score.shown_in]
    return tuple(sorted(shown, key=lambda score: score.rank))


def names_in(place: Place, kind: str = MULTICLASS) -> tuple[str, ...]:
    """The names of `shown_in`."""
    return tuple(score.name for score in shown_in(place, kind))

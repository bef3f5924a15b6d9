"""Every score in one table: what it is called, which way it goes, where it is shown.

Whoever shows, writes or compares scores selects from here. Nothing heavy is imported: the check of a configuration
reads the names.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection
from typing import Literal, get_args

# auto: what `monitor=auto` compares, in this order; history: also of every epoch; headline: the few that stand first;
# elsewhere: of other images; subgroups, exams: of parts of the images, and of exams; compared: of models beside each
# other; run: of a run beside others; card: of a model card; sweep: with means and spread over runs.
Place = Literal["auto", "history", "headline", "elsewhere", "subgroups", "exams", "compared", "run", "card", "sweep"]
EVERYWHERE = frozenset[Place](get_args(Place))
MULTICLASS = "multiclass"  # the kind of a task: one class for each image


def _in(*places: Place) -> frozenset[Place]:
    return frozenset(places)


@dataclasses.dataclass(frozen=True)
class Score:
    """A score of a set of predictions.

    Adding one is adding an entry to `SCORES` and a property of that name to the cases of the `kinds` of task that have
    it (`mammo.evaluation.score_formulas`): its value, and that in every draw of the bootstrap. `name` is its key in
    files, `title` heads a table or figure. `rank` orders the scores where they are shown, 1 first; files have them in
    the order of the table. In a sentence it has its title, or is `called` otherwise; `brief` is for beside numbers in
    80 columns, `log` for the line of an epoch (empty: not there), there with `log_digits`. `hint` says what its values
    mean and `chance` what guessing gets, None where that depends on the images. `worst` is the worst value with K
    classes.
    """

    name: str
    title: str
    rank: int
    shown_in: frozenset[Place]
    called: str = ""
    brief: str = ""
    log: str = ""
    log_digits: int = 3
    hint: str = ""
    chance: float | None = None
    worst: Callable[[int], float] = lambda _: 0.0
    lower_is_better: bool = False
    kinds: frozenset[str] = frozenset({MULTICLASS})

    @property
    def sentence(self) -> str:
        """What it is called in a sentence."""
        return self.called or f"{self.title[0].lower()}{self.title[1:]}"

    @property
    def short(self) -> str:
        """What fits beside numbers into 80 columns."""
        return self.brief or self.sentence


@dataclasses.dataclass(frozen=True)
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


SCORES = (
    Score("loss", "Loss", 11, _in("history", "run", "card", "sweep"), log="Loss", log_digits=4,
          worst=lambda _: 1e6, lower_is_better=True),
    Score("acc", "Accuracy", 8, EVERYWHERE, log="Acc", log_digits=4, hint="fraction right"),
    Score("bal_acc", "Balanced accuracy", 7, _in("history", "sweep")),
    Score("bal_acc_adj", "Balanced accuracy, chance-adjusted", 1, EVERYWHERE, log="BalAccAdj",
          called="chance-adjusted balanced accuracy", brief="balanced accuracy, adjusted",
          hint="0 guessing, 1 perfect", chance=0.0, worst=lambda num_classes: -1.0 / (num_classes - 1)),
    Score("kappa", "Kappa", 3, _in("history", "exams", "sweep"), log="Kappa", chance=0.0, worst=lambda _: -1.0),
    Score("kappa_quadratic", "Quadratic kappa", 2, EVERYWHERE, log="QWK",
          hint="0 chance, 1 perfect", chance=0.0, worst=lambda _: -1.0),
    Score("macro_f1", "Macro F1", 6, EVERYWHERE - {"headline", "elsewhere", "subgroups"}, log="MacroF1"),
    Score("auc_ovr", "AUC, one class against the rest", 4, EVERYWHERE - {"subgroups"}, log="AUC",
          called="AUC (one class against the rest)", brief="AUC, one class vs rest",
          hint="0.5 chance, 1 perfect", chance=0.5),
    Score("auc_ovo", "AUC, pairs of classes", 5, _in("history"), called="AUC (pairs of classes)", chance=0.5),
    Score("mae", "Mean distance in classes", 9, _in("exams", "card", "sweep"),
          worst=lambda num_classes: float(num_classes - 1), lower_is_better=True),
    Score("ece", "Calibration error", 10, _in("elsewhere", "exams", "compared", "run", "card", "sweep"),
          worst=lambda _: 1.0, lower_is_better=True),
)  # fmt: skip
# Scores of each class against the rest.
CLASS_SCORES = (
    ClassScore("loss", "loss", is_drawn=False),
    ClassScore("precision", "precision"),
    ClassScore("recall", "recall"),
    ClassScore("f1", "F1"),
    ClassScore("auc", "AUC", is_metric=False),
    ClassScore("average_precision", "average precision", is_metric=False),
)
BY_NAME = {score.name: score for score in SCORES}
SCORE_NAMES = tuple(BY_NAME)


def scores_of(kind: str) -> tuple[Score, ...]:
    """The scores of a kind of task, in the order of the table."""
    return tuple(score for score in SCORES if kind in score.kinds)


def class_scores_of(kind: str) -> tuple[ClassScore, ...]:
    """The scores of single classes, or labels, of a kind of task."""
    return tuple(score for score in CLASS_SCORES if kind in score.kinds)


def shown_in(place: Place, kind: str = MULTICLASS, among: Collection[str] | None = None) -> tuple[Score, ...]:
    """The scores that are shown in a place, in the order in which they are shown.

    `among` are the names that some metrics have, which says of what kind they are.
    """
    of_kind = scores_of(kind) if among is None else [score for score in SCORES if score.name in among]
    return tuple(sorted((score for score in of_kind if place in score.shown_in), key=lambda score: score.rank))


def names_in(place: Place, kind: str = MULTICLASS) -> tuple[str, ...]:
    """The names of `shown_in`."""
    return tuple(score.name for score in shown_in(place, kind))

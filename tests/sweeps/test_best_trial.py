"""Which trial of a search is the best, and what has to be said of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mammo.sweeps.findings import BestTrial, best_trial
from mammo.sweeps.reading import COMPLETED, RunResult, SweepResults, Trial


def search(
    values: list[float | None], collapsed: tuple[str, ...] = (), failed: tuple[int, ...] = (), num_folds: int = 1
) -> BestTrial | None:
    """The best of trials with these values; `collapsed` are runs, `NUMBER-FOLD`."""
    names = [[f"{i}-{fold}" for fold in range(num_folds)] for i in range(len(values))]
    trials = tuple(
        Trial(i, {}, value, "out of memory" if i in failed else None, tuple(names[i])) for i, value in enumerate(values)
    )
    runs = tuple(
        RunResult(name, Path(name), COMPLETED, has_collapsed=name in collapsed) for of_one in names for name in of_one
    )
    plan = {"trials": len(values), "direction": "maximize"}
    return best_trial(SweepResults(Path(), "search", runs, "auto", plan, trials, (), (), True))


def remarks(*arguments, **further) -> str:
    best = search(*arguments, **further)
    assert best is not None
    return " ".join(best.remarks("kappa"))


def test_of_equal_trials_the_first_that_has_not_collapsed_is_taken():
    best = search([0.3, 0.3, 0.3, 0.1], collapsed=("0-0",))
    assert best is not None
    assert (best.trial.number, best.equals, best.has_collapsed, best.next_best) == (1, (0, 2), False, None)
    assert "3 trials (0, 1, 2) have the same kappa, 0.300" in remarks([0.3, 0.3, 0.3, 0.1], collapsed=("0-0",))
    assert "it is the first that has not collapsed." in remarks([0.3, 0.3, 0.3, 0.1], collapsed=("0-0",))


def test_values_that_differ_by_rounding_are_equal():
    best = search([0.3, 0.1 + 0.2])
    assert best is not None
    assert best.trial.number == 0
    assert remarks([0.3, 0.1 + 0.2]).endswith("it is the first.")


@pytest.mark.parametrize(
    ("num_folds", "collapsed", "said"),
    [
        (1, ("0-0", "1-0"), "Trial 0 has collapsed: it misses a class, or does no better than guessing. So have all "
                            "others that worked."),
        (1, ("0-0",), "Trial 0 has collapsed: it misses a class, or does no better than guessing. The best that has "
                      "not is trial 1 with 0.200."),
        (2, ("0-1",), "Trial 0 has collapsed in 1 of its 2 runs: it misses a class, or does no better than guessing. "
                      "The best that has not is trial 1 with 0.200."),
    ],
)  # fmt: skip
def test_a_collapsed_trial_is_named_with_a_word(num_folds, collapsed, said):
    assert remarks([0.4, 0.2, -0.3], collapsed=collapsed, failed=(2,), num_folds=num_folds) == said


def test_what_failed_is_not_the_best():
    best = search([0.4, 0.2], failed=(0,))
    assert best is not None
    assert best.trial.number == 1
    assert remarks([0.4, 0.2], failed=(0,)) == ""
    assert search([None, 0.4], failed=(0, 1)) is None

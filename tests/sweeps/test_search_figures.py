"""What the figures of a search show, read back from the axes, for real studies in memory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from mammo.support.figures import TRAIN_COLOUR, VAL_COLOUR
from mammo.sweeps.findings import BestTrial
from mammo.sweeps.reading import Trial
from mammo.sweeps.search_figures import (
    optimization_history_figure,
    parameter_importances_figure,
    parameter_slices_figure,
    plot_search,
)

STRATEGIES = ["full_finetune", "frozen_last_block", "head_only"]
WORST = -1 / 3


@pytest.fixture(autouse=True)
def quiet_optuna():
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    yield
    optuna.logging.set_verbosity(before)


def search(values, direction="maximize", failed=(), num_further=0, seed=0):
    """A study whose trials have these values (None: it raised); those numbered in `failed` carry a reason."""
    study = optuna.create_study(direction=direction, sampler=optuna.samplers.RandomSampler(seed=seed))
    for number, value in enumerate(values):
        trial = study.ask()
        trial.suggest_loguniform("optimizer.lr", 1e-5, 3e-3)
        trial.suggest_int("scheduler.warmup_epochs", 0, 5)
        trial.suggest_categorical("strategy", STRATEGIES)
        for further in range(num_further):
            trial.suggest_uniform(f"loss.a_rather_long_option_{further}", 0, 0.2)
        if number in failed:
            trial.set_user_attr("failed", "a loss that is not finite")
        study.tell(trial, value, TrialState.COMPLETE if value is not None else TrialState.FAIL)
    return study


def following_lr(num_trials, num_further=0):
    """A study whose objective is a function of the learning rate alone."""
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=3))
    for _ in range(num_trials):
        trial = study.ask()
        rate = trial.suggest_loguniform("optimizer.lr", 1e-5, 1e-2)
        trial.suggest_uniform("loss.label_smoothing", 0, 0.2)
        for further in range(num_further):
            trial.suggest_uniform(f"further_{further}", 0, 1)
        study.tell(trial, 0.8 - 0.1 * (math.log10(rate) + 3) ** 2)
    return study


def best_of(study, equals=(), collapsed=()):
    """The best of those that worked, the first of equal ones."""
    worked = [trial for trial in study.trials if trial.value is not None and "failed" not in trial.user_attrs]
    best = (max if study.direction.name == "MAXIMIZE" else min)(worked, key=lambda trial: trial.value)
    trial = Trial(best.number, best.params, best.value, None, ())
    return BestTrial(trial, tuple(equals), frozenset(collapsed), len(collapsed), None)


def history(study, name="kappa"):
    return optimization_history_figure(study, name, best_of(study))


def slices(study):
    return parameter_slices_figure(study, "kappa", best_of(study))


def line(axes, label):
    return next(drawn for drawn in axes.get_lines() if drawn.get_label() == label)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_history_shows_values_and_the_best_so_far():
    axes = history(search([0.2, 0.5, 0.4, 0.6, 0.1]), "kappa").axes[0]
    np.testing.assert_allclose(line(axes, "trial").get_ydata(), [0.2, 0.5, 0.4, 0.6, 0.1])
    best = line(axes, "best so far")
    np.testing.assert_allclose(best.get_ydata(), [0.2, 0.5, 0.5, 0.6, 0.6, 0.6])
    assert best.get_drawstyle() == "steps-post"
    assert list(line(axes, "best: trial 3 with 0.600").get_xydata()[0]) == [3, 0.6]
    assert axes.get_ylabel() == "kappa (higher is better)"
    assert axes.get_title(loc="left") == "Search history: 5 trials"


def test_history_of_a_minimized_objective():
    axes = history(search([0.9, 0.4, 0.7], "minimize"), "loss").axes[0]
    np.testing.assert_allclose(line(axes, "best so far").get_ydata(), [0.9, 0.4, 0.4, 0.4])
    assert list(line(axes, "best: trial 1 with 0.400").get_xydata()[0]) == [1, 0.4]
    assert axes.get_ylabel() == "loss (lower is better)"


@pytest.mark.parametrize(("direction", "worst", "edge"), [("maximize", -100.0, 0.0), ("minimize", 1e6, 1.0)])
def test_failed_trials_are_marked_and_do_not_stretch_the_axis(direction, worst, edge):
    study = search([0.5, worst, 0.6, worst], direction, failed=[1, 3])
    axes = history(study).axes[0]
    assert 0.4 < axes.get_ylim()[0] < 0.5
    assert 0.6 < axes.get_ylim()[1] < 0.7
    crosses = line(axes, "failed (not on the scale)")
    assert list(crosses.get_xdata()) == [1, 3]
    heights = axes.transAxes.inverted().transform(crosses.get_transform().transform(crosses.get_xydata()))[:, 1]
    np.testing.assert_allclose(heights, edge, atol=0.05)  # the worse edge
    assert axes.get_title(loc="left") == "Search history: 4 trials, 2 of them failed"


def test_the_best_so_far_reaches_a_failed_last_trial_and_ignores_its_value():
    axes = history(search([-0.5, WORST], failed=[1])).axes[0]
    np.testing.assert_allclose(line(axes, "best so far").get_xydata(), [[0, -0.5], [1, -0.5]])


def test_trials_without_a_value_are_failed_and_running_ones_are_counted_only():
    study = search([0.3, None, 0.4])
    study.ask()
    axes = history(study).axes[0]
    assert list(line(axes, "failed (not on the scale)").get_xdata()) == [1]
    assert list(line(axes, "trial").get_xdata()) == [0, 2]
    assert axes.get_title(loc="left") == "Search history: 4 trials, 1 of them failed, 1 not finished"


@pytest.mark.parametrize("num_trials", [1, 3, 12, 60])
def test_trial_numbers_on_the_axis_are_whole(num_trials):
    figure = history(search(np.linspace(0, 1, num_trials).tolist()))
    figure.canvas.draw()
    ticks = figure.axes[0].get_xticks()
    assert len(ticks) >= 1
    assert all(tick == int(tick) for tick in ticks)


def test_the_parameter_that_decides_is_the_first_bar():
    axes = parameter_importances_figure(following_lr(40)).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["optimizer.lr", "loss.label_smoothing"]
    widths = [bar.get_width() for bar in axes.patches]
    assert widths[0] > 0.8
    assert sum(widths) == pytest.approx(1.0)
    assert texts(axes) == [f"{width:.2f}" for width in widths]
    assert axes.yaxis_inverted()
    assert "hint" not in axes.get_xlabel()
    assert axes.get_title(loc="left").endswith("\n40 trials")


def test_importances_of_few_trials_are_called_a_hint_and_are_the_same_again():
    first, again = (parameter_importances_figure(following_lr(6)).axes[0] for _ in range(2))
    assert "from 6 finished trials: a rough hint" in first.get_xlabel()
    assert texts(first) == texts(again)


def test_failed_trials_do_not_decide_the_importances():
    study = following_lr(20)
    without = texts(parameter_importances_figure(study).axes[0])
    for _ in range(5):
        trial = study.ask()
        trial.suggest_loguniform("optimizer.lr", 1e-5, 1e-2)
        trial.suggest_uniform("loss.label_smoothing", 0, 0.2)
        trial.set_user_attr("failed", "a loss that is not finite")
        study.tell(trial, -100.0)
    assert texts(parameter_importances_figure(study).axes[0]) == without


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([], "0 in 0 finished trials"),
        ([0.1, 0.2, 0.3], "3 in 3 finished trials"),
        ([0.5] * 9, "1 in 9 finished trials"),
        ([0.5, 0.6] * 4, "2 in 8 finished trials"),
    ],
)
def test_too_little_to_judge_importances_from(values, reason):
    axes = parameter_importances_figure(search(values)).axes[0]
    assert texts(axes) == [f"too few different values to judge from:\n{reason}, at least 4 are needed"]
    assert len(axes.patches) == 0


def test_importances_without_any_difference_between_the_parameters():
    study = optuna.create_study(direction="maximize")
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        trial = study.ask()
        trial.suggest_categorical("seed", [42])
        study.tell(trial, value)
    assert "no parameter took different values" in texts(parameter_importances_figure(study).axes[0])[0]


def test_each_parameter_has_a_panel_with_the_value_of_each_trial():
    study = search([0.2, 0.7, 0.4])
    figure = parameter_slices_figure(study, "kappa", best_of(study))
    figure.canvas.draw()
    places = {"optimizer.\nlr": "optimizer.lr", "scheduler.\nwarmup_epochs": "scheduler.warmup_epochs"}
    for axes in figure.axes:
        trials = line(axes, "trial")
        np.testing.assert_allclose(trials.get_ydata(), [0.2, 0.7, 0.4])
        assert len(line(axes, "best: trial 1 with 0.700").get_xdata()) == 1
        if axes.get_xlabel() in places:
            expected = [trial.params[places[axes.get_xlabel()]] for trial in study.trials]
        else:
            assert axes.get_xlabel() == "strategy"
            assert [label.get_text() for label in axes.get_xticklabels()] == STRATEGIES
            expected = [STRATEGIES.index(trial.params["strategy"]) for trial in study.trials]
        np.testing.assert_allclose(trials.get_xdata(), expected)
    assert figure.get_supylabel() == "kappa (higher is better)"
    assert [axes.get_xscale() for axes in figure.axes] == ["log", "linear", "linear"]


def test_a_panel_shows_the_whole_range_that_was_searched():
    study = search([0.2, 0.7])
    for axes, (low, high) in zip(slices(study).axes, [(1e-5, 3e-3), (0, 5), (0, 2)], strict=True):
        left, right = axes.get_xlim()
        assert left < low
        assert right > high


def test_choices_are_written_as_they_are_typed():
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.suggest_categorical("flag", [True, False, None, 1.5])
    study.tell(trial, 0.5)
    labels = [label.get_text() for label in slices(study).axes[0].get_xticklabels()]
    assert labels == ["true", "false", "null", "1.5"]


def test_ticks_of_narrow_ranges_are_their_ends_and_of_integers_whole():
    study = optuna.create_study(direction="maximize")
    trial = study.ask()
    trial.suggest_loguniform("a", 2e-5, 8e-5)
    trial.suggest_int("b", 3, 3)
    study.tell(trial, 0.5)
    figure = slices(study)
    figure.canvas.draw()
    assert [label.get_text() for label in figure.axes[0].get_xticklabels(which="both") if label.get_text()] == [
        "2e-05",
        "8e-05",
    ]
    assert all(tick == int(tick) for tick in figure.axes[1].get_xticks())


def test_failed_trials_of_a_panel_are_at_the_edge_and_refused_ones_nowhere():
    study = search([0.5, -100.0, None, 0.6], failed=[1])
    for axes in slices(study).axes:
        crosses = line(axes, "failed (not on the scale)").get_xdata()
        assert list(np.isnan(crosses)) == [False, True]  # what was refused may have any parameters
        assert 0.4 < axes.get_ylim()[0] < 0.5


def test_a_parameter_that_only_some_trials_have_leaves_gaps():
    study = search([0.2, 0.7])
    trial = study.ask()
    trial.suggest_loguniform("optimizer.lr", 1e-5, 3e-3)
    study.tell(trial, 0.5)
    rate, *others = (line(axes, "trial").get_xdata() for axes in slices(study).axes)
    assert rate[2] == trial.params["optimizer.lr"]
    assert np.isnan([places[2] for places in others]).all()


@pytest.mark.parametrize("num_further", [0, 6, 12])
def test_names_of_parameters_do_not_touch(num_further):
    figure = slices(search([0.2, 0.7, 0.4], num_further=num_further))
    figure.canvas.draw()
    boxes = [axes.xaxis.label.get_window_extent() for axes in figure.axes]
    assert len(boxes) == 3 + num_further
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)


def test_what_is_doubtful_of_the_best_trial_is_said_beside_it():
    study = search([0.5, 0.7, 0.7])
    best = best_of(study, equals=[2], collapsed=[1, 2])
    for figure in (optimization_history_figure(study, "kappa", best), parameter_slices_figure(study, "kappa", best)):
        assert line(figure.axes[0], "best: trial 1 with 0.700 (collapsed, one of 2 equal)")


def test_the_three_files(tmp_path):
    study = search([0.2, 0.7, 0.4, 0.5, WORST], failed=[4])
    plot_search(study, tmp_path, "bal_acc_adj", best_of(study))
    first = {path.name: path.read_bytes() for path in tmp_path.glob("[!.]*")}
    assert set(first) == {"optimization_history.png", "parameter_importances.png", "parameter_slices.png"}
    assert all(content.startswith(b"\x89PNG") for content in first.values())
    plot_search(study, tmp_path, "bal_acc_adj", best_of(study))
    assert {path.name: path.read_bytes() for path in tmp_path.glob("[!.]*")} == first
    assert len(study.trials) == 5  # nothing was added to it


def test_colours_are_those_of_the_other_figures():
    axes = history(search([0.2, 0.7])).axes[0]
    assert line(axes, "trial").get_color() == TRAIN_COLOUR
    assert line(axes, "best so far").get_color() == VAL_COLOUR

"""What the figures of a search show, read back from the axes, for real studies in memory."""

from __future__ import annotations

import itertools
import math

import numpy as np
import optuna
import pytest
from matplotlib.colors import to_rgba
from optuna.trial import TrialState

from mammo.support.figures import TRAIN_COLOUR, VAL_COLOUR
from mammo.sweeps.search_axes import ParameterAxis, short_number, wrapped
from mammo.sweeps.search_figures import (
    optimization_history_figure,
    parallel_coordinates_figure,
    parameter_importances_figure,
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


def line(axes, label):
    return next(drawn for drawn in axes.get_lines() if drawn.get_label() == label)


def texts(axes):
    return [text.get_text() for text in axes.texts]


def parameter_ticks(figure):
    """Labels of the vertical axes, from below; the host comes first, the colour bar last."""
    return [[label.get_text() for label in axes.get_yticklabels()] for axes in figure.axes[1:-1]]


def test_history_shows_values_and_the_best_so_far():
    axes = optimization_history_figure(search([0.2, 0.5, 0.4, 0.6, 0.1]), "kappa").axes[0]
    np.testing.assert_allclose(line(axes, "trial").get_ydata(), [0.2, 0.5, 0.4, 0.6, 0.1])
    best = line(axes, "best so far")
    np.testing.assert_allclose(best.get_ydata(), [0.2, 0.5, 0.5, 0.6, 0.6, 0.6])
    assert best.get_drawstyle() == "steps-post"
    assert texts(axes) == ["0.600\ntrial 3"]
    assert axes.get_ylabel() == "kappa (higher is better)"
    assert axes.get_title(loc="left") == "Search history: 5 trials"


def test_history_of_a_minimized_objective():
    axes = optimization_history_figure(search([0.9, 0.4, 0.7], "minimize"), "loss").axes[0]
    np.testing.assert_allclose(line(axes, "best so far").get_ydata(), [0.9, 0.4, 0.4, 0.4])
    assert texts(axes) == ["0.400\ntrial 1"]
    assert axes.get_ylabel() == "loss (lower is better)"


@pytest.mark.parametrize(("direction", "worst", "edge"), [("maximize", -100.0, 0.0), ("minimize", 1e6, 1.0)])
def test_failed_trials_are_marked_and_do_not_stretch_the_axis(direction, worst, edge):
    study = search([0.5, worst, 0.6, worst], direction, failed=[1, 3])
    axes = optimization_history_figure(study).axes[0]
    assert 0.4 < axes.get_ylim()[0] < 0.5
    assert 0.6 < axes.get_ylim()[1] < 0.7
    crosses = line(axes, "failed (not on the scale)")
    assert list(crosses.get_xdata()) == [1, 3]
    heights = axes.transAxes.inverted().transform(crosses.get_transform().transform(crosses.get_xydata()))[:, 1]
    np.testing.assert_allclose(heights, edge, atol=0.05)  # the worse edge
    assert axes.get_title(loc="left") == "Search history: 4 trials, 2 of them failed"


def test_the_best_so_far_reaches_a_failed_last_trial_and_ignores_its_value():
    axes = optimization_history_figure(search([-0.5, WORST], failed=[1])).axes[0]
    np.testing.assert_allclose(line(axes, "best so far").get_xydata(), [[0, -0.5], [1, -0.5]])


def test_trials_without_a_value_are_failed_and_running_ones_are_counted_only():
    study = search([0.3, None, 0.4])
    study.ask()
    axes = optimization_history_figure(study).axes[0]
    assert list(line(axes, "failed (not on the scale)").get_xdata()) == [1]
    assert list(line(axes, "trial").get_xdata()) == [0, 2]
    assert axes.get_title(loc="left") == "Search history: 4 trials, 1 of them failed, 1 not finished"


@pytest.mark.parametrize("num_trials", [1, 3, 12, 60])
def test_trial_numbers_on_the_axis_are_whole(num_trials):
    figure = optimization_history_figure(search(np.linspace(0, 1, num_trials).tolist()))
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
        ([], "0 finished, at least 4 are needed"),
        ([0.1, 0.2, 0.3], "3 finished, at least 4 are needed"),
        ([0.5] * 9, "all 9 finished trials\nhave the same value"),
        ([0.5, 0.6] * 4, "only 2 different values\nin 8 finished trials"),
    ],
)
def test_too_little_to_judge_importances_from(values, reason):
    axes = parameter_importances_figure(search(values)).axes[0]
    assert texts(axes) == [f"nothing to judge from:\n{reason}"]
    assert len(axes.patches) == 0


def test_importances_without_any_difference_between_the_parameters():
    study = optuna.create_study(direction="maximize")
    for value in (0.1, 0.2, 0.3, 0.4, 0.5):
        trial = study.ask()
        trial.suggest_categorical("seed", [42])
        study.tell(trial, value)
    assert "no parameter took different values" in texts(parameter_importances_figure(study).axes[0])[0]


def test_parallel_coordinates_draw_each_trial_where_its_parameters_are():
    study = search([0.2, 0.7, 0.4])
    figure = parallel_coordinates_figure(study, "kappa")
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == list(study.trials[0].params)
    for trial in study.trials:
        rate, warmup, strategy = trial.params.values()
        heights = [math.log(rate / 1e-5) / math.log(3e-3 / 1e-5), warmup / 5, STRATEGIES.index(strategy) / 2]
        np.testing.assert_allclose(line(axes, f"trial {trial.number}").get_ydata(), heights)
    assert parameter_ticks(figure) == [["1e-5", "0.0001", "0.001", "0.003"], list("012345"), STRATEGIES]
    assert figure.axes[-1].get_ylabel() == "kappa (higher is better)"


@pytest.mark.parametrize(("direction", "best"), [("maximize", 1), ("minimize", 0)])
def test_the_best_trial_is_thick_dark_and_on_top(direction, best):
    figure = parallel_coordinates_figure(search([0.2, 0.7, 0.4], direction))
    axes = figure.axes[0]
    drawn = axes.get_lines()
    assert drawn[-1].get_label() == f"trial {best}"
    assert drawn[-1].get_linewidth() > 2 * max(other.get_linewidth() for other in drawn[:-1])
    brightness = [sum(to_rgba(one.get_color())[:3]) for one in drawn]
    assert brightness == sorted(brightness, reverse=True)  # from the worst to the best
    assert f"thick: the best, trial {best}" in axes.get_xlabel()


def test_failed_trials_are_dashed_below_the_others_and_outside_the_colours():
    figure = parallel_coordinates_figure(search([0.2, -100.0, 0.4, 0.3], failed=[1]))
    axes = figure.axes[0]
    assert [one.get_linestyle() for one in axes.get_lines()] == ["--", "-", "-", "-"]
    assert figure.axes[-1].get_ylim() == pytest.approx((0.2, 0.4))  # four times the distance of the median is further
    assert axes.get_xlabel().endswith("dashed: failed")


@pytest.mark.parametrize(("direction", "limits"), [("maximize", (0.5, 0.7)), ("minimize", (-0.7, -0.5))])
def test_one_bad_trial_does_not_take_the_colours_of_the_others(direction, limits):
    # The median is 0.05 from the best, so colours end 0.2 from it; the trial beyond has that of the end.
    values = [0.7, 0.64, 0.65, 0.66, -3.0]
    study = search(values if direction == "maximize" else [-value for value in values], direction)
    bar = parallel_coordinates_figure(study).axes[-1]
    assert bar.get_ylim() == pytest.approx(limits)
    axes = parallel_coordinates_figure(study).axes[0]
    shades = {to_rgba(one.get_color()) for one in axes.get_lines()}
    assert len(shades) == 5


def test_a_parameter_that_only_some_trials_have_leaves_gaps():
    study = search([0.2, 0.7])
    trial = study.ask()
    trial.suggest_loguniform("optimizer.lr", 1e-6, 3e-3)  # a wider range than before, and no other parameter
    study.tell(trial, 0.5)
    figure = parallel_coordinates_figure(study)
    heights = line(figure.axes[0], "trial 2").get_ydata()
    assert 0 <= heights[0] <= 1
    assert np.isnan(heights[1:]).all()
    assert parameter_ticks(figure)[0][0] == "1e-6"


@pytest.mark.parametrize("values", [[], [0.5], [0.5, 0.5]])
def test_parallel_coordinates_of_almost_nothing(values):
    figure = parallel_coordinates_figure(search(values))
    figure.canvas.draw()
    assert len(figure.axes[0].get_lines()) == len(values)
    assert texts(figure.axes[0]) == ([] if values else ["no trial has finished"])
    if values:
        assert [label.get_text() for label in figure.axes[-1].get_yticklabels()] == ["0.5"]


@pytest.mark.parametrize("num_further", [0, 6, 12])
def test_names_of_parameters_do_not_touch(num_further):
    figure = parallel_coordinates_figure(search([0.2, 0.7, 0.4], num_further=num_further))
    figure.canvas.draw()
    boxes = [label.get_window_extent() for label in figure.axes[0].get_xticklabels()]
    assert len(boxes) == 3 + num_further
    assert all(left.x1 < right.x0 for left, right in itertools.pairwise(boxes))
    assert boxes[0].x0 >= 0
    assert max(box.y1 for box in boxes) < figure.bbox.y1


@pytest.mark.parametrize(
    ("axis", "labels"),
    [
        (ParameterAxis("wd", 0.0, 0.2), ["0", "0.05", "0.1", "0.15", "0.2"]),
        (ParameterAxis("blocks", 1, 3, is_integer=True), ["1", "2", "3"]),
        (ParameterAxis("width", 8, 4096, is_log=True, is_integer=True), ["8", "100", "1000", "4096"]),
        (ParameterAxis("lr", 2e-5, 8e-5, is_log=True), ["2e-5", "8e-5"]),
        (ParameterAxis("alpha", 0.5, 0.5), ["0.5"]),
        (ParameterAxis("days", 0, 30, is_integer=True), ["0", "8", "15", "22", "30"]),
        (ParameterAxis("flag", 0, 3, choices=(True, False, None, 1.5)), ["true", "false", "null", "1.5"]),
    ],
)
def test_ticks_of_a_parameter(axis, labels):
    assert list(axis.ticks().values()) == labels


@pytest.mark.parametrize(
    ("value", "text"), [(2.5e-5, "2.5e-5"), (1e-10, "1e-10"), (0.05, "0.05"), (1e6, "1e6"), (1e12, "1e12"), (3, "3")]
)
def test_numbers_are_written_as_in_an_override(value, text):
    assert short_number(value) == text
    assert float(text) == value


def test_names_are_broken_after_dots_and_underscores():
    assert wrapped("optimizer.backbone_lr", 12) == "optimizer.\nbackbone_lr"
    assert wrapped("loss.label_smoothing", 12) == "loss.label_\nsmoothing"
    assert wrapped("strategy", 3) == "strategy"
    assert wrapped("a.b", 11) == "a.b"


def test_the_three_files(tmp_path):
    study = search([0.2, 0.7, 0.4, 0.5, WORST], failed=[4])
    paths = plot_search(study, tmp_path, "bal_acc_adj")
    assert [path.name for path in paths] == [
        "optimization_history.png",
        "parameter_importances.png",
        "parallel_coordinates.png",
    ]
    assert sorted(tmp_path.glob("[!.]*")) == sorted(paths)
    first = [path.read_bytes() for path in paths]
    assert all(content.startswith(b"\x89PNG") for content in first)
    assert [path.read_bytes() for path in plot_search(study, tmp_path, "bal_acc_adj")] == first
    assert len(study.trials) == 5  # nothing was added to it


def test_colours_are_those_of_the_other_figures():
    axes = optimization_history_figure(search([0.2, 0.7])).axes[0]
    assert line(axes, "trial").get_color() == TRAIN_COLOUR
    assert line(axes, "best so far").get_color() == VAL_COLOUR

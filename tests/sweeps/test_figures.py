"""What the figure of a sweep shows, read back from the axes."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import matplotlib
import pytest

from mammo.evaluation.scores import SCORE_NAMES
from mammo.support.figures import STYLE
from mammo.sweeps.configurations import Configuration
from mammo.sweeps.figures import comparison_figure
from mammo.sweeps.findings import Finding
from mammo.sweeps.reading import RunResult
from mammo.sweeps.statistics import spread

NAMES = ("bal_acc_adj", "kappa_quadratic")


def finding(label="as default", seeds=(42,), folds=(None,), first=0.3, published=None):
    values = [first + 0.1 * i for i in range(len(seeds) * len(folds))]
    runs = tuple(
        RunResult(f"{seed}-{fold}", Path(), "completed", seed, fold, metrics=dict.fromkeys(SCORE_NAMES, value))
        for value, (seed, fold) in zip(values, [(s, f) for s in seeds for f in folds], strict=True)
    )
    aggregate = dict.fromkeys(SCORE_NAMES, spread(values))
    return Finding(Configuration(label, {}, runs, published or {}), aggregate, None, None)


def dots(axes):
    return sorted(line.get_xdata()[0] for line in axes.get_lines() if line.get_markeredgecolor() == "white")


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_run_is_a_dot_and_the_mean_stands_below():
    figure = comparison_figure([finding(seeds=(42, 43, 44), folds=(0, 1))], NAMES)
    assert [axes.get_xlabel() for axes in figure.axes] == list(NAMES)
    for axes in figure.axes:
        assert dots(axes) == pytest.approx([0.3, 0.4, 0.5, 0.6, 0.7, 0.8])
        (mean,) = (line for line in axes.get_lines() if line.get_marker() == "D" and line.get_color() == "black")
        assert mean.get_xdata()[0] == pytest.approx(0.55)
        (interval,) = (line for line in axes.get_lines() if line.get_marker() == "|" and len(line.get_xdata()) == 2)
        assert list(interval.get_xdata()) == pytest.approx(finding(seeds=(1, 2, 3), folds=(0, 1)).aggregate["acc"].ci95)
    assert set(legend(figure)) == {"fold 0", "fold 1", "seed 42", "seed 43", "seed 44", "mean, 95% interval"}


def test_one_run_has_a_dot_and_no_mean():
    figure = comparison_figure([finding()], NAMES)
    assert dots(figure.axes[0]) == [0.3]
    assert legend(figure) == ["run"]


def test_runs_of_a_configuration_do_not_hide_each_other():
    equal = [finding(seeds=tuple(range(5)), folds=(0, 1, 2))]
    heights = [
        line.get_ydata()[0] for line in comparison_figure(equal, NAMES).axes[0].get_lines()
        if line.get_markeredgecolor() == "white"
    ]  # fmt: skip
    assert len(set(heights)) == 15


def test_values_from_elsewhere_are_hollow_and_named():
    ours = finding("strategy=full_finetune", (42, 43))
    figure = comparison_figure(
        [finding("strategy=head_only", (42, 43), published={"kappa_quadratic": (0.9, 0.1)}), ours], NAMES
    )
    hollow = [
        [line.get_xdata()[0] for line in axes.get_lines() if line.get_markerfacecolor() == "white"]
        for axes in figure.axes
    ]
    assert hollow == [[], [0.9]]
    assert "reported on another dataset" in legend(figure)


@pytest.mark.parametrize("count", [1, 3, 12])
def test_nothing_is_cut_off(count):
    label = "strategy=frozen_last_block optimizer.lr=0.0001 model=vit_small_patch16_224.augreg_in21k_ft_in1k"
    elsewhere = {"kappa_quadratic": (0.5, 0.1)}
    many = [finding(f"{label} train.epochs={i}", (42, 43, 44), (0, 1), published=elsewhere) for i in range(count)]
    figure = comparison_figure(many, NAMES)
    with matplotlib.style.context(STYLE, after_reset=True):
        figure.draw_without_rendering()
        renderer = figure.canvas.get_renderer()
        drawn = figure.get_tightbbox(renderer)  # in inches
        ticks = [label.get_window_extent(renderer) for label in figure.axes[0].get_yticklabels()]
    width, height = figure.get_size_inches()
    assert drawn.x0 >= 0
    assert drawn.y0 >= 0
    assert drawn.x1 <= width
    assert drawn.y1 <= height
    assert len(ticks) == (count if count > 1 else 0)
    for upper, lower in itertools.pairwise(ticks):
        assert not upper.overlaps(lower)


def test_many_seeds_and_folds_are_drawn_without_shapes_of_their_own():
    figure = comparison_figure([finding(seeds=tuple(range(8)), folds=tuple(range(10)))], NAMES)
    assert len(dots(figure.axes[0])) == 80
    assert sum("seed" in text for text in legend(figure)) == 0
    assert sum("fold" in text for text in legend(figure)) == 10


def test_without_a_finished_run_there_is_nothing_to_draw():
    whole = finding()
    runs = tuple(dataclasses.replace(run, status="failed") for run in whole.configuration.runs)
    empty = dataclasses.replace(whole, configuration=dataclasses.replace(whole.configuration, runs=runs))
    with pytest.raises(ValueError, match="no finished run"):
        comparison_figure([empty], NAMES)

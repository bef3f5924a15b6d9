"""Which configuration of a sweep is better: the same numbers as by hand, and words that claim no more."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from mammo.support.errors import ConfigError
from mammo.sweeps.reference import position_of
from mammo.sweeps.summary import close_sweep
from tests.processes import run_module
from tests.sweeps.sweeps import FOLDS, SEEDS, load, plan_of, rows_of, runs_of, variant, write_plan, write_rows


def with_other_predictions(run, seed):
    """As if the network of a run had learnt something else."""
    rng, rows = np.random.default_rng(seed), rows_of(run / "val_predictions.csv")
    names = [name for name in rows[0] if name.startswith("p_")]
    for row in rows:
        probabilities = rng.dirichlet(np.ones(len(names)))
        row |= {name: repr(float(p)) for name, p in zip(names, probabilities, strict=True)}
        row["y_pred"] = names[int(probabilities.argmax())].removeprefix("p_")
    write_rows(run / "val_predictions.csv", rows)


@pytest.fixture
def two(sweep):
    """Two rates, two seeds, two folds."""
    for number, run in enumerate(runs_of(sweep)):
        copy = variant(run, f"other-{run.name}", {"optimizer.lr": 0.5}, ["optimizer.lr=0.5"], {})
        with_other_predictions(copy, number)
    write_plan(sweep, plan_of(sweep))
    return sweep


def comparisons_of(folder):
    close_sweep(folder)
    return load(folder / "sweep_summary.json")["comparisons"]


def test_the_end_of_a_sweep_compares_its_configurations_in_pairs(two):
    (found,) = comparisons_of(two)
    (pair,) = found["pairs"]
    scores = []
    for prefix in ("", "other-"):
        by_seed = []
        for seed in SEEDS:
            runs = [two / f"{prefix}{run_of_one(two, seed, fold)}" for fold in FOLDS]
            rows = [row for run in runs for row in rows_of(run / "val_predictions.csv")]
            recalls = balanced_accuracy_score([row["y_true"] for row in rows], [row["y_pred"] for row in rows])
            by_seed.append(recalls)
        scores.append(np.mean(by_seed))
    one = pair["scores"]["bal_acc"]
    assert one["values"][pair["first"]] == pytest.approx(scores[0])
    assert one["values"][pair["second"]] == pytest.approx(scores[1])
    assert one["difference"] == pytest.approx(scores[1] - scores[0])
    assert (pair["num_splits"], pair["test"], set(pair["num_trainings"].values())) == (2, "splits", {4})
    assert one["ci95"][0] < one["difference"] < one["ci95"][1]
    assert (found["part"], found["reference_is_named"]) == ("val", False)
    assert (two / "differences.png").stat().st_size > 5000


def run_of_one(sweep, seed, fold):
    (name,) = {path.name.removeprefix("other-") for path in sweep.glob(f"*-s{seed}-f{fold}-*")}
    return name


def test_what_is_said_of_two_configurations_fits_a_terminal(two):
    lines = close_sweep(two)
    text = " ".join(" ".join(lines).split())
    assert max(len(line) for line in lines if not line.startswith("Results: ")) <= 80
    assert "cannot be told apart" in text or "is better than" in text
    assert "corrected resampled t test over 2 splits" in text
    assert "overlap" not in text
    page = (two / "summary.md").read_text()
    assert "## Which is better" in page
    assert "images a second" in page
    assert "parameters" in page


def test_a_named_reference_is_what_others_are_compared_with(two):
    write_plan(two, plan_of(two) | {"reference": "0.5"})
    (found,) = comparisons_of(two)
    assert found["reference_is_named"] is True
    assert "0.5" in found["reference"]
    write_plan(two, plan_of(two) | {"reference": "full_finetune"})
    (found,) = comparisons_of(two)
    assert found["reference_is_named"] is False
    assert any("full_finetune" in problem for problem in found["problems"])


def test_runs_of_one_split_and_seed_lead_to_no_conclusion(two):
    for run in runs_of(two):
        if "-s42-f0-" not in run.name:
            with (run / "summary.json").open() as stream:
                summary = json.load(stream)
            (run / "summary.json").write_text(json.dumps(summary | {"status": "failed"}))
    text = " ".join(" ".join(close_sweep(two)).split())
    assert "No conclusion about the two: one training each: another seed may turn it round" in text
    assert "is better than" not in text


def test_configurations_of_different_images_are_not_compared(two):
    for run in two.glob("other-*"):
        rows = rows_of(run / "val_predictions.csv")
        write_rows(run / "val_predictions.csv", rows[:-1])
    (found,) = comparisons_of(two)
    assert found["pairs"] == []
    assert any("different images" in problem for problem in found["problems"])
    assert not (two / "differences.png").exists()


LABELS = ["head_only, lr 1e-3", "head_only, lr 1e-4", "full_finetune, lr 1e-4"]


@pytest.mark.parametrize(
    ("named", "position"),
    [
        ("head_only, lr 1e-3", 0), ("1e-3", 0), ("lr 1e-3", 0), ("optimizer.lr=1e-3", 0), ("0.001", 0),
        ("full_finetune", 2), ("head_only 1e-4", 1),
        ("lr 1e-4, head_only", 1), ("1e-4,Head_Only", 1), ("strategy=full_finetune", 2),
    ],
)  # fmt: skip
def test_a_reference_is_named_by_what_tells_it_apart(named, position):
    assert position_of(named, LABELS) == position


@pytest.mark.parametrize(("named", "said"), [("1e-4", "is 2 configurations"), ("lr 1e-5", "is no configuration")])
def test_a_reference_that_is_none_is_refused(named, said):
    with pytest.raises(ConfigError, match=said):
        position_of(named, LABELS)


def test_a_wrong_reference_ends_a_sweep_before_it_begins(tmp_path):
    command = ["mammo.train", "-m", "model=efficientnet_lite0", "strategy=head_only,linear_probe", "sweep.reference=x"]
    found = run_module(*command, folder=tmp_path, timeout_seconds=120)
    assert found.returncode == 2
    assert "is no configuration" in found.stderr
    assert "head_only" in found.stderr
    assert not (tmp_path / "multirun").exists()


def test_a_row_for_each_run_stands_in_a_table_for_spreadsheets(two):
    close_sweep(two)
    rows = {row["run"]: row for row in rows_of(two / "runs.csv")}
    assert set(rows) == {run.name for run in runs_of(two)}
    for run in runs_of(two):
        summary, row = load(run / "summary.json"), rows[run.name]
        assert (row["seed"], row["fold"], row["status"]) == (str(summary["seed"]), str(summary["fold"]), "completed")
        assert float(row["val_kappa_quadratic"]) == summary["metrics"]["kappa_quadratic"]
        assert int(row["parameters_total"]) == summary["model"]["parameters_total"]
        assert float(row["minutes"]) == pytest.approx(summary["seconds"] / 60)
        assert row["test_acc"] == ""
        assert row["configuration"] == ("lr 0.5" if run.name.startswith("other") else "lr 1e-3")
        assert float(row["optimizer.lr"]) == (0.5 if run.name.startswith("other") else 1e-3)


def test_a_split_that_is_drawn_again_is_no_configuration(sweep):
    for run in runs_of(sweep):
        again = variant(run, f"again-{run.name}", {"data.split_seed": 7}, ["data.split_seed=7"], {})
        with_other_predictions(again, 1)
    write_plan(sweep, plan_of(sweep))
    lines = close_sweep(sweep)
    summary = load(sweep / "sweep_summary.json")
    (only,) = summary["by_config"]
    assert (only["n"], summary["comparisons"]) == (8, [])
    assert set(load(sweep / "cv_summary.json")["pooled_by_seed"]) == {
        f"{seed}, split seed {split_seed}" for seed in SEEDS for split_seed in (7, 42)
    }
    assert any("mean of 4 repetitions" in line for line in lines)


def test_a_search_says_which_trials_cannot_be_told_from_the_best(sweep):
    """Three trials of two folds: one that is right everywhere, its twin, and one that knows nothing."""
    finished = []
    for number in range(3):
        names = []
        for fold in FOLDS:
            first = sweep / run_of_one(sweep, 42, fold)
            run = variant(first, f"t{number}-f{fold}", {"optimizer.lr": 0.1 * (number + 1)}, [], {})
            rows = rows_of(run / "val_predictions.csv")
            classes = [name for name in rows[0] if name.startswith("p_")]
            for i, row in enumerate(rows):
                knows = number < 2 or i % 4 == 0
                wanted = f"p_{row['y_true']}" if knows else classes[(classes.index(f"p_{row['y_true']}") + 1) % 4]
                row |= {name: "0.7" if name == wanted else "0.1" for name in classes}
                row["y_pred"] = wanted.removeprefix("p_")
            write_rows(run / "val_predictions.csv", rows)
            names.append(run.name)
        value = (0.9, 0.8, 0.1)[number]
        finished.append({"number": number, "params": {}, "value": value, "failed": None, "runs": names})
    plan = plan_of(sweep) | {"search": {"trials": 3, "folds": 2, "direction": "maximize", "finished": finished}}
    write_plan(sweep, plan)
    text = " ".join(" ".join(close_sweep(sweep)).split())
    best = load(sweep / "sweep_summary.json")["best_trial"]
    assert (best["number"], best["num_compared"], best["test"]) == (0, 2, "splits")
    assert 1 in best["cannot_be_told_from_it"]
    assert best["score_of_all_images"] == pytest.approx(1)
    assert "of the 2 other trials can" in text
    assert f"python -m mammo.evaluate multirun/{sweep.name} where=trial=0" in text
    assert str(sweep) not in (sweep / "summary.md").read_text()


def test_folders_of_weights_are_in_no_label_and_no_file(sweep):
    for number, run in enumerate(runs_of(sweep)[:2]):
        weights = f"/home/kowalska/{number}/w.pth"
        variant(run, f"other-{number}", {"model.weights": weights}, [f"model.weights={weights}"], {})
    write_plan(sweep, plan_of(sweep))
    lines = close_sweep(sweep)
    labels = [one["label"] for one in load(sweep / "sweep_summary.json")["by_config"]]
    assert len(set(labels)) == len(labels) == 3
    for text in (*lines, *((sweep / name).read_text() for name in ("runs.csv", "summary.md", "sweep_summary.json"))):
        assert "kowalska" not in text

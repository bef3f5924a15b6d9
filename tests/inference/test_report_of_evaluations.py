"""A report tells what mammo.evaluate has left beside a run."""

from __future__ import annotations

import dataclasses
import json
import shutil

import numpy as np

from mammo.evaluate import TOOL
from mammo.evaluation.comparison import compare
from mammo.evaluation.predictions import read_predictions
from mammo.reporting.latex import latex
from mammo.reporting.report_data import read_report_data
from mammo.reporting.report_files import write_report
from mammo.reporting.summary_text import finding, tiles
from tests.inference.conftest import run_of
from tests.sweeps.sweeps import change, load


def test_scores_on_other_images_and_differences_are_in_the_report(sweep, command, tmp_path):
    run, other = run_of(sweep), run_of(sweep, "full_finetune")
    write_report([run], tmp_path / "before")
    assert "Nothing was evaluated on other images so far" in (tmp_path / "before" / "report.md").read_text()

    command(TOOL, run, f"compare={other}")
    command(TOOL, run, "split=test")
    command(TOOL, run, "split=all")
    write_report([run], tmp_path / "after")
    report = (tmp_path / "after" / "report.md").read_text().replace("\\", "")
    for split in ("test", "all"):
        metrics = json.loads((run / "evaluation" / split / "evaluation.json").read_text())["metrics"]
        (line,) = [line for line in report.splitlines() if line.startswith(f"| folders, {split}")]
        assert f"| {metrics['num_images']} | {metrics['num_patients']} |" in line
        assert f"{metrics['kappa_quadratic']:.3f}" in line
        assert f"[{metrics['ci95']['acc'][0]:.3f}, {metrics['ci95']['acc'][1]:.3f}]" in line
    beyond, learnt = (report.index(f"**Scores {words}") for words in ("beyond the", "that include images learnt from"))
    assert beyond < report.index("| folders, test") < learnt < report.index("| folders, all")
    assert "of these images" in line  # all: those it has learnt from
    comparison = json.loads((run / "evaluation" / "val" / "comparison.json").read_text())
    assert f"compared with {other.name}" in report
    assert f"p = {comparison['mcnemar']['p_value']:.3f}" in report


def test_the_result_on_patients_set_aside_comes_first(sweep, command):
    run = shutil.copytree(
        run_of(sweep, "full_finetune"), sweep.parent / "set-aside" / run_of(sweep, "full_finetune").name
    )
    validation = load(run / "metrics/val_metrics.json")
    assert not any(word in " ".join(finding(read_report_data([run]))) for word in ("test image", "set aside from"))
    command(TOOL, run, "split=test")
    test = load(run / "evaluation/test/evaluation.json")["metrics"]
    data = read_report_data([run])
    first, second, third = finding(data)[:3]
    assert first.startswith(f"On {test['num_images']} test images, set aside from training and selection, ")
    assert f"balanced accuracy of {test['bal_acc_adj']:.3f}" in first
    assert "validation images, on which the epochs were selected" in second
    assert f"of {validation['bal_acc_adj']:.3f}" in third
    for tile, name in zip(tiles(data), ("bal_acc_adj", "kappa_quadratic", "auc_ovr", "acc"), strict=True):
        assert tile.label.startswith("Test: ")
        assert tile.value == f"{test[name]:.3f}"
        assert f"on validation, which selected the epochs: {validation[name]:.3f}" in tile.hint
        assert f"{test['num_patients']} images set aside" in tile.hint
    table = latex(data)
    assert r"Metric & Test & 95\% over images & Validation & 95\% interval" in table
    assert f"Accuracy & {test['acc']:.3f} & " in table
    # What includes images that were learnt from is no test.
    change(run / "evaluation/test/evaluation.json", data=load(run / "evaluation/test/evaluation.json")["data"]
           | {"num_trained_on": 1})  # fmt: skip
    assert "set aside from" not in " ".join(finding(read_report_data([run])))


def test_of_several_trainings_the_mean_on_patients_set_aside_comes_first(sweep, command):
    folder = sweep.parent / "folds-set-aside"
    runs = [shutil.copytree(run_of(sweep, fold=fold), folder / run_of(sweep, fold=fold).name) for fold in (0, 1)]
    for run in runs:
        command(TOOL, run, "split=test")
    tests = [load(run / "evaluation/test/evaluation.json")["metrics"] for run in runs]
    tables = [read_predictions(run / "evaluation/test/predictions.csv") for run in runs]
    right = np.mean([one.probabilities.argmax(axis=1) == one.targets for one in tables], axis=0)
    drawn = right[np.random.default_rng(0).integers(len(right), size=(2000, len(right)))].mean(axis=1)
    low, high = np.percentile(drawn, [2.5, 97.5])
    data = read_report_data(runs)
    assert "mean chance-adjusted balanced accuracy" in finding(data)[0]
    assert "over 2 of 2 runs" in finding(data)[0]
    tile = tiles(data)[-1]
    assert (tile.label, tile.value) == ("Test: Accuracy", f"{np.mean([test['acc'] for test in tests]):.3f}")
    assert tile.interval == f"{low:.3f} to {high:.3f}"
    assert r"Test, mean $\pm$ SD & 95\% over images & Validation, mean $\pm$ SD" in latex(data)
    (runs[1] / "evaluation/test/evaluation.json").unlink()
    assert f"{tests[0]['bal_acc_adj']:.3f}" in finding(read_report_data(runs))[0]
    assert "over 1 of 2 runs" in finding(read_report_data(runs))[0]


def test_comparisons_of_earlier_versions_stand_in_a_report(sweep, command, tmp_path):
    other = run_of(sweep, "full_finetune", fold=1)
    run = shutil.copytree(run_of(sweep, fold=1), tmp_path / run_of(sweep, fold=1).name)
    command(TOOL, run, f"compare={other}")
    file = run / "evaluation/val/comparison.json"
    write_report([run], tmp_path / "now")
    tables = [read_predictions(one / "val_predictions.csv") for one in (other, run)]
    earlier = dataclasses.asdict(compare(*tables)) | {"schema_version": 1, "first": other.name, "second": run.name}
    file.write_text(json.dumps(earlier))
    write_report([run], tmp_path / "earlier")
    now, before = ((tmp_path / name / "report.md").read_text() for name in ("now", "earlier"))
    table = now[now.index("compared with") :].split("##")[0]
    assert table == before[before.index("compared with") :].split("##")[0]
    assert "frozen_last_block minus full_finetune" in table


def test_what_is_of_another_checkpoint_is_left_out(sweep, command, tmp_path):
    run = shutil.copytree(run_of(sweep, fold=1), tmp_path / run_of(sweep, fold=1).name)
    command(TOOL, run, f"compare={run_of(sweep, 'full_finetune', fold=1)}")
    command(TOOL, run, "split=test")
    for split in ("val", "test"):
        file = run / "evaluation" / split / "evaluation.json"
        (network,) = load(file)["networks"]
        change(file, networks=[network | {"checkpoint_sha256": "0" * 64, "epoch": 7}])
    data = read_report_data([run])
    assert data.runs[0].evaluations == data.runs[0].comparisons == ()
    what = "another checkpoint (epoch 7), not of the best one of this run, so it is left out"
    assert [f"{run.name}: evaluation/{split} is of {what}" for split in ("test", "val")] == [
        problem for problem in data.problems if "evaluation/" in problem
    ]

"""A report tells what mammo.evaluate has left beside a run."""

from __future__ import annotations

import json

from mammo.evaluate import TOOL
from mammo.reporting.material import read_material
from mammo.reporting.write import write_report
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


def test_what_is_of_another_checkpoint_is_left_out(sweep, command):
    run = run_of(sweep, fold=1)
    command(TOOL, run, f"compare={run_of(sweep, 'full_finetune', fold=1)}")
    command(TOOL, run, "split=test")
    for split in ("val", "test"):
        file = run / "evaluation" / split / "evaluation.json"
        (network,) = load(file)["networks"]
        change(file, networks=[network | {"checkpoint_sha256": "0" * 64, "epoch": 7}])
    material = read_material([run])
    assert material.runs[0].evaluations == material.runs[0].comparisons == ()
    what = "another checkpoint (epoch 7), not of the best one of this run, so it is left out"
    assert [f"{run.name}: evaluation/{split} is of {what}" for split in ("test", "val")] == [
        problem for problem in material.problems if "evaluation/" in problem
    ]

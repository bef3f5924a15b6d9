"""A report tells what mammo.evaluate has left beside a run."""

from __future__ import annotations

import json

from mammo.evaluate import TOOL
from mammo.reporting.write import write_report
from tests.inference.conftest import run_of


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
    assert "of these images" in line  # all: those it has learnt from
    comparison = json.loads((run / "evaluation" / "val" / "comparison.json").read_text())
    assert f"compared with {other.name}" in report
    assert f"p = {comparison['mcnemar']['p_value']:.3f}" in report

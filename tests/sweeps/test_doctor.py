"""`python -m mammo.doctor` on a sweep: one line for each run, and the whole."""

from __future__ import annotations

import shutil

from mammo.checks.report import Level, Section
from mammo.checks.sweep import check_sweep
from mammo.sweeps.summary import close_sweep
from tests.checks.conftest import status_of
from tests.sweeps.sweeps import change, load, plan_of, run_of, runs_of, write_plan


def problems(sections: list[Section]) -> list[str]:
    return [
        f"{finding.subject}: {finding.text}"
        for section in sections
        for finding in section.findings
        if finding.level is Level.PROBLEM
    ]


def test_a_healthy_sweep_passes_with_a_line_for_each_run(sweep, capsys):
    close_sweep(sweep)
    runs, whole = check_sweep(sweep)
    assert problems([runs, whole]) == []
    assert [finding.subject for finding in runs.findings] == [run.name for run in runs_of(sweep)]
    assert {finding.subject for finding in whole.findings} == {"plan", "folds", "sweep_summary.json", "cv_summary.json"}
    assert {finding.level for finding in whole.findings} == {Level.OK}
    assert status_of(sweep) == 0
    output = capsys.readouterr().out
    assert all(f"  ok       {run.name}\n" in output for run in runs_of(sweep))
    # The folder with all sweeps is looked at too.
    assert status_of(sweep.parent) == 0


def test_a_damaged_run_is_named_and_the_others_are_well(sweep):
    close_sweep(sweep)
    damaged = run_of(sweep, 42, 0)
    change(damaged / "metrics" / "val_metrics.json", acc=0.99)
    runs, _ = check_sweep(sweep)
    named = {finding.subject for finding in runs.findings if finding.level is Level.PROBLEM}
    assert named == {damaged.name}
    assert any("acc is stated as 0.99" in text for text in problems([runs]))
    assert status_of(sweep) == 1


def test_a_summary_that_does_not_follow_from_the_runs_is_a_problem(sweep):
    close_sweep(sweep)
    aggregate = load(sweep / "sweep_summary.json")["aggregate"]
    aggregate["acc"]["mean"] = 0.99
    change(sweep / "sweep_summary.json", aggregate=aggregate)
    assert problems(check_sweep(sweep)) == ["sweep_summary.json: is not what follows from the runs as they are now"]


def test_what_is_not_finished_is_a_note(sweep):
    plan = plan_of(sweep)
    shutil.rmtree(run_of(sweep, 43, 1))
    write_plan(sweep, plan)
    close_sweep(sweep)
    runs, whole = check_sweep(sweep)
    assert problems([runs, whole]) == []
    assert [finding.text for finding in runs.findings if finding.level is Level.NOTE] == ["not started"]
    assert any("1 not started" in finding.text for finding in whole.findings)


def test_a_copied_run_and_a_lost_plan_are_problems(sweep):
    close_sweep(sweep)
    shutil.copytree(run_of(sweep, 42, 0), sweep / "copy")
    (sweep / "sweep.json").unlink()
    found = "\n".join(problems(check_sweep(sweep)))
    assert "it has the same configuration as" in found
    assert "plan: sweep.json is missing" in found

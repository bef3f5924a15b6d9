"""What is written about a sweep, whole and in pieces."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammo.support.plain_text import WIDTH
from mammo.sweeps.summary import close_sweep
from tests.sweeps.sweeps import change, load, plan_of, run_of, runs_of, variant, write_plan

pytestmark = pytest.mark.slow

T_975 = {1: 12.7062047, 2: 4.3026527, 3: 3.1824463}  # Student's t by degrees of freedom
OUTPUTS = ("sweep_summary.json", "cv_summary.json", "summary.md", "comparison.png")


def summarised(sweep: Path):
    """The printed lines, and `sweep_summary.json`; holds for every sweep: strict, no folders named, 80 columns."""
    lines = close_sweep(sweep)
    texts = [(sweep / name).read_text() for name in OUTPUTS[:3] if (sweep / name).exists()]
    assert all("/tmp" not in text and str(sweep.parent) not in text for text in texts)
    assert all(len(line) <= WIDTH for line in lines if not line.startswith("Results: ")), lines
    return lines, load(sweep / "sweep_summary.json")


def test_a_finished_sweep(sweep):
    lines, summary = summarised(sweep)
    assert summary["is_complete"]
    assert summary["counts"] == {"completed": 4, "failed": 0, "interrupted": 0, "unfinished": 0, "not started": 0}
    assert summary["is_complete"] is True
    assert summary["problems"] == []
    scores = [load(run / "summary.json")["metrics"]["auc_ovr"] for run in runs_of(sweep)]
    found = summary["aggregate"]["auc_ovr"]
    mean = sum(scores) / 4
    std = (sum((score - mean) ** 2 for score in scores) / 3) ** 0.5
    assert (found["n"], found["ddof"], found["min"], found["max"]) == (4, 1, min(scores), max(scores))
    assert (found["mean"], found["std"]) == pytest.approx((mean, std))
    assert found["ci95"] == pytest.approx([mean - T_975[3] * std / 2, mean + T_975[3] * std / 2])
    (only,) = summary["by_config"]
    assert only["aggregate"] == summary["aggregate"]
    assert (only["n"], only["seeds"], only["folds"], only["differs"]) == (4, [42, 43], [0, 1], {})
    (row,) = (line.split() for line in lines if line.startswith("auc_ovr "))
    assert row[1:4] == [f"{mean:.3f}", "+-", f"{std:.3f}"]
    assert row[-1] == "4"
    assert lines[1] == "All 4 jobs of the sweep are finished"


def test_shares_of_seed_and_fold(sweep):
    _, summary = summarised(sweep)
    (a, b), (c, d) = (
        [load(run_of(sweep, seed, fold) / "summary.json")["metrics"]["loss"] for fold in (0, 1)] for seed in (42, 43)
    )
    # Of a 2 x 2 table each mean square is the square of one contrast.
    seed, fold, rest = (((a + b - c - d) / 2) ** 2, ((a + c - b - d) / 2) ** 2, ((a + d - b - c) / 2) ** 2)
    expected = {"seed": max(0, (seed - rest) / 2), "fold": max(0, (fold - rest) / 2), "rest": rest}
    found = summary["by_config"][0]["variance"]["loss"]
    assert found["components"] == pytest.approx(expected)
    assert found["share"] == pytest.approx({part: value / sum(expected.values()) for part, value in expected.items()})


def test_each_run_is_told_with_its_last_epoch_too(sweep):
    _, summary = summarised(sweep)
    for found, folder in zip(summary["runs"], runs_of(sweep), strict=True):
        stored = load(folder / "summary.json")
        assert found["name"] == folder.name
        for key in ("status", "seed", "fold", "objective", "metrics", "last_metrics"):
            assert found[key] == stored[key]
        assert found["error"] is None
        assert "train.epochs=2" in found["overrides"]


def test_cross_validation(sweep):
    summarised(sweep)
    found = load(sweep / "cv_summary.json")
    assert found["n_folds"] == 2
    assert [(one["fold"], one["seed"]) for one in found["folds"]] == [(0, 42), (0, 43), (1, 42), (1, 43)]
    for one in found["folds"]:
        manifest = load(sweep / one["run"] / "splits" / "manifest.json")
        assert one["fingerprint"] == manifest["fingerprint"]
    scores = [one["metrics"]["acc"] for one in found["folds"]]
    assert found["mean"]["acc"] == pytest.approx(np.mean(scores))
    assert found["std"]["acc"] == pytest.approx(np.std(scores, ddof=1))
    assert found["ddof"] == 1
    (only,) = found["configurations"]
    assert {key: found[key] for key in only} == only


def test_the_page_says_what_its_numbers_mean(sweep):
    summarised(sweep)
    page = (sweep / "summary.md").read_text()
    assert "standard deviation with ddof=1" in page
    assert "Folds share training data, so an interval over folds is approximate." in page
    assert page.count("| completed |") == 4


def test_a_half_finished_sweep(sweep):
    failed, running, absent, interrupted = runs_of(sweep)
    plan = plan_of(sweep)
    shutil.rmtree(absent)
    for name in ("checkpoints", "splits", "metrics"):
        shutil.rmtree(failed / name)
    for file in failed.iterdir():
        if file.is_file() and file.name != "config.yaml":
            file.unlink()
    (failed / "summary.json").write_text(json.dumps({"status": "failed", "objective": None, "metrics": None}))
    message = "no such file: /home/someone/images/film.png\n  to do: look for it"
    (failed / "error.json").write_text(json.dumps({"type": "DataError", "message": message, "traceback": None}))
    variant(running, "added", {"seed": 7}, ["seed=7"], {"acc": 0.25})
    change(running / "summary.json", status="running", metrics=None)
    change(interrupted / "summary.json", status="interrupted", metrics=None)
    plan["jobs"].append({"run": "added", "overrides": ["seed=7", "data.fold=1"]})
    write_plan(sweep, plan)

    lines, summary = summarised(sweep)
    expected = {"completed": 1, "failed": 1, "interrupted": 1, "unfinished": 1, "not started": 1}
    assert summary["counts"] == expected
    assert summary["is_complete"] is False
    text = " ".join(" ".join(lines).split())
    assert text.startswith("1 of 5 jobs are finished (1 failed, 1 interrupted, 1 unfinished, 1 not started)")
    assert "failed: seed=42 data.fold=0 DataError: no such file: .../film.png to do:" in text
    assert "unfinished: seed=42 data.fold=1: it was killed, or is still running" in text
    assert "not started: seed=43 data.fold=0" in text
    assert "interrupted: seed=43 data.fold=1" in text
    assert [run["status"] for run in summary["runs"]] == [
        "failed", "unfinished", "not started", "interrupted", "completed",
    ]  # fmt: skip
    assert summary["runs"][0]["error"]["type"] == "DataError"
    assert (summary["runs"][2]["seed"], summary["runs"][2]["fold"]) == (43, 0)
    assert summary["aggregate"]["acc"]["n"] == 1
    assert summary["aggregate"]["acc"]["std"] is summary["aggregate"]["acc"]["ci95"] is None
    assert summary["by_config"][0]["variance"]["acc"]["share"] is None
    assert "no value for" in summary["by_config"][0]["variance"]["acc"]["reason"]


def test_nothing_is_there_yet(sweep):
    plan = plan_of(sweep)
    for run in runs_of(sweep):
        shutil.rmtree(run)
    lines, summary = summarised(sweep)
    assert lines[1].startswith("0 of 4 jobs are finished (4 not started)")
    assert [run["name"] for run in summary["runs"]] == [job["run"] for job in plan["jobs"]]
    assert not (sweep / "comparison.png").exists()


def test_what_is_not_understood_is_said(sweep):
    first, second, third, _ = runs_of(sweep)
    (sweep / "notes.txt").write_text("mine")
    (sweep / "figures").mkdir()
    (first / "summary.json").write_text('{"status": "comp')
    config = (second / "config.yaml").read_text()
    (second / "config.yaml").write_text(config.replace("\n  epochs: ", "\n  epoks: "))
    (third / "config.yaml").unlink()
    lines, summary = summarised(sweep)
    assert summary["counts"]["completed"] == 3
    assert summary["aggregate"]["acc"]["n"] == 1, "only one run is finished and of a known configuration"
    problems = "\n".join(summary["problems"])
    assert f"{first.name}/summary.json cannot be read" in problems
    assert f"{second.name}/config.yaml does not fit this version: train.epoks: there is no such key" in problems
    assert f"{third.name}/config.yaml is missing" in problems
    assert "figures/ is not a run" in problems
    assert "notes.txt" not in problems
    assert sum(line.startswith("not understood:") for line in lines) == 4


@pytest.mark.parametrize("content", ["", "{", "[]", '{"jobs": 3}', '{"jobs": [{"run": 3}, 4]}', "\xff"])
def test_a_damaged_plan_leaves_the_runs(sweep, content):
    (sweep / "sweep.json").write_bytes(content.encode("latin-1"))
    _, summary = summarised(sweep)
    assert summary["aggregate"]["acc"]["n"] == 4
    assert any("sweep.json" in problem for problem in summary["problems"])


def test_without_a_plan_it_is_not_known_whether_that_is_all(sweep):
    (sweep / "sweep.json").unlink()
    lines, summary = summarised(sweep)
    assert summary["name"] == sweep.name
    assert lines[1].startswith("4 of 4 runs here are finished; without sweep.json it is not known")


def test_a_copied_run_counts_once(sweep):
    original = runs_of(sweep)[0]
    shutil.copytree(original, sweep / "a-copy")
    _, summary = summarised(sweep)
    assert summary["aggregate"]["acc"]["n"] == 4
    assert summary["problems"] == [f"a-copy is not counted: it has the same configuration as {original.name}"]


def test_runs_of_an_earlier_command_count_but_are_not_its_jobs(sweep):
    plan = plan_of(sweep)
    plan["jobs"] = plan["jobs"][:2]
    change(runs_of(sweep)[3] / "summary.json", status="failed", metrics=None)
    write_plan(sweep, plan)
    lines, summary = summarised(sweep)
    assert summary["is_complete"]
    assert summary["counts"]["completed"] == 2
    assert summary["aggregate"]["acc"]["n"] == 3
    assert any("2 further runs are here that sweep.json does not name" in line for line in lines)


def test_other_data_is_a_problem(sweep):
    changed = load(runs_of(sweep)[0] / "summary.json")["data"] | {"fingerprint": "0" * 64}
    change(runs_of(sweep)[0] / "summary.json", data=changed)
    _, summary = summarised(sweep)
    assert "different data" in summary["by_config"][0]["problem"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"search": {"finished": 5}}, "search.finished"),
        ({"search": {"finished": [{"number": 0, "runs": 3}]}}, "search.finished[0].runs"),
        ({"search": {"finished": [{"value": 0.5}]}}, "search.finished[0].number is missing"),
        ({"jobs": [{"overrides": []}]}, "jobs[0].run is missing"),
        ({"jobs": {"run": "a"}}, "jobs"),
        ({"monitor": ["KOWALSKA"]}, "monitor"),
    ],
)
def test_a_plan_of_other_types_is_said_by_key_and_not_used(sweep, change, said):
    write_plan(sweep, plan_of(sweep) | change)
    _, summary = summarised(sweep)
    problem = next(problem for problem in summary["problems"] if problem.startswith("sweep.json"))
    assert "is not as a sweep leaves it" in problem
    assert said in problem
    assert "KOWALSKA" not in problem
    assert summary["aggregate"]["acc"]["n"] == 4


def test_published_values_stand_beside_what_they_describe(sweep):
    plan = plan_of(sweep)
    plan["published"] = [
        {"where": {"strategy.name": "frozen_last_block"}, "metrics": {"acc": [0.696, 0.026], "kappa_quadratic": 0.57}},
        {"where": {"strategy.name": "head_only"}, "metrics": {"acc": [0.1, 0.2]}},
        {"where": {"seed": 42}, "metrics": {"acc": "good"}},
    ]
    write_plan(sweep, plan)
    lines, summary = summarised(sweep)
    (only,) = summary["by_config"]
    words = {"note": "reported on another dataset"}
    assert only["published"] == {
        "acc": {"mean": 0.696, "std": 0.026, **words},
        "kappa_quadratic": {"mean": 0.57, "std": None, **words},
    }
    rows = [" ".join(line.split()) for line in lines]
    after_accuracy = next(i for i, row in enumerate(rows) if row.startswith("acc ")) + 1
    assert rows[after_accuracy : after_accuracy + 2] == ["reported on 0.696 +- 0.026", "another dataset"]
    assert "| 0.696 +- 0.026 |" in (sweep / "summary.md").read_text()
    assert summary["problems"] == ["sweep.json has published values that are not understood"]


def test_configurations_are_told_apart_by_what_was_typed(sweep):
    for run in runs_of(sweep):
        seed = load(run / "summary.json")["seed"]
        head = {"strategy": {"name": "head_only"}, "optimizer.backbone_lr": None}
        typed = ["strategy=head_only", "model.dropout=0.5"]
        variant(run, f"head-{run.name}", {**head, "model.dropout": 0.5}, typed, {"acc": 0.5 + seed / 500})
    write_plan(sweep, plan_of(sweep))
    lines, summary = summarised(sweep)
    assert summary["aggregate"] is None
    labels = {entry["label"]: entry for entry in summary["by_config"]}
    assert set(labels) == {"frozen_last_block", "head_only"}
    differs = {"strategy.name": "head_only", "model.dropout": 0.5, "optimizer.backbone_lr": None}
    assert labels["head_only"]["differs"] == differs
    assert labels["head_only"]["n"] == 4
    assert labels["head_only"]["aggregate"]["acc"]["mean"] == pytest.approx(0.585)
    assert any(line.startswith("head_only") for line in lines)
    (row,) = (line for line in (sweep / "summary.md").read_text().splitlines() if "0.585" in line and "head" in line)
    assert row.split(" | ")[1:2] == ["4"]
    entries = load(sweep / "cv_summary.json")["configurations"]
    assert [entry["label"] for entry in entries] == [entry["label"] for entry in summary["by_config"]]


def test_the_seed_of_the_augmentation_may_follow(sweep):
    for run in runs_of(sweep):
        seed = load(run / "summary.json")["seed"]
        variant(run, f"follows-{run.name}", {"augment.seed": seed}, ["augment.seed=${seed}"], {})
    write_plan(sweep, plan_of(sweep))
    _, summary = summarised(sweep)
    assert {entry["label"]: entry["n"] for entry in summary["by_config"]} == {
        "augment.seed 0": 4, "augment.seed ${seed}": 4,
    }  # fmt: skip


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_search_shows_its_best_trials(sweep, direction):
    plan = plan_of(sweep)
    plan["search"] = {"trials": 12, "folds": 2, "direction": direction, "finished": []}
    for number in range(12):
        for fold in (0, 1):
            rate = 2e-4 / (number + 1)
            run = variant(run_of(sweep, 42, fold), f"t{number}-f{fold}", {"optimizer.lr": rate}, [], {})
            plan["jobs"].append({"run": run.name, "overrides": [f"optimizer.lr={rate}"]})
        plan["search"]["finished"].append(
            {
                "number": number,
                "params": {"optimizer.lr": rate},
                "value": number / 100,
                "failed": None,
                "runs": [f"t{number}-f0", f"t{number}-f1"],
            }
        )
    write_plan(sweep, plan)
    lines, summary = summarised(sweep)
    assert summary["is_complete"]
    order = list(range(12))[:: 1 if direction == "minimize" else -1]
    assert [trial["number"] for trial in summary["trials"]] == order
    assert summary["trials"][0]["runs"] == [f"t{order[0]}-f0", f"t{order[0]}-f1"]
    shown = [line for line in lines if line.startswith("lr=")]
    assert len(shown) == 10
    assert shown[0].split()[1:] == [str(order[0]), f"{order[0] / 100:.3f}"]
    assert not (sweep / "cv_summary.json").exists()
    assert not (sweep / "comparison.png").exists()


def test_a_search_that_is_not_over(sweep):
    plan = plan_of(sweep) | {"search": {"trials": 6, "folds": None, "direction": "maximize"}}
    plan["search"]["finished"] = [
        {"number": number, "params": {}, "value": 0.1, "failed": "nan" if number == 3 else None, "runs": [run.name]}
        for number, run in enumerate(runs_of(sweep))
    ]
    last = runs_of(sweep)[3]
    change(last / "summary.json", status="failed", metrics=None)
    (last / "error.json").write_text(json.dumps({"type": "NonFiniteLossError", "message": "the loss is " + "n" * 99}))
    write_plan(sweep, plan)
    lines, summary = summarised(sweep)
    assert not summary["is_complete"]
    state = "3 of 4 jobs are finished (1 failed, 2 trials to come); the same command does the rest"
    assert " ".join(lines).strip().startswith(state)
    where = lines.index("failed: trial 3, fold 1")
    assert lines[where + 1].startswith("  NonFiniteLossError: the loss is nnn")
    plan["search"]["trials"] = 4
    write_plan(sweep, plan)
    lines, summary = summarised(sweep)
    assert lines[1] == "3 of 4 jobs are finished (1 failed)", "a failed trial is not tried again"


def test_the_figure_fits_a_page(sweep):
    summarised(sweep)
    with Image.open(sweep / "comparison.png") as picture:
        assert picture.size[0] == 2100
        assert picture.size[1] < 1000

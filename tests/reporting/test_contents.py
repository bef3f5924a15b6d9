"""What a report says: computed from what is on disk, whatever is there."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from mammo.reporting.assembly import assemble
from mammo.reporting.document import Details, Group, Report
from mammo.reporting.evaluations import evaluate_best
from mammo.reporting.html import html
from mammo.reporting.latex import latex
from mammo.reporting.markdown import markdown
from mammo.reporting.report_data import ReportData, read_report_data
from mammo.support.table import Table
from mammo.sweeps.summary import close_sweep
from tests.reporting.pages import Page
from tests.sweeps.sweeps import change, load, plan_of, rows_of, run_of, runs_of, variant, write_plan, write_rows

pytestmark = pytest.mark.slow

HUGE = pytest.param(10**400, id="huge")


def made_of(*folders: Path) -> tuple[ReportData, Report]:
    data = read_report_data(folders)
    return data, assemble(data, evaluate_best(data), [])


def tables(blocks: Any) -> list[Table]:
    found: list[Table] = []
    for block in blocks:
        found += [block] if isinstance(block, Table) else []
        found += tables(block.blocks) if isinstance(block, Group | Details) else []
    return found


def section(report: Report, key: str) -> list[Table]:
    (one,) = [section for section in report.sections if section.key == key]
    return tables(one.blocks)


def cells(table: Table) -> list[list[str]]:
    return [[cell.text for cell in row] for row in table.rows]


def test_the_finding_is_computed_from_the_runs(reported):
    values = [load(run / "metrics/val_metrics.json")["bal_acc_adj"] for run in runs_of(reported)]
    mean, std = np.mean(values), np.std(values, ddof=1)
    low, high = stats.t.interval(0.95, 1, loc=mean, scale=std / np.sqrt(2))
    pooled = load(reported / "cv_summary.json")["pooled"]
    _, report = made_of(reported)
    over_runs = f"95% interval {low:.3f} to {high:.3f} over 2 trainings, not over images"
    spread = f"(standard deviation {std:.3f}; {over_runs})"
    assert report.finding[0] == (
        f"Over 2 runs (folds 0 and 1), efficientnet_lite0 (strategy frozen_last_block) reached a mean chance-adjusted "
        f"balanced accuracy of {mean:.3f} {spread}, "
        f"validated on a different part of the dataset folders in each fold."
    )
    low, high = pooled["ci95"]["bal_acc_adj"]
    assert report.finding[1] == (
        f"All 32 images, each predicted by a network that had not seen it, give {pooled['bal_acc_adj']:.3f} (95% "
        f"interval {low:.3f} to {high:.3f} over images). "
        + ("The interval lies above chance." if low > 0 else
           "The interval includes chance (0): that the network does better than guessing is not shown.")
    )  # fmt: skip
    assert report.tiles[0].value == f"{pooled['bal_acc_adj']:.3f}"
    assert report.tiles[0].interval == f"{low:.3f} to {high:.3f}"


def test_trainings_on_the_same_patients_are_not_taken_for_other_patients(sweep):
    folders = [run_of(sweep, seed, 0) for seed in (42, 43)]
    rows = [sorted(rows_of(folder / "val_predictions.csv"), key=lambda row: row["image_id"]) for folder in folders]
    patients = sorted({row["patient_id"] for row in rows[0]})
    names = [name for name in rows[0][0] if name.startswith("p_")]
    rng, means = np.random.default_rng(0), []
    for drawn in rng.integers(len(patients), size=(2000, len(patients))):
        chosen = [i for p in drawn for i, row in enumerate(rows[0]) if row["patient_id"] == patients[p]]
        right = [[max(names, key=lambda name: float(row[name])) == f"p_{row['y_true']}" for row in one] for one in rows]
        means.append(np.mean([[of_run[i] for i in chosen] for of_run in right]))
    low, high = np.percentile(means, [2.5, 97.5])
    data, report = made_of(*folders)
    tile = next(tile for tile in report.tiles if tile.label == "Accuracy")
    assert tile.interval == f"{low:.3f} to {high:.3f}"
    over_runs = data.spread(0, "acc").ci95
    assert f"over trainings {over_runs[0]:.3f} to {over_runs[1]:.3f}" in tile.hint
    assert "over 2 trainings on the same images, not over images" in report.finding[0]
    assert report.finding[1].startswith("Over images, the 95% interval of this mean is")
    assert "The interval" not in report.finding[0]
    assert "The interval" in report.finding[1]
    assert r"95\% over runs & 95\% over images" in latex(data)


def test_what_was_validated_on_different_images_is_not_ranked(sweep):
    run = run_of(sweep, 42, 0)
    other = variant(run, "other", {"optimizer.lr": 0.5}, ["optimizer.lr=0.5"], {"bal_acc_adj": 0.9})
    assert "of 2 configurations" in made_of(run, other)[1].finding[0].lower()
    summary = load(other / "summary.json")
    change(other / "summary.json", data=summary["data"] | {"fingerprint": "0" * 64})
    assert not read_report_data([run, other]).is_comparable
    turned = variant(other, "turned", {"data.orient": False}, ["data.orient=false"], {})
    assert read_report_data([run, turned]).is_comparable  # the same images, not turned
    change(other / "summary.json", data=summary["data"])
    write_rows(other / "val_predictions.csv", rows_of(other / "val_predictions.csv")[1:])
    data, report = made_of(run, other)
    assert report.finding[0] == (
        "The 2 configurations were validated on different images: not comparable. None is the best."
    )
    assert len(report.finding) == 3
    assert report.tiles == ()
    assert "next is" not in html(report)
    assert "not comparable" in latex(data)
    assert "not comparable" in section(report, "runs")[0].note


def test_generated_images_are_no_reason_to_doubt_the_others(sweep):
    run = run_of(sweep, 42, 0)
    variant(run, "generated", {"data.format": "phantom"}, ["data.format=phantom"], {})
    _, report = made_of(sweep)
    (warning,) = [one for one in report.warnings if "generated" in one]
    assert warning == "1 of 5 runs used generated images, whose numbers say nothing about real breasts."


def test_a_single_run_has_its_own_interval(reported):
    run = runs_of(reported)[0]
    metrics, summary = load(run / "metrics/val_metrics.json"), load(run / "summary.json")
    low, high = metrics["ci95"]["bal_acc_adj"]
    _, report = made_of(run)
    assert report.title == run.name
    assert (
        f"of {metrics['bal_acc_adj']:.3f} (95% interval {low:.3f} to {high:.3f} over images) at epoch "
        f"{summary['best_epoch']} of 2, validated on 16 images of the dataset folders."
    ) in report.finding[0]
    (matrix, *_) = section(report, "classes")
    assert [[int(text) for text in row[1:]] for row in cells(matrix)] == metrics["confusion_matrix"]


def test_warnings_come_first(reported, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(runs_of(reported)[0], copy)
    summary = load(copy / "summary.json")
    weights = summary["model"]["weights"] | {"source": "random"}
    change(copy / "summary.json", model=summary["model"] | {"weights": weights}, git=summary["git"] | {"dirty": True},
           collapse={"detected": True, "reason": "C never predicted"})  # fmt: skip
    _, report = made_of(copy)
    warnings = "\n".join(report.warnings)
    for words in (
        "RANDOM weights", "collapsed: C never predicted", "16 images only", "Patients are not known",
        "Hardly represented in the validation of a run: class A (4 images)", "changes that are in no commit",
    ):  # fmt: skip
        assert words in warnings
    page = html(report)
    assert page.index("RANDOM weights") < page.index("<dl") < page.index("<table")


def test_the_most_wrong_and_the_most_uncertain_are_found(reported):
    data, report = made_of(reported)
    rows = [row for run in data.runs for row in run.predictions.table.to_dict("records")]
    names = data.runs[0].predictions.class_names
    wrong = sorted((row[f"p_{row['y_true']}"], row["image_id"]) for row in rows if row["y_true"] != row["y_pred"])
    entropy = {row["image_id"]: stats.entropy([row[f"p_{name}"] for name in names], base=len(names)) for row in rows}
    most_wrong, most_uncertain = section(report, "cases")
    assert [row[0] for row in cells(most_wrong)] == [image_id for _, image_id in wrong[:8]]
    assert f"({len(wrong)} images of 32 wrong)" in most_wrong.caption
    expected = sorted(entropy, key=lambda image_id: (-entropy[image_id], image_id))[:8]
    assert [row[0] for row in cells(most_uncertain)] == expected
    assert cells(most_uncertain)[0][-1] == f"{entropy[expected[0]]:.2f}"


def test_markdown_says_the_same_as_the_page(reported):
    _, report = made_of(reported)
    page, text = Page(html(report)), markdown(report).replace("\\", "")
    every = [table for section in report.sections for table in tables(section.blocks)]
    assert len(every) > 12
    for table in every:
        assert table.caption in text
        for cell in (cell for row in table.rows for cell in row):
            assert " ".join(cell.text.split()) in text
            assert " ".join(cell.text.replace(" +- ", " \u00b1 ").split()) in page.words
    for sentence in (*report.finding, *report.warnings, report.disclaimer):
        assert sentence in text
        assert sentence in page.words


def test_latex_is_whole_tables(reported, sweep):
    other = variant(run_of(sweep, 42, 0), "other", {"optimizer.lr": 0.5}, ["optimizer.lr=0.5"], {"bal_acc_adj": 0.0})
    for folders in ([reported], [runs_of(reported)[0]], [sweep], [other]):
        text = latex(read_report_data(folders))
        num_tables = 2 if folders == [sweep] else 1  # the other is of the comparison
        assert text.count(r"\begin{table}") == text.count(r"\end{table}") == num_tables
        assert len(set(re.findall(r"\\label{(.*?)}", text))) == num_tables
        assert text.isascii()
        stripped = re.sub(r"\\[{}$%&#_]", "", text)
        assert stripped.count("{") == stripped.count("}")
        assert stripped.count("$") % 2 == 0
        lines = [line.strip() for line in text.splitlines()]
        width = len(re.search(r"\\begin\{tabular\}\{(\w+)\}", text)[1])
        rules = [lines.index(rf"\{rule}rule") for rule in ("top", "mid", "bottom")]
        rows = [line for line in lines[rules[0] + 1 : rules[2]] if line != r"\midrule"]
        assert len(rows) >= 2
        assert all(line.endswith(r"\\") and len(re.split(r"(?<!\\)&", line)) == width for line in rows)
    metrics = load(runs_of(reported)[0] / "metrics/val_metrics.json")
    assert f"Accuracy & {metrics['acc']:.3f} & [" in latex(read_report_data([runs_of(reported)[0]]))


def test_configurations_are_compared_and_their_differences_marked(sweep):
    for seed, fold in itertools.product((42, 43), (0, 1)):
        run = run_of(sweep, seed, fold)
        variant(run, f"other-{seed}-{fold}", {"optimizer.lr": 0.5}, ["optimizer.lr=0.5"], {"bal_acc_adj": -0.2})
    data, report = made_of(sweep)
    assert "Of 2 configurations," in report.finding[0]
    overview = section(report, "metrics")[0]
    for i, row in enumerate(overview.rows[1::2]):
        low, high = data.findings[i].pooled.mean["ci95"]["bal_acc_adj"]
        assert row[2].below == f"[{low:.3f}, {high:.3f}]"
    differing = section(report, "configuration")[0]
    assert sorted(row[0] for row in cells(differing)) == ["data.fold", "optimizer.lr", "seed"]
    marked = re.findall(r"<mark>(.*?)</mark>", html(report))
    assert set(marked) == {"optimizer.lr", "seed", "data.fold", "0.001 (4 x), 0.5 (4 x)", "42 (4 x), 43 (4 x)",
                           "0 (4 x), 1 (4 x)"}  # fmt: skip
    assert sorted(run.key for run in data.runs) == [
        "seed42_lr_0_5_fold0", "seed42_lr_0_5_fold1", "seed42_lr_1e_3_fold0", "seed42_lr_1e_3_fold1",
        "seed43_lr_0_5_fold0", "seed43_lr_0_5_fold1", "seed43_lr_1e_3_fold0", "seed43_lr_1e_3_fold1",
    ]  # fmt: skip


def test_configurations_are_compared_in_pairs_as_at_the_end_of_the_sweep(sweep):
    for seed, fold in itertools.product((42, 43), (0, 1)):
        run = run_of(sweep, seed, fold)
        other = variant(run, f"other-{seed}-{fold}", {"optimizer.lr": 0.5}, ["optimizer.lr=0.5"], {})
        rows = rows_of(other / "val_predictions.csv")
        all_b = {"y_pred": "B", "p_A": "0.1", "p_B": "0.7", "p_C": "0.1", "p_D": "0.1"}
        write_rows(other / "val_predictions.csv", [row | all_b for row in rows])
    data, report = made_of(sweep)
    lines = " ".join(" ".join(close_sweep(sweep)).split())
    assert report.finding[0].removesuffix(" 4 of its 4 runs collapsed.") in lines
    assert report.finding[1] in lines
    table = section(report, "comparisons")[0]
    difference = data.comparisons[0].difference(data.comparisons[0].positions[1], "bal_acc_adj")
    assert table.rows[1][2].text == f"{difference.difference:+.3f}"
    (stored,) = load(sweep / "sweep_summary.json")["comparisons"]
    assert abs(stored["pairs"][0]["scores"]["bal_acc_adj"]["difference"]) == pytest.approx(abs(difference.difference))
    assert "overlap" not in html(report) + markdown(report)
    # A reference that is named turns the question round.
    data = read_report_data([sweep], reference="0.5")
    assert (data.comparisons[0].is_named, data.comparisons[0].labels[data.comparisons[0].reference][-3:]) == (
        True,
        "0.5",
    )


def test_configurations_that_are_level_are_said_to_be(sweep):
    variant(run_of(sweep, 42, 0), "other", {"optimizer.lr": 0.5}, ["optimizer.lr=0.5"], {})
    _, report = made_of(run_of(sweep, 42, 0), sweep / "other")
    assert "It is level with lr " in report.finding[0]
    assert "No conclusion about the two: one training each" in report.finding[1]


def test_a_cell_holds_one_estimate_and_its_row_names_it(sweep):
    for seed, fold in itertools.product((42, 43), (0, 1)):
        run = run_of(sweep, seed, fold)
        variant(run, f"other-{seed}-{fold}", {"optimizer.lr": 0.5}, ["optimizer.lr=0.5"], {"ece": 0.1 + fold / 10})
    data, report = made_of(sweep)
    overview = section(report, "metrics")[0]
    assert [row[1] for row in cells(overview)] == ["mean +- std of 4 runs", "all folds pooled [95% over images]"] * 2
    for i, finding in enumerate(data.findings):
        over_runs, pooled = overview.rows[2 * i : 2 * i + 2]
        ece = [column.title for column in overview.columns].index("Calibration error")
        spread, mean = finding.aggregate["ece"], finding.pooled.mean
        assert (over_runs[ece].text, over_runs[ece].below) == (f"{spread.mean:.3f} +- {spread.std:.3f}", "")
        low, high = mean["ci95"]["ece"]
        assert (pooled[ece].text, pooled[ece].below) == (f"{mean['ece']:.3f}", f"[{low:.3f}, {high:.3f}]")
    close_sweep(sweep)
    for page in (markdown(report), (sweep / "summary.md").read_text()):
        assert not re.search(r"\+- \d\.\d+ *[(\[]", page.replace("\\", ""))


def test_the_best_trial_has_equals_and_has_collapsed(sweep):
    runs = runs_of(sweep)
    finished = [{"number": i, "params": {"optimizer.lr": 0.1 * i}, "value": value, "failed": None, "runs": [run.name]}
                for i, (run, value) in enumerate(zip(runs, (0.2, 0.3, 0.3, 0.1), strict=True))]  # fmt: skip
    for run, detected in zip(runs, (False, True, True, False), strict=True):
        change(
            run / "summary.json", collapse={"detected": detected, "reason": "C never predicted" if detected else None}
        )
    write_plan(sweep, plan_of(sweep) | {"search": {"trials": 4, "direction": "maximize", "finished": finished}})
    _, report = made_of(sweep)
    assert report.finding[0] == "Of 4 trials, 2 share the highest chance-adjusted balanced accuracy: 0.300."
    words = (
        "Trial 1 has collapsed: it misses a class, or does no better than guessing. The best that has not is trial 0 "
        "with"
    )
    told = " ".join(report.finding[1:])
    assert "2 trials (1, 2) have the same chance-adjusted balanced accuracy, 0.300" in told
    assert f"{words} 0.200." in told
    assert [row[-1] for row in cells(section(report, "metrics")[0])] == [
        "collapsed", "collapsed, equal to trial 1", "", "",
    ]  # fmt: skip
    printed = " ".join(" ".join(close_sweep(sweep)).split())
    assert "2 trials (1, 2) have the same bal_acc_adj, 0.300: nothing says that trial 1 is the best of them" in printed
    assert f"{words} 0.200." in printed
    assert f"{words} 0.200." in (sweep / "summary.md").read_text()
    summary = load(sweep / "sweep_summary.json")
    assert [trial["collapsed"] for trial in summary["trials"]] == [True, True, False, False]
    known = {"number": 1, "value": 0.3, "collapsed": True, "equal_trials": [2], "best_not_collapsed": 0}
    assert summary["best_trial"].items() >= known.items()


def test_a_search_is_said_to_flatter(sweep):
    runs = [run.name for run in runs_of(sweep)]
    finished = [{"number": i, "params": {"optimizer.lr": 0.1 * i}, "value": 0.1 * i, "failed": None, "runs": [name]}
                for i, name in enumerate(runs)]  # fmt: skip
    write_plan(sweep, plan_of(sweep) | {"search": {"trials": 6, "direction": "maximize", "finished": finished}})
    _, report = made_of(sweep)
    assert report.finding[0] == "Of 4 trials, trial 3 has the highest chance-adjusted balanced accuracy: 0.300."
    told = " ".join(report.finding)
    assert "as the best of many, which flatters" in told
    assert "No images were set aside" in told
    assert f"python -m mammo.evaluate {sweep.parent.name}/{sweep.name} where=trial=3 data=NAME" in told
    assert "2 trials of the search are still to come." in report.warnings
    assert [row[0] for row in cells(section(report, "metrics")[0])] == ["3", "2", "1", "0"]
    data = read_report_data([sweep])
    assert [run.label for run in data.runs] == [f"trial {i}, seed {run.result.seed}, fold {run.result.fold}"
                                                    for i, run in enumerate(data.runs)]  # fmt: skip
    assert data.runs[3].key == f"seed{data.runs[3].result.seed}_trial3_fold{data.runs[3].result.fold}"


def test_failed_and_unfinished_runs_are_shown_as_such(sweep):
    failed, unfinished = run_of(sweep, 42, 0), run_of(sweep, 43, 1)
    change(failed / "summary.json", status="failed", metrics=None)
    message = "no <script>alert(1)</script> & in /home/somebody/archive/x.dcm"
    (failed / "error.json").write_text(json.dumps({"type": "DataError", "message": message, "traceback": None}))
    (unfinished / "summary.json").unlink()
    (unfinished / "train_history.json").write_text('[{"epo')
    _, report = made_of(sweep)
    assert report.warnings[0] == "2 of 4 runs have no results (1 failed and 1 unfinished). The reasons are below."
    page = html(report)
    assert Page(page).faults == []
    assert "alert(1)</script>" not in page
    assert "DataError: no <script>alert(1)</script> & in .../x.dcm" in Page(page).words
    assert "/home/somebody" not in page + markdown(report)
    statuses = [row[1] for row in cells(section(report, "runs")[0])]
    assert sorted(statuses) == ["completed", "completed", "failed", "unfinished"]
    assert "train_history.json cannot be read" in Page(page).words


def test_no_run_at_all_is_a_report_too(sweep):
    for run in runs_of(sweep):
        change(run / "summary.json", status="failed", metrics=None)
        (run / "train_history.json").unlink()
    data, report = made_of(sweep)
    assert report.finding == ("No run is finished, so there is no result to report.",)
    assert report.tiles == ()
    assert latex(data).startswith("% No run is finished")
    assert Page(html(report)).faults == []


@pytest.mark.parametrize("name", ["summary.json", "metrics/val_metrics.json", "train_history.json"])
@pytest.mark.parametrize("value", [None, "x", [], {}, -1.5, HUGE, [["a"]], {"a": None}])
def test_values_of_other_types_are_no_obstacle(reported, tmp_path, name, value):
    copy = tmp_path / "run"
    shutil.copytree(runs_of(reported)[0], copy)
    content = json.loads((copy / name).read_text())
    spoilt = _spoilt(content, value)
    if name == "summary.json":
        spoilt |= {"status": "completed", "metrics": content["metrics"]}
    if name == "train_history.json":
        spoilt[0]["epoch"] = 1
    (copy / name).write_text(json.dumps(spoilt))
    data, report = made_of(copy)
    assert markdown(report)
    assert latex(data)


def _spoilt(item: Any, value: Any) -> Any:
    """The same mappings with another value everywhere."""
    if isinstance(item, list) and item and isinstance(item[0], dict):
        return [_spoilt(one, value) for one in item]
    return {key: _spoilt(one, value) for key, one in item.items()} if isinstance(item, dict) else value


def test_a_configuration_of_another_version_is_said(reported, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(runs_of(reported)[0], copy)
    (copy / "config.yaml").write_text("model: {name: x}\nunknown: 1\n")
    _, report = made_of(copy)
    (sentence,) = report.finding
    assert sentence.startswith("A run is finished, but its configuration cannot be read by this version")
    metrics = load(copy / "metrics/val_metrics.json")
    assert f"{metrics['acc']:.3f}" in cells(section(report, "runs")[0])[0]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[1]", b"null"])
def test_damaged_files_are_named(reported, tmp_path, content):
    copy = tmp_path / "run"
    shutil.copytree(runs_of(reported)[0], copy)
    names = ("train_history.json", "metrics/val_metrics.json", "val_predictions.csv", "quarantine.csv", "config.yaml")
    for name in names:
        (copy / name).write_bytes(content)
    data, report = made_of(copy)
    assert Page(html(report)).faults == []
    problems = " ".join(data.problems)
    assert "config.yaml" in problems
    assert "val_predictions.csv" in problems


def test_what_was_left_out_is_listed_with_reasons(reported, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(runs_of(reported)[0], copy)
    lines = ["a1,decode,'=damaged <b>", "a2,decode,'=damaged <b>", "a3,label,class 5 in /home/somebody/a.csv"]
    (copy / "quarantine.csv").write_text("\n".join(["image_id,stage,reason", *lines]) + "\n")
    _, report = made_of(copy)
    counts, listed = section(report, "quarantine")
    assert cells(counts) == [["=damaged <b>", "decode", "2"], ["class 5 in .../a.csv", "label", "1"]]
    assert [row[0] for row in cells(listed)] == ["a1", "a2", "a3"]
    assert "=damaged &lt;b&gt;" in html(report)

"""The feature bank in whole runs: it changes how long they take and nothing else."""

from __future__ import annotations

import json
import re

import pytest

from tests.end_to_end.runs import TINY, TINY_PRETRAINED, history, only_run


def summary_of(folder) -> dict:
    return json.loads((only_run(folder) / "summary.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize("extra", [["train.amp=off"], ["strategy=head_only"]])
def test_the_bank_changes_no_result(class_folders, train, tmp_path, extra):
    """In fp32 and in the machine's own precision: history and predictions are equal to the last digit."""
    runs = {}
    for choice in ("on", "off"):
        (tmp_path / choice).mkdir()
        command = [*TINY, f"data.root={class_folders}", f"strategy.feature_bank={choice}", *extra]
        done = train(*command, f"cache_dir={tmp_path / 'cache'}", folder=tmp_path / choice)
        assert done.returncode == 0, done.stderr
        assert f"feature bank: {choice} (" in done.stdout
        runs[choice] = only_run(tmp_path / choice)
    assert history(runs["on"]) == history(runs["off"])
    one, other = ((run / "val_predictions.csv").read_text() for run in runs.values())
    assert one == other
    assert runs["on"].name == runs["off"].name, "the bank is not part of the run id"
    assert summary_of(tmp_path / "on")["throughput"]["seconds_feature_bank"] > 0
    assert summary_of(tmp_path / "off")["throughput"]["seconds_feature_bank"] is None


def num_computed(stdout: str) -> int:
    found = re.search(r"feature bank: on \(the frozen part is computed for ([\d,]+) images instead of", stdout)
    assert found, stdout
    return int(found.group(1).replace(",", ""))


@pytest.mark.slow
def test_runs_of_a_sweep_share_the_bank(class_folders, train, tmp_path):
    """Without augmentation an image has one input: other seeds and rates need nothing new, another split little."""
    command = [*TINY_PRETRAINED, f"data.root={class_folders}", "augment=none", "strategy=head_only", "train.amp=off"]
    num_first = num_computed(train(*command).stdout)
    assert num_first > 0
    assert num_computed(train(*command, "optimizer.lr=0.01").stdout) == 0
    others = train("-m", "data.split_seed=43,44", *command, "sampler=uniform")
    assert others.returncode == 0, others.stderr
    again = train(*command, "data.split_seed=44", "seed=7", "sampler=uniform")
    assert num_computed(again.stdout) == 0
    once = train(*command, "train.epochs=1", "data.image_size=72", "sampler=uniform")
    assert "feature bank: off (it would not pay: " in once.stdout


def test_a_bank_that_has_no_room_is_an_error_of_the_user(class_folders, train):
    command = [*TINY, f"data.root={class_folders}", "strategy.feature_bank=on"]
    done = train(*command, "strategy.feature_bank_budget_gb=0.00001")
    assert done.returncode == 2
    assert "strategy.feature_bank=on: it would have " in done.stderr
    assert "strategy.feature_bank_budget_gb=1, or strategy.feature_bank=off" in done.stderr
    assert "Traceback" not in done.stderr

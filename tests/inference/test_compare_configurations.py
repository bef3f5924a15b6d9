"""Configurations of a sweep compared by `mammo.evaluate`: the answer of the sweep's own end, from what is stored."""

from __future__ import annotations

import json

import pytest

from mammo.evaluate import TOOL
from mammo.inference import labelled
from mammo.support.errors import ConfigError
from mammo.sweeps.summary import close_sweep
from tests.inference.conftest import run_of

ONE, OTHER = "where=strategy=full_finetune", "compare_where=strategy=frozen_last_block"


@pytest.fixture
def nothing_is_predicted(monkeypatch):
    """Fails where a network is shown an image."""

    def refuse(*_, **__):
        pytest.fail("images were predicted, though the runs have stored what they said of them")

    monkeypatch.setattr(labelled, "predict_images", refuse)


def test_it_is_the_comparison_of_the_end_of_the_sweep(sweep, command, tmp_path, nothing_is_predicted):
    out = command(TOOL, sweep, ONE, OTHER, f"output={tmp_path / 'e'}")
    found = json.loads((tmp_path / "e" / "paired_comparison.json").read_text())
    close_sweep(sweep)
    (of_sweep,) = [
        one for one in json.loads((sweep / "sweep_summary.json").read_text())["comparisons"] if one["part"] == "val"
    ]
    (pair,) = of_sweep["pairs"]
    sign = 1 if "full_finetune" in pair["second"] else -1
    for name, one in pair["scores"].items():
        of_command = found["scores"][name]
        if one["difference"] is None:
            assert of_command["difference"] is None
            continue
        assert of_command["difference"] == pytest.approx(sign * one["difference"]), name
        assert of_command["p_value"] == pytest.approx(one["p_value"]), name
        assert sorted(map(abs, of_command["ci95"] or [])) == pytest.approx(sorted(map(abs, one["ci95"] or []))), name
    words = " ".join(out.split())
    assert "as the runs have stored them" in words
    assert "In pairs: 2 trainings each on the same 2 splits" in words
    assert "strategy=full_finetune" in words
    shown = out[out.index("ensemble-of-2") :]
    assert [line for line in shown.splitlines() if len(line) > 80 and not line.startswith("Results: ")] == []
    assert (tmp_path / "e" / "comparison.png").exists()


def test_an_ensemble_is_called_one(sweep, command, tmp_path, nothing_is_predicted):
    out = command(TOOL, sweep, ONE, OTHER, "compare_as=ensemble", f"output={tmp_path / 'e'}")
    assert "about these ensembles" in out
    assert (tmp_path / "e" / "comparison.json").exists()
    assert not (tmp_path / "e" / "paired_comparison.json").exists()


def test_two_networks_are_no_configurations(sweep, command, tmp_path):
    one, other = run_of(sweep, "full_finetune"), run_of(sweep)
    out = command(TOOL, one, f"compare={other}", f"output={tmp_path / 'e'}")
    assert "It is about these networks: another training of the same configuration" in " ".join(out.split())


def test_predicting_again_gives_the_same(sweep, command, tmp_path):
    command(TOOL, sweep, ONE, f"output={tmp_path / 'stored'}")
    command(TOOL, sweep, ONE, "recompute=true", f"output={tmp_path / 'again'}")
    stored, again = (json.loads((tmp_path / name / "evaluation.json").read_text()) for name in ("stored", "again"))
    assert stored["metrics"]["loss"] == pytest.approx(again["metrics"]["loss"], abs=1e-5)
    assert stored["metrics"]["confusion_matrix"] == again["metrics"]["confusion_matrix"]
    assert stored["data"]["fingerprints"] == again["data"]["fingerprints"]
    assert stored["data"]["num_trained_on"] == again["data"]["num_trained_on"] == 0


def test_what_was_changed_since_is_predicted_again(sweep, command, tmp_path, nothing_is_predicted):
    run = run_of(sweep, "full_finetune", 1)
    file = run / "val_predictions.csv"
    before = file.read_bytes()
    try:
        file.write_bytes(before.replace(b",A,", b",B,"))
        with pytest.raises(pytest.fail.Exception, match="images were predicted"):
            command(TOOL, sweep, ONE, f"output={tmp_path / 'e'}")
    finally:
        file.write_bytes(before)


def test_images_set_aside_lead_once_they_have_been_evaluated(sweep, command, tmp_path):
    out = command(TOOL, sweep, "split=test", "each=true")
    assert len(list(sweep.glob("*/evaluation/test/predictions.csv"))) == 4
    assert "bal_acc_adj" in out
    lines = " ".join(" ".join(close_sweep(sweep)).split())
    first, second = json.loads((sweep / "sweep_summary.json").read_text())["comparisons"]
    assert (first["part"], second["part"]) == ("test", "val")
    assert first["pairs"][0]["test"] == "trainings"
    assert lines.index("Configurations on patients set aside") < lines.index("Configurations on validation images")
    out = command(TOOL, sweep, ONE, OTHER, "split=test", f"output={tmp_path / 'e'}")
    assert "as the runs have stored them" in out
    found = json.loads((tmp_path / "e" / "paired_comparison.json").read_text())
    of_sweep = first["pairs"][0]["scores"]["acc"]["difference"]
    assert abs(found["scores"]["acc"]["difference"]) == pytest.approx(abs(of_sweep))


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("strategy=head_only", r"no run has it\n  expected: strategy is one of frozen_last_block, full_finetune"),
        ("stratgy=head_only", r"have no option stratgy\n  to do:    did you mean strategy"),
        ("head_only", "no option and value"),
    ],
)
def test_a_condition_that_no_run_fulfils_is_answered(sweep, command, where, said):
    with pytest.raises(ConfigError, match=said):
        command(TOOL, sweep, f"where={where}")


def test_conditions_are_about_values_and_not_about_how_they_are_written(sweep, command, tmp_path):
    where = "where=[optimizer.lr=0.001,data.fold=1,strategy=full_finetune]"
    assert run_of(sweep, "full_finetune", 1).name in command(TOOL, sweep, where, f"output={tmp_path / 'e'}")

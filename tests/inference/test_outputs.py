"""Commands that write where they are told: what they have not written themselves stays."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mammo import evaluate, explain, export, predict, report
from mammo.cli.tool import parse, run_tool
from mammo.inference.partial import SUFFIX
from mammo.support.errors import OutputError, RunDirectoryError, UserError
from mammo.support.outputs import LIST_FILE, Outputs, listed_in
from mammo.support.outputs_of_earlier_versions import is_of_earlier_version
from mammo.training.checkpoint import load_checkpoint, save_checkpoint
from tests.inference.conftest import Command, run_of

TABLE = "image_id,density\nP1,A\n"
OVERWRITE = "say overwrite=true"


@pytest.fixture
def anywhere(command: Command, session_cache: Path) -> Callable[..., None]:
    """A function (tool module, *words) that does what a command does, in the folder of the test."""

    def run(module, *words) -> None:
        options = [str(word) for word in words] + [f"cache_dir={session_cache}", "threads=1"]
        module.work(parse(module.TOOL, options))

    return run


@pytest.fixture
def images(class_folders: Path) -> str:
    return f"input={class_folders / 'A'}"


@pytest.mark.parametrize("name", ["p.csv", "p_exams.csv", "p_quarantine.csv"])
def test_a_table_of_somebody_else_is_neither_replaced_nor_removed(name, sweep, command, images, tmp_path):
    (tmp_path / name).write_text(TABLE)
    with pytest.raises(OutputError, match=rf"{name}: not written by mammo\.predict") as raised:
        command(predict.TOOL, run_of(sweep), images, "output=p.csv")
    assert OVERWRITE in str(raised.value)
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_text() == TABLE
    command(predict.TOOL, run_of(sweep), images, "output=p.csv", "overwrite=true")
    assert (tmp_path / "p.csv").read_text().startswith("image_id,patient_id,")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_its_own_tables_are_replaced_those_of_earlier_versions_too_and_edited_ones_not(
    suffix, sweep, command, class_folders, tmp_path
):
    words = (run_of(sweep), f"output=p.{suffix}", "folders_are_exams=true")
    folder = Path(shutil.copytree(class_folders, tmp_path / "in"))
    (folder / "A" / "cut.png").write_bytes(b"\x89PNG")
    command(predict.TOOL, *words, f"input={folder}")
    assert (tmp_path / "p_exams.csv").exists() == (tmp_path / "p_quarantine.csv").exists() is True
    (tmp_path / LIST_FILE).unlink()  # as an earlier version has left it
    command(predict.TOOL, *words, f"input={folder / 'B'}", "pseudonymize=false")
    assert not (tmp_path / "p_quarantine.csv").exists()
    table = tmp_path / f"p.{suffix}"
    edited = table.read_text().replace("B0.png", "B0-of-me.png")
    table.write_text(edited)
    with pytest.raises(OutputError, match="changed since"):
        command(predict.TOOL, *words, f"input={folder}")
    assert table.read_text() == edited


def test_a_corrected_table_of_an_earlier_version_is_not_taken_for_its_own(sweep, command, images, tmp_path):
    command(predict.TOOL, run_of(sweep), images, "output=p.csv")
    (tmp_path / LIST_FILE).unlink()
    head, first, *rest = (tmp_path / "p.csv").read_text().splitlines(keepends=True)
    cells = first.split(",")
    cells[5] = next(name for name in "ABCD" if name != cells[5])
    corrected = "".join([head, ",".join(cells), *rest])
    (tmp_path / "p.csv").write_text(corrected)
    with pytest.raises(OutputError):
        command(predict.TOOL, run_of(sweep), images, "output=p.csv")
    assert (tmp_path / "p.csv").read_text() == corrected


@pytest.mark.parametrize("kind", ["link", "dangling", "folder", "empty"])
def test_links_folders_and_empty_files_are_of_others(kind, sweep, command, images, tmp_path):
    target, output = tmp_path / "labels.csv", tmp_path / "p.csv"
    if kind == "folder":
        output.mkdir()
    elif kind == "empty":
        output.touch()
    else:
        output.symlink_to(target)
        if kind == "link":
            target.write_text(TABLE)
    with pytest.raises(OutputError, match=r"p\.csv"):
        command(predict.TOOL, run_of(sweep), images, "output=p.csv")
    if kind == "folder":
        with pytest.raises(OutputError, match="is a folder"):
            command(predict.TOOL, run_of(sweep), images, "output=p.csv", "overwrite=true")
        return
    command(predict.TOOL, run_of(sweep), images, "output=p.csv", "overwrite=true")
    assert output.is_file()
    assert not output.is_symlink()
    assert not target.exists() or target.read_text() == TABLE


@pytest.mark.parametrize("content", ["", TABLE, '{"key": 1}\n', "[]\n[]\n", "no line"])
def test_a_file_at_the_name_of_the_partial_results_stays_as_it_is(content, sweep, command, images, tmp_path):
    partial = tmp_path / f".p.csv{SUFFIX}"
    partial.write_text(content)
    if content:
        with pytest.raises(RunDirectoryError, match="partial"):
            command(predict.TOOL, run_of(sweep), images, "output=p.csv")
        assert partial.read_text() == content
        partial.unlink()
    command(predict.TOOL, run_of(sweep), images, "output=p.csv")
    assert sorted(os.listdir(tmp_path)) == [LIST_FILE, "p.csv"]


def test_what_appears_while_a_command_works_is_not_replaced(tmp_path):
    outputs = Outputs(tmp_path, "report")
    outputs.require_free(["report.md"])
    (tmp_path / "report.md").write_text("mine")
    with pytest.raises(OutputError):
        outputs.write_text("report.md", "new")
    outputs.remove("report.md")
    assert (tmp_path / "report.md").read_text() == "mine"


def test_a_command_killed_before_the_file_had_its_name_does_not_lock_itself_out(tmp_path, monkeypatch):
    outputs = Outputs(tmp_path, "report")
    outputs.write_text("report.md", "old")
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        outputs.write_text("report.md", "new")
    monkeypatch.undo()
    again = Outputs(tmp_path, "report")
    again.write_text("report.md", "newer")
    Outputs(tmp_path, "report").write_text("report.md", "newest")
    with pytest.raises(OutputError):
        Outputs(tmp_path, "embed").write_text("report.md", "of another command")


@pytest.mark.parametrize("as_link", [True, False])
def test_the_list_itself_is_written_into_no_file_of_others(as_link, tmp_path):
    victim = tmp_path / ("labels.csv" if as_link else LIST_FILE)
    victim.write_text(TABLE)
    if as_link:
        (tmp_path / LIST_FILE).symlink_to(victim)
    with pytest.raises((OutputError, OSError)):
        Outputs(tmp_path, "report").write_text("report.md", "new")
    assert victim.read_text() == TABLE


def test_an_evaluation_goes_into_no_folder_with_files_of_others(sweep, anywhere, tmp_path):
    words = (run_of(sweep), "output=out", "draws=100")
    anywhere(evaluate, *words)
    (tmp_path / "out" / "notes.txt").write_text("mine")
    anywhere(evaluate, *words)
    shutil.copytree(tmp_path / "out", tmp_path / "earlier", ignore=shutil.ignore_patterns(LIST_FILE))
    (tmp_path / "out" / "predictions.csv").write_text(TABLE)
    with pytest.raises(OutputError, match=r"predictions\.csv"):
        anywhere(evaluate, *words)
    assert (tmp_path / "out" / "evaluation.json").exists()
    anywhere(evaluate, *words[:1], "output=earlier", "draws=100")
    assert (tmp_path / "earlier" / "notes.txt").read_text() == "mine"


def test_a_folder_of_results_in_a_run_that_is_a_link_is_not_followed(sweep, anywhere, tmp_path):
    run = Path(
        shutil.copytree(run_of(sweep), tmp_path / "run", ignore=shutil.ignore_patterns(*["evaluation", "report"]))
    )
    (tmp_path / "elsewhere").mkdir()
    (run / "evaluation").symlink_to(tmp_path / "elsewhere")
    (run / "report").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="evaluation in run is a link"):
        anywhere(evaluate, run, "draws=100")
    with pytest.raises(SystemExit) as ended:
        run_tool(report.TOOL, report.work, [str(run)])
    assert ended.value.code == 2
    assert os.listdir(tmp_path / "elsewhere") == []


def test_an_export_replaces_neither_a_file_of_others_nor_its_own_input(sweep, anywhere, class_folders, tmp_path):
    words = (run_of(sweep), "format=safetensors", "output=m.safetensors")
    model, description = tmp_path / "m.safetensors", tmp_path / "m.safetensors.json"
    for file in (model, description):
        file.write_text("mine")
        with pytest.raises(OutputError, match=file.name):
            anywhere(export, *words)
        assert file.read_text() == "mine"
        file.unlink()
    anywhere(export, *words)
    (tmp_path / LIST_FILE).unlink()
    anywhere(export, *words)
    with pytest.raises(OutputError, match="is what the command reads"):
        anywhere(export, model, f"data.root={class_folders}", *words[1:], "overwrite=true")
    model.write_bytes(model.read_bytes() + b"tuned")
    with pytest.raises(OutputError):
        anywhere(export, *words)
    assert model.read_bytes().endswith(b"tuned")


def test_heat_maps_replace_no_picture_of_others(sweep, anywhere, tmp_path):
    words = (run_of(sweep), "limit=2", "output=maps")
    anywhere(explain, *words)
    (tmp_path / "maps" / LIST_FILE).unlink()
    anywhere(explain, *words)
    picture = next(file for file in sorted((tmp_path / "maps").glob("*.png")) if file.name != "grid.png")
    for file in (picture, tmp_path / "maps" / "explanations.csv"):
        before = file.read_bytes()
        file.write_text("mine")
        with pytest.raises(OutputError, match=file.name):
            anywhere(explain, *words)
        assert file.read_text() == "mine"
        file.write_bytes(before)


def test_a_report_replaces_only_what_a_report_is(sweep, tmp_path, capsys):
    run, output = run_of(sweep), tmp_path / "out"
    output.mkdir()
    for name in ("report.md", "report.json", "density_confusion_seed42.png"):
        (output / name).write_text("mine")
        with pytest.raises(SystemExit) as ended:
            run_tool(report.TOOL, report.work, [str(run), f"output={output}"])
        assert ended.value.code == 2
        assert f"{name}: not written by mammo.report" in capsys.readouterr().err
        assert (output / name).read_text() == "mine"
        if name != "density_confusion_seed42.png":
            (output / name).unlink()
    run_tool(report.TOOL, report.work, [str(run), f"output={output}", "overwrite=true"])
    (output / LIST_FILE).unlink()
    run_tool(report.TOOL, report.work, [str(run), f"output={output}"])


def test_a_report_of_a_folder_of_runs_leaves_a_summary_of_somebody_else(sweep, tmp_path, capsys):
    folder = tmp_path / "outputs"
    shutil.copytree(run_of(sweep), folder / "run")
    (folder / "summary.md").write_text("# What I found")
    with pytest.raises(SystemExit) as ended:
        run_tool(report.TOOL, report.work, [str(folder)])
    assert ended.value.code == 2
    assert "summary.md: not written by" in capsys.readouterr().err
    assert (folder / "summary.md").read_text() == "# What I found"


def with_weights(run: Path, path: Path, change: Callable[[dict], None]) -> Path:
    """A checkpoint of a run whose weights are changed, saved as one is."""
    content = load_checkpoint(run / "checkpoints" / "best_model.pth")
    change(content["model_state_dict"])
    save_checkpoint(path, content)
    return path


def put(value: float, dtype: torch.dtype | None = None) -> Callable[[dict], None]:
    def change(state: dict) -> None:
        name = "head.weight"
        state[name] = torch.full_like(state[name], value, dtype=dtype)

    return change


def negative_variance(state: dict) -> None:
    name = next(name for name in state if name.endswith("running_var"))
    state[name] = -state[name]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (put(float("nan")), "'head.weight' is not finite"),
        (put(float("-inf")), "'head.weight' is not finite"),
        (put(1e300, torch.float64), "'head.weight' is too large for torch.float32"),
        (put(1, torch.int64), "of type torch.int64, which is not what the network has there"),
        (put(1, torch.uint8), "of type torch.uint8, which is no weight"),
        (put(1, torch.complex64), "a tensor is complex"),
        (put(1, torch.float8_e4m3fn), "of type torch.float8_e4m3fn, which is no weight"),
        (lambda state: state.update({"head.weight": state["head.weight"].to_sparse()}), "sparse"),
        (lambda state: state.update({"head.weight": 1.0}), "is a number, expected a Tensor"),
        (negative_variance, "below zero, which no variance is"),
    ],
)
def test_what_cannot_be_weights_is_refused(change, message, sweep, command, images, tmp_path):
    checkpoint = with_weights(run_of(sweep), tmp_path / "c.pth", change)
    with pytest.raises(RunDirectoryError, match=message):
        command(predict.TOOL, checkpoint, images, "output=p.csv")
    assert not (tmp_path / "p.csv").exists()


def test_a_prediction_that_is_not_finite_is_an_error_for_the_image(sweep, command, anywhere, images, tmp_path):
    """Weights that are finite, and too large for what is computed from them."""

    def huge(state: dict) -> None:
        state["head.weight"][0], state["head.weight"][1:] = 3e38, -3e38
        state[next(name for name in state if name.endswith("bn2.weight"))].fill_(1e6)

    run = Path(shutil.copytree(run_of(sweep), tmp_path / "run"))
    shutil.rmtree(run / "checkpoints")
    with_weights(run_of(sweep), run / "checkpoints" / "best_model.pth", huge)
    out = command(predict.TOOL, run, images, "output=p.csv")
    assert "no prediction: the network's prediction is not finite" in out
    assert (tmp_path / "p.csv").read_text().count("\n") == 1
    assert (tmp_path / "p_quarantine.csv").read_text().count("not finite") == 8
    for module in (evaluate, explain, export):
        with pytest.raises(UserError, match="not finite"):
            anywhere(module, run, *(["format=torchscript"] if module is export else []))


def test_pretrained_weights_that_are_none_are_refused(class_folders, sweep, tmp_path):
    from mammo.models.build import build_model
    from mammo.models.model_options import ModelOptions
    from mammo.models.strategy import LinearProbe

    options = ModelOptions(name="efficientnet_lite0", weights=str(tmp_path / "w.pth"))
    state = load_checkpoint(run_of(sweep) / "checkpoints" / "best_model.pth")["model_state_dict"]
    name = next(iter(state))
    state[name] = torch.full_like(state[name], float("nan"))
    torch.save(state, tmp_path / "w.pth")
    with pytest.raises(UserError):
        build_model(options, LinearProbe(), 4, 64, seed=0)


@pytest.mark.parametrize("name", ["best_config.yaml", "cv_summary.json", "p.jsonl", "p.csv", LIST_FILE])
def test_what_is_larger_than_anything_written_here_is_of_others_and_not_read(name, tmp_path):
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, 2**40)  # more than any memory, of a sparse file
    assert not is_of_earlier_version(None, tmp_path / name)
    assert listed_in(tmp_path) == []

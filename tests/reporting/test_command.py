"""`python -m mammo.report` as it is typed, and what it leaves."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mammo.checks.result_folders import check_results
from mammo.reporting.cases import MAX_FILE_BYTES, PICTURE_WIDTH_PX, overlays
from mammo.reporting.figures import Curve, gradcam_figure, training_figure
from mammo.reporting.report_files import write_report
from mammo.runs.directory import RunDirectory
from mammo.runs.layout import LATER_FOLDERS
from mammo.support.figures import GREY, VAL_COLOUR
from mammo.support.outputs import Outputs
from mammo.support.plain_text import latex_text
from mammo.sweeps.reading import read_sweep
from tests.conftest import REPOSITORY
from tests.reporting.conftest import report
from tests.reporting.pages import Page
from tests.sweeps.sweeps import load, rows_of, run_of, runs_of, write_rows

CURVE = Curve(
    "all", [{"epoch": e, "train_loss": 1 / e, "val_loss": 1.0, "train_acc": 0.5, "val_acc": 0.4} for e in (1, 2)], 2
)


def png(value: int, size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full(size, value, dtype=np.uint8)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.slow
def test_several_folders_make_one_report(reported, tmp_path):
    first, second = runs_of(reported)
    done = report(tmp_path, str(first), str(second), "output=both")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Report: both" in done.stdout
    assert load(tmp_path / "both" / "report.json")["runs"] == [first.name, second.name]
    assert not (first / "report").exists()
    page = Page((tmp_path / "both" / "report.html").read_text())
    assert page.faults == []
    assert "2 runs, 2 finished" in page.words
    assert "All 32 images" in page.words


@pytest.mark.slow
def test_mistakes_are_answered(reported, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    for arguments, words in {
        ("empty",): "empty holds no runs",
        ("nowhere", "output=there"): "nowhere: neither KEY=VALUE nor something that exists",
        ("run=nowhere", "output=there"): "there is no such folder",
        ("output=there",): "no folder is named",
        ("empty", "--output", "there"): "without dashes: output=VALUE",
        (str(runs_of(reported)[0]), "output=file"): "file is a file",
    }.items():
        done = report(tmp_path, *arguments)
        assert done.returncode == 2
        assert words in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "there").exists()


@pytest.mark.slow
def test_the_same_runs_give_the_same_bytes_and_old_figures_go(reported, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    write_report([runs_of(reported)[0]], one)
    shutil.copytree(reported / "report", other)
    (other / "density_notes.txt").touch()
    (other / "density_mine.png").touch()
    before = {path.name for path in other.iterdir()}
    assert "density_train_seed42_fold1.png" in before
    write_report([runs_of(reported)[0]], other)
    kept = {"density_notes.txt", "density_mine.png"}
    assert {path.name for path in other.iterdir()} == {path.name for path in one.iterdir()} | kept
    for path in one.glob("[!.]*"):  # the list of what was written has the earlier files too
        assert (other / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.slow
def test_what_is_made_from_runs_is_no_run(reported):
    assert (reported / "report").is_dir()
    for name in LATER_FOLDERS:
        (reported / name).mkdir(exist_ok=True)
    assert read_sweep(reported).problems == ()
    text = "\n".join(
        f"{one.level.name} {one.subject} {one.text}" for part in check_results(reported) for one in part.findings
    )
    assert "PROBLEM" not in text


@pytest.mark.slow
def test_a_run_that_starts_over_has_no_old_report(reported, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(runs_of(reported)[0], copy)
    for name in LATER_FOLDERS:
        Outputs(copy / name, "report").write_text("file", "of a command")
    (copy / "notes.txt").touch()
    RunDirectory(copy).clear()
    assert [path.name for path in copy.iterdir() if path.name != ".lock"] == ["notes.txt"]


@pytest.mark.slow
def test_a_report_names_no_folder(reported, class_folders, session_cache):
    folders = [str(class_folders), str(session_cache), str(reported.parent), os.path.expanduser("~"), str(REPOSITORY)]
    for path in (reported / "report").iterdir():
        content = path.read_bytes()
        for folder in folders:
            assert folder.encode() not in content, f"{path.name} names {folder}"
    assert f"data.root=.../{class_folders.name}" in (reported / "report" / "report.md").read_text()


@pytest.mark.slow
def test_heat_maps_are_shown_where_there_are_some(reported, tmp_path):
    copy = tmp_path / "run"
    shutil.copytree(runs_of(reported)[0], copy)
    assert "python -m mammo.explain DIR" in (reported / "report" / "report.md").read_text()
    ids = [row["image_id"] for row in rows_of(copy / "val_predictions.csv")]
    explained = ids[3:9]
    write_explanations(copy, {image_id: png(value) for value, image_id in enumerate(explained)})
    write_report([copy], tmp_path / "with")
    text = (tmp_path / "with" / "report.html").read_text()
    page = Page(text)
    assert page.faults == []
    shown = re.findall(r'<img src="data:image/png;base64,([^"]+)" alt="Image (.*?) beside its heat map"', text)
    assert sorted(image_id for _, image_id in shown) == sorted(explained)
    for content, image_id in shown:
        assert base64.b64decode(content) == png(explained.index(image_id))
    assert "share this report as you would share them" in page.words
    assert (tmp_path / "with" / "density_gradcam_seed42.png").exists()
    assert "mammo.explain" not in page.words
    assert "![Images beside their heat maps](density_gradcam_seed42.png)" in (tmp_path / "with/report.md").read_text()


@pytest.mark.slow
def test_the_caption_of_a_heat_map_is_of_its_network(real_sweep, tmp_path):
    sweep = tmp_path / "sweep"
    for seed in (42, 43):
        run = run_of(real_sweep, seed, 0)
        shutil.copytree(run, sweep / run.name)
    first, second = runs_of(sweep)
    rows = rows_of(first / "val_predictions.csv")
    for run, (a, b) in {first: (0.6, 0.4), second: (0.1, 0.9)}.items():
        predicted = {"p_A": a, "p_B": b, "p_C": 0.0, "p_D": 0.0, "y_pred": "A" if a > b else "B"}
        write_rows(run / "val_predictions.csv", [row | predicted for row in rows])
    image_id = rows[0]["image_id"]
    write_explanations(first, {image_id: png(1)}, predicted="A")
    write_report([sweep], tmp_path / "report")
    words = Page((tmp_path / "report" / "report.html").read_text()).words
    said = f"{image_id}: true class A, predicted A by seed 42, fold 0, heat map of class A; the mean of the runs says B"
    assert said in words
    assert "looked" not in words


def write_explanations(run: Path, pictures: dict[str, bytes], predicted: str = "A") -> None:
    """Pictures and their table, as `python -m mammo.explain` leaves them."""
    folder = run / "explanations"
    folder.mkdir()
    lines = ["image_id,y_true,y_pred,target,file"]
    for number, (image_id, content) in enumerate(pictures.items()):
        (folder / f"{number}.png").write_bytes(content)
        lines.append(f"{image_id},A,{predicted},{predicted},{number}.png")
    (folder / "explanations.csv").write_text("\n".join(lines) + "\n")


def test_only_pictures_of_a_reasonable_size_are_taken(tmp_path):
    (tmp_path / "secret.png").write_bytes(png(9))
    pictures = {"good/1.png": png(1), "text": b"<svg onload=alert(1)>", "cut": png(2)[:60], "wide": png(3, (10, 1500)),
                "large": png(4) + bytes(MAX_FILE_BYTES)}  # fmt: skip
    write_explanations(tmp_path, pictures)
    with (tmp_path / "explanations" / "explanations.csv").open("a") as table:
        table.write("outside,A,A,A,../secret.png\ngone,A,A,A,gone.png\n")
    found = overlays(tmp_path, [*pictures, "outside", "gone", "never explained"])
    assert set(found) == {"good/1.png", "wide"}
    assert found["good/1.png"] == png(1)
    assert Image.open(io.BytesIO(found["wide"])).width == PICTURE_WIDTH_PX


def test_training_curves_are_those_of_the_runs():
    worse = Curve("all", [{**record, "val_loss": 3.0} for record in CURVE.records], 1)
    figure = training_figure([CURVE, worse])
    loss = figure.axes[0]
    values = [tuple(line.get_ydata()) for line in loss.lines]
    assert (1.0, 1.0) in values
    assert (3.0, 3.0) in values
    assert (2.0, 2.0) in values  # the mean
    assert [v for v in values if len(v) == 1][::-1] == [(3.0,), (1.0,)]  # the best epochs
    with pytest.raises(ValueError, match="no epoch"):
        training_figure([Curve("all", [], None)])


def test_of_many_configurations_the_best_stands_out():
    others = [Curve("the others", [{**one, "val_loss": 5.0} for one in CURVE.records], 1, is_background=True)] * 7
    figure = training_figure([*others, CURVE])
    loss = figure.axes[0]
    colours = {line.get_color(): line.get_ydata()[0] for line in loss.lines if line.get_linestyle() == "-"}
    assert colours == {GREY: 5.0, VAL_COLOUR: 1.0}
    assert len([line for line in loss.lines if len(line.get_ydata()) == 1]) == 1
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == ["the others", "all"]


def test_a_gap_in_a_history_stays_one():
    records = [{"epoch": 1, "val_loss": None, "train_loss": "x"}, {"epoch": 2, "val_loss": 2.0, "train_loss": 1.0}]
    figure = training_figure([Curve("all", records, 2)])
    assert [list(np.isnan(line.get_ydata())) for line in figure.axes[0].lines[:2]] == [[True, False], [True, False]]


def test_heat_maps_stand_in_a_grid():
    figure = gradcam_figure([(f"image {i}", png(i)) for i in range(5)], "seed 42")
    assert [axes.get_title(loc="left") for axes in figure.axes if axes.images] == [f"image {i}" for i in range(5)]
    with pytest.raises(ValueError, match="not an image"):
        gradcam_figure([("a", b"\x89PNG\r\n\x1a\n")])


def test_latex_takes_nothing_for_a_command():
    assert latex_text("a_b & 5% of $x^2$ {y} #1 ~ <z>\n|") == (
        r"a\_b \& 5\% of \$x\textasciicircum{}2\$ \{y\} \#1 \textasciitilde{} \textless{}z\textgreater{} \textbar{}"
    )
    assert latex_text("\\input{x}") == r"\textbackslash{}input\{x\}"
    assert latex_text("d\u00e9j\u00e0 \x1b[31m") == "d?j? ?[31m"


def test_templates_are_shipped():
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    folder = REPOSITORY / "mammo" / "reporting"
    shipped = {path for pattern in project["package-data"]["mammo.reporting"] for path in folder.glob(pattern)}
    assert {path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")} == shipped
    assert {path.name for path in shipped} == {"report.html.j2", "report.css", "report.js"}

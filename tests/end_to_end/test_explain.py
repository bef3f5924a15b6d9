"""python -m mammo.explain on a run: the pictures, the table of them, and what a mistake is answered with."""

from __future__ import annotations

import csv
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mammo.cli.tool import parse
from mammo.explain import TOOL, work
from mammo.support.errors import ConfigError, UserError
from mammo.support.files import safe_name
from tests.conftest import REPOSITORY
from tests.pictures import save_turned
from tests.processes import run_module


@pytest.fixture
def run(tiny_run, tmp_path) -> Path:
    return Path(shutil.copytree(tiny_run, tmp_path / "outputs" / tiny_run.name))


def explain(cache: Path, *words: object) -> None:
    """What the command does once Python has started."""
    work(parse(TOOL, [*map(str, words), "threads=1", f"cache_dir={cache}"]))


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_pictures_and_table_of_the_most_confident_images(run, session_cache, tmp_path):
    done = run_module("mammo.explain", run, "limit=4", "threads=1", f"cache_dir={session_cache}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "predictions explained: " in done.stdout
    assert "these pictures show the images themselves" in done.stdout
    folder = run / "explanations"
    rows = rows_of(folder / "explanations.csv")
    assert sorted(row["y_true"] for row in rows) == ["A", "B", "C", "D"]
    predictions = {row["image_id"]: row for row in rows_of(run / "val_predictions.csv")}
    for row in rows:
        predicted = predictions[row["image_id"]]
        assert {key: row[key] for key in predicted if key in row} == {k: v for k, v in predicted.items() if k in row}
        assert row["target"] == row["y_pred"]
        assert row["file"] == f"{safe_name(row['image_id'])}.png"
        same = [p for p in predictions.values() if (p["y_true"], p["y_pred"]) == (row["y_true"], row["y_pred"])]
        assert float(row[f"p_{row['y_pred']}"]) == max(float(p[f"p_{row['y_pred']}"]) for p in same)
        with Image.open(folder / row["file"]) as picture:
            assert np.ptp(np.asarray(picture.convert("RGB")).astype(int), axis=-1).max() > 50  # there is a map
    assert sorted(file.name for file in folder.glob("[!.]*")) == sorted(
        [row["file"] for row in rows] + ["explanations.csv", "grid.png", "grid.pdf"]
    )

    # Another image comes beside them; the page of the most confident ones stays as it was.
    grid = (folder / "grid.png").read_bytes()
    (other,) = [image_id for image_id in predictions if image_id not in {row["image_id"] for row in rows}][:1]
    explain(session_cache, run, f"image={other}", "method=layercam", "target=D", "layer=3")
    more = rows_of(folder / "explanations.csv")
    (new,) = [row for row in more if row not in rows]
    assert (new["image_id"], new["method"], new["target"], new["layer"]) == (other, "layercam", "D", "3")
    assert len(more) == 5
    assert (folder / "grid.png").read_bytes() == grid


def test_a_table_is_of_one_network_and_one_part_of_the_data(run, session_cache):
    checkpoints, folder = run / "checkpoints", run / "explanations"
    known = [row["image_id"] for row in rows_of(run / "val_predictions.csv")]
    explain(session_cache, checkpoints / "best_model.pth", "limit=2")
    grid = (folder / "grid.png").read_bytes()
    first = rows_of(folder / "explanations.csv")
    digest = hashlib.sha256((checkpoints / "best_model.pth").read_bytes()).hexdigest()
    (origin,) = {(row["checkpoint"], row["split"]) for row in first}
    assert origin == (digest[:12], "val")
    new = next(image_id for image_id in known if image_id not in {row["image_id"] for row in first})
    shutil.copy(checkpoints / "best_model.pth", checkpoints / "same.pth")
    explain(session_cache, checkpoints / "same.pth", f"image={new}")
    assert len(rows_of(folder / "explanations.csv")) == 3
    assert (folder / "grid.png").read_bytes() == grid

    content = torch.load(checkpoints / "best_model.pth", weights_only=True)
    torch.save(content | {"git_commit": "other"}, checkpoints / "other.pth")
    explain(session_cache, checkpoints / "other.pth", f"image={new}")
    (row,) = rows_of(folder / "explanations.csv")
    assert (row["checkpoint"] != digest[:12], row["image_id"]) == (True, new)
    assert not (folder / "grid.png").exists()  # it was of the first
    explain(session_cache, checkpoints / "other.pth", f"image={new}", "split=all")
    assert [row["split"] for row in rows_of(folder / "explanations.csv")] == ["all"]

    torch.save(content | {"epoch": 99}, checkpoints / "later.pth")
    explain(session_cache, checkpoints / "later.pth", f"image={new}")
    (row,) = rows_of(folder / "of-later" / "explanations.csv")
    assert row["epoch"] == "99"
    assert [row["split"] for row in rows_of(folder / "explanations.csv")] == ["all"]  # those of the run stay


def test_help_imports_nothing_heavy():
    code = "import sys, mammo.explain; print({'torch', 'pytorch_grad_cam', 'cv2', 'pandas'} & set(sys.modules))"
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_checkpoint_alone_gives_the_same_pictures(run, session_cache, class_folders, tmp_path):
    explain(session_cache, run, "limit=2")
    alone = shutil.copy(run / "checkpoints" / "best_model.pth", tmp_path / "alone.pth")
    where = (f"data.root={class_folders}", "limit=2")
    with pytest.raises(ConfigError, match="add output=FOLDER"):
        explain(session_cache, alone, *where)
    explain(session_cache, alone, *where, f"output={tmp_path / 'pictures'}")
    names = sorted(file.name for file in (run / "explanations").iterdir())
    assert names == sorted(file.name for file in (tmp_path / "pictures").iterdir())
    for name in names:
        assert (tmp_path / "pictures" / name).read_bytes() == (run / "explanations" / name).read_bytes(), name


def test_another_dataset_has_a_folder_of_its_own(run, session_cache, class_folders):
    other = (
        "data=folders", f"data.root={class_folders}", "data.group_by=image", "data.pseudonymize=true", "data.limit=2",
    )  # fmt: skip
    explain(session_cache, run, *other, "limit=1", "method=eigencam")
    folder = run / "explanations" / "folders"
    (row,) = rows_of(folder / "explanations.csv")
    assert len(row["image_id"]) == 12  # a pseudonym
    assert (folder / f"{row['image_id']}.png").is_file()
    assert not (run / "explanations" / "explanations.csv").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["method=gradcm"], r"found 'gradcm' .*\n.*one of gradcam, gradcam\+\+"),
        (["limit=0"], "limit: .*\n.*at least 1"),
        (["target=E"], "target=E is no class of this network"),
        (["layer=99"], "the network has 7 blocks"),
        (["image=A0"], "image=A0 is no image of split=val of folders\n.*valid: A/A"),
        (["split=test"], "data.test_fraction=0"),
    ],
)
def test_mistakes(run, session_cache, words, expected):
    with pytest.raises(UserError, match=expected):
        explain(session_cache, run, *words)
    assert not (run / "explanations").exists()


def test_a_turned_picture_is_explained_as_it_is_seen(run, class_folders, session_cache, tmp_path):
    """Image, map and frame are those of the same picture that is stored upright."""
    pages = {}
    for orientation in (1, 6, 7):
        root = tmp_path / f"stored-{orientation}"
        for name in "ABCD":
            with Image.open(class_folders / name / f"{name}0.png") as picture:
                save_turned(np.asarray(picture), root / name / "x.png", orientation)
        data = ("data=folders", f"data.root={root}", "data.group_by=image", "data.pseudonymize=false")
        explain(session_cache, run, *data, "image=C/x.png", f"output={root}-maps")
        pages[orientation] = (tmp_path / f"stored-{orientation}-maps" / "C_x.png.png").read_bytes()
    assert pages[1] == pages[6] == pages[7]

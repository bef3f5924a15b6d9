"""Headers as publishers leave them, from a folder to predictions: what RSNA serves, and tomosynthesis objects."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd

from mammo import evaluate, predict
from mammo.cli.tool import parse
from tests.checks.conftest import status_of
from tests.conftest import run_command
from tests.data.dicom_files import RAMP, save
from tests.data.formats.small_datasets import write_like_kaggle
from tests.data.test_functional_groups import tomosynthesis, window
from tests.end_to_end.runs import only_run


def test_a_study_of_rsna_is_trained_and_predicted(tmp_path, monkeypatch, capsys):
    root = tmp_path / "rsna"
    write_like_kaggle(root)
    monkeypatch.chdir(tmp_path)
    data = ("data=rsna", f"data.root={root}", "data.image_size=32", "data.val_fraction=0.4")
    quick = ("model=efficientnet_lite0", "data.batch_size=4", "train.epochs=1", "train.threads=1")
    run_command(tmp_path, "mammo.train", *data, *quick, "cache_dir=cache")
    run = only_run(tmp_path)
    summary = json.loads((run / "summary.json").read_text())
    assert (summary["data"]["num_images"], summary["data"]["num_quarantined"]) == (12, 0)
    # The checkpoint alone knows what it was trained on.
    words = [f"run={run / 'checkpoints' / 'best_model.pth'}", f"input={root / 'train_images'}", "cache_dir=cache"]
    predict.work(parse(predict.TOOL, [*words, "output=p.csv", "pseudonymize=false", "threads=1"]))
    assert len(pd.read_csv("p.csv")) == 12
    evaluate.work(parse(evaluate.TOOL, [f"run={run}", "split=all", "cache_dir=cache", "threads=1", "draws=100"]))
    assert "12 images" in capsys.readouterr().out
    assert status_of(*data, "cache_dir=cache") == 0
    assert "12 images of 12 patients" in capsys.readouterr().out


def test_a_table_of_tomosynthesis_objects(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    rows = ["image,label,patient,view"]
    for number in range(16):
        frames = random.permuted(np.stack([RAMP, RAMP, RAMP]).reshape(3, 64, 64), axis=2)
        frames[:, :, 40:] = 0
        save(tomosynthesis(frames, window(2000, 4000)), tmp_path / f"{number}.dcm")
        rows.append(f"{number}.dcm,{number % 4 + 1},{number},LCC")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    data = ("data=table", "data.root=.", "data.image_size=32", "cache_dir=cache")
    assert status_of(*data) == 1
    assert "16  pixels: multi-frame image (3 frames)" in capsys.readouterr().out
    assert status_of(*data, "data.frames=mean") == 0
    out = capsys.readouterr().out
    assert "16 images of 16 patients" in out
    assert "CC      16      0          0" in out

"""Cross-validation: the folds that runs leave on disk."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from tests.end_to_end.runs import TINY

OPTIONS = [option for option in TINY if not option.startswith(("data.val_fraction", "train.epochs"))]


def image_ids(file: Path) -> list[str]:
    with file.open(encoding="utf-8") as stream:
        return [row["image_id"] for row in csv.DictReader(stream)]


@pytest.mark.slow
def test_every_image_is_validated_on_in_one_fold_whatever_the_seed(class_folders, train, tmp_path):
    done = train("-m", *OPTIONS, f"data.root={class_folders}", "train.epochs=1", "data.num_folds=3", "data.fold=0,1,2")
    assert done.returncode == 0, done.stderr
    done = train(*OPTIONS, f"data.root={class_folders}", "train.epochs=1", "data.num_folds=3", "data.fold=1", "seed=7")
    assert done.returncode == 0, done.stderr
    folds = sorted(file.parent for file in (tmp_path / "multirun").rglob("summary.json"))
    assert [json.loads((fold / "summary.json").read_text())["fold"] for fold in folds] == [0, 1, 2]
    validated = [image_id for fold in folds for image_id in image_ids(fold / "splits" / "val.csv")]
    assert len(set(validated)) == len(validated) == 32
    for fold in folds:
        training, validation = image_ids(fold / "splits" / "train.csv"), image_ids(fold / "splits" / "val.csv")
        assert sorted(training + validation) == sorted(validated)
        assert sorted(image_ids(fold / "val_predictions.csv")) == sorted(validation)

    manifests = [json.loads((fold / "splits" / "manifest.json").read_text()) for fold in folds]
    (other_seed,) = (tmp_path / "outputs").glob("*/splits/manifest.json")
    of_other_seed = json.loads(other_seed.read_text())
    assert len({manifest["fingerprint"] for manifest in manifests}) == 3
    assert {manifest["folds_fingerprint"] for manifest in manifests} == {of_other_seed["folds_fingerprint"]}
    assert of_other_seed["fingerprint"] == manifests[1]["fingerprint"]

"""docs/migration.md leaves no option of the earlier command lines out, and names only keys that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.tree import Config
from mammo.support.dotted_keys import flatten
from mammo.support.option_registry import registered
from mammo.support.schema import key_tree
from tests.conftest import REPOSITORY

TEXT = (REPOSITORY / "docs" / "migration.md").read_text(encoding="utf-8")
EARLIER_DOCUMENTS = REPOSITORY.parent / "shared" / "seeds"

FLAGS = """
--amp-enabled --arch --assets-dir --augment --augmentation --backbone-lr --batch-size --batch_size --cache-mode
--checkpoint --class-weights --classes --config-file --csv --cv-folds --cv-outdir --dataset --dataset-format
--dataset-root --device --dicom-root --dropout --early_stopping --embeddings-dir --epochs --fused-optim --image-size
--img-size --label_smoothing --lr --mixed_precision --mixup_alpha --mixup_prob --mode --model --multi_label
--no-augment --no-loader-heuristics --no-train-backbone --no-unfreeze-last-block --no_mixed_precision --num-workers
--optimizer --outdir --persistent-workers --plateau-scheduler --prefetch-factor --retrain --run --run-clustering
--run-reduction --scheduler --train-augment --train-backbone --unfreeze-last-block --use-sampler --val-frac
--warmup-epochs --warmup_epochs --weight-decay
"""
JSON_KEYS = """
model.name model.pretrained_path model.input_channels model.train_backbone model.unfreeze_last_block training.epochs
training.batch_size training.lr training.class_weights training.val_frac training.optimizer training.scheduler
training.amp_enabled training.use_sampler training.num_workers data.dataset_format data.mean data.std data.image_size
"""
OTHERS = "MAMMO_CACHE_MODE layer_decay drop_path_rate"

FLAG = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")
GROUPS = {folder.name for folder in CONFIG_FOLDER.iterdir() if folder.is_dir()}
KEYS = {*flatten(key_tree(Config)), "hydra.run.dir"}


def rows() -> list[list[str]]:
    """The cells of every table row of the document."""
    lines = [line for line in TEXT.splitlines() if line.startswith("|") and not line.startswith("|---")]
    return [[cell.strip() for cell in line.strip().strip("|").split(" | ")] for line in lines]


def named(what: str) -> bool:
    """Whether the first cell of some row is about an option, alone or with a value."""
    return any(re.match(rf"`{re.escape(what)}( [^`]*)?`", row[0]) for row in rows())


@pytest.mark.parametrize("what", " ".join([FLAGS, JSON_KEYS, OTHERS]).split())
def test_every_earlier_option_has_a_row(what):
    assert named(what)


def test_every_flag_of_the_earlier_documents_has_a_row():
    files = sorted(EARLIER_DOCUMENTS.glob("*.txt"))
    if not files:
        pytest.skip("the earlier documents (../shared/seeds) are not here")
    flags = {flag for file in files for flag in FLAG.findall(file.read_text(encoding="utf-8"))}
    assert {flag for flag in flags if not named(flag)} == set()


def test_a_row_names_a_key_or_says_why_there_is_none():
    for row in rows():
        if FLAG.match(row[0].strip("`")):
            earlier, here, remark = row
            assert here.startswith("`") or (here == "*none*" and remark), earlier


def settings() -> list[str]:
    """What stands in backticks as a key or a choice of this project, from everywhere in the document."""
    spans = [part for span in re.findall(r"`([^`\n]+)`", TEXT) for part in span.split()]
    known_sections = (*key_tree(Config), "hydra", "experiment")
    # The first cells of rows hold the earlier names; those of JSON files look like keys.
    earlier = {part for row in rows() for part in row[0].replace("`", "").split()}
    return [
        part
        for part in spans
        if re.match(rf"({'|'.join(known_sections)})(\.|=)", part)
        and part not in earlier - KEYS
        and not part.endswith(".py")
    ]


def test_every_key_and_choice_that_is_named_exists():
    found = settings()
    assert len(found) > 60
    for setting in found:
        key, _, value = setting.partition("=")
        if key in GROUPS:
            choices = {file.stem for file in Path(CONFIG_FOLDER, key).glob("*.yaml")} | set(registered(key))
            assert value in ("NAME", "FILE") or value in choices, setting
        else:
            assert key in KEYS, setting

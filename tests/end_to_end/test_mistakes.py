"""Deliberate mistakes: each ends before data is read, with status 2, without a traceback, and with a way on."""

from __future__ import annotations

import pytest

# arguments, what the message must say
MISTAKES = {
    "typo in a group": (["modle=resnet50"], ["modle", "did you mean model"]),
    "typo in an option": (["model=resnet5"], ["model=resnet5", "did you mean resnet50?"]),
    "typo in a key": (["train.epoch=3"], ["train.epoch", "did you mean epochs?"]),
    "key of another section": (["model.lr=1"], ["model.lr", "did you mean optimizer.lr?"]),
    "typo behind a plus": (["+model.lrr=1"], ["model.lrr", "optimizer.lr", "command line: +model.lrr=1"]),
    "new section": (["+foo.bar=1"], ["foo: there is no such key"]),
    "nested typo": (["train.early_stoping.patience=3"], ["did you mean early_stopping?"]),
    "key of another choice": (["scheduler.step_size=3"], ["belongs to scheduler=step"]),
    "text for a number": (["train.epochs=ten"], ["found 'ten' (text)", "a whole number, at least 1"]),
    "fraction for a whole number": (["data.batch_size=2.5"], ["found 2.5 (float)", "a whole number"]),
    "number for true or false": (["data.crop=1"], ["found 1 (int)", "true or false"]),
    "seed that is nothing": (["seed=null"], ["seed: found None"]),
    "one value for a list": (["data.views=CC"], ["found 'CC' (text)", "a list of text"]),
    "out of range": (["data.val_fraction=1.5"], ["found 1.5 (float)", "below 1"]),
    "no epochs": (["train.epochs=0"], ["at least 1"]),
    "not among the values": (["device=gpu"], ["found 'gpu'", "one of auto, cpu, cuda, mps"]),
    "unknown metric": (["train.monitor=accuracy"], ["train.monitor", "bal_acc_adj"]),
    "unknown task": (["data.task=density5"], ["one of density4, density2, labels"]),
    "several at once": (
        ["train.epochs=0", "optimizer.lr=-1", "data.test_fraction=2"],
        ["train.epochs: found 0", "optimizer.lr: found -1", "data.test_fraction: found 2"],
    ),
    "balancing twice": (["loss.class_weights=[1,2,3,4]"], ["sampler=uniform", "allow_double_balancing"]),
    "too few class weights": (["sampler=uniform", "loss.class_weights=[1,2]"], ["2 numbers", "4 classes"]),
    "negative class weight": (["sampler=uniform", "loss.class_weights=[1,2,3,-4]"], ["above 0"]),
    "fractions above one": (["data.val_fraction=0.6", "data.test_fraction=0.5"], ["a sum below 1"]),
    "option without effect": (["strategy=head_only", "optimizer.backbone_lr=1e-5"], ["has no effect"]),
    "option of another dataset": (["data.kind=mass"], ["it belongs to data=cbis_ddsm"]),
    "model without a name": (["model=timm"], ["model.name=convnext_tiny"]),
    "one of mean and std": (["data.mean=0.5"], ["set both or neither"]),
    "half an override": (["seed=["], ["error:"]),
    "no equals sign": (["resnet50"], ["resnet50", "missing EQUAL", "KEY=VALUE"]),
    "a path that needs quotes": (["data=mias", "data.root=/films (1), new"], ["quotes", "data.root='/films (1), new'"]),
    "a path with a quote": (["data=mias", "data.root=/o'neil"], [r"data.root='/o\'neil'"]),
    "a key of Hydra's sweeper": (["-m", "seed=1,2", "hydra.sweeper.n_trials=5"], ["hydra.sweeper", "hpo.trials=5"]),
    "a choice of nothing": (["-m", "seed=1,2", "launcher=null"], ["chosen by name", "launcher=basic"]),
    "a key of Hydra's launcher": (["-m", "seed=1,2", "hydra.launcher.n_jobs=2"], ["launcher=local_parallel"]),
    "another key of Hydra": (["hydra.rum.dir=x"], ["hydra.rum", "did you mean hydra.run"]),
    "a study that is not there": (["experiment=nowhere.yaml"], ["there is no such file", "conf/experiment"]),
    "the configuration of a sweep": (["-m", "seed=1,2", "--cfg", "job"], ["--cfg shows one run"]),
    "a folder that cannot be": (["data=mias", f"data.root={'x' * 300}"], ["a longer name than"]),
    "a study that cannot be": ([f"experiment={'x' * 300}"], ["a longer name than"]),
    "a run that cannot be": (["data.phantom.num_patients=8", f"run.name={'x' * 300}"], ["run.name or sweep.name"]),
    "missing interpolation": (["augment.seed=${sed}"], ["sed"]),
    "missing root": (["data=mias"], ["data.root is not set for data=mias", "data.root=FOLDER"]),
    "root that is not there": (["data=mias", "data.root=nowhere"], ["does not exist"]),
    "missing weights file": (
        ["data=folders", "data.root=ROOT", "data.group_by=image", "model.weights=nowhere.pth"],
        ["nowhere.pth: there is no such file"],
    ),
    "wrong task": (["data=mias", "data.root=MIAS", "data.task=density4", "model.weights=none"], ["data.task=labels"]),
    "images without patients": (["data=folders", "data.root=ROOT", "model.weights=none"], ["data.group_by=image"]),
    "a flag of another tool": (["--epochs", "5"], ["--epochs", "train.epochs", "docs/migration.md"]),
    "another network under a name": (
        ["model=efficientnet_lite0", "model.name=tf_efficientnet_lite3"],
        ["model=timm model.name=tf_efficientnet_lite3"],
    ),
    "head only to the end": (["strategy.head_only_epochs=20"], ["strategy=head_only"]),
    "preset name alone": (["augment.name=none"], ["there is no key 'name' in augment"]),
    "phantom options elsewhere": (["data=mias", "data.phantom.num_patients=9"], ["it belongs to data=phantom"]),
    "three betas": (["optimizer.betas=[0.9,0.99,0.999]"], ["two numbers"]),
    "empty root": (["data=mias", "data.root="], ["data.root: is empty"]),
    "published weights without a network": (
        ["data=folders", "data.root=ROOT", "data.group_by=image", "model=resnet50"],
        ["cannot be had here", "mammo.prepare weights", "model.weights=none"],
    ),
    "a root that is not there, before weights are looked for": (
        ["data=folders", "data.root=nowhere", "model=resnet50"], ["data.root nowhere does not exist"]
    ),
    "unknown network, before the data is read": (
        ["data=mias", "data.root=nowhere", "model=timm", "model.name=resnt50"], ["no timm model", "did you mean"]
    ),
    "number format without hardware": (["device=cpu", "train.amp=fp16"], ["works on CUDA only"]),
    "more blocks than there are": (
        ["data=folders", "data.root=ROOT", "data.group_by=image", "strategy.blocks=50", "model.weights=none"],
        ["strategy.blocks=50", "1 to 9"],
    ),
    "fixed size": (
        [
            "data=folders", "data.root=ROOT", "data.group_by=image", "model=timm", "model.weights=none",
            "model.name=vit_tiny_patch16_224", "data.image_size=256",
        ],
        ["set data.image_size=224"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_answered(mistake, train, tmp_path, class_folders, request):
    arguments, expected = MISTAKES[mistake]
    if any("MIAS" in argument for argument in arguments):
        mias = request.getfixturevalue("shared_data") / "mini-mias"
        arguments = [argument.replace("MIAS", str(mias)) for argument in arguments]
    done = train(*[argument.replace("ROOT", str(class_folders)) for argument in arguments])
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr + done.stdout
    for words in expected:
        assert words in done.stderr
    assert not list(tmp_path.glob("outputs/*/*")), "a mistake must not leave results behind"


# file, its content, what the message must say
YAML_MISTAKES = {
    "typo in a group file": ("model/mine.yaml", "family: timm\nname: resnet18\ndropuot: 0.5\n", "mean dropout?"),
    "wrong type in a group file": ("model/mine.yaml", "family: timm\nname: resnet18\ndropout: much\n", "found 'much'"),
    "range in a group file": ("model/mine.yaml", "family: timm\nname: resnet18\ndropout: 1.5\n", "below 1"),
    "typo in an experiment": (
        "experiment/mine.yaml", "# @package _global_\ntrain:\n  epoch: 3\n", "did you mean epochs?"
    ),
    "not YAML": ("model/mine.yaml", "family: [timm\nname: resnet18\n", "not valid YAML"),
    "not even a mapping": ("model/mine.yaml", "- timm\n", "mine"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", YAML_MISTAKES)
def test_a_mistake_inside_a_yaml_file_is_answered(mistake, train, tmp_path):
    file, content, expected = YAML_MISTAKES[mistake]
    (tmp_path / "conf" / file).parent.mkdir(parents=True)
    (tmp_path / "conf" / file).write_text(content)
    group = file.split("/")[0]
    done = train("--config-dir", "conf", f"{group}=mine")
    assert done.returncode == 2, done.stdout + done.stderr
    assert expected in done.stderr
    assert "mine" in done.stderr, "the message names the file"
    assert "Traceback" not in done.stderr


def test_help_names_groups_and_options_within_80_columns(train):
    done = train("--help")
    assert done.returncode == 0
    assert "strategy    frozen_last_block, full_finetune, head_only, linear_probe" in done.stdout
    assert "data.val_fraction=0.2" in done.stdout
    assert max(len(line) for line in done.stdout.splitlines()) <= 80


def test_mistakes_and_help_need_no_torch(train):
    for arguments in (["--help"], ["train.epochs=0"]):
        done = train(*arguments, PYTHONPROFILEIMPORTTIME="1")
        assert "mammo.config" in done.stderr
        assert " torch" not in done.stderr.replace("torchvision", "")

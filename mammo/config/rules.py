"""Options that contradict each other, or that would have no effect together.

Each rule says when it applies, the key it concerns, what was found, what to do. An option that would do nothing is an
error: whoever sets it believes that it does something.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from mammo.data.data_options import DataOptions, PhantomOptions
from mammo.models.model_options import ModelOptions, fixed_size_px
from mammo.support.schema import Problem
from mammo.tasks.task import TASKS

if TYPE_CHECKING:
    from mammo.config.tree import Config

Rule = tuple[bool, str, str, str]


def impossible_combinations(config: Config) -> list[Problem]:
    """The problems of a configuration whose single values are all valid."""
    data, model = config.data, config.model
    return _problems_of(
        *_data_rules(data, model),
        *_fold_rules(data),
        *_balance_rules(config),
        *_model_rules(model),
        *_training_rules(config),
        *_sweep_rules(config),
    )


def impossible_data(data: DataOptions, model: ModelOptions) -> list[Problem]:
    """The problems of options for data and network alone, whose single values are all valid."""
    return _problems_of(*_data_rules(data, model), *_model_rules(model))


def impossible_labels(data: DataOptions) -> list[Problem]:
    """The problems of the label options of a new configuration; stored ones are read with them, as they always were."""
    return _problems_of(*_label_rules(data))


def _problems_of(*rules: Rule) -> list[Problem]:
    """The problems of the rules that apply."""
    return [Problem(key, found, expected) for applies, key, found, expected in rules if applies]


def _data_rules(data: DataOptions, model: ModelOptions) -> Iterator[Rule]:
    form = f"data.format={data.format}"
    whole = f"{data.val_fraction} with data.test_fraction={data.test_fraction}"
    no_effect = f"has no effect with {form}"
    only_px = fixed_size_px(model.name or "")
    is_archive = data.format in ("archive", "auto", "phantom")
    yield data.root == "", "data.root", "is empty", "the folder of the dataset"
    yield data.classes == [], "data.classes", "is empty", "null, or the classes in order"
    yield data.val_fraction + data.test_fraction >= 1, "data.val_fraction", whole, "a sum below 1"
    is_of_csv = data.format in ("archive", "table", "auto")
    for key, has_no_effect, found, formats in (
        ("data.kind", data.kind and data.format != "cbis_ddsm", f"{data.kind!r} {no_effect}", "cbis_ddsm"),
        ("data.csv", data.csv is not None and not is_of_csv, no_effect, "archive, table and auto"),
        ("data.phantom", data.phantom != PhantomOptions() and data.format != "phantom", no_effect, "phantom"),
    ):
        yield bool(has_no_effect), key, found, f"it belongs to data={formats}"
    yield (
        data.implants == "exclude" and not is_archive,
        "data.implants",
        f"{no_effect}: implants are known from DICOM headers of an archive",
        "leave it out",
    )
    yield (
        (data.mean is None) != (data.std is None),
        "data.mean",
        "only one of data.mean and data.std is set",
        "set both or neither",
    )
    yield (
        data.image_size is not None and only_px not in (None, data.image_size),
        "data.image_size",
        f"{data.image_size}, but {model.name} takes only {only_px} px",
        f"set data.image_size={only_px}",
    )


def _label_rules(data: DataOptions) -> Iterator[Rule]:
    classes, mapped = data.classes or [], [name for name in data.table.label_map.values() if name.strip()]
    listed = f"[{', '.join(classes)}]"
    task = TASKS[data.task]
    # Other names, such as F, G and D, are refused when the labels are read.
    are_densities = all(name in (*"ABCD", "AB", "CD") or name.isdecimal() for name in classes)
    yield (
        task.is_density and are_densities and classes not in ([], list("ABCD")),
        "data.classes",
        f"{listed}, but the classes of data.task={data.task} are {', '.join(task.class_names or ())}",
        "data.task=labels for a label set of its own, in the order of data.classes; else data.classes=null: A-D and "
        "1-4 are labels, data.table.label_map={spelling: A} says what others mean",
    )
    yield (
        bool(classes and mapped) and not set(classes) & set(mapped),
        "data.table.label_map",
        f"maps to {', '.join(dict.fromkeys(mapped))}, of which data.classes={listed} has none",
        "names of data.classes, or data.classes=null for the names of the map",
    )


def _fold_rules(data: DataOptions) -> Iterator[Rule]:
    yield (
        data.num_folds is not None and data.fold is None,
        "data.num_folds",
        f"{data.num_folds}, but not which fold to validate on",
        "all of them: -m data.fold=all; one: data.fold=0",
    )
    yield (
        data.fold is not None and data.num_folds is None,
        "data.fold",
        f"{data.fold}, of how many?",
        "data.num_folds=3",
    )
    yield (
        data.fold is not None and data.num_folds is not None and data.fold >= data.num_folds,
        "data.fold",
        f"{data.fold} of {data.num_folds}",
        f"0 to {(data.num_folds or 1) - 1}",
    )
    yield (
        data.num_folds is not None and data.val_fraction != DataOptions().val_fraction,
        "data.val_fraction",
        "has no effect with data.num_folds: each fold is the validation set once",
        "leave it out",
    )
    inner = data.inner_folds
    yield (
        inner is not None and data.num_folds is None,
        "data.inner_folds",
        f"{inner}, inside of which fold?",
        "data.num_folds=5 -m data.fold=all, or one: data.fold=0",
    )
    yield (
        inner is not None and data.test_fraction > 0,
        "data.test_fraction",
        "with data.inner_folds: the fold of data.fold is the test set, and nobody would see the other patients",
        "data.test_fraction=0",
    )
    yield (
        inner is None and data.inner_fold > 0,
        "data.inner_fold",
        f"{data.inner_fold}, of how many?",
        "data.inner_folds=5",
    )
    yield (
        inner is not None and data.inner_fold >= inner,
        "data.inner_fold",
        f"{data.inner_fold} of {inner}",
        f"0 to {(inner or 1) - 1}",
    )


def _balance_rules(config: Config) -> Iterator[Rule]:
    weights = config.loss.class_weights
    is_list = isinstance(weights, list)
    may_balance_twice = getattr(config.sampler, "allow_double_balancing", False)
    yield (
        is_list and config.sampler.name == "weighted" and not may_balance_twice,
        "loss.class_weights",
        "a list together with sampler=weighted balances the classes twice",
        "use sampler=uniform, loss.class_weights=none, or sampler.allow_double_balancing=true",
    )
    yield (
        is_list and config.num_classes not in (None, len(weights or [])),
        "loss.class_weights",
        f"{len(weights)} numbers",
        f"one for each of {config.num_classes} classes",
    )


def _model_rules(model: ModelOptions) -> Iterator[Rule]:
    yield model.name is None, "model.name", "is not set", "model=timm needs a network: model.name=convnext_tiny"
    yield (
        model.family == "efficientnet_lite0" and model.name != "efficientnet_lite0",
        "model.name",
        f"{model.name}, but model=efficientnet_lite0 is that one network",
        f"for another network: model=timm model.name={model.name}",
    )
    yield model.weights == "", "model.weights", "is empty", "auto, imagenet, none, or the path of a state dict"


def _training_rules(config: Config) -> Iterator[Rule]:
    strategy = config.strategy
    betas = getattr(config.optimizer, "betas", [0.9, 0.999])
    yield (
        not strategy.trains_backbone and config.optimizer.backbone_lr is not None,
        "optimizer.backbone_lr",
        f"has no effect with strategy={strategy.name}: only the head learns",
        "leave it out",
    )
    yield (
        strategy.head_only_epochs >= config.train.epochs,
        "strategy.head_only_epochs",
        f"{strategy.head_only_epochs} of train.epochs={config.train.epochs}: only the head would ever learn",
        "fewer than train.epochs, or strategy=head_only",
    )
    yield (
        config.train.select == "last" and config.train.early_stopping.patience > 0,
        "train.select",
        f"last with train.early_stopping.patience={config.train.early_stopping.patience}, which chooses the last epoch "
        "on the validation images",
        "train.early_stopping.patience=0, or train.select=best",
    )
    yield len(betas) != 2, "optimizer.betas", f"{len(betas)} numbers", "two numbers"


def _sweep_rules(config: Config) -> Iterator[Rule]:
    partition = config.sweep.partition
    # It becomes a line of a script.
    is_no_name = partition is not None and not re.fullmatch(r"[\w.,-]+", partition)
    yield is_no_name, "sweep.partition", f"{partition!r} is no name of a partition", "letters, digits and . , _ -"

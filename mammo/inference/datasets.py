"""The images that a trained network is shown: those of its run, or another dataset prepared in the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import yaml

from mammo.data.data_options import DataOptions
from mammo.data.dataset import Dataset, load_dataset
from mammo.data.quoting import shown_names
from mammo.data.views import is_among
from mammo.inference.command_options import DataChoice
from mammo.inference.trained import Trained
from mammo.support.cache import user_cache_folder
from mammo.support.errors import ConfigError, DataError, RunDirectoryError
from mammo.support.files import read_csv
from mammo.support.progress import counting
from mammo.support.schema import Problem, build, to_tree
from mammo.support.yaml_files import read_yaml

# For who sees results of images of which that is so.
NOT_KNOWN = "whether the network was trained on some of these images is not known: a checkpoint does not say"


@dataclasses.dataclass(frozen=True)
class ShownImages:
    """Images of a dataset that a network is to be shown.

    `rows` are positions in `dataset.table`; `is_own` is whether the run was made from this very dataset;
    `num_trained_on` is how many of the images it has learnt from, None where that is not known; `num_of_other_views`
    is how many are of a view that it was not trained on.
    """

    dataset: Dataset
    rows: np.ndarray
    split: str
    is_own: bool
    num_trained_on: int | None
    num_of_other_views: int


def data_options(trained: Trained, choice: DataChoice) -> tuple[DataOptions, bool]:
    """The data that a choice means for a network, and whether it is that of its run."""
    own = trained.config.data
    fixed = {name: getattr(own, name) for name in ("image_size", "crop", "orient", "decode", "mean", "std", "task")}
    if choice.composed is not None:
        composed = dataclasses.replace(choice.composed, **fixed)
        return composed, _are_same(composed, own)
    tree = to_tree(own) | _where_it_lies(trained)
    for key, value in choice.changes.items():
        _set(tree, key.split("."), value)
    problems: list[Problem] = []
    options = build(DataOptions, tree, problems)
    if problems:
        raise ConfigError("\n".join(f"data.{p.key}: {p.found}\n  {p.expected}" for p in problems))
    return options, _are_same(options, own)


def _are_same(options: DataOptions, own: DataOptions) -> bool:
    return to_tree(options, only_run_id=True) == to_tree(own, only_run_id=True)


def _where_it_lies(trained: Trained) -> dict[str, Any]:
    """The folders of the data, which only the run directory knows."""
    if trained.run_folder is None:
        return {}
    try:
        stored = read_yaml(trained.run_folder / "config.yaml")
        data = stored["data"]
        return {key: data[key] for key in ("root", "csv", "allow_outside_root") if key in data}
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return {}


def _set(tree: dict[str, Any], path: list[str], value: Any) -> None:
    for part in path[:-1]:
        tree[part] = dict(tree[part]) if isinstance(tree.get(part), Mapping) else {}
        tree = tree[part]
    tree[path[-1]] = value


def load_shown(trained: Trained, choice: DataChoice, split: str | None, cache_dir: str | None) -> ShownImages:
    """The images of a split (None: `val` of the run's own data, else `all`).

    Raises DataError where the classes are not those of the network, where a split does not exist, and for the
    run's own data when it has changed since.
    """
    options, is_own = data_options(trained, choice)
    _require_root(options)
    dataset = _load(trained, options, cache_dir, is_own=is_own)
    if not is_own and dataset.fingerprint == trained.facts.get("data_fingerprint"):
        # The very images and labels of the run, whatever the options are called: they are divided as for the run.
        # What was asked since then is answered as it is now: the fingerprint says that nothing came of it.
        kept = ("root", "csv", "allow_outside_root", "pseudonymize", "same_patient", "exam_ids")
        where = {name: getattr(options, name) for name in kept}
        is_own = True
        dataset = _load(trained, dataclasses.replace(trained.config.data, **where), cache_dir, is_own=True)
    split = split or ("val" if is_own else "all")
    if not is_own and split != "all":
        raise DataError(
            f"split={split}, but {options.name} is not the data of {trained.name} as it was trained on",
            "split=all for another dataset, or for options of the data that differ from those of the run",
        )
    if dataset.manifest.class_names != trained.class_names:
        raise DataError(
            f"{options.name} has the classes {_shown_classes(dataset, options, trained)}",
            f"those of {trained.name}: {', '.join(trained.class_names)}",
            "map them: data.table.label_map={spelling: class}",
        )
    if is_own and split != "all":
        _require_unchanged(trained, dataset)
    parts = {**dataset.split.parts, "all": np.arange(len(dataset.table))}
    rows = parts[split]
    if not len(rows):
        raise DataError(
            f"{trained.name} has set no test images aside (data.test_fraction=0)", "split=val, or another dataset"
        )
    num_trained_on = _num_trained_on(trained, dataset, rows, is_own=is_own)
    return ShownImages(dataset, rows, split, is_own, num_trained_on, _num_of_other_views(trained, dataset, rows))


def _shown_classes(dataset: Dataset, options: DataOptions, trained: Trained) -> str:
    """The label set of a dataset; what nobody has stated may be a wrong column."""
    stated = [*(options.classes or []), *options.table.label_map.values(), *trained.class_names]
    return shown_names(dataset.manifest.class_names, "label", stated)


def _load(trained: Trained, options: DataOptions, cache_dir: str | None, *, is_own: bool) -> Dataset:
    threads = trained.hardware.threads
    return load_dataset(options, user_cache_folder(cache_dir), threads, counting, only_test=not is_own)


def _num_of_other_views(trained: Trained, dataset: Dataset, rows: np.ndarray) -> int:
    seen = trained.config.data.views
    shown = dataset.table.iloc[rows]
    return sum(not is_among(view, side, seen) for view, side in zip(shown["view"], shown["laterality"], strict=True))


def _require_root(options: DataOptions) -> None:
    if options.root is None and options.format != "phantom":
        raise DataError(
            f"it is not known where the images of {options.name} are: a checkpoint does not say",
            "a folder",
            "add data.root=DIR, or name the run directory instead of the checkpoint",
        )


def _require_unchanged(trained: Trained, dataset: Dataset) -> None:
    now = {"data_fingerprint": dataset.fingerprint, "split_fingerprint": dataset.split_fingerprint}
    changed = [key for key, value in now.items() if trained.facts.get(key) not in (None, value)]
    if changed:
        raise RunDirectoryError(
            f"the data of {trained.name} has changed since it was trained ({', '.join(changed)} differs): what was "
            "its validation set is not known any more",
            "the images, labels and options of then",
            "bring them back, or evaluate all of it as it is now with split=all",
        )


def _num_trained_on(trained: Trained, dataset: Dataset, rows: np.ndarray, *, is_own: bool) -> int | None:
    """How many of the rows are training images of the run, by its split or by their ids as the run has written them."""
    if is_own:
        return len(np.intersect1d(rows, dataset.split.train))
    if trained.run_folder is None:
        return None
    try:
        columns, lines = read_csv(trained.run_folder / "splits" / "train.csv")
        learnt = {line[columns.index("image_id")] for line in lines}
    except (OSError, ValueError):
        return None
    return sum(dataset.rename(image_id) in learnt for image_id in dataset.table["image_id"].iloc[rows])

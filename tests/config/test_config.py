"""The configuration: what composes, what is equal, what is another run."""

from __future__ import annotations

import dataclasses

import pytest
import yaml
from hydra import compose, initialize_config_dir

from mammo.config.check import check, check_stored
from mammo.config.composition import checked_config, prepare_hydra
from mammo.config.foreign import CONFIG_FOLDER
from mammo.config.prepare import PrepareConfig
from mammo.config.tree import Config, config_tree, identity_tree, run_id, run_name
from mammo.embedding.embed_options import EmbedOptions
from mammo.explanation.explain_options import ExplainOptions
from mammo.exporting.export_options import ExportOptions
from mammo.inference.command_options import EvaluateOptions, PredictOptions
from mammo.support.dotted_keys import flatten
from mammo.support.errors import ConfigError
from mammo.support.option_registry import option, register, registered
from mammo.support.schema import Problem, build, key_tree, types_of

CHOICES = {
    folder.name: sorted(file.stem for file in folder.glob("*.yaml"))
    for folder in sorted(CONFIG_FOLDER.iterdir())
    if folder.is_dir()
}


def composed(*overrides: str) -> Config:
    prepare_hydra()
    with initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3"):
        return checked_config(compose("train", overrides=list(overrides)))


@pytest.mark.parametrize(
    ("group", "choice"), [(group, choice) for group, choices in CHOICES.items() for choice in choices]
)
def test_every_choice_of_every_group_composes(group, choice):
    extra = ["model.name=resnet18"] if (group, choice) == ("model", "timm") else []
    config = composed(f"{group}={choice}", *extra)
    if group not in ("experiment", "debug", "hpo", "launcher", "model", "data"):
        assert group == "augment" or getattr(config, group).name == choice


def test_the_defaults_are_the_decided_ones():
    config = composed("data=folders")
    assert (config.model.name, config.strategy.name) == ("efficientnet_b0", "frozen_last_block")
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.backbone_lr) == ("adamw", 1e-4, 1e-5)
    assert (config.optimizer.weight_decay, config.optimizer.betas) == (0.01, [0.9, 0.999])
    assert (config.scheduler.name, config.scheduler.warmup_epochs, config.scheduler.min_lr) == ("cosine", 2, 1e-6)
    assert (config.data.image_size, config.data.batch_size, config.data.val_fraction) == (512, 16, 0.2)
    assert (config.train.epochs, config.seed, config.train.amp, config.train.clip_norm) == (20, 42, "auto", 1.0)
    assert (config.sampler.name, config.loss.class_weights, config.model.dropout) == ("weighted", "auto", 0.2)
    augment = config.augment
    assert (augment.flip_probability, augment.rotation_degrees, augment.contrast_fraction) == (0.5, 5, 0.1)
    assert (augment.seed, augment.num_variants, config.data.split_seed) == (0, 8, 42)


@pytest.mark.parametrize(
    ("overrides", "rates"),
    [
        (["strategy=full_finetune"], (1e-3, 1e-4)),
        (["strategy=full_finetune", "optimizer.lr=3e-4"], (3e-4, 3e-5)),
        (["strategy=full_finetune", "model=timm", "model.name=vit_small_patch16_224"], (5e-5, 5e-6)),
        (["strategy=full_finetune", "model=timm", "model.name=swin_tiny_patch4_window7_224"], (3e-5, 3e-6)),
        (["strategy=linear_probe"], (0.1, None)),
        (["strategy=linear_probe", "optimizer=adamw"], (1e-4, None)),
        (["strategy=head_only"], (1e-4, None)),
        (["optimizer.backbone_lr=1e-3"], (1e-4, 1e-3)),
    ],
)  # fmt: skip
def test_learning_rate_presets(overrides, rates):
    config = composed(*overrides)
    assert (config.optimizer.lr, config.optimizer.backbone_lr) == pytest.approx(rates)


@pytest.mark.parametrize(
    ("name", "size_px"),
    [("vit_small_patch16_224", 224), ("swin_tiny_patch4_window7_224.ms_in22k", 224), ("deit_tiny_patch16_384", 384),
     ("convnext_tiny", 512), ("resnet18", 512)],
)  # fmt: skip
def test_fixed_size_transformers_get_their_size(name, size_px):
    assert composed("data=folders", "model=timm", f"model.name={name}").data.image_size == size_px


@pytest.mark.parametrize(
    "override",
    ["device=cpu", "train.threads=1", "data.num_workers=3", "data.root=elsewhere", "cache_dir=elsewhere",
     "tracker=tensorboard", "run.log_level=warning", "run.restart=true", "run.name=mine", "data.pseudonymize=true",
     "data.same_patient=null", "data.exam_ids=null"],
)  # fmt: skip
def test_what_cannot_change_a_result_is_not_in_the_run_id(override):
    assert run_id(composed(override)) == run_id(composed())


@pytest.mark.parametrize(
    "override",
    ["seed=43", "train.epochs=21", "data.split_seed=1", "data.limit=20", "augment.num_variants=4", "augment=none",
     "optimizer.lr=2e-4", "strategy.blocks=2", "loss.label_smoothing=0.1", "train.amp=off", "model=resnet50",
     "data.phantom.seed=1", "scheduler=step", "sampler.alpha=0.5", "train.monitor=kappa",
     "data.same_patient=merge", "data.exam_ids=per_patient"],
)  # fmt: skip
def test_what_can_change_a_result_is_in_the_run_id(override):
    assert run_id(composed(override)) != run_id(composed())


def test_a_default_that_is_spelled_out_is_the_same_run():
    explicit = composed("optimizer.lr=1e-4", "optimizer.backbone_lr=1e-5", "data.image_size=256", "scheduler=cosine")
    assert run_id(explicit) == run_id(composed())


def test_a_stored_configuration_is_checked_to_the_same_run():
    config = composed("strategy=full_finetune", "data=mias", "scheduler=plateau")
    assert check(config_tree(config)) == config
    assert set(identity_tree(config)) < set(config_tree(config))


def test_the_run_name_says_what_it_is():
    config = composed("model=resnet50", "seed=7")
    assert run_name(config) == f"resnet50-frozen_last_block-phantom-s7-{run_id(config)}"
    assert run_name(composed("run.name=my run/1")) == f"my_run_1-{run_id(composed())}"


def docs_of(options_class: type, path: str = "") -> dict[str, str]:
    """Dotted key -> what it means, of all options at any depth, and of every choice of a group."""
    docs: dict[str, str] = {}
    for field in dataclasses.fields(options_class):
        key, annotation = f"{path}{field.name}", types_of(options_class)[field.name]
        if "group" in field.metadata:
            for chosen in registered(field.metadata["group"]).values():
                docs |= docs_of(chosen, f"{key}.")
        elif dataclasses.is_dataclass(annotation):
            docs |= docs_of(annotation, f"{key}.")
        else:
            docs[key] = field.metadata.get("doc", "")
    return docs


OPTIONS_OF_COMMANDS = (
    Config,
    PrepareConfig,
    EvaluateOptions,
    PredictOptions,
    ExplainOptions,
    EmbedOptions,
    ExportOptions,
)


@pytest.mark.parametrize("options_class", OPTIONS_OF_COMMANDS)
def test_every_option_is_documented(options_class):
    docs = docs_of(options_class)
    assert {key for key, doc in docs.items() if len(doc) < 4} == set()
    assert {key for key in flatten(key_tree(options_class)) if not key.endswith(".name")} <= set(docs)


@pytest.mark.parametrize("file", sorted(CONFIG_FOLDER.rglob("*.yaml")), ids=lambda file: file.stem)
def test_every_line_of_a_yaml_file_is_documented(file):
    """By its comment, or as an option of the project is: also what is nested, but for the groups that it chooses."""
    text = file.read_text()
    assert text.lstrip().startswith("#"), "it does not say what it is for"
    section = [] if text.startswith("# @package _global_") else list(file.relative_to(CONFIG_FOLDER).parts[:-1])
    docs = docs_of(Config) | docs_of(PrepareConfig)
    commented = [line.split(":")[0].strip() for line in text.splitlines() if "#" in line]
    tree = {key: value for key, value in (yaml.safe_load(text) or {}).items() if key != "defaults"}
    for key in flatten(tree):
        parts = [*section, *key.split(".")]
        above = {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
        is_choice = len(parts) == 2 and parts[-1] == "name"
        is_commented = any(f".{key}".endswith(f".{name}") for name in commented)
        assert is_choice or is_commented or above & set(docs), f"{key} is not documented"


@dataclasses.dataclass(frozen=True)
class Sample:
    """Options of every kind, to test what fits."""

    count: int = option(1, "a count", at_least=0)
    share: float = option(0.5, "a share", above=0, below=1)
    flag: bool = option(False, "a flag")
    names: list[str] = option([], "names")
    rates: list[float] | None = option(None, "rates", above=0)
    text: str | None = option(None, "a text")
    table: dict[str, str] = option({}, "a table")


@pytest.mark.parametrize(
    ("key", "value"),
    [("count", 3), ("share", 0.25), ("flag", True), ("names", ["a"]), ("rates", [1, 0.5]), ("text", "x"),
     ("text", None), ("table", {"a": "b"})],
)  # fmt: skip
def test_values_that_fit(key, value):
    problems: list[Problem] = []
    assert getattr(build(Sample, {key: value}, problems), key) == value
    assert problems == []


@pytest.mark.parametrize(
    ("key", "value"),
    [("count", 1.0), ("count", True), ("count", "1"), ("count", -1), ("count", None), ("share", 0), ("share", 1),
     ("share", float("nan")), ("share", float("inf")), ("share", False), ("flag", 1), ("flag", "true"), ("names", "a"),
     ("names", [True]), ("names", [["a"]]), ("rates", [0.1, 0.0]), ("rates", ["a"]), ("text", 3), ("table", [1]),
     ("table", {"a": True}), ("table", {False: "b"}), ("table", {"a": None}),
     ("counts", 1), ("share", 10**400)],
)  # fmt: skip
def test_values_that_do_not_fit(key, value):
    problems: list[Problem] = []
    build(Sample, {key: value}, problems)
    assert [problem.key for problem in problems] == [key]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [("names", [1, 2.0, "x"], ["1", "2", "x"]), ("names", [0.5], ["0.5"]),
     ("table", {1: "A", 2.0: "B", "3": 4}, {"1": "A", "2": "B", "3": "4"})],
)  # fmt: skip
def test_numbers_among_texts_are_texts(key, value, expected):
    """As YAML and Hydra read `{1: A}`; whoever writes it with or without quotes has the same run."""
    problems: list[Problem] = []
    assert getattr(build(Sample, {key: value}, problems), key) == expected
    assert problems == []


@pytest.mark.parametrize("written", ["{1: A, 2.0: B, 3: C, 4: D}", "{4: D, 3: C, 2: B, 1: A}"])
def test_numbers_as_labels_are_the_same_run_however_they_are_written(written):
    config = composed("data=table", "data.root=x", f"data.table.label_map={written}")
    assert config.data.table.label_map == {"1": "A", "2": "B", "3": "C", "4": "D"}
    one_by_one = [f"+data.table.label_map.{number}={letter}" for number, letter in enumerate("ABCD", start=1)]
    assert run_id(config) == run_id(composed("data=table", "data.root=x", *one_by_one))


def test_a_label_map_of_a_dataset_is_changed_by_a_number():
    label_map = composed("data=cbis_ddsm", "data.root=x", "data.table.label_map={0: A}").data.table.label_map
    assert label_map == {"0": "A", "1": "A", "2": "B", "3": "C", "4": "D"}


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (
            ["data.classes=[1,2,3,4]"],
            r"data.classes: \[1, 2, 3, 4\], but .*density4 are A, B, C, D.*\n.*data.task=labels",
        ),
        (["data.classes=[D,C,B,A]"], "data.classes"),
        (["data.classes=[AB,CD]", "data.task=density2"], "density2 are AB, CD"),
        (
            ["data=mias", "data.table.label_map={F: A, G: B}"],
            r"maps to A, B, of which data.classes=\[F, G, D\] has none",
        ),
    ],
)
def test_classes_that_would_not_be_those_of_the_task_are_refused(overrides, complaint):
    with pytest.raises(ConfigError, match=complaint):
        composed(*overrides)


@pytest.mark.parametrize("overrides", [["data.classes=[A,B,C,D]"], ["data.classes=[1,2]", "data.task=labels"]])
def test_classes_that_are_those_of_the_task_are_taken(overrides):
    assert composed(*overrides).data.classes == overrides[0].split("[")[1].rstrip("]").split(",")


def test_a_stored_configuration_of_before_is_read_whatever_its_classes():
    tree = config_tree(composed())
    tree["data"]["classes"] = ["D", "C", "B", "A"]
    assert check_stored(tree).data.classes == ["D", "C", "B", "A"]


def test_a_choice_that_is_no_name_is_a_mistake():
    with pytest.raises(ConfigError, match=r"strategy.name: found \['frozen_last_block'\]"):
        composed("strategy.name=[frozen_last_block]")


def test_a_whole_number_is_a_float_where_one_is_wanted():
    assert isinstance(composed("loss.label_smoothing=0").loss.label_smoothing, float)


def test_a_choice_registered_in_code_needs_no_yaml():
    @register("scheduler", "test_only")
    @dataclasses.dataclass(frozen=True)
    class TestOnly:
        """A schedule."""

        power: int = option(2, "a power", at_least=1)

    assert composed("scheduler=test_only", "scheduler.power=3").scheduler == TestOnly(power=3)
    with pytest.raises(ConfigError, match="at least 1"):
        composed("scheduler=test_only", "scheduler.power=0")


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["data.num_folds=3"], "data.num_folds: 3, but not which fold"),
        (["data.fold=1"], "data.fold: 1, of how many"),
        (["data.num_folds=3", "data.fold=3"], "data.fold: 3 of 3"),
        (["data.num_folds=3", "data.fold=0", "data.val_fraction=0.3"], "data.val_fraction: has no effect"),
    ],
)
def test_folds_that_make_no_sense_are_refused(overrides, complaint):
    with pytest.raises(ConfigError, match=complaint):
        composed(*overrides)


def test_a_run_of_a_fold_says_so_in_its_name():
    config = composed("data.num_folds=3", "data.fold=2", "seed=7")
    assert run_name(config) == f"{config.model.name}-frozen_last_block-phantom-s7-f2-{run_id(config)}"

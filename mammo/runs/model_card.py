"""`MODEL_CARD.md` beside the best checkpoint: what whoever gets that file has to know, computed from the run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mammo.config.tree import Config
from mammo.evaluation.intervals import interval_note
from mammo.evaluation.metrics import Metrics
from mammo.evaluation.scores import shown_in
from mammo.models.families import licence_of
from mammo.runs.json_access import look
from mammo.support.plain_text import markdown_text
from mammo.support.table import UNDEFINED, Table, columns, markdown_lines, row, span, three_decimals

FILE = "checkpoints/MODEL_CARD.md"
CHOSEN = "The epoch was chosen on these images, which makes the numbers a little too good."
FEW_PATIENTS_IN_VALIDATION = 100
FEW_IMAGES_OF_A_CLASS = 20


def model_card(summary: Mapping[str, Any], config: Config, metrics: Metrics, temperature: float) -> str:
    """The card of a finished run as Markdown; without patient data and without folders."""
    sections = [
        _head(summary, config, metrics),
        _data(summary, config),
        _training(summary, config),
        _results(summary, metrics, temperature),
        _limits(summary, config, metrics),
        _licence(summary),
    ]
    return "\n".join(line for section in sections for line in (*section, ""))


def _head(summary: Mapping[str, Any], config: Config, metrics: Metrics) -> list[str]:
    classes = ", ".join(markdown_text(name) for name in metrics.class_names)
    return [
        f"# {markdown_text(summary['name'])}",
        "",
        f"Classifies mammograms into {len(metrics.class_names)} classes of density: {classes}. One image in, "
        "probabilities of the classes out.",
        "",
        "**Research use only. Not a medical device: no result is meant for diagnosis, screening or treatment.**",
        "",
        "```sh",
        "python -m mammo.predict run=best_model.pth input=DIR output=preds.csv",
        "```",
        "",
        f"The file holds all that prediction needs: {markdown_text(str(config.model.name))}, images of "
        f"{config.data.image_size} pixels{', cropped to the breast' if config.data.crop else ''}"
        f"{', turned to the left' if config.data.orient else ''}, and the normalisation of grey levels.",
    ]


def _data(summary: Mapping[str, Any], config: Config) -> list[str]:
    data, split = summary["data"], summary["split"]
    names = list(data["class_counts"])
    parts = [(part, split[part]) for part in ("train", "val", "test") if split[part]["images"]]
    units = {"patient": "patients", "exam": "exams", "image": "images (no patients are known)"}[data["group_by"]]
    rows = tuple(
        row(part, *(str(of[key]) for key in ("images", "patients")), *(str(of["class_counts"][name]) for name in names))
        for part, of in parts
    )
    table = Table("", columns("part", numbers=("images", units.split(" ")[0], *names)), rows)
    views = "all views" if config.data.views is None else f"the views {', '.join(config.data.views)}"
    return [
        "## Data",
        "",
        f"{markdown_text(data['name'])}: {data['num_images']} images of {data['num_patients']} {units}, "
        f"{markdown_text(views)}; {data['num_quarantined']} images or label rows were left out. No "
        f"{data['group_by']} is in two parts. Its own licence holds for the data.",
        "",
        *markdown_lines(table),
        f"Fingerprint of the data: `{data['fingerprint'][:16]}`, of the split: `{split['fingerprint'][:16]}`.",
    ]


def _training(summary: Mapping[str, Any], config: Config) -> list[str]:
    model, git, environment = summary["model"], summary["git"], summary["environment"]
    commit = (
        "not known" if git["commit"] is None else f"`{git['commit'][:12]}`{' with changes' if git['dirty'] else ''}"
    )
    share = model["parameters_trainable"] / model["parameters_total"]
    which = "the last one: none was chosen"
    if config.train.select == "best":
        which = f"the best by {summary['monitor']['name']} on the validation set"
    return [
        "## Training",
        "",
        f"- Network: {markdown_text(str(model['name']))}, {model['parameters_total']:,} parameters, of which "
        f"{model['parameters_trainable']:,} ({share:.0%}) learnt (`strategy={config.strategy.name}`)",
        f"- Started from: {markdown_text(model['weights']['source'])}",
        f"- `optimizer={config.optimizer.name}`, learning rate {config.optimizer.lr:g}, "
        f"`scheduler={config.scheduler.name}`, `sampler={config.sampler.name}`, `loss={config.loss.name}`, "
        f"batches of {config.data.batch_size}, seed {config.seed}",
        f"- {summary['epochs_run']} epochs; this is epoch {summary['best_epoch']}, {which}",
        f"- Code: commit {commit}; torch {environment['torch']}, {environment['device_name']}, "
        f"{environment['amp_dtype']}",
    ]


def _results(summary: Mapping[str, Any], metrics: Metrics, temperature: float) -> list[str]:
    intervals = metrics.ci95 or {}
    scores = tuple(
        row(one.sentence, three_decimals(metrics.scores[one.name], UNDEFINED), span(intervals.get(one.name)))
        for one in shown_in("card", among=metrics.scores)
    )
    of_classes = [name for name in ("recall", "precision") if name in metrics.per_class]
    # Where an image may be of several classes, there is no confusion matrix.
    matrix = metrics.confusion_matrix or [()] * len(metrics.class_names)
    classes = tuple(
        row(name, str(metrics.true_counts[c]),
            *(three_decimals(metrics.per_class[score][c], UNDEFINED) for score in of_classes), *map(str, matrix[c]))
        for c, name in enumerate(metrics.class_names)
    )  # fmt: skip
    predicted = (f"as {name}" for name in metrics.class_names if metrics.confusion_matrix)
    unit = f"{summary['data']['group_by']}s"
    is_last = look(summary, "monitor", "select") == "last"
    chosen = "No epoch was chosen: it is the last one." if is_last else CHOSEN
    return [
        "## Results on the validation set",
        "",
        f"{metrics.num_images} images of {metrics.num_patients} {unit}; intervals over {unit}. {chosen} "
        f"{interval_note(unit[:-1])}",
        "",
        *markdown_lines(Table("", columns("score", numbers=("value", "95% interval")), scores)),
        *markdown_lines(Table("", columns("true class", numbers=("n", *of_classes, *predicted)), classes)),
        f"Dividing the logits by {temperature:.3f} fits the probabilities to the validation set best.",
    ]


def _limits(summary: Mapping[str, Any], config: Config, metrics: Metrics) -> list[str]:
    """What the run itself gives reason to doubt."""
    found = [
        "Trained and validated on one dataset: how it does on images of other machines, sites and populations is not "
        "known until it is evaluated there (`python -m mammo.evaluate run=... data=...`).",
    ]
    if config.data.format == "phantom":
        found.append("The images are generated: nothing follows for real breasts.")
    if summary["model"]["weights"]["source"] == "random":
        found.append("It started from random weights.")
    if metrics.num_patients < FEW_PATIENTS_IN_VALIDATION:
        found.append(f"Only {metrics.num_patients} {summary['data']['group_by']}s validate it: see the intervals.")
    few = [
        f"{name} ({n})"
        for name, n in zip(metrics.class_names, metrics.true_counts, strict=True)
        if n < FEW_IMAGES_OF_A_CLASS
    ]
    if few:
        found.append(f"Classes with few validation images: {markdown_text(', '.join(few))}.")
    if summary["collapse"]["detected"]:
        found.append(f"It has collapsed: {markdown_text(summary['collapse']['reason'])}.")
    num_classes = len(metrics.class_names)
    weak = [
        f"{markdown_text(name)} ({round(recall * metrics.true_counts[c])} of {metrics.true_counts[c]})"
        for c, (name, recall) in enumerate(zip(metrics.class_names, metrics.per_class["recall"], strict=True))
        if recall is not None and recall < 1 / num_classes
    ]
    if weak:
        found.append(f"Recall below 1/{num_classes} on {metrics.num_images} validation images: {', '.join(weak)}.")
    if summary["data"]["group_by"] == "image":
        found.append("Patients are not known: images of one woman may be in training and validation.")
    if config.data.implants == "exclude":
        found.append("It has seen no breast implants.")
    return ["## Limits", "", *(f"- {line}" for line in found)]


def _licence(summary: Mapping[str, Any]) -> list[str]:
    return [
        "## Licence",
        "",
        f"- Pretrained weights: {markdown_text(licence_of(summary['model']['weights']['source']))}",
        "- Code: MIT",
        "- What was learnt from the data may be bound by the terms of the dataset.",
    ]
